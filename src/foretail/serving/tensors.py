"""The V2 protocol (Open Inference Protocol): tensors to asks, answers to tensors, for REST (JSON, binary) and gRPC.

In: one tensor per key column and ``target_date`` BYTES, all of shape [n] or [n, 1]; ``horizon`` INT64 and tensors named
like features if wanted. Out: ``predictions`` FP64 [m] and one FP64 [m] per quantile; on request, or where a horizon is
more than one step, ``target_date`` BYTES and ``step`` INT64; on request ``source`` BYTES. m counts all steps of all
instances.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from foretail.core.errors import nearest
from foretail.serving.asks import Answered, Ask
from foretail.serving.errors import RequestError, RequestProblem, refuse
from foretail.serving.wire import (
    HORIZON,
    MAX_INSTANCES,
    TARGET_DATE,
    Inputs,
    check_count,
    check_value,
    read_date,
    read_horizon,
)

__all__ = ["PREDICTIONS", "Output", "Question", "Tensor", "answer_parameters", "answer_tensors", "read_tensors"]

PREDICTIONS = "predictions"
_NUMBERS: Mapping[str, str] = {
    "BOOL": "?",
    "UINT8": "<u1",
    "UINT16": "<u2",
    "UINT32": "<u4",
    "UINT64": "<u8",
    "INT8": "<i1",
    "INT16": "<i2",
    "INT32": "<i4",
    "INT64": "<i8",
    "FP16": "<f2",
    "FP32": "<f4",
    "FP64": "<f8",
}
_WHOLE = tuple(kind for kind in _NUMBERS if "INT" in kind)
_TEXT = "BYTES"


@dataclass(frozen=True)
class Tensor:
    """One input as it came.

    Attributes
    ----------
    data : its values in row order, as JSON or protobuf held them; None where ``raw`` is given.
    raw : its values in the binary form of the protocol.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]
    data: Sequence[Any] | None = None
    raw: bytes | None = None


@dataclass(frozen=True)
class Question:
    """A V2 request.

    Attributes
    ----------
    outputs : names asked for, in order, with whether each is wanted in binary (None: as the request says); () for all.
    is_binary : answer in binary where an output does not say otherwise.
    """

    inputs: tuple[Tensor, ...]
    id: str = ""
    outputs: Mapping[str, bool | None] = field(default_factory=dict)
    is_binary: bool = False


@dataclass(frozen=True)
class Output:
    """One output.

    Attributes
    ----------
    values : float64 or int64 ``[m]``, or texts.
    """

    name: str
    datatype: str
    values: npt.NDArray[Any] | list[bytes]

    @property
    def raw(self) -> bytes:
        """The binary form of the protocol."""
        if isinstance(self.values, list):
            return b"".join(struct.pack("<I", len(text)) + text for text in self.values)
        return self.values.tobytes()

    @property
    def plain(self) -> list[Any]:
        """Values as JSON holds them."""
        return [text.decode() for text in self.values] if isinstance(self.values, list) else self.values.tolist()


def read_tensors(question: Question, inputs: Inputs, *, max_instances: int = MAX_INSTANCES) -> list[Ask]:
    """The asks of a V2 request.

    Raises
    ------
    RequestError : 400 for a tensor that is missing, given twice, of another type or shape, or too short; 413.
    """
    tensors = _by_name(question, inputs)
    n = _length(tensors)
    check_count(n, max_instances)
    columns = {name: _column(tensor, n) for name, tensor in tensors.items()}
    problems: list[RequestProblem] = []
    keys = [_key_column(columns.pop(name), tensors[name], kind) for name, kind in inputs.keys.items()]
    dates = [read_date(text, i, problems) for i, text in enumerate(_texts(columns.pop(TARGET_DATE), TARGET_DATE))]
    steps = [read_horizon(value, i, problems) for i, value in enumerate(columns.pop(HORIZON, [1] * n))]
    for name, column in columns.items():
        columns[name] = column = _texts(column, name)
        for i, value in enumerate(column):
            check_value(value, name, i, problems)
    if problems:
        raise RequestError(problems)
    overrides = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)] or [{}] * n
    rows = zip(zip(*keys, strict=True) if keys else [()] * n, dates, overrides, steps, strict=True)
    return [Ask(keys=key, target_date=date, overrides=given, horizon=h) for key, date, given, h in rows if date]


