"""Rows of the feature store as training rows of the network: what was stored of T, and the calendar of T + step.

Sales are compared with the level that the row itself tells, so that a row alone, looked up or sent by whoever asks, is
enough for a forecast. A row that tells nothing of past sales is not answered.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property, lru_cache
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import polars as pl

from foretail.core.frequency import Frequency
from foretail.features import moments as m
from foretail.features.calendar import calendar_of
from foretail.features.declaration import declare, holiday_reach
from foretail.features.feature import Feature
from foretail.features.frame import Rows
from foretail.features.moments import Moments, Told
from foretail.features.space import Space, series_scale
from foretail.panel.panel import Panel

__all__ = ["SERVICE", "StoreInputs", "stored_values"]

FloatArray = npt.NDArray[np.float64]
Float32Array = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]
Values = Mapping[str, npt.NDArray[Any]]

SERVICE = "inference_features"
_AMOUNTS = (m.newest, m.mean)  # formulas whose values are sales
_TAKEN = {"base": "base_feature", "aligned": "aligned_feature", "profile": "profile_feature"}  # mean something in rows
# places in the year; days that were seen once would be learned by heart
_OF_THE_YEAR = ("month", "week_of_year", "day_of_year", "christmas_offset")
_PLACE = {"D": "weekday", "W": "week_of_year", "M": "month"}  # of the target, with an embedding of its own
_WAVES = (1, 2)  # a year, half a year
_YEAR_DAYS = 365.25
_BLOCK = 512  # periods of the calendar that are computed and kept together


@dataclass(frozen=True)
class StoreInputs:
    """From rows of the feature store to rows that a network is taught; part of the model.

    Attributes
    ----------
    freq, country : of the spec, for the calendar. space : ``log`` or ``level``.
    amounts : features that are sales. levels : those among them that are means, shortest window first.
    spreads : features in the unit of sales that are no sales. numbers : all others that are numbers.
    categories : texts and keys, each with the values seen in training, in code order.
    holiday : the feature that holds the days to the next holiday; "" for none.
    has_two_years : whether every date of the year was seen twice.
    floor : size of a row whose known sales are all 0, positive.
    non_negative : sales below 0 make no sense.
    """

    freq: str
    country: str | None
    space: str
    amounts: tuple[str, ...]
    levels: tuple[str, ...]
    spreads: tuple[str, ...]
    numbers: tuple[str, ...]
    categories: Mapping[str, tuple[str, ...]]
    holiday: str
    has_two_years: bool
    floor: float
    non_negative: bool

    @classmethod
    def of(cls, panel: Panel, space: str) -> Self:
        """See what is stored of a panel, and which texts and keys there are."""
        spec, declared = panel.spec, declare(panel.spec, panel).features_of(SERVICE)
        formulas = {item.name: getattr(item.compute, "func", item.compute) for item in declared}
        amounts = tuple(name for name, formula in formulas.items() if formula in _AMOUNTS)
        spreads = tuple(name for name, formula in formulas.items() if formula is m.std)
        texts = tuple(item.name for item in declared if item.dtype == "String")
        categories = {name: _distinct(panel.series[name].cast(pl.String)) for name in spec.keys}
        return cls(
            freq=panel.frequency.code,
            country=spec.country,
            space=space,
            amounts=amounts,
            levels=tuple(name for name in amounts if formulas[name] is m.mean),
            spreads=spreads,
            numbers=tuple(name for name in formulas if name not in {*amounts, *spreads, *texts}),
            categories=categories | {name: _texts(panel, name, declared) for name in texts},
            holiday=next((name for name, formula in formulas.items() if formula is m.days_to_holiday), ""),
            has_two_years=panel.n_periods >= 2 * panel.frequency.year_length,
            floor=float(np.median(series_scale(panel.y))),
            non_negative=spec.non_negative,
        )

    # rows

    def training(self, panel: Panel, h: int, cutoffs: IntArray, max_rows: int, seed: int) -> Rows:
        """Rows as they were stored at past cutoffs, with targets that are observed, open and not after the panel's end.

        Restated sales are as they were told at each cutoff. A seeded sample when there are too many.

        Parameters
        ----------
        cutoffs : columns of the panel. max_rows : about how many rows to return at most.

        Returns
        -------
        Rows by cutoff, then series, then step; none when no past is known before an observed target.
        """
        series, cutoff, step = _wanted(panel, h, cutoffs, max_rows, seed)
        pair, which = np.unique(cutoff * panel.n_series + series, return_inverse=True)
        told = None if panel.revisions is None else Told(panel.revisions, panel.start, *panel.y.shape)
        values = stored_values(panel, pair % panel.n_series, pair // panel.n_series, told)
        values = {name: column[which] for name, column in values.items()}
        rows = replace(self.rows(values, panel.start + cutoff, step), series=series, cutoff=cutoff)
        known = np.flatnonzero(np.isfinite(rows.reference))
        rows = _chosen(rows, known)
        y = panel.y[rows.series, rows.cutoff + rows.step]
        return replace(rows, target=(Space(self.space).forward(y, rows.scale) - rows.reference) / rows.unit)

    def ahead(self, panel: Panel, h: int) -> Rows:
        """Rows of every series and step from the end of the panel (R = N x h), as they are stored then."""
        n, last = panel.n_series, panel.n_periods - 1
        seen = replace(panel.as_of(panel.n_periods, panel.spec.horizon), revisions=None)
        values = stored_values(seen, np.arange(n), np.full(n, last), None)
        series, step = np.repeat(np.arange(n), h), np.tile(np.arange(1, h + 1), n)
        values = {name: column[series] for name, column in values.items()}
        rows = self.rows(values, np.full(n * h, panel.end), step)
        return replace(rows, series=series, cutoff=np.full(n * h, last))

    def rows(self, values: Values, as_of: IntArray, step: IntArray) -> Rows:
        """Rows of what is stored, without target; not finite in ``reference`` where no past sales are known.

        Parameters
        ----------
        values : by name ``[R]``: the features and the keys; numbers float64 with NaN, texts with None = not known.
        as_of : ``[R]`` period index of each row's as-of date T. step : ``[R]`` steps from T, 1 on.
        """
        space = Space(self.space)
        amounts = np.stack([values[name] for name in self.amounts], axis=1)
        with np.errstate(over="ignore", invalid="ignore"):
            scale = self._scale(amounts)
            level = self._level(values, amounts)
            reference, unit = space.forward(level, scale), np.ones(len(scale)) if space.is_log else scale
            columns: list[npt.NDArray[Any]] = [(space.forward(x, scale) - reference) / unit for x in amounts.T]
            columns += [values[name] / scale for name in self.spreads]
            columns += [np.log(scale), *(values[name] for name in self.numbers)]
            columns += [*self._calendar(values, as_of, step), step]
            columns += [_codes(values[name], known) for name, known in self._known.items()]
            x = np.stack([column.astype(np.float32) for column in columns], axis=1)
        nothing = np.zeros(len(step), dtype=np.int64)
        return Rows(self.features, x, nothing, step, nothing, reference, unit, scale, np.full(len(step), np.nan))

    def _scale(self, amounts: FloatArray) -> FloatArray:
        """``[R]`` mean size of the sales that a row tells; the floor where it tells none but 0."""
        known = np.isfinite(amounts)
        n = np.maximum(known.sum(1), 1)
        # divided first: huge values have a mean, not a sum
        size = (np.where(known, np.abs(amounts), 0.0) / n[:, None]).sum(1)
        return np.where(size > 0, size, self.floor)

    def _level(self, values: Values, amounts: FloatArray) -> FloatArray:
        """``[R]`` the shortest mean that is known, else the mean of what is known of single sales; NaN = nothing."""
        known = np.isfinite(amounts)
        n = known.sum(1)
        level = (np.where(known, amounts, 0.0) / np.maximum(n, 1)[:, None]).sum(1)
        level = np.where(n > 0, level, np.nan)
        for name in reversed(self.levels):
            level = np.where(np.isfinite(values[name]), values[name], level)
        return level

    # the date to forecast

    def _calendar(self, values: Values, as_of: IntArray, step: IntArray) -> list[npt.NDArray[Any]]:
        """Columns of the target date, in the order of `_of_target`."""
        target = as_of + step
        low, high = (int(as_of.min()), int(target.max())) if len(as_of) else (0, 0)
        first, days, table = _calendar_of(self.freq, self.country, low, high)
        at = target - first
        columns: list[npt.NDArray[Any]] = [table[name][at] for name in self._calendar_names]
        if self.has_years:
            share = days[at] % _YEAR_DAYS / _YEAR_DAYS
            columns += [wave(2.0 * np.pi * n * share) for n in _WAVES for wave in (np.sin, np.cos)]
        if self.holiday:
            columns.append(values[self.holiday] - (days[at] - days[as_of + 1 - first]))
        return [*columns, table[_PLACE[self.freq[0]]][at]]

    @property
    def has_years(self) -> bool:
        """Whether places in the year are features."""
        return self.has_two_years or self.freq != "D"

    @cached_property
    def _calendar_names(self) -> tuple[str, ...]:
        names = calendar_of(Frequency(self.freq), 0, 1, self.country).names
        return tuple(name for name in names if self.has_years or name not in _OF_THE_YEAR)

    # names

    @cached_property
    def features(self) -> tuple[Feature, ...]:
        """The columns of the rows: names of the store, and names with a space for what is made of the target date."""
        made = [_number(name) for name in ("size of the sales", *self.numbers)]
        target = [f"target {name}" for name in self._calendar_names]
        target += [f"target year {word} {n}" for n in _WAVES for word in ("sine", "cosine") if self.has_years]
        target += ["target holiday"] if self.holiday else []
        place = _category(f"target {_PLACE[self.freq[0]]} as a place")
        return (
            *(_number(name, base=True) for name in self.amounts),
            *(_number(name) for name in self.spreads),
            *made,
            *(_number(name) for name in target),
            place,
            _number("steps ahead"),
            *(_category(name) for name in self.categories),
        )

    @cached_property
    def _known(self) -> dict[str, npt.NDArray[np.str_]]:
        return {name: np.array(values, dtype=np.str_) for name, values in self.categories.items()}

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as JSON can hold them."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Read what ``to_dict`` wrote, from JSON."""
        plain: dict[str, Any] = {name: tuple(item) if isinstance(item, list) else item for name, item in values.items()}
        plain["categories"] = {name: tuple(texts) for name, texts in values["categories"].items()}
        return cls(**plain)


