"""Series with no or little history borrow: the profile of their like, a level from their attributes and few sales."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt
import polars as pl

from foretail.core.columns import UNIQUE_ID
from foretail.forecasts.likeness import Effects, attribute_codes, attribute_weights, fit_effects, likeness
from foretail.panel.panel import Covariate, Panel

__all__ = ["ENOUGH", "Borrowed", "Cold", "borrowed", "cold_answers", "own_periods", "shut_values", "widened"]

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

ENOUGH = {"D": 14, "W": 8, "M": 3}  # own open periods with which a series is left to the model
_LENDS = {"D": 56, "W": 16, "M": 6}  # own open periods with which a series lends
_PRIOR_BOUNDS = (0.5, 30.0)  # of k: neither a single sale nor the attributes alone ever decide
_WINDOW = {"D": 56, "W": 26, "M": 12}  # open periods behind the level of a series that lends
_LIKE = 8  # series that lend a profile, and all that are as like as the last of them
_FEWEST = 5  # lenders below which nothing is borrowed for a series that has sales of its own
_LEAST_SPREAD = 0.25  # of a log level: a judgement; attributes never tell a new series better than that
_SOME_BORN = 10  # births with which the median of their levels counts half
_MOST_VALUES = 10  # of a known covariate whose values have an effect each
_BLOCK = 4_000_000  # cells of a matrix of likeness held at once
_EFFECT_BOUNDS = (0.25, 4.0)  # of the factor that a value of a known covariate has
_SWEEPS = 3  # of factors and steps in turn


@dataclass(frozen=True)
class Cold:
    """Requested series that were never observed.

    Attributes
    ----------
    series : C rows: ``unique_id``, key and static columns.
    known : known covariates, float32 ``[C, T + H]``, in the panel's coding; empty where nothing is said of them.
    """

    series: pl.DataFrame
    known: tuple[Covariate, ...] = ()

    def select(self, rows: IntArray) -> Cold:
        """Some of them, in the order given."""
        known = tuple(Covariate(item.name, item.values[rows], item.categories) for item in self.known)
        return Cold(self.series[rows], known)

    def closed(self, panel: Panel, h: int) -> BoolArray:
        """Future closed periods bool ``[C, h]``: as far as the panel's own closed periods follow from what is known.

        A period is closed where every series of the panel is, or where a known covariate has a value with which the
        series of the panel always are.
        """
        t = panel.n_periods
        shut = np.zeros((self.series.height, h), dtype=np.bool_)
        ahead = panel.closed[:, t : t + h]
        if panel.n_series:
            shut[:, : ahead.shape[1]] |= ahead.all(0)
        for item in self.known:
            shut |= np.isin(item.values[:, t : t + h], shut_values(panel, item.name))
        return shut


def cold_answers(panel: Panel, values: FloatArray, levels: Sequence[float], cold: Cold) -> FloatArray:
    """Forecast series that were never observed.

    The level is what the attributes (key parts and static columns) say in the panel, times what series that began in
    the last year had in their first weeks, compared with what their attributes say; the profile is that of the eight
    series most like it, where an attribute counts as much as it explains of the differences between profiles. The
    effects of known covariates with few values are taken out of the profile and put in again for what is known of the
    new series itself. Intervals are those of the like, widened by what attributes leave open of a level: an offset d
    of a quantile from the point forecast f becomes ``sqrt(d² + (f (exp(z s) - 1))²)`` outwards, z the normal quantile
    of its level and s the standard deviation of the log levels about their attributes, at least 0.25.

    Parameters
    ----------
    panel : N series with history.
    values : ``[N, H, 1 + Q]`` point forecast and quantiles.
    levels : the Q levels.
    cold : C series.

    Returns
    -------
    ``[C, H, 1 + Q]``; closed periods are not yet 0.
    """
    if not cold.series.height or not panel.n_series:
        return np.empty((cold.series.height, *values.shape[1:]))
    lender = _Lender.of(panel, values, cold.series)
    level = np.exp(lender.effects.predict(lender.other_codes)) * lender.newness
    effect = lender.effect_of(cold.known, cold.series.height, values.shape[1])
    profile, _ = lender.profiles(lender.other_codes)
    return widened(_answers(profile, level, effect), lender.spread, levels)


@dataclass(frozen=True)
class Borrowed:
    """What series with few observations borrow.

    Attributes
    ----------
    values : ``[M, H, 1 + Q]`` point forecast and quantiles as if the level were known.
    spread : ``[M]`` standard deviation of the log of the level, for `widened`.
    """

    values: FloatArray
    spread: FloatArray


def borrowed(panel: Panel, values: FloatArray, rows: IntArray) -> Borrowed | None:
    """What series with few observations borrow from their like.

    As in `cold_answers`, but the level is ``n / (n + k)`` of their own and the rest what the attributes say, n being
    their open observed periods and k the variance of a period's sales over that of a level about its attributes, in
    units of the level (between 0.5 and 30 periods). Their own level is what they sold to what the profile of their
    like says for the same periods, so that a first weekend is no boom. The spread of the level shrinks with
    ``sqrt(k / (n + k))``.

    Parameters
    ----------
    panel : N series. values : ``[N, H, 1 + Q]`` of the model. rows : M of the N series.

    Returns
    -------
    None where fewer than five series have enough history to lend.
    """
    has_enough = own_periods(panel) >= _LENDS[panel.frequency.code[0]]
    if np.count_nonzero(has_enough) < _FEWEST:
        return None
    window = int(panel.n_periods - panel.first[rows].min(initial=panel.n_periods))
    lender = _Lender.of(panel, values, panel.series[rows], window)
    profile, past = lender.profiles(lender.other_codes)
    prior = np.exp(lender.effects.predict(lender.other_codes)) * lender.newness
    own = _last_open(panel, rows, window)
    usual = past * lender.past_effect[rows]
    told = np.isfinite(own) & np.isfinite(usual)
    sold, expected = np.where(told, own, 0.0).sum(1), np.where(told, usual, 0.0).sum(1)
    n = np.where(expected > 0, told.sum(1), 0)
    k = np.clip(lender.noise() / lender.spread**2, *_PRIOR_BOUNDS)
    level = (n * sold / np.where(expected > 0, expected, 1.0) + k * prior) / (n + k)
    return Borrowed(_answers(profile, level, lender.future_effect[rows]), lender.spread * np.sqrt(k / (n + k)))


def widened(values: FloatArray, spread: FloatArray, levels: Sequence[float]) -> FloatArray:
    """Quantiles moved outwards by what is not known of the level, ``[M, H, 1 + Q]``.

    Parameters
    ----------
    values : point forecast and quantiles. spread : ``[M]`` standard deviation of the log of the level.
    levels : the Q levels.
    """
    point, offset = values[:, :, :1], values[:, :, 1:] - values[:, :, :1]
    z = np.array([NormalDist().inv_cdf(level) for level in levels])
    of_level = point * np.expm1(z * spread[:, None, None])
    outwards = np.sign(z) * (np.hypot(offset, of_level) - np.abs(offset))
    return np.concatenate([point, values[:, :, 1:] + outwards], axis=2)


def own_periods(panel: Panel) -> IntArray:
    """Open observed periods of each series ``[N]``."""
    n: IntArray = (panel.observed & ~panel.closed[:, : panel.n_periods]).sum(1).astype(np.int64)
    return n


@dataclass(frozen=True)
class _Lender:
    """Series with enough history, ready to lend.

    Attributes
    ----------
    panel : N series. values : ``[N, H, 1 + Q]`` their forecasts. level : ``[N]`` recent mean.
    is_lender : bool ``[N]``. codes, other_codes : attributes of the N series and of those who borrow.
    weights : what sharing each attribute is worth. effects : of the attributes on log levels.
    newness : level of a new series to what its attributes say.
    known_effects : per known covariate ``{value: factor}``. past_effect, future_effect : ``[N, window]``, ``[N, H]``.
    """

    panel: Panel
    values: FloatArray
    level: FloatArray
    is_lender: BoolArray
    codes: IntArray
    other_codes: IntArray
    weights: FloatArray
    effects: Effects
    newness: float
    known_effects: dict[str, dict[float, float]]
    past_effect: FloatArray
    future_effect: FloatArray

    @classmethod
    def of(cls, panel: Panel, values: FloatArray, others: pl.DataFrame, window: int = 0) -> _Lender:
        """Read levels, likeness and effects off a panel and its forecasts; profiles reach ``window`` periods back."""
        names = [name for name in panel.series.columns if name != UNIQUE_ID and name in others.columns]
        codes, other_codes = attribute_codes(panel.series, others, names)
        h = values.shape[1]
        level = np.abs(_recent_level(panel))
        is_lender = _lenders(panel, level)
        level = np.where(level > 0, level, 1.0)
        known_effects = _known_effects(panel, values[:, :, 0], level, is_lender)
        past, future = _effect_matrices(panel.known, known_effects, panel.n_series, panel.n_periods, h, window)
        shapes = values[is_lender, :, 0] / future[is_lender] / level[is_lender, None]
        effects = fit_effects(np.log(level[is_lender]), codes[is_lender])
        return cls(
            panel=panel,
            values=values,
            level=level,
            is_lender=is_lender,
            codes=codes,
            other_codes=other_codes,
            weights=attribute_weights(shapes, codes[is_lender]),
            effects=effects,
            newness=_newness(panel, np.exp(effects.predict(codes))),
            known_effects=known_effects,
            past_effect=past,
            future_effect=future,
        )

    @property
    def spread(self) -> FloatArray:
        """Standard deviation of the log level of each series that borrows, before its own sales are looked at."""
        return np.maximum(self.effects.spread_of(self.other_codes), _LEAST_SPREAD)

    def noise(self) -> float:
        """Variance of the sales of a period in units of their level, the median of the lenders."""
        window = min(_WINDOW[self.panel.frequency.code[0]], self.panel.n_periods)
        y = _last_open(self.panel, np.flatnonzero(self.is_lender), window) / self.level[self.is_lender, None]
        n = np.isfinite(y).sum(1)
        mean = np.nansum(y, 1) / np.maximum(n, 1)
        variance = np.nansum((y - mean[:, None]) ** 2, 1)[n > 1] / (n[n > 1] - 1)
        return float(np.median(variance)) if len(variance) else 1.0

    def effect_of(self, known: Sequence[Covariate], n: int, h: int) -> FloatArray:
        """Effects of known covariates on the future of other series, ``[n, h]``."""
        return _effect_matrices(known, self.known_effects, n, self.panel.n_periods, h, 0)[1]

    def profiles(self, wanted: IntArray) -> tuple[FloatArray, FloatArray]:
        """Profiles in units of the level, without effects of known covariates.

        Returns
        -------
        (future, past) : ``[M, H, 1 + Q]`` point forecast and offsets of the quantiles from it; ``[M, window]``, NaN
        where none of the like was observed.
        """
        lent = np.flatnonzero(self.is_lender)
        forecast = self.values[lent] / self.future_effect[lent][:, :, None]
        forecast[:, :, 1:] -= forecast[:, :, :1]
        y = _last_open(self.panel, lent, self.past_effect.shape[1]) / self.past_effect[lent]
        told = np.isfinite(y)
        parts = (forecast.reshape(len(lent), -1), np.where(told, y, 0.0), told * self.level[lent, None])
        kinds, inverse = np.unique(wanted, axis=0, return_inverse=True)
        size = max(1, _BLOCK // len(lent))
        blocks = [self._lent(kinds[i : i + size], lent, parts) for i in range(0, len(kinds), size)]
        future, past = (np.concatenate(items)[inverse.reshape(-1)] for items in zip(*blocks, strict=True))
        return future.reshape(len(wanted), *self.values.shape[1:]), past

    def _lent(self, wanted: IntArray, lent: IntArray, parts: tuple[FloatArray, ...]) -> tuple[FloatArray, FloatArray]:
        weight = likeness(wanted, self.codes[lent], self.weights, _LIKE)
        forecast, sold, level_told = (weight @ part for part in parts)
        past = sold / np.where(level_told > 0, level_told, np.nan)
        return forecast / (weight @ self.level[lent])[:, None], past


def _answers(profile: FloatArray, level: FloatArray, effect: FloatArray) -> FloatArray:
    """Point forecast and quantiles ``[M, H, 1 + Q]`` from profiles of offsets."""
    scaled = profile * (level[:, None] * effect)[:, :, None]
    scaled[:, :, 1:] += scaled[:, :, :1]
    return scaled


def _open_y(panel: Panel) -> FloatArray:
    return np.where(panel.closed[:, : panel.n_periods], np.nan, panel.y)


def _last_open(panel: Panel, rows: IntArray, window: int) -> FloatArray:
    """Sales of some series in the last ``window`` periods, NaN where closed."""
    periods = slice(panel.n_periods - window, panel.n_periods)
    return np.where(panel.closed[rows, periods], np.nan, panel.y[rows, periods])


def _recent_level(panel: Panel) -> FloatArray:
    """Mean of the last open observed periods ``[N]``; NaN without any."""
    y = _open_y(panel)
    told = np.isfinite(y)
    count = np.cumsum(told[:, ::-1], axis=1)[:, ::-1]
    inside = told & (count <= _WINDOW[panel.frequency.code[0]])
    n = inside.sum(1)
    level: FloatArray = np.where(inside, y, 0.0).sum(1) / np.where(n > 0, n, np.nan)
    return level


def _lenders(panel: Panel, level: FloatArray) -> BoolArray:
    """Series that sell and have enough history; all that sell where there are none, all where nothing sells."""
    sells = level > 0
    enough = sells & (own_periods(panel) >= _LENDS[panel.frequency.code[0]])
    return enough if enough.any() else sells if sells.any() else np.ones_like(sells)


def _newness(panel: Panel, usual: FloatArray) -> float:
    """Median over series born within the last year of their first level to what their attributes say."""
    t, first = panel.n_periods, _WINDOW[panel.frequency.code[0]] // 2
    born = (panel.first > max(first, t - panel.frequency.year_length)) & (panel.first + first <= t)
    rows = np.flatnonzero(born & (usual > 0))
    if not len(rows):
        return 1.0
    cells = rows[:, None], panel.first[rows][:, None] + np.arange(first)
    early = np.where(panel.closed[cells], np.nan, panel.y[cells])
    n = np.isfinite(early).sum(1)
    ratio = np.nansum(early, 1) / np.maximum(n, 1) / usual[rows]
    ratio = ratio[(n > 0) & (ratio > 0)]
    if not len(ratio):
        return 1.0
    return float(np.exp(np.median(np.log(ratio)) * len(ratio) / (len(ratio) + _SOME_BORN)))


def _known_effects(
    panel: Panel, y_hat: FloatArray, level: FloatArray, is_lender: BoolArray
) -> dict[str, dict[float, float]]:
    """Factors of the values of known covariates with few values, read off the forecasts of all lenders.

    A forecast is taken as level x step x the factors of what is known; the factors of one covariate after the other are
    ratios of sums, and the steps those of what the factors leave, in a few sweeps.
    """
    rows = np.flatnonzero(is_lender & (level > 0))
    h = y_hat.shape[1]
    is_open = _ahead(panel.closed[rows].astype(np.float32), panel.n_periods, h) != 1.0
    size = is_open * level[rows, None]
    plain = np.where(is_open, y_hat[rows], 0.0)
    found: dict[str, dict[float, float]] = {}
    for _ in range(_SWEEPS):
        for item in panel.known:
            value = _ahead(item.values[rows], panel.n_periods, h)
            kinds = np.unique(value[np.isfinite(value) & is_open])
            if 2 <= len(kinds) <= _MOST_VALUES:
                step = plain.sum(0) / np.where(size.sum(0) > 0, size.sum(0), 1.0)
                old = found.get(item.name, {})
                found[item.name] = {
                    kind: _new_factor(plain, size * step, value == np.float32(kind), old.get(kind, 1.0))
                    for kind in kinds.tolist()
                }
    return found


def _new_factor(plain: FloatArray, expected: FloatArray, here: BoolArray, old: float) -> float:
    """The factor of one value; ``plain`` is freed of it in place, where it was freed of the old one."""
    total = float(expected[here].sum())
    factor = float(np.clip(old * plain[here].sum() / total, *_EFFECT_BOUNDS)) if total else 1.0
    plain[here] *= old / factor
    return factor


def _effect_matrices(
    known: Sequence[Covariate], effects: dict[str, dict[float, float]], n: int, t: int, h: int, window: int
) -> tuple[FloatArray, FloatArray]:
    """Products of the effects of known values, ``[n, window]`` and ``[n, h]``; values not given have none."""
    past, future = np.ones((n, window)), np.ones((n, h))
    for item in known:
        for kind, factor in effects.get(item.name, {}).items():
            past[item.values[:, t - window : t] == np.float32(kind)] *= factor
            future[_ahead(item.values, t, h) == np.float32(kind)] *= factor
    return past, future


def _ahead(values: npt.NDArray[np.float32], t: int, h: int) -> npt.NDArray[np.float32]:
    """The h columns after the first t; NaN where they are not held."""
    found = values[:, t : t + h]
    if found.shape[1] == h:
        return found
    wide = np.full((len(values), h), np.nan, dtype=np.float32)
    wide[:, : found.shape[1]] = found
    return wide


def shut_values(panel: Panel, name: str) -> FloatArray:
    """Values of a known covariate with which the series of the panel are always closed."""
    item = next((item for item in panel.known if item.name == name), None)
    if item is None or not panel.closed.any():
        return np.empty(0)
    width = min(item.values.shape[1], panel.closed.shape[1])
    values, closed = item.values[:, :width], panel.closed[:, :width]
    kinds = np.unique(values[closed & np.isfinite(values)])
    if len(kinds) > _MOST_VALUES:
        return np.empty(0)
    always = [kind for kind in kinds if closed[values == kind].all()]
    return np.array(always, dtype=np.float64)
