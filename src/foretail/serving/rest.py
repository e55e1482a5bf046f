"""The REST side of the server: KServe's endpoints, the verbs of inference among them made to refuse instead of break.

V1 predict and explain, V2 infer, each with and without ``/versions/VERSION``; every refusal is problem details.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import orjson
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from kserve.errors import InvalidInput, ModelNotFound, ModelNotReady, ServerNotLive, ServerNotReady
from kserve.protocol.rest.server import RESTServer, metrics_handler
from kserve.protocol.rest.v1_endpoints import V1Endpoints
from kserve.protocol.rest.v2_endpoints import V2Endpoints
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from foretail import __version__
from foretail.serving.bodies import BINARY_LENGTH, read_question, tensor_body
from foretail.serving.dataplane import Plane
from foretail.serving.errors import MEDIA_TYPE, RequestError, problem_details, refuse
from foretail.serving.predictor import Call
from foretail.serving.wire import dump_json

__all__ = ["Endpoints", "RestServer"]

logger = logging.getLogger(__name__)

_JSON = "application/json"
_BINARY = "application/octet-stream"
_V1_BODY = {
    "instances": {
        "type": "array",
        "minItems": 1,
        "items": {
            "type": "object",
            "required": ["target_date"],
            "properties": {
                "target_date": {"type": "string", "format": "date"},
                "horizon": {"type": "integer", "minimum": 1},
            },
            "additionalProperties": {"type": ["number", "string", "boolean"]},
        },
    }
}
_V2_BODY = {
    "id": {"type": "string"},
    "parameters": {"type": "object"},
    "inputs": {
        "type": "array",
        "minItems": 1,
        "items": {
            "type": "object",
            "required": ["name", "shape", "datatype", "data"],
            "properties": {
                "name": {"type": "string"},
                "shape": {"type": "array", "items": {"type": "integer"}},
                "datatype": {"type": "string"},
                "data": {"type": "array"},
            },
        },
    },
    "outputs": {
        "type": "array",
        "items": {"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}}},
    },
}


class Endpoints:
    """What answers the verbs of inference.

    Parameters
    ----------
    plane : KServe's data plane. max_bytes : of a request's body.
    """

    def __init__(self, plane: Plane, max_bytes: int):
        self.plane = plane
        self._max_bytes = max_bytes

    async def predict(self, model_name: str, request: Request) -> Response:
        """Forecasts of V1 instances."""
        return await self._v1(model_name, request, "", explain=False)

    async def predict_version(self, model_name: str, model_version: str, request: Request) -> Response:
        """Forecasts of V1 instances by one version or alias."""
        return await self._v1(model_name, request, model_version, explain=False)

    async def explain(self, model_name: str, request: Request) -> Response:
        """What forecasts of V1 instances are made of."""
        return await self._v1(model_name, request, "", explain=True)

    async def explain_version(self, model_name: str, model_version: str, request: Request) -> Response:
        """What forecasts of V1 instances are made of, by one version or alias."""
        return await self._v1(model_name, request, model_version, explain=True)

    async def infer(self, model_name: str, request: Request) -> Response:
        """Forecasts of V2 tensors."""
        return await self._v2(model_name, request, "")

    async def infer_version(self, model_name: str, model_version: str, request: Request) -> Response:
        """Forecasts of V2 tensors by one version or alias."""
        return await self._v2(model_name, request, model_version)

    async def describe(self, model_name: str) -> Response:
        """What is served under a name: 503 while it is not ready."""
        if not await self.plane.model_ready(model_name):
            raise ModelNotReady(model_name)
        described = self.plane.predictor(model_name).describe()
        return _json({"name": model_name, "ready": True, **described})

    async def metadata(self, model_name: str) -> Response:
        """The tensors and versions of a model."""
        return _json(await self.plane.model_metadata(model_name))

    async def ready(self, model_name: str) -> Response:
        """Whether a model is loaded: 503 while it is not."""
        await self._check_ready(model_name)
        return _json({"name": model_name, "ready": True})

    async def version_metadata(self, model_name: str, model_version: str) -> Response:
        """The tensors of a version."""
        self.plane.predictor(model_name).route.choose(model_version)
        return _json(await self.plane.model_metadata(model_name))

    async def version_ready(self, model_name: str, model_version: str) -> Response:
        """Whether a version is loaded."""
        self.plane.predictor(model_name).route.choose(model_version)
        return _json({"name": model_name, "ready": True})

    async def _v1(self, name: str, request: Request, version: str, *, explain: bool) -> Response:
        await self._check_ready(name)
        body = await self._body(request)
        call = Call("v1", body, version, request.headers.get("x-request-id", ""))
        ask = self.plane.explain if explain else self.plane.infer
        answer, _ = await ask(name, call)
        return Response(answer, headers=self._headers(call), media_type=_JSON)

    async def _v2(self, name: str, request: Request, version: str) -> Response:
        await self._check_ready(name)
        body = await self._body(request)
        question = read_question(body, request.headers.get(BINARY_LENGTH))
        call = Call("v2", question, version, request.headers.get("x-request-id", ""))
        answer, _ = await self.plane.infer(name, call)
        content, length = tensor_body(answer)
        headers = self._headers(call)
        if length is None:
            return Response(content, headers=headers, media_type=_JSON)
        return Response(content, headers={**headers, BINARY_LENGTH: str(length)}, media_type=_BINARY)

    async def _check_ready(self, name: str) -> None:
        if not await self.plane.model_ready(name, True):
            raise ModelNotReady(name)

    def _headers(self, call: Call) -> dict[str, str]:
        named = {"x-request-id": call.request_id} if call.request_id else {}
        return {**named, "connection": "close"} if self.plane.is_draining else named

    async def _body(self, request: Request) -> bytes:
        """The body, no longer than allowed whatever it says of itself."""
        said = request.headers.get("content-length", "")
        if said.isdigit() and int(said) > self._max_bytes:
            raise self._too_large()
        parts, size = [], 0
        try:
            async for part in request.stream():
                size += len(part)
                if size > self._max_bytes:
                    raise self._too_large()
                parts.append(part)
        except ClientDisconnect as error:
            raise refuse(400, "the client went away", "the request body", "send the whole body") from error
        return b"".join(parts)

    def _too_large(self) -> RequestError:
        what = f"the body is larger than {self._max_bytes} bytes"
        return refuse(413, what, "the request body", "send fewer instances in one request")


class RestServer(RESTServer):  # type: ignore[misc]  # kserve carries no types
    """KServe's REST server on one address, with our endpoints before its own.

    Parameters
    ----------
    plane : the data plane. host, port : where it listens. grace_s : for requests under way when it ends.
    """

    def __init__(self, plane: Plane, extension: Any, *, host: str, port: int, max_bytes: int, grace_s: float):
        super().__init__("foretail.serving:app", plane, extension, port, grace_period=int(grace_s) or 1)
        self._endpoints = Endpoints(plane, max_bytes)
        self.config.host = host
        silence_access_log()

    def use_server(self, server: Any) -> Any:
        """Run another uvicorn server than KServe's; gives it back."""
        self._server = server
        return server

    def create_application(self) -> None:
        """Make the application: our endpoints, KServe's, what turns errors into answers."""
        self.config.app = make_app(self._endpoints, self.model_repository_extension)


