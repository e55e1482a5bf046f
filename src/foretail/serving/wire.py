"""The V1 protocol in JSON: instances to asks, answers to predictions; whatever is wrong with a body is said at once.

An instance holds the key columns, ``target_date``, ``horizon`` if more than one step is wanted, and any feature whose
value is to be other than what is known (a what-if). A prediction is a row of the forecast contract.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import orjson

from foretail.serving.asks import Answered, Ask, Explained, ServedInfo
from foretail.serving.errors import RequestError, RequestProblem, refuse

__all__ = [
    "HORIZON",
    "TARGET_DATE",
    "Inputs",
    "check_count",
    "check_value",
    "dump_json",
    "explanation",
    "load_json",
    "parse_date",
    "prediction",
    "read_date",
    "read_horizon",
    "read_instances",
]

TARGET_DATE = "target_date"
HORIZON = "horizon"
MAX_INSTANCES = 5_000
_IGNORED = ("signature_name",)  # clients of the older protocol send it
_EXAMPLE = '{"instances": [{…}]}'
_KINDS: Mapping[str, tuple[type, str]] = {
    "INT64": (int, "a whole number"),
    "FP64": (float, "a number"),
    "BOOL": (bool, "true or false"),
    "BYTES": (str, "a text"),
}


@dataclass(frozen=True)
class Inputs:
    """What an instance of a model version is made of.

    Attributes
    ----------
    keys : key column -> V2 datatype (``INT64``, ``FP64``, ``BOOL``, ``BYTES``), in the order of the spec.
    target_date : one that is answered, for examples.
    """

    keys: Mapping[str, str]
    target_date: str = "2012-11-02"

    @classmethod
    def of(cls, info: ServedInfo) -> Inputs:
        """The inputs of a version that is served."""
        return cls(info.keys, info.first.isoformat())

    @property
    def example(self) -> str:
        """An instance as it should look."""
        values = {"INT64": "1", "FP64": "1.5", "BOOL": "true"}
        keys = "".join(f'"{key}": {values.get(kind, chr(34) + "A" + chr(34))}, ' for key, kind in self.keys.items())
        return f'{{{keys}"{TARGET_DATE}": "{self.target_date}"}}'


def load_json(body: bytes) -> Any:
    """Read a JSON body.

    Raises
    ------
    RequestError : not JSON (NaN and Infinity are not).
    """
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise refuse(400, f"the body is not JSON: {error}", "the request body", f"send {_EXAMPLE}") from error


def dump_json(value: Any) -> bytes:
    """Write JSON: dates as ISO texts, NumPy scalars as numbers."""
    return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY)


def read_instances(body: Any, inputs: Inputs, *, max_instances: int = MAX_INSTANCES) -> list[Ask]:
    """The asks of a V1 body.

    Parameters
    ----------
    body : what the JSON held.

    Raises
    ------
    RequestError : 400 for what is malformed, with every bad instance; 413 for too many instances.
    """
    instances = _instances(body, inputs, max_instances)
    problems: list[RequestProblem] = []
    asks = [_read(instance, i, inputs, problems) for i, instance in enumerate(instances)]
    if problems:
        raise RequestError(problems)
    return [ask for ask in asks if ask is not None]


def prediction(answered: Answered, keys: Sequence[str]) -> dict[str, Any]:
    """One row of the forecast contract, under the user's own key names.

    Returns
    -------
    The keys, ``target_date, step, cutoff, y_hat``, the quantiles (``q10``, …), ``model, model_version,
    dataset_version, source, warnings``. A key of one of these names keeps it; ours is then ``forecast_<name>``.
    """
    own = dict(zip(keys, answered.keys, strict=True))
    ours = {
        TARGET_DATE: answered.ds,
        "step": answered.step,
        "cutoff": answered.cutoff,
        "y_hat": answered.y_hat,
        **answered.quantiles,
        "model": answered.model,
        "model_version": answered.model_version,
        "dataset_version": answered.dataset_version,
        "source": answered.source,
        "warnings": list(answered.warnings),
    }
    if own.keys() & ours.keys():
        return own | {f"forecast_{name}" if name in own else name: value for name, value in ours.items()}
    return own | ours


def explanation(explained: Explained, keys: Sequence[str]) -> dict[str, Any]:
    """What a forecast is made of: its row, ``base``, ``parts`` by group (all add up to y_hat), ``features``."""
    own = {"base": explained.base, "parts": dict(explained.parts), "features": list(explained.features)}
    return prediction(explained.answered, keys) | own


@lru_cache(maxsize=4096)
def parse_date(text: str) -> dt.date | None:
    """The date of ``2012-11-02``; None for any other text."""
    if len(text) != 10 or text[4] != "-" or text[7] != "-":
        return None
    try:
        return dt.date.fromisoformat(text)
    except ValueError:
        return None


def _instances(body: Any, inputs: Inputs, max_instances: int) -> list[Any]:
    fix = f'send {{"instances": [{inputs.example}]}}'
    if not isinstance(body, dict):
        raise refuse(400, f"the body is {_named(body)}, not an object", "the request body", fix)
    strangers = [name for name in body if name != "instances" and name not in _IGNORED]
    if strangers:
        raise refuse(400, f"unknown member {strangers[0]!r} beside the instances", "the request body", fix)
    instances = body.get("instances")
    if not isinstance(instances, list):
        found = _named(instances) if "instances" in body else "missing"
        raise refuse(400, f"instances is {found}, not a list", "instances", fix)
    if not instances:
        raise refuse(400, "there is no instance", "instances", fix)
    check_count(len(instances), max_instances)
    return instances


def check_count(n: int, max_instances: int) -> None:
    """Refuse a request of too many instances, or of too many steps in all."""
    if n > max_instances:
        fix = f"send at most {max_instances} in one request"
        raise refuse(413, f"{n} instances, more than {max_instances}", "instances", fix)


def _read(instance: Any, i: int, inputs: Inputs, problems: list[RequestProblem]) -> Ask | None:
    """One ask; None where something is wrong with the instance, which is then among the problems."""
    if not isinstance(instance, dict):
        what = f"an instance is an object, not {_named(instance)}"
        problems.append(RequestProblem(400, what, "instances", inputs.example, i))
        return None
    found = len(problems)
    left = dict(instance)
    keys = tuple(read_key(left.pop(name, None), name, kind, i, problems) for name, kind in inputs.keys.items())
    date = read_date(left.pop(TARGET_DATE, None), i, problems)
    horizon = read_horizon(left.pop(HORIZON, 1), i, problems)
    for name, value in left.items():
        check_value(value, name, i, problems)
    if len(problems) > found or date is None:
        return None
    return Ask(keys=keys, target_date=date, overrides=left, horizon=horizon)


def read_key(value: Any, name: str, kind: str, i: int, problems: list[RequestProblem]) -> Any:
    """A key value of the type that the dataset has it in."""
    wanted, words = _KINDS[kind]
    if type(value) is wanted or (wanted is float and type(value) is int):
        return value
    what = f"{name} is missing" if value is None else f"{name} is {_named(value)}, not {words}"
    problems.append(RequestProblem(400, what, name, f"give {name} as {words}", i))
    return None


def read_date(value: Any, i: int, problems: list[RequestProblem]) -> dt.date | None:
    """The date of a text in ISO form."""
    date = parse_date(value) if type(value) is str else None
    if date is None:
        what = f"{TARGET_DATE} is missing" if value is None else f"{TARGET_DATE} is no date: {_short(value)}"
        problems.append(RequestProblem(400, what, TARGET_DATE, 'give a text such as "2012-11-02"', i))
    return date


def read_horizon(value: Any, i: int, problems: list[RequestProblem]) -> int:
    """Steps wanted, counted from the target date."""
    if type(value) is int and 1 <= value <= MAX_INSTANCES:
        return value
    what = f"{HORIZON} is {_short(value)}"
    problems.append(RequestProblem(400, what, HORIZON, f"a whole number from 1 to {MAX_INSTANCES}", i))
    return 1


def check_value(value: Any, name: str, i: int, problems: list[RequestProblem]) -> None:
    """A feature's value is a finite number, a text or a truth value, or a list of such, one for each step."""
    bad = [item for item in value if not _is_scalar(item)] if isinstance(value, list) else [value]
    if not bad or _is_scalar(bad[0]):
        return
    what = f"{name} {'holds' if isinstance(value, list) else 'is'} {_named(bad[0])}"
    problems.append(RequestProblem(400, what, name, "give a finite number or a text, or leave the feature out", i))


def _is_scalar(value: Any) -> bool:
    return isinstance(value, str | bool | int) or (isinstance(value, float) and math.isfinite(value))


def _named(value: Any) -> str:
    """A value by the name of its JSON type."""
    if value is None:
        return "null"
    if isinstance(value, float) and not math.isfinite(value):
        return "not a finite number"
    names = {bool: "true or false", int: "a whole number", float: "a fraction", str: "a text", list: "a list"}
    return names.get(type(value), "an object")


def _short(value: Any) -> str:
    """A value cut to what a message can hold."""
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:40]}…"
