"""Model versions: bundles, MLflow versions and aliases, the promotion gate."""
