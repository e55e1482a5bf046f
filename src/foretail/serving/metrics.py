"""What `/metrics` shows beside KServe's own histograms of the steps of a request."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

__all__ = [
    "LOAD_FAILURES",
    "LOG_DROPPED",
    "REFUSED",
    "REQUESTS",
    "SHADOW",
    "SHADOW_DIFFERENCE",
    "SWAPS",
    "VERSION",
    "loaded",
]

REQUESTS = Counter("foretail_requests", "Requests answered", ["model_name", "model_version", "protocol"])
REFUSED = Counter("foretail_requests_refused", "Requests refused", ["model_name", "protocol", "status"])
SWAPS = Counter("foretail_version_swaps", "Versions that began to answer", ["model_name", "alias"])
LOAD_FAILURES = Counter("foretail_version_load_failures", "Versions that could not be loaded", ["model_name", "alias"])
VERSION = Gauge("foretail_model_version_info", "1 for the version that answers", ["model_name", "alias", "version"])
SHADOW = Counter("foretail_shadow", "Requests mirrored to the shadow: same, different, failed, dropped", ["outcome"])
SHADOW_DIFFERENCE = Histogram(
    "foretail_shadow_difference",
    "Sum of absolute differences between shadow and answer, as a share of the answers' sum, per request",
    buckets=(0.0, 0.001, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0),
)
LOG_DROPPED = Counter("foretail_request_log_dropped", "Lines that the request log could not keep up with")


def loaded(name: str, alias: str, before: str, now: str) -> None:
    """Note that another version answers for an alias."""
    if before:
        VERSION.remove(name, alias, before)
    if now:
        VERSION.labels(name, alias, now).set(1)
