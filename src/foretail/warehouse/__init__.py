"""SQL tables through SQLAlchemy."""
