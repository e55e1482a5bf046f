"""How the services stand: the warehouse, MLflow, the queue of jobs, the fleet and the age of its forecasts."""

from __future__ import annotations

import datetime as dt
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from sqlalchemy import Engine, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from foretail.core.settings import Settings
from foretail.serving.api_app import Health
from foretail.serving.api_metrics import Standing
from foretail.serving.forecast_store import unanswered

__all__ = ["health_of", "standing_of", "tracking_health"]

_ALIVE_S = 2.0  # that MLflow has to answer
_KEPT_S = 10.0  # that its answer counts
_JOBS = "SELECT status, count(*) FROM jobs GROUP BY status"
_SERIES = """
SELECT v.status, count(*) FROM series_versions v
JOIN (SELECT unique_id, max(version) AS version FROM series_versions WHERE fleet = :fleet GROUP BY unique_id) n
  ON v.unique_id = n.unique_id AND v.version = n.version
WHERE v.fleet = :fleet GROUP BY v.status
"""
_NEWEST = "SELECT max(created_on), max(cutoff) FROM forecast_results WHERE dataset = :fleet"


def standing_of(engine: Engine, fleet: str) -> Standing:
    """Jobs and series by status, and how old the newest forecast is.

    Raises
    ------
    ServiceError : the warehouse does not answer.
    """
    given = {"fleet": fleet}
    try:
        with engine.connect() as connection:
            jobs = {str(status): int(n) for status, n in connection.execute(text(_JOBS))}
            series = {str(status): int(n) for status, n in connection.execute(text(_SERIES), given)}
            created_on, cutoff = connection.execute(text(_NEWEST), given).one()
    except SQLAlchemyError as error:
        raise unanswered(engine, error) from error
    return Standing(jobs, series, _age_s(created_on), _age_s(cutoff, after=dt.timedelta(days=1)))


def health_of(engine: Engine, settings: Settings) -> Callable[[], Health]:
    """What `/health` asks: one query of the warehouse, and MLflow at most every ten seconds."""
    tracking = _Kept(lambda: tracking_health(settings.tracking_uri))

    def health() -> Health:
        try:
            with engine.connect() as connection:
                jobs = {str(status): int(n) for status, n in connection.execute(text(_JOBS))}
        except SQLAlchemyError as error:
            return Health(type(error).__name__, tracking(), {})
        queue = {"jobsPending": jobs.get("PENDING", 0), "jobsRunning": jobs.get("RUNNING", 0)}
        return Health("OK", tracking(), queue)

    return health


def tracking_health(uri: str) -> str:
    """``OK``, or one line that says what is wrong with MLflow: its server asked, its file looked for."""
    if uri.startswith(("http://", "https://")):
        try:
            with urllib.request.urlopen(f"{uri.rstrip('/')}/health", timeout=_ALIVE_S) as answer:  # noqa: S310
                return "OK" if answer.status == 200 else f"it answers {answer.status}"
        except (urllib.error.URLError, OSError, ValueError):
            return "it does not answer"
    try:
        url = make_url(uri)
    except ArgumentError:
        return "OK" if Path(uri.removeprefix("file://")).is_dir() else "its folder is not there"
    if url.get_backend_name() != "sqlite":
        return "OK"  # a database that MLflow's client opens by itself
    return "OK" if url.database and Path(url.database).exists() else "nothing was logged yet"


class _Kept:
    """An answer that counts for some seconds, asked for by one thread at a time."""

    def __init__(self, ask: Callable[[], str]):
        self._ask = ask
        self._lock = threading.Lock()
        self._said, self._at = "", -_KEPT_S

    def __call__(self) -> str:
        with self._lock:
            if time.monotonic() - self._at >= _KEPT_S:
                self._said, self._at = self._ask(), time.monotonic()
            return self._said


def _age_s(value: object, after: dt.timedelta = dt.timedelta()) -> float | None:
    """Seconds since a moment or, with ``after``, since so long after it began."""
    if value is None:
        return None
    moment = value if isinstance(value, dt.date) else dt.datetime.fromisoformat(str(value))
    if not isinstance(moment, dt.datetime):
        moment = dt.datetime(moment.year, moment.month, moment.day)
    return (dt.datetime.now(dt.UTC).replace(tzinfo=None) - moment - after).total_seconds()
