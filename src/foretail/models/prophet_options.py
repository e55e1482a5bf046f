"""The parameters of the Prophet model, checked once; refuses what neither the batch engine nor the library can do."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from foretail.core.errors import UsageError, nearest

__all__ = ["YEARLY_DAYS", "Options", "terms"]

YEARLY_DAYS = 730  # the library's bound below which a series has no yearly terms
_CHOICES: dict[str, tuple[str, ...]] = {
    "growth": ("linear", "flat", "logistic"),
    "seasonality_mode": ("additive", "multiplicative"),
    "engine": ("batch", "stan"),
    "transform": ("auto", "log", "none"),
}
_POSITIVE = ("changepoint_prior_scale", "seasonality_prior_scale", "holidays_prior_scale")
_SEASONS = ("yearly_seasonality", "weekly_seasonality")


@dataclass(frozen=True)
class Options:
    """What `Prophet` was asked for; the names are those of the library, the meaning is in the family's docstring.

    Raises
    ------
    UsageError : a value that does not exist or does not fit another one.
    """

    growth: str = "linear"
    cap: float | str | None = None
    n_changepoints: int = 25
    changepoint_range: float = 0.8
    changepoint_prior_scale: float = 0.05
    seasonality_prior_scale: float = 10.0
    holidays_prior_scale: float = 10.0
    seasonality_mode: str = "additive"
    yearly_seasonality: str | bool | int = "auto"
    weekly_seasonality: str | bool | int = "auto"
    engine: str = "batch"
    transform: str = "auto"
    flags_by_weekday: bool = True
    yearly_from_days: int = YEARLY_DAYS

    def __post_init__(self) -> None:
        for name, choices in _CHOICES.items():
            value = getattr(self, name)
            if value not in choices:
                raise _refused(f"{name} = {value!r} does not exist", name, nearest(str(value), choices))
        for name in _POSITIVE:
            if not getattr(self, name) > 0:
                raise _refused(f"{name} must be above 0, not {getattr(self, name)!r}", name, f"{name} = 0.05")
        for name in _SEASONS:
            _check_season(name, getattr(self, name))
        if self.yearly_from_days < 0:
            found = f"yearly_from_days = {self.yearly_from_days!r}"
            raise _refused("a length of history cannot be negative", found, f"yearly_from_days = {YEARLY_DAYS}")
        if self.n_changepoints < 0 or not 0 <= self.changepoint_range <= 1:
            found = f"n_changepoints = {self.n_changepoints!r}, changepoint_range = {self.changepoint_range!r}"
            raise _refused("changepoints cannot be placed", found, "a count from 0, a share between 0 and 1")
        self._check_cap()

    def _check_cap(self) -> None:
        if (self.cap is None) == (self.growth == "logistic"):
            fix = "cap = the most that can be sold in a period, or the name of a known covariate that says it"
            raise _refused("logistic growth needs a cap, and no other growth has one", f"growth = {self.growth}", fix)
        if self.growth == "logistic" and self.transform == "log":
            raise _refused("logistic growth is not fitted in logs", "transform = log", "transform = none")
        if isinstance(self.cap, int | float) and not self.cap > 0:
            raise _refused("the cap must be above 0", f"cap = {self.cap!r}", "the most that can be sold in a period")

    @property
    def is_multiplicative(self) -> bool:
        return self.seasonality_mode == "multiplicative"

    @property
    def needs_library(self) -> bool:
        """The engine was asked for, or the growth that only the library fits."""
        return self.engine == "stan" or self.growth == "logistic"

    @property
    def may_use_logs(self) -> bool:
        """Asked for, or ``auto`` and nothing else makes the model multiplicative or bounded already."""
        free = not self.is_multiplicative and self.growth != "logistic"
        return self.transform == "log" or (self.transform == "auto" and free)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as JSON can hold them."""
        return asdict(self)


def terms(value: str | bool | int, default: int) -> int:
    """Fourier terms that a season was asked for: ``default`` for ``auto`` and True, 0 for False."""
    return default if value == "auto" or value is True else int(value)


def _check_season(name: str, value: object) -> None:
    if value != "auto" and (not isinstance(value, int) or value < 0):
        raise _refused(f"{name} = {value!r} does not exist", name, "auto, true, false, or a number of Fourier terms")


def _refused(what: str, where: str, fix: str) -> UsageError:
    return UsageError(f"{what}.\n  where: prophet, {where}\n  fix:   {fix}")
