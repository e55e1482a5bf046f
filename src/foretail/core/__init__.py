"""Ground: columns, spec, frequency, quantiles, errors, settings."""
