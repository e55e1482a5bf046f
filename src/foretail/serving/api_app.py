"""The application of the trainer and the forecaster: what both have, health and metrics and errors among it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import orjson
from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from foretail import __version__
from foretail.core.errors import ForetailError
from foretail.serving.api_metrics import ApiMetrics
from foretail.serving.errors import MEDIA_TYPE, RequestError, problem_details, refuse

__all__ = ["Health", "json_answer", "make_app", "refusals"]

logger = logging.getLogger(__name__)

_JSON = "application/json"
_PROBLEM = {
    "type": "object",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "problems": {"type": "array", "items": {"type": "object"}},
        "n_problems": {"type": "integer"},
    },
}
_EXAMPLE = problem_details(refuse(404, "there is no such job", "train_job_id", "GET /training_jobs lists the jobs"))


@dataclass(frozen=True)
class Health:
    """How a service stands.

    Attributes
    ----------
    warehouse : ``OK``, or why it does not answer. tracking : the same of MLflow.
    details : more of it, in plain values.
    """

    warehouse: str
    tracking: str
    details: Mapping[str, Any]

    @property
    def is_ok(self) -> bool:
        """It can answer: MLflow is needed to train, not to answer."""
        return self.warehouse == "OK"


def refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """What OpenAPI says of the refusals with these statuses."""
    content = {MEDIA_TYPE: {"schema": _PROBLEM, "example": _EXAMPLE}}
    return {status: {"description": HTTPStatus(status).phrase, "content": content} for status in statuses}


def json_answer(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """An answer in JSON."""
    return Response(orjson.dumps(value), status, headers=dict(headers or {}), media_type=_JSON)


def make_app(
    routers: Sequence[APIRouter], health: Callable[[], Health], metrics: ApiMetrics, *, root_path: str = ""
) -> FastAPI:
    """The application.

    Parameters
    ----------
    routers : the endpoints of the services. health : asked on a thread. root_path : where a proxy shows it.
    """
    app = FastAPI(
        title="foretail services",
        version=__version__,
        root_path=root_path,
        redoc_url=None,
        docs_url=None,
        summary="Train and forecast the models of a fleet, one for each store and product.",
    )
    for router in routers:
        app.include_router(router)
    app.include_router(_standing(health, metrics))
    for kind, handler in _HANDLERS.items():
        app.add_exception_handler(kind, handler)
    return app


def _standing(health: Callable[[], Health], metrics: ApiMetrics) -> APIRouter:
    router = APIRouter(tags=["standing"])
    example = {"serviceStatus": "OK", "modelTrackingHealth": "OK", "warehouseHealth": "OK"}

    @router.get(
        "/health",
        summary="Whether it can answer",
        responses={200: {"content": {_JSON: {"example": example}}}, **refusals(503)},
    )
    def get_health() -> Response:
        """503 when the warehouse does not answer; MLflow is told, and needed for training only."""
        found = health()
        told = {
            "serviceStatus": "OK" if found.is_ok else "FAILED",
            "modelTrackingHealth": found.tracking,
            "warehouseHealth": found.warehouse,
        }
        return json_answer({**told, **found.details}, 200 if found.is_ok else 503)

    @router.get("/metrics", summary="Metrics for Prometheus", response_class=Response)
    def get_metrics() -> Response:
        """Requests, jobs, the fleet's series by status, and the forecasts' age."""
        return Response(metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    return router


def _refused(error: RequestError) -> Response:
    headers = {"retry-after": "1"} if error.status == HTTPStatus.SERVICE_UNAVAILABLE else {}
    if error.status == HTTPStatus.UNAUTHORIZED:
        headers = {"www-authenticate": "Bearer"}
    if error.status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        headers = {"connection": "close"}  # what is left of the body is not waited for
    return Response(orjson.dumps(problem_details(error)), error.status, headers=headers, media_type=MEDIA_TYPE)


async def _on_refusal(_: Request, error: RequestError) -> Response:
    return _refused(error)


async def _on_unusable(request: Request, error: ForetailError) -> Response:
    """What the answer needs does not work; the whole text may hold addresses, so that it stands in the log only."""
    name = request.scope.get("state", {}).get("request_id", "")
    logger.error("request %s cannot be answered: %s", name, error, extra={"request_id": name})
    what = "what the answer needs does not work at present"
    return _refused(refuse(503, what, f"request {name}", "ask again; the server's log says what is wrong"))


async def _on_invalid(_: Request, error: RequestValidationError) -> Response:
    said = [(".".join(map(str, item["loc"])), item["msg"]) for item in error.errors()]
    where, what = said[0] if said else ("the request", str(error))
    return _refused(refuse(400, what, where, "GET /openapi.json says what may be asked"))


async def _on_http(_: Request, error: HTTPException) -> Response:
    phrase = HTTPStatus(error.status_code).phrase
    problem = {"type": "about:blank", "title": phrase, "status": error.status_code, "detail": str(error.detail)}
    return Response(orjson.dumps(problem), error.status_code, headers=dict(error.headers or {}), media_type=MEDIA_TYPE)


async def _on_failure(_: Request, error: Exception) -> Response:  # noqa: ARG001  (the guard logs it)
    problem = {"type": "about:blank", "title": "Internal Server Error", "status": 500}
    body = orjson.dumps({**problem, "detail": "the server failed on this request; its log says why"})
    return Response(body, 500, media_type=MEDIA_TYPE)


_HANDLERS: Mapping[Any, Any] = {
    RequestError: _on_refusal,
    ForetailError: _on_unusable,
    RequestValidationError: _on_invalid,
    HTTPException: _on_http,
    Exception: _on_failure,
}
