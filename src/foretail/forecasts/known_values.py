"""What may be said of a known covariate: numbers or texts, the range that was seen; nothing is ever imputed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from foretail.panel.panel import Covariate, Panel

__all__ = ["Overridable", "Unreadable", "known_covariates", "shortened"]

_SHOWN = 40  # characters of a value or name in a message
_FEW = 6  # a number with at most so many values is a flag: a value between them was never seen either
_LARGEST = float(np.finfo(np.float32).max)  # covariates are kept as float32


class Unreadable(Exception):  # noqa: N818  (a reason; who reads the value says where it stood)
    """A value that cannot be taken: why, and how to mend it."""

    def __init__(self, what: str, fix: str):
        super().__init__(what, fix)
        self.what, self.fix = what, fix


@dataclass(frozen=True)
class Overridable:
    """A feature that may be overridden.

    Attributes
    ----------
    name : as instances call it. datatype : ``FP64``, ``INT64``, ``BOOL`` or ``BYTES``.
    texts : of a text feature, the values it may have -> their codes; None where any text will do.
    low, high : smallest and largest value seen; None where there was none.
    values : of a number with few values, those.
    """

    name: str
    datatype: str
    texts: Mapping[str, float] | None = None
    low: float | None = None
    high: float | None = None
    values: frozenset[float] = frozenset()

    def read(self, value: Any) -> float | str:
        """A value as the model takes it: a number, or the code of a text.

        Raises
        ------
        Unreadable : it is none.
        """
        if isinstance(value, np.generic):
            value = value.item()
        return self._read_text(value) if self.datatype == "BYTES" else self._read_number(value)

    def _read_text(self, value: Any) -> float | str:
        if not isinstance(value, str):
            fix = f"one of: {self._known}" if self.texts else "give a text"
            raise Unreadable(f"is {shortened(value)}, not a text", fix)
        if self.texts is None:
            return value
        if value not in self.texts:
            raise Unreadable(f"is {shortened(value)}, which was never seen", f"one of: {self._known}")
        return self.texts[value]

    def _read_number(self, value: Any) -> float:
        fix = "give a finite number, or leave the feature out to take what is known"
        if value is None:
            raise Unreadable("is null", fix)
        if isinstance(value, bool) and not (self.datatype == "BOOL" or self.values == {0.0, 1.0}):
            raise Unreadable(f"is {str(value).lower()}, not a number", fix)
        if not isinstance(value, int | float):
            raise Unreadable(f"is {shortened(value)}, not a number", fix)
        if abs(value) > _LARGEST:
            raise Unreadable(f"is {shortened(value)}, larger than can be computed with", fix)
        if not math.isfinite(value):
            raise Unreadable("is not a finite number", fix)
        return float(value)

    @property
    def _known(self) -> str:
        known = sorted(self.texts or ())
        return ", ".join(known[:20]) + (", …" if len(known) > 20 else "")

    def warning(self, value: float | str) -> str:
        """What is unusual about a value; "" where nothing is."""
        if isinstance(value, str) or self.texts is not None or self.low is None or self.high is None:
            return ""
        if not self.low <= value <= self.high:
            return f"{self.name} = {value:g} is beyond what was seen, {self.low:g} to {self.high:g}"
        if self.values and np.float32(value) not in self.values:
            return f"{self.name} = {value:g} was never seen, only {', '.join(f'{x:g}' for x in sorted(self.values))}"
        return ""

    def steps(self, value: Any, horizon: int) -> Sequence[Any]:
        """The value of each step asked.

        Raises
        ------
        Unreadable : a list of another length.
        """
        if not isinstance(value, list | tuple):
            return [value] * horizon
        if len(value) != horizon:
            said = f"holds {len(value)} values for {horizon} steps"
            raise Unreadable(said, "give one value, or one for each step")
        return value


def known_covariates(panel: Panel) -> dict[str, Overridable]:
    """What is known in advance of a panel, by name."""
    return {item.name: _of_covariate(item, panel.n_periods) for item in panel.known}


def _of_covariate(item: Covariate, n_periods: int) -> Overridable:
    if item.categories:
        return Overridable(item.name, "BYTES", {text: float(code) for code, text in enumerate(item.categories)})
    seen = item.values[:, :n_periods]
    seen = np.unique(seen[np.isfinite(seen)])
    if not len(seen):
        return Overridable(item.name, "FP64")
    few = frozenset(seen.tolist()) if len(seen) <= _FEW else frozenset()
    return Overridable(item.name, "FP64", None, float(seen[0]), float(seen[-1]), few)


def shortened(value: Any) -> str:
    """A value for a message."""
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