def make_app(endpoints: Endpoints, extension: Any) -> FastAPI:
    """The ASGI application.

    Parameters
    ----------
    endpoints : what answers the verbs of inference. extension : KServe's repository extension.
    """
    app = FastAPI(title="foretail", version=__version__, docs_url=None, redoc_url=None)
    _add_inference(app, endpoints)
    _add_kserve(app, endpoints.plane, extension)
    for kind, handler in _HANDLERS.items():
        app.add_exception_handler(kind, handler)
    return app


def silence_access_log() -> None:
    """Uvicorn's line per request is written on the event loop; the request log takes its place."""
    access = logging.getLogger("uvicorn.access")
    access.handlers = []
    access.propagate = False


def _add_inference(app: FastAPI, endpoints: Endpoints) -> None:
    """Our endpoints, described for OpenAPI."""
    v1, v2, at = "/v1/models/{model_name}", "/v2/models/{model_name}", "/versions/{model_version}"
    posts = (
        (f"{v1}:predict", endpoints.predict, _V1_BODY, "instances"),
        (f"{v1}{at}:predict", endpoints.predict_version, _V1_BODY, "instances"),
        (f"{v1}:explain", endpoints.explain, _V1_BODY, "instances"),
        (f"{v1}{at}:explain", endpoints.explain_version, _V1_BODY, "instances"),
        (f"{v2}/infer", endpoints.infer, _V2_BODY, "inputs"),
        (f"{v2}{at}/infer", endpoints.infer_version, _V2_BODY, "inputs"),
    )
    for path, endpoint, properties, needed in posts:
        schema = {"type": "object", "required": [needed], "properties": properties}
        app.add_api_route(
            path,
            endpoint,
            methods=["POST"],
            response_model=None,
            responses=_REFUSALS,
            openapi_extra={"requestBody": {"required": True, "content": {_JSON: {"schema": schema}}}},
        )
    gets = (
        (v1, endpoints.describe),
        (f"{v2}/ready", endpoints.ready),
        (v2, endpoints.metadata),
        (f"{v2}{at}/ready", endpoints.version_ready),
        (f"{v2}{at}", endpoints.version_metadata),
    )
    for path, read in gets:
        app.add_api_route(path, read, methods=["GET"], response_model=None, responses=_REFUSALS)


