"""The forecaster's endpoints: many pairs in one request, or one pair by its address."""

from __future__ import annotations

from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Query, Request, Response

from foretail.serving.api_app import refusals
from foretail.serving.api_items import EXAMPLE_REQUEST, ITEM_SCHEMA, read_item, read_items
from foretail.serving.api_limits import read_body
from foretail.serving.api_metrics import ApiMetrics
from foretail.serving.errors import RequestError
from foretail.serving.forecaster import Answer, Forecaster, etag, plain_answers

__all__ = ["MOST_PAIRS", "forecaster_router"]

MOST_PAIRS = 10_000  # of one request
_JSON = "application/json"
_ANSWER = {
    "request": {"store_id": "1", "product_name": "product_A"},
    "forecast": [{"timestamp": "2015-08-01", "value": 5263.0, "lower_ci": 4100.0, "upper_ci": 6400.0}],
    "api": {
        "model_name": "prophet-retail-forecaster-store-1-product_A",
        "model_version": "3",
        "cutoff": "2015-07-31",
        "created_on": "2015-08-01T02:00:00",
        "run_id": "0f3e9b1c5a7d4e21",
        "stored": True,
    },
}
_ERROR = {
    "request": {"store_id": "99999", "product_name": "product_A"},
    "error": {
        "status": 404,
        "what": "there is no such series",
        "where": "store 99999, product product_A",
        "fix": "train it, or ask for one that is trained",
    },
}
_BODY = {"type": "array", "minItems": 1, "maxItems": MOST_PAIRS, "items": ITEM_SCHEMA}


def forecaster_router(
    forecaster: Forecaster, metrics: ApiMetrics, *, max_bytes: int, most: int = MOST_PAIRS
) -> APIRouter:
    """The endpoints.

    Parameters
    ----------
    max_bytes : of a request's body. most : pairs of one request.
    """
    router = APIRouter(tags=["forecaster"])

    @router.post(
        "/forecast",
        summary="Forecasts of many pairs",
        responses={
            200: {"content": {_JSON: {"schema": {"type": "array"}, "example": [_ANSWER, _ERROR]}}},
            304: {"description": "What If-None-Match names is still the answer"},
            **refusals(400, 413, 429, 503),
        },
        openapi_extra={
            "requestBody": {"required": True, "content": {_JSON: {"schema": _BODY, "example": EXAMPLE_REQUEST}}}
        },
    )
    async def forecast(request: Request) -> Response:
        """One answer for each pair, in their order; a pair that cannot be answered gets an `error` instead.

        Both dates count; without them the seven days after the cutoff are answered. Days that are not stored are
        forecast by the model and not stored.
        """
        items = read_items(await read_body(request, max_bytes, f"{most} pairs"), most)
        answers = await forecaster.answer(items)
        _count(metrics, answers)
        tag = etag(items, answers)
        return _unchanged(request, tag) or _answer(plain_answers(answers), tag)

    @router.get(
        "/forecast/{store_id}/{product_name}",
        summary="Forecasts of one pair",
        responses={
            200: {"content": {_JSON: {"example": _ANSWER}}},
            304: {"description": "What If-None-Match names is still the answer"},
            **refusals(400, 404, 422, 429, 503),
        },
    )
    async def forecast_one(
        store_id: str,
        product_name: str,
        request: Request,
        begin_date: Annotated[str | None, Query(description="first day, inclusive")] = None,
        end_date: Annotated[str | None, Query(description="last day, inclusive")] = None,
    ) -> Response:
        """The same for one pair, which browsers and proxies may keep by its ETag."""
        given = {"store_id": store_id, "product_name": product_name, "begin_date": begin_date, "end_date": end_date}
        items = [read_item({name: value for name, value in given.items() if value is not None})]
        answers = await forecaster.answer(items)
        _count(metrics, answers)
        if answers[0].problem is not None:
            raise RequestError(answers[0].problem)
        tag = etag(items, answers)
        return _unchanged(request, tag) or _answer(plain_answers(answers)[0], tag)

    return router


def _answer(value: Any, tag: str) -> Response:
    return Response(orjson.dumps(value), headers={"etag": tag, "cache-control": "no-cache"}, media_type=_JSON)


def _unchanged(request: Request, tag: str) -> Response | None:
    """304 where the caller holds this answer already; also on POST, which here changes nothing."""
    known = {item.strip().removeprefix("W/") for item in request.headers.get("if-none-match", "").split(",")}
    return Response(status_code=304, headers={"etag": tag, "cache-control": "no-cache"}) if tag in known else None


def _count(metrics: ApiMetrics, answers: list[Answer]) -> None:
    for answer in answers:
        metrics.pairs.labels("refused" if answer.problem else "stored" if answer.is_stored else "made").inc()