def answer_tensors(answered: Sequence[Answered], wanted: Sequence[str], *, has_steps: bool) -> list[Output]:
    """The outputs of a V2 answer.

    Parameters
    ----------
    wanted : names asked for; none for those of the protocol. has_steps : an instance asked for more than one step.

    Raises
    ------
    RequestError : 400 for an output that does not exist.
    """
    quantiles = list(answered[0].quantiles)
    makers: dict[str, Callable[[], Output]] = {
        PREDICTIONS: lambda: _floats(PREDICTIONS, [row.y_hat for row in answered]),
        **{name: _quantile_maker(name, answered) for name in quantiles},
        TARGET_DATE: lambda: Output(TARGET_DATE, _TEXT, [str(row.ds).encode() for row in answered]),
        "step": lambda: Output("step", "INT64", np.array([row.step for row in answered], dtype="<i8")),
        "source": lambda: Output("source", _TEXT, [row.source.encode() for row in answered]),
    }
    unknown = [name for name in wanted if name not in makers]
    if unknown:
        fix = nearest(unknown[0], makers)
        raise refuse(400, f"there is no output {unknown[0]!r}", "outputs", fix)
    usual = [PREDICTIONS, *quantiles, *([TARGET_DATE, "step"] if has_steps else [])]
    return [makers[name]() for name in wanted or usual]


def answer_parameters(answered: Sequence[Answered]) -> dict[str, str]:
    """What every answer carries: ``model, model_version, dataset_version, cutoff, source, warnings`` as texts.

    Where rows differ, the different values stand beside one another, joined by ``; ``.
    """
    columns = {
        "model": [row.model for row in answered],
        "model_version": [row.model_version for row in answered],
        "dataset_version": [row.dataset_version for row in answered],
        "cutoff": [str(row.cutoff) for row in answered],
        "source": [row.source for row in answered],
        "warnings": [warning for row in answered for warning in row.warnings],
    }
    return {name: "; ".join(dict.fromkeys(values)) for name, values in columns.items()}


def _quantile_maker(name: str, answered: Sequence[Answered]) -> Callable[[], Output]:
    return lambda: _floats(name, [row.quantiles[name] for row in answered])


def _floats(name: str, values: Sequence[float]) -> Output:
    return Output(name, "FP64", np.array(values, dtype="<f8"))


def _by_name(question: Question, inputs: Inputs) -> dict[str, Tensor]:
    """The tensors by name, after checking that each is there once."""
    needed = (*inputs.keys, TARGET_DATE)
    names = [tensor.name for tensor in question.inputs]
    twice = sorted({name for name in names if names.count(name) > 1})
    missing = [name for name in needed if name not in names]
    fix = (
        f"send {', '.join(f'{name} {kind}' for name, kind in inputs.keys.items())} and {TARGET_DATE} {_TEXT}, each [n]"
    )
    problems = [RequestProblem(400, f"the input {name!r} is given twice", "inputs", fix) for name in twice]
    problems += [RequestProblem(400, f"there is no input {name!r}", "inputs", fix) for name in missing]
    if problems:
        raise RequestError(problems)
    return {tensor.name: tensor for tensor in question.inputs}


def _length(tensors: Mapping[str, Tensor]) -> int:
    """The number of instances, on which all tensors agree."""
    problems = []
    for name, tensor in tensors.items():
        shape = tensor.shape
        if not (len(shape) == 1 or (len(shape) == 2 and shape[1] == 1)) or shape[0] < 0:
            problems.append(RequestProblem(400, f"the shape is {list(shape)[:5]}", name, "send shape [n] or [n, 1]"))
    lengths = {tensor.shape[0] for tensor in tensors.values() if tensor.shape}
    if not problems and len(lengths) > 1:
        said = ", ".join(f"{name} {tensor.shape[0]}" for name, tensor in tensors.items())
        problems.append(
            RequestProblem(400, "the tensors differ in length", said, "give one value of each per instance")
        )
    if not problems and lengths == {0}:
        problems.append(RequestProblem(400, "there is no instance", "inputs", "send at least one"))
    if problems:
        raise RequestError(problems)
    return next(iter(lengths))