def stored_values(panel: Panel, row: IntArray, column: IntArray, told: Told | None) -> dict[str, npt.NDArray[Any]]:
    """What the feature store holds of some series at some dates, as known then, and the keys: ``[P]`` by name.

    Parameters
    ----------
    row, column : ``[P]`` series, and column of the as-of date. told : versions of restated cells, see `Moments`.

    Returns
    -------
    Numbers as float64 with NaN, texts and keys as objects with None = not known.
    """
    moments = Moments(panel, row, column, panel.start + column, told, holiday_reach(panel.spec))
    with np.errstate(over="ignore", invalid="ignore"):  # sales whose squares are no numbers have no spread
        values = {
            item.name: _plain(item.compute(moments), item) for item in declare(panel.spec, panel).features_of(SERVICE)
        }
    keys = {name: panel.series[name].cast(pl.String).to_numpy()[row] for name in panel.spec.keys}
    return values | keys


def _plain(values: Any, item: Feature) -> npt.NDArray[Any]:
    if isinstance(values, pl.Series):
        values = values.cast(pl.String if item.dtype == "String" else pl.Float64).to_numpy()
    return np.asarray(values, dtype=object if item.dtype == "String" else np.float64)


def _wanted(panel: Panel, h: int, cutoffs: IntArray, max_rows: int, seed: int) -> tuple[IntArray, IntArray, IntArray]:
    """Series, cutoff and step ``[R]`` of every open, observed target behind a cutoff, or of a seeded sample."""
    rng = np.random.default_rng(seed)
    is_open = panel.observed & ~panel.closed[:, : panel.n_periods]
    n_open = sum(int(is_open[:, c + 1 : c + 1 + h].sum()) for c in cutoffs)
    share = min(1.0, max_rows / max(n_open, 1))
    parts = [np.empty((0, 3), dtype=np.int64)]
    for cutoff in cutoffs.tolist():
        wanted = is_open[:, cutoff + 1 : cutoff + 1 + h]
        if share < 1.0:
            wanted = wanted & (rng.random(wanted.shape) < share)
        series, ahead = np.nonzero(wanted)
        parts.append(np.stack([series, np.full(len(series), cutoff), ahead + 1], axis=1))
    series, cutoff_of, step = np.concatenate(parts).T
    return series, cutoff_of, step


