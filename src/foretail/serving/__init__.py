"""Serving: model versions that answer requests over KServe's protocols."""