def _column(tensor: Tensor, n: int) -> list[Any]:
    """The values of a tensor, n of them, of the type it says."""
    if tensor.datatype not in _NUMBERS and tensor.datatype != _TEXT:
        raise _wrong(tensor, f"unknown datatype {tensor.datatype[:20]!r}", nearest(tensor.datatype, [*_NUMBERS, _TEXT]))
    values = _from_raw(tensor) if tensor.raw is not None else _from_plain(tensor)
    if len(values) != n:
        raise _wrong(
            tensor, f"{len(values)} values for the shape {list(tensor.shape)}", "send as many as the shape says"
        )
    return values


def _from_raw(tensor: Tensor) -> list[Any]:
    raw = tensor.raw or b""
    if tensor.datatype == _TEXT:
        return _raw_texts(tensor, raw)
    kind = np.dtype(_NUMBERS[tensor.datatype])
    if len(raw) % kind.itemsize:
        raise _wrong(tensor, f"{len(raw)} bytes are no whole number of {tensor.datatype}", "send the binary form")
    values: list[Any] = np.frombuffer(raw, dtype=kind).tolist()
    return values


def _raw_texts(tensor: Tensor, raw: bytes) -> list[Any]:
    """Texts, each after its length in four bytes."""
    texts, at = [], 0
    while at < len(raw):
        end = at + 4
        size = int.from_bytes(raw[at:end], "little")
        if end > len(raw) or end + size > len(raw):
            raise _wrong(tensor, "the bytes end within a text", "put the length before each text, as 4 bytes")
        texts.append(raw[end : end + size])
        at = end + size
    return texts


def _from_plain(tensor: Tensor) -> list[Any]:
    """Values of JSON or protobuf, each checked against the datatype."""
    data = _flat(tensor.data or [])
    kind = tensor.datatype
    if kind == _TEXT:
        ok = all(type(value) in (str, bytes) for value in data)
    elif kind == "BOOL":
        ok = all(type(value) is bool for value in data)
    elif kind in _WHOLE:
        low, high = np.iinfo(_NUMBERS[kind]).min, np.iinfo(_NUMBERS[kind]).max
        ok = all(type(value) is int and low <= value <= high for value in data)
    else:
        ok = all(type(value) in (int, float) for value in data)
        data = [float(value) for value in data] if ok else data
    if not ok:
        raise _wrong(tensor, f"a value is not {kind}", f"send every value as {kind}")
    return data


def _flat(data: Sequence[Any]) -> list[Any]:
    """Values of [n] or of [n, 1]."""
    if data and all(isinstance(row, list) and len(row) == 1 for row in data):
        return [row[0] for row in data]
    return list(data)


def _key_column(column: list[Any], tensor: Tensor, kind: str) -> list[Any]:
    """Key values of the type that the dataset has them in."""
    if kind == _TEXT and tensor.datatype == _TEXT:
        return _texts(column, tensor.name)
    if kind == "INT64" and tensor.datatype in _WHOLE:
        return column
    if kind == tensor.datatype or (kind == "FP64" and (tensor.datatype.startswith("FP") or tensor.datatype in _WHOLE)):
        return [float(value) if kind == "FP64" else value for value in column]
    raise _wrong(tensor, f"the datatype is {tensor.datatype}, not {kind}", f"send {tensor.name} as {kind}")


def _texts(column: list[Any], name: str) -> list[Any]:
    """Bytes as texts; other values as they are."""
    try:
        return [value.decode() if isinstance(value, bytes) else value for value in column]
    except UnicodeDecodeError as error:
        raise refuse(400, "a text is not UTF-8", name, "send texts in UTF-8") from error


def _wrong(tensor: Tensor, what: str, fix: str) -> RequestError:
    return refuse(400, what, f"input {tensor.name[:40]!r}", fix)


def has_steps(asks: Sequence[Ask]) -> bool:
    """Whether an instance asks for more than one step, so that the rows of an answer need their date and step."""
    return any(ask.horizon > 1 for ask in asks)