def _chosen(rows: Rows, index: IntArray) -> Rows:
    per_row = ("x", "series", "step", "cutoff", "reference", "unit", "scale", "target")
    return replace(rows, **{name: getattr(rows, name)[index] for name in per_row})


@lru_cache(maxsize=16)
def _block(freq: str, country: str | None, first: int, last: int) -> tuple[FloatArray, dict[str, FloatArray]]:
    calendar = calendar_of(Frequency(freq), first * _BLOCK, (last - first + 1) * _BLOCK, country)
    table = {name: x.astype(np.float64) for name, x in zip(calendar.names, calendar.values, strict=True)}
    return calendar.days.astype(np.float64), table


def _calendar_of(freq: str, country: str | None, low: int, high: int) -> tuple[int, FloatArray, dict[str, FloatArray]]:
    """The calendar of whole blocks of periods around ``low`` to ``high``: first period, last days, features by name."""
    first = low // _BLOCK
    return first * _BLOCK, *_block(freq, country, first, high // _BLOCK)


def _codes(values: npt.NDArray[Any], known: npt.NDArray[np.str_]) -> FloatArray:
    """Place of each text among the known ones, which ascend; NaN = not known, or never seen."""
    if not len(known):
        return np.full(len(values), np.nan)
    texts = values.astype(np.str_)
    place = np.minimum(np.searchsorted(known, texts), len(known) - 1)
    is_there = known[place] == texts
    if values.dtype == object:
        is_there &= np.asarray(values != np.array(None), dtype=np.bool_)
    return np.where(is_there, place, np.nan)


def _texts(panel: Panel, name: str, declared: tuple[Feature, ...]) -> tuple[str, ...]:
    """Texts that a feature can hold."""
    source = next(item.source for item in declared if item.name == name)
    past = {item.name: item.categories for item in panel.past}
    return tuple(sorted(past[source])) if source in past else _distinct(panel.series[source].cast(pl.String))


def _distinct(texts: pl.Series) -> tuple[str, ...]:
    return tuple(sorted(texts.drop_nulls().unique().to_list()))


def _number(name: str, *, base: bool = False) -> Feature:
    return Feature(_TAKEN.get(name, name), "as_of", name, _given, base=base)


def _category(name: str) -> Feature:
    return Feature(_TAKEN.get(name, name), "as_of", name, _given, is_category=True)


def _given(values: Values) -> npt.NDArray[Any]:
    """Columns of these rows are made together, by `StoreInputs.rows`."""
    raise NotImplementedError(f"a column among {len(values)} is made by StoreInputs.rows")
