"""Bodies of V2 over REST: JSON, or JSON with the tensors in binary after it, to a question and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from foretail.serving.errors import refuse
from foretail.serving.predictor import TensorAnswer
from foretail.serving.tensors import Question, Tensor
from foretail.serving.wire import dump_json, load_json

__all__ = ["BINARY_LENGTH", "read_question", "tensor_body"]

BINARY_LENGTH = "inference-header-content-length"  # the header that says where JSON ends


def read_question(body: bytes, json_length: str | None = None) -> Question:
    """A V2 REST request, JSON or JSON with the tensors in binary after it.

    Parameters
    ----------
    json_length : the header that says where JSON ends.

    Raises
    ------
    RequestError : 400, it is not of the protocol's form.
    """
    head, tail = body, b""
    if json_length is not None:
        if not (json_length.isascii() and json_length.isdigit()) or int(json_length) > len(body):
            what = f"{json_length[:20]!r} is not the length of the JSON"
            raise refuse(400, what, BINARY_LENGTH, "the number of bytes before the tensors")
        head, tail = body[: int(json_length)], body[int(json_length) :]
    request = load_json(head)
    inputs = request.get("inputs") if isinstance(request, dict) else None
    if not isinstance(inputs, list):
        fix = '{"inputs": [{"name": …, "shape": [n], "datatype": …, "data": […]}]}'
        raise refuse(400, "there is no list of inputs", "the request body", fix)
    tensors, at = [], 0
    for i, item in enumerate(inputs):
        tensor, size = _tensor(item, i, tail, at)
        tensors.append(tensor)
        at += size
    if at != len(tail):
        what = f"{len(tail) - at} bytes too many after the JSON"
        raise refuse(400, what, "the request body", "give binary_data_size of each input")
    return _question(request, tuple(tensors))


def tensor_body(answer: TensorAnswer) -> tuple[bytes, int | None]:
    """The body of a V2 REST answer, and the length of its JSON where tensors follow in binary."""
    question = answer.question
    outputs, tail = [], []
    for output in answer.outputs:
        is_binary = question.outputs.get(output.name)
        shown: dict[str, Any] = {"name": output.name, "shape": [len(output.values)], "datatype": output.datatype}
        if question.is_binary if is_binary is None else is_binary:
            raw = output.raw
            tail.append(raw)
            outputs.append({**shown, "parameters": {"binary_data_size": len(raw)}})
        else:
            outputs.append({**shown, "data": output.plain})
    head = dump_json(
        {
            "id": question.id,
            "model_name": answer.model_name,
            "model_version": answer.model_version,
            "parameters": dict(answer.parameters),
            "outputs": outputs,
        }
    )
    return b"".join([head, *tail]), len(head) if tail else None


def _tensor(item: Any, i: int, tail: bytes, at: int) -> tuple[Tensor, int]:
    """One input, and the bytes it takes of what follows the JSON."""
    where = f"input {i}"
    if not isinstance(item, dict) or not all(isinstance(item.get(key), str) for key in ("name", "datatype")):
        raise refuse(400, "an input has no name or no datatype", where, "give name, shape, datatype and data")
    shape = item.get("shape")
    if not isinstance(shape, list) or not all(type(size) is int for size in shape):
        raise refuse(400, "the shape is no list of whole numbers", where, '"shape": [n]')
    data, parameters = item.get("data"), item.get("parameters") or {}
    if isinstance(data, list):
        return Tensor(item["name"], item["datatype"], tuple(shape), data=data), 0
    size = parameters.get("binary_data_size") if isinstance(parameters, dict) else None
    if data is not None or type(size) is not int or not 0 <= size <= len(tail) - at:
        fix = '"data": […], or binary_data_size among its parameters and the bytes after the JSON'
        raise refuse(400, "an input has no data", where, fix)
    return Tensor(item["name"], item["datatype"], tuple(shape), raw=tail[at : at + size]), size


def _question(request: Mapping[str, Any], tensors: tuple[Tensor, ...]) -> Question:
    """The question of a request whose inputs are read."""
    listed, parameters = request.get("outputs") or [], request.get("parameters") or {}
    is_list = isinstance(listed, list) and all(
        isinstance(item, dict) and isinstance(item.get("name"), str) and isinstance(item.get("parameters") or {}, dict)
        for item in listed
    )
    if not is_list or not isinstance(parameters, dict):
        fix = '"outputs": [{"name": "predictions"}]; leave both out for all outputs in JSON'
        raise refuse(400, "the outputs or parameters are not of the protocol's form", "the request body", fix)
    outputs = {item["name"]: _is_binary(item.get("parameters") or {}) for item in listed}
    name = request.get("id")
    return Question(
        tensors,
        id=name if isinstance(name, str) else "",
        outputs=outputs,
        is_binary=parameters.get("binary_data_output") is True,
    )


def _is_binary(parameters: Mapping[str, Any]) -> bool | None:
    said = parameters.get("binary_data")
    return said if isinstance(said, bool) else None
