"""Jobs as rows: handed in once, taken by one worker each, watched, given to another worker when theirs dies."""

from __future__ import annotations

import datetime as dt
import json
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine, Row, Select, Update, func, select, update
from sqlalchemy.dialects import postgresql, sqlite

from foretail.core.errors import UsageError
from foretail.sources.database import read_transaction
from foretail.warehouse.bulk import write_transaction
from foretail.warehouse.tables import jobs

__all__ = ["FINISHED", "STATUSES", "Job", "Jobs"]

STATUSES = ("PENDING", "RUNNING", "SUCCEEDED", "STOPPED", "FAILED")
FINISHED = STATUSES[2:]
_UNFINISHED = STATUSES[:2]
_SILENT_S = 30.0  # a worker that says nothing for so long is taken for dead
_ATTEMPTS = 3
_WHOLE_FLEET = "*"
_REFUSED = "jobs cannot be changed"


@dataclass(frozen=True)
class Job:
    """One job as its row tells.

    Attributes
    ----------
    job_id : names it. kind : what is to be done, e.g. ``train``.
    store, productname : the series; None for a whole fleet. subject : both as one text, ``*`` for a whole fleet.
    status : ``PENDING``, ``RUNNING``, ``SUCCEEDED``, ``STOPPED`` or ``FAILED``; reason : why it failed or stopped.
    progress : 0 to 1; message : what is done now.
    idempotency_key : whoever hands in the same key again gets this job.
    worker, heartbeat, attempts : who has it, when it last said so, how often it was taken.
    deadline : when it is given up. created, started, ended : naive UTC, like all times here.
    result : what it gave, as JSON can hold it.
    """

    job_id: str
    kind: str
    store: int | None
    productname: str | None
    subject: str
    status: str
    reason: str | None
    progress: float
    message: str | None
    idempotency_key: str | None
    worker: str | None
    heartbeat: dt.datetime | None
    attempts: int
    deadline: dt.datetime | None
    created: dt.datetime
    started: dt.datetime | None
    ended: dt.datetime | None
    result: Any

    @property
    def is_finished(self) -> bool:
        return self.status in FINISHED


def _utc() -> dt.datetime:
    return dt.datetime.now(dt.UTC).replace(tzinfo=None)


