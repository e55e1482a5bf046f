"""The table of families: a name, where its class lives, and how to install it; classes are imported when asked for."""

from __future__ import annotations

import importlib
from dataclasses import dataclass

from foretail.core.errors import MissingExtraError, UsageError, nearest
from foretail.models.contract import Forecaster

__all__ = ["FAMILIES", "Family", "family_class", "make"]


@dataclass(frozen=True)
class Family:
    """One row of the table.

    Attributes
    ----------
    path : ``module:Class``.
    about : one line for ``foretail models list --families`` and the docs.
    params : keyword arguments that make this row of the class.
    extra : extra of foretail that installs it; "" for the core.
    """

    path: str
    about: str
    params: tuple[tuple[str, object], ...] = ()
    extra: str = ""


FAMILIES: dict[str, Family] = {
    "seasonal_naive": Family("foretail.models.naive:SeasonalNaive", "the last season again"),
    "historic_average": Family("foretail.models.naive:HistoricAverage", "the mean of the history"),
    "drift": Family("foretail.models.naive:Drift", "the line from the first to the last value"),
    "zero": Family("foretail.models.naive:Zero", "no sales"),
    "theta": Family("foretail.models.statistical:Theta", "optimised Theta per series (statsforecast)"),
    "profile": Family("foretail.models.profile:Profile", "level x season shape shrunk across series"),
    "ensemble": Family("foretail.models.ensemble:Ensemble", "weighted mean of other families"),
    "boosting": Family("foretail.models.boosting:Boosting", "LightGBM across series, direct multi-horizon"),
}


def family_class(name: str) -> type[Forecaster]:
    """The class of a family.

    Raises
    ------
    UsageError : an unknown name.
    MissingExtraError : its package is not installed.
    """
    if name not in FAMILIES:
        raise UsageError(f"unknown model family {name!r}.\n  where: --models\n  fix:   {nearest(name, FAMILIES)}")
    family = FAMILIES[name]
    module, _, attribute = family.path.partition(":")
    try:
        found: object = getattr(importlib.import_module(module), attribute)
    except ModuleNotFoundError as error:
        if error.name and error.name.startswith("foretail"):
            raise
        raise MissingExtraError(str(error.name), family.extra or "all") from error
    assert isinstance(found, type) and issubclass(found, Forecaster)  # noqa: S101  (a wrong table row is a bug, not input)
    return found


def make(name: str, **params: object) -> Forecaster:
    """A new, unfitted forecaster of that family."""
    return family_class(name)(**{**dict(FAMILIES[name].params), **params})
