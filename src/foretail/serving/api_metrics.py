"""What `/metrics` of the trainer and the forecaster shows: requests, and how jobs, fleet and forecasts stand."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from foretail.core.errors import ForetailError

__all__ = ["ApiMetrics", "Standing"]

logger = logging.getLogger(__name__)

_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.5, 1.0, 2.5, 5.0, 10.0)
_KEPT_S = 5.0  # a look at the warehouse serves every scrape of so many seconds


@dataclass(frozen=True)
class Standing:
    """How things stand in the warehouse.

    Attributes
    ----------
    jobs : status -> number. series : status of the newest version of each series -> number.
    forecast_age_s : seconds since the newest forecast was made; None without any.
    cutoff_age_s : seconds since the end of the last day that forecasts know of; None without any.
    """

    jobs: dict[str, int] = field(default_factory=dict)
    series: dict[str, int] = field(default_factory=dict)
    forecast_age_s: float | None = None
    cutoff_age_s: float | None = None


class ApiMetrics:
    """Counters of one application, and a look at the warehouse whenever they are read.

    Parameters
    ----------
    look : how things stand; asked at most every five seconds, and only when somebody reads the metrics.
    """

    def __init__(self, look: Callable[[], Standing]):
        self._registry = CollectorRegistry()
        self.requests = Counter(
            "foretail_api_requests", "Requests answered", ["route", "method", "status"], registry=self._registry
        )
        self.seconds = Histogram(
            "foretail_api_request_seconds", "Seconds of a request", ["route"], registry=self._registry, buckets=_BUCKETS
        )
        self.refused = Counter("foretail_api_rate_limited", "Requests over the limit", registry=self._registry)
        self.pairs = Counter(
            "foretail_api_pairs", "Pairs asked for: stored, made, refused", ["outcome"], registry=self._registry
        )
        self._registry.register(_Look(look))

    def text(self) -> bytes:
        """The page that Prometheus reads."""
        return bytes(generate_latest(self._registry))


class _Look(Collector):
    """Gauges that are read from the warehouse."""

    def __init__(self, look: Callable[[], Standing]):
        self._ask = look
        self._seen: Standing | None = None
        self._at = -_KEPT_S

    def describe(self) -> list[GaugeMetricFamily]:
        """Nothing: so that registering asks for nothing."""
        return []

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """The gauges of now; `foretail_warehouse_up` is 0, and the others are missing, when it does not answer."""
        standing = self._standing()
        yield _gauge("foretail_warehouse_up", "1 when the warehouse answers", float(standing is not None))
        if standing is None:
            return
        yield _by_status("foretail_jobs", "Jobs", standing.jobs)
        yield _by_status("foretail_fleet_series", "Series by the status of their newest version", standing.series)
        ages = (
            ("foretail_forecast_age_seconds", "Seconds since the newest forecast was made", standing.forecast_age_s),
            ("foretail_forecast_cutoff_age_seconds", "Seconds since the last day known", standing.cutoff_age_s),
        )
        for name, about, age in ages:
            if age is not None:
                yield _gauge(name, about, age)

    def _standing(self) -> Standing | None:
        if time.monotonic() - self._at >= _KEPT_S:
            try:
                self._seen = self._ask()
            except ForetailError as error:
                logger.warning("the metrics do not know how the warehouse stands: %s", error)
                self._seen = None
            self._at = time.monotonic()
        return self._seen


def _gauge(name: str, about: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, about, value=value)


def _by_status(name: str, about: str, counts: dict[str, int]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, about, labels=["status"])
    for status, count in sorted(counts.items()):
        family.add_metric([status], count)
    return family
