"""What an ingest has done, counted: for the log, for ``--json``, and for Prometheus over HTTP."""

from __future__ import annotations

import datetime as dt
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from foretail.core.errors import ServiceError

__all__ = ["BatchReport", "Metrics", "metrics_server"]

_TEXT = "text/plain; version=0.0.4; charset=utf-8"
_COUNTED = {
    "batches": "Batches applied",
    "events": "Statements read, those that were known included",
    "changed": "Store-days that are new or hold another statement",
    "duplicates": "Statements that were known already",
    "late": "Statements told before the watermark of their partition",
    "dead": "Messages set aside as dead letters",
}


@dataclass(frozen=True)
class BatchReport:
    """One batch.

    Attributes
    ----------
    batch_id : its number.
    events, dead, changed, duplicates : counts, see `Accepted`; ``is_repeated`` when it had been applied before.
    late : statements told before the watermark of their partition.
    seconds : from the first message to the commit.
    offsets : the next offset of each partition.
    """

    batch_id: int
    events: int
    dead: int
    changed: int
    duplicates: int
    late: int
    seconds: float
    offsets: Mapping[int, int]
    is_repeated: bool = False

    @property
    def rows_per_s(self) -> float:
        return (self.events + self.dead) / self.seconds if self.seconds else 0.0

    def to_text(self) -> str:
        """One line for the log."""
        what = "had been applied before" if self.is_repeated else f"{self.changed} changed, {self.duplicates} known"
        return (
            f"batch {self.batch_id}: {self.events} events, {self.dead} dead, {self.late} late, {what}, "
            f"{self.rows_per_s:,.0f} rows/s"
        )


@dataclass
class Metrics:
    """Sums since the start, and the last batch; safe to read from another thread.

    Attributes
    ----------
    watermark : the latest event time of the partition that is behind, less the tolerance; None before any event.
    lag : messages of each partition that are not read yet.
    """

    topic: str
    batches: int = 0
    events: int = 0
    changed: int = 0
    duplicates: int = 0
    late: int = 0
    dead: int = 0
    seconds: float = 0.0
    rows_per_s: float = 0.0
    watermark: dt.datetime | None = None
    last_batch_at: dt.datetime | None = None
    offsets: dict[int, int] = field(default_factory=dict)
    lag: dict[int, int] = field(default_factory=dict)

    def add(self, report: BatchReport) -> None:
        """Count a batch."""
        self.batches += 1
        for name in ("events", "changed", "duplicates", "late", "dead", "seconds"):
            setattr(self, name, getattr(self, name) + getattr(report, name))
        self.rows_per_s = report.rows_per_s
        self.last_batch_at = dt.datetime.now(dt.UTC)
        self.offsets = {**self.offsets, **report.offsets}

    @property
    def mean_rows_per_s(self) -> float:
        """Inside batches, since the start."""
        return (self.events + self.dead) / self.seconds if self.seconds else 0.0

    def to_dict(self) -> dict[str, Any]:
        """As ``--json`` shows it."""
        counts = {name: getattr(self, name) for name in ("topic", *_COUNTED)}
        return {
            **counts,
            "seconds": round(self.seconds, 3),
            "rows_per_s": round(self.mean_rows_per_s, 1),
            "watermark": self.watermark and self.watermark.isoformat(),
            "offsets": {str(key): value for key, value in sorted(self.offsets.items())},
            "lag": sum(self.lag.values()) if self.lag else None,
        }

    def to_prometheus(self) -> str:
        """The text format of Prometheus."""
        topic = self.topic.replace("\\", "\\\\").replace('"', '\\"')
        lines = []
        for name, text in _COUNTED.items():
            lines += _lines(f"foretail_stream_{name}_total", "counter", text, {f'topic="{topic}"': getattr(self, name)})
        gauges: list[tuple[str, str, dict[str, float]]] = [
            ("rows_per_second", "Rows a second inside the last batch", {f'topic="{topic}"': self.rows_per_s}),
            ("offset", "Next offset to read", _by_partition(topic, self.offsets)),
            ("lag", "Messages not read yet", _by_partition(topic, self.lag)),
        ]
        if self.last_batch_at is not None:
            at = {f'topic="{topic}"': self.last_batch_at.timestamp()}
            gauges.append(("last_batch_timestamp_seconds", "When the last batch was stored", at))
        for name, text, values in gauges:
            lines += _lines(f"foretail_stream_{name}", "gauge", text, values)
        return "\n".join(lines) + "\n"


def _by_partition(topic: str, values: Mapping[int, int]) -> dict[str, float]:
    return {f'topic="{topic}",partition="{key}"': value for key, value in sorted(values.items())}


def _lines(name: str, kind: str, text: str, values: Mapping[str, float]) -> list[str]:
    head = [f"# HELP {name} {text}", f"# TYPE {name} {kind}"]
    return [*head, *(f"{name}{{{labels}}} {value:.15g}" for labels, value in values.items())]


@contextmanager
def metrics_server(metrics: Metrics, port: int | None, host: str = "127.0.0.1") -> Iterator[str]:
    """Answer ``/metrics`` while the block runs; gives the URL, "" without a port.

    Raises
    ------
    ServiceError : the port is taken.
    """
    if port is None:
        yield ""
        return
    try:
        server = ThreadingHTTPServer((host, port), _handler(metrics))
    except OSError as error:
        raise ServiceError(
            f"metrics cannot be served: {error.strerror}\n  where: {host}:{port}\n  fix:   another --metrics-port"
        ) from error
    thread = threading.Thread(target=server.serve_forever, name="metrics", daemon=True)
    thread.start()
    try:
        yield f"http://{host}:{server.server_port}/metrics"
    finally:
        server.shutdown()
        server.server_close()


def _handler(metrics: Metrics) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            is_known = self.path == "/metrics"
            body = metrics.to_prometheus().encode() if is_known else b"only /metrics is here\n"
            self.send_response(200 if is_known else 404)
            self.send_header("Content-Type", _TEXT)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Scrapes are not worth a line."""

    return Handler
