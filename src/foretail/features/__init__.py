"""As-of features, declared once."""
