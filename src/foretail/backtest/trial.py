"""One try of a parameter search and what it was worth, as a plain record that a study keeps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

__all__ = ["DONE", "FAILED", "OUT_OF_TIME", "STOPPED", "Trial"]

DONE = "done"
STOPPED = "stopped: clearly worse"
FAILED = "failed"
OUT_OF_TIME = "out of time"


@dataclass(frozen=True)
class Trial:
    """One set of parameters.

    Attributes
    ----------
    number : in the study, from 0. name : the family with these parameters, as ``--models`` takes it.
    params : every parameter that is looked for. state : done, stopped, failed or out of time.
    wape : over the windows it went through; NaN where there are none. windows : WAPE of each of them, oldest first.
    seconds : of its fits and forecasts. reason : why it failed.
    errors : per window the absolute errors summed per group of `foretail.backtest.evidence.error_groups`.
    is_default : the family as it is without tuning. is_new : tried by this call, not by an earlier one.
    """

    number: int
    name: str
    params: Mapping[str, Any]
    state: str
    wape: float = float("nan")
    windows: tuple[float, ...] = ()
    seconds: float = 0.0
    reason: str = ""
    errors: tuple[tuple[float, ...], ...] = field(default=(), repr=False)
    is_default: bool = False
    is_new: bool = True

    @property
    def is_settled(self) -> bool:
        """Whether it needs no second try: anything but out of time."""
        return self.state != OUT_OF_TIME

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it, for people: without the errors per group, NaN as None."""
        values = asdict(self)
        del values["errors"]
        return {**values, "wape": _none(self.wape), "windows": [_none(wape) for wape in self.windows]}

    def to_record(self) -> dict[str, Any]:
        """As a study keeps it."""
        return {**self.to_dict(), "errors": self.errors}

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Trial:
        """Read what ``to_record`` wrote, by an earlier call."""
        return cls(
            **{
                **record,
                "wape": _nan(record["wape"]),
                "windows": tuple(_nan(wape) for wape in record["windows"]),
                "errors": tuple(tuple(window) for window in record["errors"]),
                "is_new": False,
            }
        )


def _none(value: float) -> float | None:
    return None if value != value else value


def _nan(value: float | None) -> float:
    return float("nan") if value is None else value