def _add_kserve(app: FastAPI, plane: Plane, extension: Any) -> None:
    """KServe's own endpoints, as they are: liveness, readiness of the server, metrics, the repository."""
    v1, v2 = V1Endpoints(plane, extension), V2Endpoints(plane, extension)
    gets = (
        ("/", plane.live),
        ("/metrics", metrics_handler),
        ("/v1/models", v1.models),
        ("/v2", v2.metadata),
        ("/v2/health/live", v2.live),
        ("/v2/health/ready", v2.ready),
        ("/v2/models", v2.models),
    )
    for path, endpoint in gets:
        app.add_api_route(path, endpoint, methods=["GET"], responses=_REFUSALS)
    for verb, endpoint in (("load", v2.load), ("unload", v2.unload)):
        path = f"/v2/repository/models/{{model_name}}/{verb}"
        app.add_api_route(path, endpoint, methods=["POST"], responses=_REFUSALS)


def _json(value: Any) -> Response:
    return Response(dump_json(value), media_type=_JSON)


def _refused(error: RequestError) -> Response:
    headers = {"retry-after": "1"} if error.status == HTTPStatus.SERVICE_UNAVAILABLE else None
    return Response(orjson.dumps(problem_details(error)), error.status, headers=headers, media_type=MEDIA_TYPE)


async def _on_refusal(_: Request, error: RequestError) -> Response:
    return _refused(error)


async def _on_unknown(_: Request, error: Exception) -> Response:
    return _refused(refuse(404, str(error), "model name", "GET /v1/models lists the models that are served"))


async def _on_unready(_: Request, error: Exception) -> Response:
    return _refused(refuse(503, str(error), "the server", "wait until GET /v2/health/ready answers 200"))


async def _on_invalid(_: Request, error: Exception) -> Response:
    return _refused(refuse(400, str(error), "the request", "send what the protocol says"))


async def _on_http(_: Request, error: HTTPException) -> Response:
    phrase = HTTPStatus(error.status_code).phrase
    problem = {"type": "about:blank", "title": phrase, "status": error.status_code, "detail": str(error.detail)}
    body = orjson.dumps({**problem, "error": str(error.detail)})
    return Response(body, error.status_code, headers=dict(error.headers or {}), media_type=MEDIA_TYPE)


async def _on_failure(_: Request, error: Exception) -> Response:
    logger.error("a request failed", exc_info=error)
    what = "the server failed on this request"
    problem = {"type": "about:blank", "title": "Internal Server Error", "status": 500, "detail": what, "error": what}
    return Response(orjson.dumps(problem), 500, media_type=MEDIA_TYPE)


_HANDLERS: Mapping[Any, Any] = {
    RequestError: _on_refusal,
    ModelNotFound: _on_unknown,
    ModelNotReady: _on_unready,
    ServerNotReady: _on_unready,
    ServerNotLive: _on_unready,
    InvalidInput: _on_invalid,
    RequestValidationError: _on_invalid,
    HTTPException: _on_http,
    Exception: _on_failure,
}
_REFUSALS: dict[int | str, dict[str, Any]] = {
    status: {"description": HTTPStatus(status).phrase, "content": {MEDIA_TYPE: {"schema": {"type": "object"}}}}
    for status in (400, 404, 413, 422, 503)
}
