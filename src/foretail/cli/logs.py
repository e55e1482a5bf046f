"""The log of the command line: configured once, on stderr, text or JSON, the run id on every line."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime

__all__ = ["configure_logging"]


def configure_logging(run_id: str, *, verbose: bool = False, log_format: str = "text") -> None:
    """Send the log to stderr; a second call replaces the first.

    Parameters
    ----------
    run_id : stands on every line.
    verbose : foretail's own messages from INFO on, and Python's warnings; else both from ERROR and WARNING on.
    log_format : ``text`` or ``json`` (one object a line).
    """
    handler = _Stderr()
    handler.setFormatter(_JsonLines(run_id) if log_format == "json" else _text(run_id))
    root = logging.getLogger()
    for old in [item for item in root.handlers if isinstance(item, _Stderr)]:
        root.removeHandler(old)
    root.addHandler(handler)
    logging.getLogger("foretail").setLevel(logging.INFO if verbose else logging.WARNING)
    logging.getLogger("py.warnings").setLevel(logging.WARNING if verbose else logging.ERROR)


class _Stderr(logging.Handler):
    """Writes to whatever `sys.stderr` is at that moment, so that lines appear above a progress bar."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line."""
        try:
            sys.stderr.write(self.format(record) + "\n")
        except Exception:
            self.handleError(record)


def _text(run_id: str) -> logging.Formatter:
    return logging.Formatter(f"%(asctime)s %(levelname)s {run_id} %(name)s: %(message)s", datefmt="%H:%M:%S")


class _JsonLines(logging.Formatter):
    """One JSON object a line: time (UTC), level, run_id, logger, message; request_id, exc_info if any."""

    def __init__(self, run_id: str):
        super().__init__()
        self.run_id = run_id

    def format(self, record: logging.LogRecord) -> str:
        """The record as JSON."""
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "run_id": getattr(record, "run_id", self.run_id),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if hasattr(record, "request_id"):
            line["request_id"] = record.request_id
        if record.exc_info:
            line["exc_info"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)
