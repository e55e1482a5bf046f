"""The trainer: asks for training jobs, shows how they stand, cancels them; workers do them (`serving/worker.py`)."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Query, Request, Response
from fastapi.responses import StreamingResponse

from foretail.serving.api_app import json_answer, refusals
from foretail.serving.api_events import Events
from foretail.serving.api_ids import read_job_id, read_pair
from foretail.serving.api_limits import TokenCheck
from foretail.serving.errors import refuse
from foretail.warehouse.jobs import STATUSES, Job, Jobs

__all__ = ["FLEET", "SERIES", "Trainer", "TrainerOptions", "told_job", "trainer_router"]

FLEET, SERIES = "fleet", "series"  # kinds of jobs
_MOST = 1_000  # jobs of one list
_LAST_STORE = 2**31 - 1  # the warehouse holds stores as 32-bit numbers
_JSON = "application/json"
_SUBMITTED = {"train_job_id": "0f3e9b1c5a7d4e21", "status": "SUBMITTED"}
_STATUS = {"train_job_id": "0f3e9b1c5a7d4e21", "status": "RUNNING", "progress": 0.4, "message": "fit"}
_FAILED = {"train_job_id": "0f3e9b1c5a7d4e21", "status": "FAILED", "reason": "it took longer than 60 s"}
_Key = Annotated[
    str | None,
    Header(alias="Idempotency-Key", min_length=1, max_length=200, description="The same key gives the same job."),
]


@dataclass(frozen=True)
class TrainerOptions:
    """How long jobs may take.

    Attributes
    ----------
    series_timeout_s, fleet_timeout_s : seconds from the request until a job that is not done has failed.
    """

    series_timeout_s: float = 120.0
    fleet_timeout_s: float = 6 * 3600.0


class Trainer:
    """Jobs as the outside world asks for them.

    Parameters
    ----------
    jobs : the queue. options : how long jobs may take.
    """

    def __init__(self, jobs: Jobs, options: TrainerOptions):
        self.jobs = jobs
        self._options = options

    def train_fleet(self, key: str | None) -> Job:
        """Ask for the whole fleet; while that runs it is the same job again."""
        return self.jobs.submit(FLEET, None, None, key, self._options.fleet_timeout_s)

    def train_series(self, store: str, product: str, key: str | None) -> Job:
        """Ask for one series; while that runs it is the same job again.

        Raises
        ------
        RequestError : 400, a store or product that cannot be called so.
        """
        pair = read_pair(store, product)
        if not pair.store.isdigit() or int(pair.store) > _LAST_STORE:
            raise refuse(400, f"store_id is {pair.store!r}", "store_id", f"a whole number, {_LAST_STORE} at most")
        return self.jobs.submit(SERIES, int(pair.store), pair.product, key, self._options.series_timeout_s)

    def get(self, job_id: str) -> Job:
        """A job.

        Raises
        ------
        RequestError : 404, there is none of that id.
        """
        job = self.jobs.get(read_job_id(job_id))
        if job is None:
            raise refuse(404, "there is no such job", "train_job_id", "GET /training_jobs lists the jobs")
        return job

    def cancel(self, job_id: str) -> Job:
        """End a job that waits or runs.

        Raises
        ------
        RequestError : 404, there is none of that id; 409, it is over.
        """
        self.jobs.cancel(self.get(job_id).job_id)
        job = self.get(job_id)
        if job.status != "STOPPED":
            raise refuse(409, f"the job is over: {job.status}", "train_job_id", "ask for a new one")
        return job


def told_job(job: Job) -> dict[str, Any]:
    """A job in plain values; what does not apply is left out."""
    values = {
        "train_job_id": job.job_id,
        "status": job.status,
        "reason": job.reason or None,
        "kind": job.kind,
        "store_id": job.store,
        "product_name": job.productname,
        "progress": round(job.progress, 3),
        "message": job.message or None,
        "attempts": job.attempts,
        "created": _moment(job.created),
        "started": _moment(job.started),
        "ended": _moment(job.ended),
        "result": job.result or None,
    }
    return {name: value for name, value in values.items() if value is not None}


def trainer_router(trainer: Trainer, token: TokenCheck, events: Events) -> APIRouter:
    """The endpoints."""
    router = APIRouter(tags=["trainer"])
    writes: dict[str, Any] = {
        "status_code": 202,
        "dependencies": [Depends(token)],
        "responses": {202: {"content": {_JSON: {"example": _SUBMITTED}}}, **refusals(400, 401, 403, 429, 503)},
    }

    @router.post("/train", summary="Train the whole fleet", **writes)
    def train(idempotency_key: _Key = None) -> Response:
        """Every series anew. While a job of the fleet waits or runs, that one is given."""
        return _submitted(trainer.train_fleet(idempotency_key))

    @router.post("/{store_id}/{product_name}/train", summary="Train one series", **writes)
    def train_one(store_id: str, product_name: str, idempotency_key: _Key = None) -> Response:
        """One store and product. While a job of that series waits or runs, that one is given."""
        return _submitted(trainer.train_series(store_id, product_name, idempotency_key))

    _add_reads(router, trainer, events)

    @router.post(
        "/training_jobs/{train_job_id}/cancel",
        summary="Cancel a job",
        dependencies=[Depends(token)],
        responses=refusals(401, 403, 404, 409, 429, 503),
    )
    def cancel(train_job_id: str) -> Response:
        """A job that waits never begins; of one that runs, the process is ended."""
        return json_answer(told_job(trainer.cancel(train_job_id)))

    return router


def _add_reads(router: APIRouter, trainer: Trainer, events: Events) -> None:
    """The endpoints that change nothing."""

    @router.get(
        "/training_job_status/{train_job_id}",
        summary="How a job stands",
        responses={
            200: {"content": {_JSON: {"examples": {"running": {"value": _STATUS}, "failed": {"value": _FAILED}}}}},
            **refusals(404, 429, 503),
        },
    )
    def status(train_job_id: str) -> Response:
        """PENDING, RUNNING, SUCCEEDED, STOPPED or FAILED, with the reason."""
        return json_answer(told_job(trainer.get(train_job_id)))

    @router.get("/training_jobs", summary="Jobs, newest first", responses=refusals(400, 429, 503))
    def list_jobs(
        status: Annotated[str | None, Query(pattern=f"^({'|'.join(STATUSES)})$")] = None,
        limit: Annotated[int, Query(ge=1, le=_MOST)] = 50,
    ) -> Response:
        """The newest of all, or of one status."""
        return json_answer([told_job(job) for job in trainer.jobs.list(status=status, limit=limit)])

    @router.get("/training_jobs/{train_job_id}", summary="A job", responses=refusals(404, 429, 503))
    def show(train_job_id: str) -> Response:
        """All that is known of it."""
        return json_answer(told_job(trainer.get(train_job_id)))

    @router.get(
        "/training_jobs/{train_job_id}/events",
        summary="A job's progress, as server-sent events",
        response_class=StreamingResponse,
        responses={200: {"content": {"text/event-stream": {}}}, **refusals(404, 429, 503)},
    )
    async def follow(train_job_id: str, request: Request) -> StreamingResponse:
        """An event `progress` whenever something changes, and `end` when the job is over."""
        return await events.stream(lambda: told_job(trainer.get(train_job_id)), request)


def _submitted(job: Job) -> Response:
    told = {"train_job_id": job.job_id, "status": "SUBMITTED"}
    return json_answer(told, 202, {"location": f"training_job_status/{job.job_id}"})


def _moment(value: dt.datetime | None) -> str | None:
    """A moment as RFC 3339 has it."""
    return None if value is None else value.replace(tzinfo=dt.UTC).isoformat(timespec="milliseconds")
