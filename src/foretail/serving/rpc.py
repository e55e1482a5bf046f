"""The gRPC side of the server: KServe's service, with versions, on one address, errors as statuses of gRPC."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from grpc import ServicerContext, StatusCode, aio
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb
from kserve.protocol.grpc import grpc_predict_v2_pb2_grpc
from kserve.protocol.grpc.interceptors import ExceptionToStatusInterceptor
from kserve.protocol.grpc.servicer import InferenceServicer

from foretail.core.errors import UsageError, nearest
from foretail.serving.dataplane import Plane
from foretail.serving.errors import RequestError, refuse
from foretail.serving.predictor import Call, TensorAnswer
from foretail.serving.tensors import Question, Tensor

__all__ = ["RpcServer"]

logger = logging.getLogger(__name__)

_STATUSES = {
    400: StatusCode.INVALID_ARGUMENT,
    404: StatusCode.NOT_FOUND,
    413: StatusCode.RESOURCE_EXHAUSTED,
    422: StatusCode.FAILED_PRECONDITION,
    503: StatusCode.UNAVAILABLE,
}
_CONTENTS = {
    "BOOL": "bool_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "FP16": "",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}


class Servicer(InferenceServicer):  # type: ignore[misc]  # kserve carries no types
    """KServe's service; inference is read and written without its detours, a version may be asked for."""

    async def ModelInfer(self, request: Any, context: ServicerContext) -> Any:  # noqa: N802
        """Forecasts of V2 tensors."""
        plane: Plane = self._data_plane
        name = request.model_name
        if not await plane.model_ready(name, True):
            raise refuse(503, f"{name} is not ready", "the server", "wait until ServerReady says so")
        sent = {item.key: item.value for item in context.invocation_metadata() or ()}
        call = Call("grpc", _question(request), request.model_version, str(sent.get("x-request-id", "")))
        answer, _ = await plane.infer(name, call)
        return _message(answer, is_raw=bool(request.raw_input_contents))

    async def ModelMetadata(self, request: Any, context: ServicerContext) -> Any:  # noqa: ARG002, N802
        """The tensors and versions of a model."""
        if request.version:
            self._data_plane.predictor(request.name).route.choose(request.version)
        return pb.ModelMetadataResponse(**await self._data_plane.model_metadata(request.name))

    async def ModelReady(self, request: Any, context: ServicerContext) -> Any:  # noqa: ARG002, N802
        """Whether a model, or a version of it, is loaded."""
        if request.version:
            self._data_plane.predictor(request.name).route.choose(request.version)
        return pb.ModelReadyResponse(ready=await self._data_plane.model_ready(request.name))


class RpcServer:
    """The gRPC server.

    Parameters
    ----------
    plane : the data plane. host, port : where it listens. max_bytes : of a message. grace_s : for what is under way.
    """

    def __init__(self, plane: Plane, extension: Any, *, host: str, port: int, max_bytes: int, grace_s: float):
        self._plane = plane
        self._extension = extension
        self._address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self._max_bytes = max_bytes
        self._grace_s = grace_s
        self._server: Any = None

    async def start(self) -> int:
        """Listen; gives the port.

        Raises
        ------
        UsageError : the port cannot be had.
        """
        self._server = aio.server(
            ThreadPoolExecutor(1),
            interceptors=(_Statuses(),),
            options=[
                ("grpc.max_receive_message_length", self._max_bytes),
                ("grpc.max_send_message_length", -1),
                ("grpc.so_reuseport", 0),
            ],
        )
        servicer = Servicer(self._plane, self._extension)
        grpc_predict_v2_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(servicer, self._server)
        try:
            port: int = self._server.add_insecure_port(self._address)
        except RuntimeError as error:
            raise UsageError(
                f"the port cannot be had: {error}\n  where: {self._address}\n  fix:   another --grpc-port or --host"
            ) from error
        await self._server.start()
        return port

    async def stop(self) -> None:
        """Take no new calls, and end when those under way are done, or when the grace is over."""
        if self._server is not None:
            await self._server.stop(grace=self._grace_s)


class _Statuses(ExceptionToStatusInterceptor):  # type: ignore[misc]  # kserve carries no types
    async def handle_exception(
        self, ex: Exception, request_or_iterator: Any, context: ServicerContext, method_name: str
    ) -> None:
        if isinstance(ex, RequestError):
            await context.abort(_STATUSES[ex.status], str(ex)[:2000])
        await super().handle_exception(ex, request_or_iterator, context, method_name)


def _question(request: Any) -> Question:
    raw = request.raw_input_contents
    if raw and len(raw) != len(request.inputs):
        what = f"{len(raw)} raw contents for {len(request.inputs)} inputs"
        raise refuse(400, what, "raw_input_contents", "send one for each input, or none")
    tensors = tuple(
        Tensor(item.name, item.datatype, tuple(item.shape), raw=raw[i])
        if raw
        else Tensor(item.name, item.datatype, tuple(item.shape), data=_contents(item))
        for i, item in enumerate(request.inputs)
    )
    return Question(tensors, id=request.id, outputs={item.name: None for item in request.outputs})


def _contents(item: Any) -> Sequence[Any]:
    """The values of an input, from the field of its datatype."""
    if item.datatype not in _CONTENTS:
        what = f"unknown datatype {item.datatype[:20]!r}"
        raise refuse(400, what, f"input {item.name[:40]!r}", nearest(item.datatype, _CONTENTS))
    field = _CONTENTS[item.datatype]
    return list(getattr(item.contents, field)) if field else ()


def _message(answer: TensorAnswer, *, is_raw: bool) -> Any:
    """The answer as a message: in raw form for those who ask in raw form."""
    outputs, raw = [], []
    for output in answer.outputs:
        tensor: dict[str, Any] = {"name": output.name, "datatype": output.datatype, "shape": [len(output.values)]}
        if is_raw:
            raw.append(output.raw)
        else:
            values = output.values if isinstance(output.values, list) else output.values.tolist()
            tensor["contents"] = {_CONTENTS[output.datatype]: values}
        outputs.append(tensor)
    return pb.ModelInferResponse(
        id=answer.question.id,
        model_name=answer.model_name,
        model_version=answer.model_version,
        parameters={name: pb.InferParameter(string_param=text) for name, text in answer.parameters.items()},
        outputs=outputs,
        raw_output_contents=raw,
    )
