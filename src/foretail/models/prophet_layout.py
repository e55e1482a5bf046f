"""What all series of a panel share for Prophet: days, seasons, holiday columns and the kinds of covariates."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from foretail.core.errors import UsageError
from foretail.models.prophet_options import Options, terms
from foretail.panel.panel import Covariate, Panel

__all__ = ["WEEKDAYS", "Layout", "fourier", "holiday_columns", "layout_of", "regressors_of"]

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

WEEKDAYS = 6  # that have a regressor of their own for a flag; the seventh has what they share
_YEARLY_TERMS, _WEEKLY_TERMS = 10, 3  # the library's
_YEAR = 365.25


@dataclass(frozen=True)
class Layout:
    """Shared by the series of a panel.

    Attributes
    ----------
    options : of the model.
    days : int64 ``[T + H]`` day number of the label of each period. n_periods : T.
    yearly, weekly : Fourier terms; 0 for none. seasons : their columns, float64 ``[T + H, 2 (yearly + weekly)]``.
    holiday_names, holidays : the columns, float64 ``[T + H, holidays]``: 1 in periods that hold one.
    covariates : name and number of texts (0 for numbers) of each regressor.
    weekday : int64 ``[T + H]`` Monday = 0, where flags are regressors by weekday; empty otherwise.
    """

    options: Options
    days: IntArray
    n_periods: int
    yearly: int
    weekly: int
    seasons: FloatArray
    holiday_names: tuple[str, ...]
    holidays: FloatArray
    covariates: tuple[tuple[str, int], ...]
    weekday: IntArray

    @property
    def h(self) -> int:
        return len(self.days) - self.n_periods

    @property
    def n_columns(self) -> int:
        """K, the number of columns beside the trend."""
        per_number = 1 + (WEEKDAYS if len(self.weekday) else 0)
        regressors = sum(n or per_number for _, n in self.covariates)
        return 2 * (self.yearly + self.weekly) + len(self.holiday_names) + regressors

    @property
    def prior_scales(self) -> FloatArray:
        """``[K]`` prior standard deviations."""
        n_seasonal = 2 * (self.yearly + self.weekly)
        scales = np.full(self.n_columns, self.options.holidays_prior_scale)
        scales[:n_seasonal] = self.options.seasonality_prior_scale
        return scales

    @property
    def step_days(self) -> float:
        """Mean days between the periods of the horizon."""
        end = self.days[self.n_periods - 1 :]
        return float(end[-1] - end[0]) / max(len(end) - 1, 1)


def layout_of(panel: Panel, h: int, options: Options) -> Layout:
    """Read the calendar of a panel and h steps more.

    Raises
    ------
    UsageError : yearly terms asked for on less than two years, weekly ones on weeks or months, an unknown country.
    """
    dates = panel.dates(0, panel.n_periods + h)
    days = dates.astype("datetime64[D]").astype(np.int64)
    names, columns = holiday_columns(panel, h)
    yearly, weekly = _yearly_terms(panel, days, options), _weekly_terms(panel, options)
    return Layout(
        options,
        days,
        panel.n_periods,
        yearly,
        weekly,
        np.concatenate([fourier(days, _YEAR, yearly), fourier(days, 7, weekly)], axis=1),
        names,
        columns,
        tuple((item.name, len(item.categories)) for item in regressors_of(panel, options)),
        (days + 3) % 7 if options.flags_by_weekday and panel.frequency.is_daily else days[:0],
    )


def fourier(days: IntArray, period: float, n_terms: int) -> FloatArray:
    """Sine and cosine of 1 .. n_terms turns per period: ``[days, 2 n_terms]``, as the library orders them."""
    angle = 2 * np.pi * days[:, None] * (np.arange(1, n_terms + 1) / period)
    return np.stack([np.sin(angle), np.cos(angle)], axis=-1).reshape(len(days), 2 * n_terms)


def regressors_of(panel: Panel, options: Options) -> tuple[Covariate, ...]:
    """The known covariates that are regressors: all but the one that is the cap."""
    return tuple(item for item in panel.known if item.name != options.cap)


def holiday_columns(panel: Panel, h: int) -> tuple[tuple[str, ...], FloatArray]:
    """Names, and 0/1 columns ``[T + h, names]``, of the holidays that some period of the history holds.

    The holidays are those of the country of the spec by name, as the library takes them, and the events of the spec. A
    weekly or monthly period holds a holiday on any of its days.
    """
    index = panel.start + np.arange(panel.n_periods + h)
    found: dict[str, set[int]] = {event.name: _numbers(event.dates) for event in panel.spec.events}
    if panel.spec.country:
        years = panel.dates(0, panel.n_periods + h).astype("datetime64[Y]").astype(np.int64) + 1970
        for name, days in _country(panel.spec.country, int(years[0]) - 1, int(years[-1]) + 1):
            found[name] = found.get(name, set()) | set(days)
    columns = {name: _inside(panel, days, index) for name, days in sorted(found.items())}
    kept = {name: column for name, column in columns.items() if column[: panel.n_periods].any()}
    stacked = np.stack([*kept.values()], axis=1) if kept else np.zeros((len(index), 0))
    return tuple(kept), stacked


def _inside(panel: Panel, days: set[int], index: IntArray) -> FloatArray:
    dates = np.array(sorted(days), dtype=np.int64).astype("datetime64[D]")
    return np.isin(index, panel.frequency.to_index(dates)).astype(np.float64)


def _numbers(dates: Iterable[dt.date]) -> set[int]:
    return {(date - dt.date(1970, 1, 1)).days for date in dates}


@cache
def _country(country: str, first: int, last: int) -> tuple[tuple[str, tuple[int, ...]], ...]:
    """Each holiday by name with its day numbers."""
    import holidays  # heavy

    try:
        found = holidays.country_holidays(country, years=range(first, last + 1), expand=False, language="en_US")
    except NotImplementedError as error:
        raise UsageError(
            f"the public holidays of {country!r} are not known.\n  where: country, in the spec"
            "\n  fix:   an ISO code such as DE, or none and your own events"
        ) from error
    by_name: dict[str, set[int]] = {}
    for date in found:
        for name in found.get_list(date):
            by_name.setdefault(name, set()).update(_numbers([date]))
    return tuple((name, tuple(sorted(days))) for name, days in sorted(by_name.items()))


def _yearly_terms(panel: Panel, days: IntArray, options: Options) -> int:
    """Fourier terms of the year; under ``auto`` no more than the periods of a year can tell apart."""
    if options.yearly_seasonality == "auto":
        is_long = days[panel.n_periods - 1] - days[0] >= options.yearly_from_days
        return min(_YEARLY_TERMS, int(_YEAR / panel.frequency.days / 2 - 1)) if is_long else 0
    wanted = terms(options.yearly_seasonality, _YEARLY_TERMS)
    seen = panel.last >= 0
    longest = int((days[panel.last[seen]] - days[panel.first[seen]]).max(initial=0))
    if wanted and longest < options.yearly_from_days:
        raise UsageError(
            f"yearly terms need two years of history, the longest series has {longest} days: less cannot tell a year "
            f"from a trend.\n  where: prophet, yearly_seasonality = {options.yearly_seasonality}"
            "\n  fix:   yearly_seasonality = auto, a longer history, or yearly_from_days = 0 to have them all the same"
        )
    return wanted


def _weekly_terms(panel: Panel, options: Options) -> int:
    wanted = terms(options.weekly_seasonality, _WEEKLY_TERMS)
    if panel.frequency.is_daily or not wanted:
        return wanted
    if options.weekly_seasonality == "auto":
        return 0
    raise UsageError(
        f"weekly terms need daily sales, these are by the {panel.frequency.noun}.\n  where: prophet, "
        f"weekly_seasonality = {options.weekly_seasonality}\n  fix:   weekly_seasonality = auto"
    )
