"""The table of what can be tuned: per family its parameters, where they are looked for, and what they cost.

Defaults are not repeated here: they are read from the family itself.
"""

from __future__ import annotations

import inspect
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass

from foretail.core.errors import UsageError
from foretail.models.families import FAMILIES, family_class, parse

__all__ = ["SEARCH", "Choice", "Range", "SearchSpace", "default_params", "name_of", "relative_cost", "search_space"]

_DIGITS = 3  # of a number that was searched for: more would be noise, and the name has to be read by people


@dataclass(frozen=True)
class Range:
    """A number between two bounds, both included; whole where the bounds are.

    Attributes
    ----------
    low, high : the bounds. is_log : equal ratios are equally likely.
    cost : exponent with which the seconds of a fit grow with the parameter; 0 where they hardly do.
    """

    low: float
    high: float
    is_log: bool = False
    cost: float = 0.0

    @property
    def is_whole(self) -> bool:
        """Bounds that are whole numbers mean whole numbers between them."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    def holds(self, value: object) -> bool:
        """Whether a value lies between the bounds."""
        return isinstance(value, int | float) and self.low <= value <= self.high

    def rounded(self, value: float) -> int | float:
        """A value as it is tried and recommended: three significant digits, inside the bounds."""
        if self.is_whole:
            return int(value)
        return min(max(float(f"{value:.{_DIGITS}g}"), self.low), self.high)


@dataclass(frozen=True)
class Choice:
    """One of a few values."""

    values: tuple[bool | int | float | str, ...]

    def holds(self, value: object) -> bool:
        """Whether a value is one of them."""
        return value in self.values


SearchSpace = Mapping[str, Range | Choice]

_SPACE = Choice(("auto", "log", "level"))
_SMOOTHING = Range(0.02, 0.5, is_log=True)
_TREES: SearchSpace = {
    "rounds": Range(100, 1000, is_log=True, cost=1.0),
    "leaves": Range(15, 255, is_log=True, cost=0.5),
    "learning_rate": Range(0.01, 0.15, is_log=True),
    "space": _SPACE,
    "objective": Choice(("auto", "l1", "l2", "huber")),
}

SEARCH: dict[str, SearchSpace] = {
    "boosting": _TREES,
    "xgboost": _TREES,
    "neural": {
        "epochs": Range(4, 40, is_log=True, cost=1.0),
        "batch_size": Choice((512, 1024, 2048, 4096)),
        "learning_rate": Range(0.0005, 0.01, is_log=True),
        "members": Range(1, 4, cost=1.0),
        "space": _SPACE,
    },
    "profile": {"shift": Range(0.0, 1.0)},
    # the ranges that the library's own guide recommends, but for the transform
    "prophet": {
        "changepoint_prior_scale": Range(0.001, 0.5, is_log=True),
        "seasonality_prior_scale": Range(0.01, 10.0, is_log=True),
        "holidays_prior_scale": Range(0.01, 10.0, is_log=True),
        "seasonality_mode": Choice(("additive", "multiplicative")),
        "transform": Choice(("auto", "log", "none")),
    },
    "croston_sba": {"alpha": _SMOOTHING},
    "tsb": {"alpha_demand": _SMOOTHING, "alpha_probability": _SMOOTHING},
}


def search_space(name: str) -> SearchSpace:
    """The parameters of a family that are looked for; those that the name gives already stay as they are.

    Raises
    ------
    UsageError : an unknown family, or one with nothing (left) to tune.
    """
    family, named = parse(name)
    space = {key: item for key, item in SEARCH.get(family, {}).items() if key not in named}
    if not space:
        left = f": {name} gives them all" if family in SEARCH else ""
        raise UsageError(
            f"{family} has nothing to tune{left}.\n  where: --models\n  fix:   one of {', '.join(sorted(SEARCH))}"
        )
    return space


def default_params(name: str) -> dict[str, object]:
    """What the parameters of `search_space` are when nobody says otherwise.

    Raises
    ------
    UsageError : see `search_space`. MissingExtraError : the family's package is not installed.
    """
    signature = inspect.signature(family_class(name).__init__).parameters
    row = dict(FAMILIES[parse(name)[0]].params)
    return {key: row.get(key, signature[key].default) for key in search_space(name)}


def name_of(name: str, params: Mapping[str, object]) -> str:
    """The name that makes a family with further parameters: the inverse of `foretail.models.families.parse`.

    Parameters that are as by default are left out.
    """
    family, named = parse(name)
    defaults = default_params(name) if params else {}
    changed = {key: value for key, value in params.items() if key not in defaults or value != defaults[key]}
    items = [f"{key}={_text(value)}" for key, value in {**named, **changed}.items()]
    return f"{family}[{','.join(items)}]" if items else family


def relative_cost(name: str, params: Mapping[str, object]) -> float:
    """About how many times as long as with its defaults a fit takes."""
    defaults = default_params(name)
    cost = 1.0
    for key, item in search_space(name).items():
        value, default = params.get(key), defaults[key]
        if (
            isinstance(item, Range)
            and item.cost
            and isinstance(value, int | float)
            and isinstance(default, int | float)
        ):
            cost *= math.pow(value / default, item.cost) if default > 0 else 1.0
    return cost


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)