class Jobs:
    """The jobs of a warehouse.

    Parameters
    ----------
    engine : of an open warehouse.
    clock : tells naive UTC.
    """

    def __init__(self, engine: Engine, clock: Callable[[], dt.datetime] = _utc):
        self.engine = engine
        self._clock = clock

    def submit(
        self,
        kind: str,
        store: int | None = None,
        product: str | None = None,
        idempotency_key: str | None = None,
        timeout_s: float | None = None,
    ) -> Job:
        """Hand in a job.

        Parameters
        ----------
        store, product : the series; both None for a whole fleet.
        idempotency_key : the job that came with the same key, finished or not, is the answer.
        timeout_s : seconds from now after which it has failed.

        Returns
        -------
        The new job; or the one that the series has waiting or running; or that of the key.

        Raises
        ------
        UsageError : only one of store and product.
        ForetailError : the database does not answer or refuses.
        """
        row = self._row(kind, store, product, idempotency_key, timeout_s)
        insert = postgresql.insert if self.engine.dialect.name == "postgresql" else sqlite.insert
        statement = insert(jobs).values(row).on_conflict_do_nothing()
        for _ in range(_ATTEMPTS):
            with write_transaction(self.engine, "a job cannot be handed in") as connection:
                if connection.execute(statement).rowcount == 1:
                    return _job(connection, row["job_id"])
                found = self._same(connection, row)
            if found is not None:
                return found  # else it has just ended: the place is free again
        raise UsageError(
            "the series has jobs that begin and end all the time.\n"
            f"  where: {kind}, {row['subject']}\n  fix:   try again later"
        )

    def _row(
        self, kind: str, store: int | None, product: str | None, key: str | None, timeout_s: float | None
    ) -> dict[str, Any]:
        if (store is None) != (product is None):
            raise UsageError(
                "a job is for a whole fleet or for one series.\n"
                f"  where: store {store}, product {product}\n  fix:   give both store and product, or none"
            )
        now = self._clock()
        return {
            "job_id": f"{kind}-{secrets.token_hex(8)}",
            "kind": kind,
            "store": store,
            "productname": product,
            "subject": _WHOLE_FLEET if store is None else f"{store}/{product}",
            "status": "PENDING",
            "progress": 0.0,
            "idempotency_key": key,
            "attempts": 0,
            "deadline": None if timeout_s is None else now + dt.timedelta(seconds=timeout_s),
            "created": now,
        }

    def _same(self, connection: Connection, row: Mapping[str, Any]) -> Job | None:
        """The job that stands in the way of a new one."""
        table = jobs.c
        if row["idempotency_key"] is not None:
            found = _first(connection, select(jobs).where(table.idempotency_key == row["idempotency_key"]))
            if found is not None:
                return found
        unfinished = (table.kind == row["kind"]) & (table.subject == row["subject"]) & table.status.in_(_UNFINISHED)
        return _first(connection, select(jobs).where(unfinished))

    def take(self, worker: str, kinds: Sequence[str] | None = None) -> Job | None:
        """Give a worker the oldest waiting job; None where nothing waits. No job is given to two.

        Parameters
        ----------
        worker : its name, unique among all. kinds : what it can do; None for everything.

        Raises
        ------
        ForetailError : the database does not answer or refuses.
        """
        now, table = self._clock(), jobs.c
        oldest = select(table.job_id).where(table.status == "PENDING").order_by(table.created, table.job_id).limit(1)
        oldest = oldest.where((table.deadline > now) | table.deadline.is_(None))
        oldest = oldest if kinds is None else oldest.where(table.kind.in_(list(kinds)))
        with write_transaction(self.engine, _REFUSED) as connection:
            job_id = connection.execute(oldest.with_for_update(skip_locked=True)).scalar()
            if job_id is None:
                return None
            values = {"status": "RUNNING", "worker": worker, "heartbeat": now, "attempts": table.attempts + 1}
            first = {"started": now, "progress": 0.0, "message": None}
            connection.execute(update(jobs).where(table.job_id == job_id).values(**values, **first))
            return _job(connection, job_id)

    def heartbeat(self, job_id: str, worker: str | None = None) -> bool:
        """Say that the work goes on; False where it is not to go on: stopped, timed out, or another worker's."""
        return self._change(_of(job_id, worker, ("RUNNING",)).values(heartbeat=self._clock()))

    def progress(self, job_id: str, share: float, message: str | None = None, worker: str | None = None) -> bool:
        """Say how far the work is, 0 to 1; counts as a heartbeat, and answers as `heartbeat` does."""
        values = {"progress": min(1.0, max(0.0, share)), "message": message, "heartbeat": self._clock()}
        return self._change(_of(job_id, worker, ("RUNNING",)).values(values))

    def finish(self, job_id: str, result: Any = None, worker: str | None = None) -> bool:
        """The work is done; False where it was given up before, or is another worker's by now: nothing changes then."""
        values = {"status": "SUCCEEDED", "progress": 1.0, "result": json.dumps(result, default=str)}
        return self._change(_of(job_id, worker, ("RUNNING",)).values(ended=self._clock(), **values))

    def fail(self, job_id: str, reason: str, worker: str | None = None) -> bool:
        """The work cannot be done; False as for `finish`."""
        values = {"status": "FAILED", "reason": reason, "ended": self._clock()}
        return self._change(_of(job_id, worker, ("RUNNING",)).values(values))

    def cancel(self, job_id: str, reason: str = "cancelled") -> bool:
        """Stop a job that waits or runs; its worker hears of it at the next heartbeat. False where it had ended."""
        values = {"status": "STOPPED", "reason": reason, "ended": self._clock()}
        return self._change(_of(job_id, None, _UNFINISHED).values(values))

    def _change(self, statement: Update) -> bool:
        with write_transaction(self.engine, _REFUSED) as connection:
            return connection.execute(statement).rowcount == 1

    def get(self, job_id: str) -> Job | None:
        """A job; None where there is none of that id."""
        with read_transaction(self.engine, "jobs cannot be read") as connection:
            return _first(connection, select(jobs).where(jobs.c.job_id == job_id))

    def list(self, *, status: str | None = None, kind: str | None = None, limit: int | None = None) -> tuple[Job, ...]:
        """Jobs, the newest first.

        Raises
        ------
        UsageError : no such status.
        ForetailError : the database does not answer or refuses.
        """
        if status is not None and status not in STATUSES:
            known = ", ".join(STATUSES)
            raise UsageError(f"unknown status {status!r}.\n  where: status\n  fix:   one of {known}")
        table = jobs.c
        query = select(jobs).order_by(table.created.desc(), table.job_id).limit(limit)
        query = query if status is None else query.where(table.status == status)
        query = query if kind is None else query.where(table.kind == kind)
        with read_transaction(self.engine, "jobs cannot be read") as connection:
            return tuple(_of_row(row) for row in connection.execute(query))

    def counts(self) -> dict[str, int]:
        """How many jobs there are in each status."""
        query = select(jobs.c.status, func.count()).group_by(jobs.c.status)
        with read_transaction(self.engine, "jobs cannot be read") as connection:
            found = {row[0]: row[1] for row in connection.execute(query)}
        return {status: int(found.get(status, 0)) for status in STATUSES}

    def reap(self, now: dt.datetime | None = None, *, silent_s: float = _SILENT_S) -> int:
        """Give up what is past its deadline, and hand on what belonged to a worker that is silent; how many jobs.

        A job that has been taken three times fails instead: it may be what kills its workers.
        """
        now = now or self._clock()
        table = jobs.c
        late = table.status.in_(_UNFINISHED) & (table.deadline <= now)
        silent = (table.status == "RUNNING") & (table.heartbeat < now - dt.timedelta(seconds=silent_s))
        failed = {"status": "FAILED", "ended": now}
        with write_transaction(self.engine, _REFUSED) as connection:
            changes = (
                update(jobs)
                .where(late, table.status == "PENDING")
                .values(**failed, reason="timed out: no worker took it before its deadline"),
                update(jobs).where(late).values(**failed, reason="timed out: it was not done before its deadline"),
                update(jobs)
                .where(silent, table.attempts >= _ATTEMPTS)
                .values(**failed, reason=f"its worker died, {_ATTEMPTS} times"),
                update(jobs)
                .where(silent)
                .values(status="PENDING", worker=None, heartbeat=None, progress=0.0, message="its worker died"),
            )
            return sum(connection.execute(change).rowcount for change in changes)


def _of(job_id: str, worker: str | None, statuses: Sequence[str]) -> Update:
    statement = update(jobs).where(jobs.c.job_id == job_id, jobs.c.status.in_(statuses))
    return statement if worker is None else statement.where(jobs.c.worker == worker)


def _job(connection: Connection, job_id: str) -> Job:
    return _of_row(connection.execute(select(jobs).where(jobs.c.job_id == job_id)).one())


def _first(connection: Connection, query: Select[Any]) -> Job | None:
    row = connection.execute(query.limit(1)).first()
    return None if row is None else _of_row(row)


def _of_row(row: Row[Any]) -> Job:
    values = dict(row._mapping)
    return Job(**{**values, "result": None if values["result"] is None else json.loads(values["result"])})
