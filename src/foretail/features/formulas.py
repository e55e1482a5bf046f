"""How each feature of the catalogue is computed from an `AsOf`: one function a feature, for all series at once.

Every function answers ``[N]``, ``[1, H]`` or ``[N, H]``; differences are in the units of `AsOf`, NaN is not known.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from foretail.features.asof import AsOf
from foretail.features.cube import Sums, mean_of
from foretail.features.events import run_length

__all__ = [
    "aligned",
    "calendar_value",
    "cell_difference",
    "cell_id",
    "cell_observations",
    "group_recent",
    "known_closed",
    "known_distance",
    "known_neighbour",
    "known_relative",
    "known_value",
    "last_sale_ago",
    "long_closure",
    "n_observed",
    "open_week",
    "past_ratio",
    "profile",
    "recent",
    "reference_size",
    "residual_std",
    "static_code",
    "static_number",
    "steps",
    "year_ago",
    "year_growth",
    "year_level",
    "zero_share",
]

Array = npt.NDArray[np.floating]
Distance = Callable[[npt.NDArray[np.bool_], int], npt.NDArray[np.float32]]

_OFFSET = 0.01  # share of a series' size added before the log of its reference, as in `Space`
_LONG_CLOSURE, _CLOSURE_CAP, _CLOSURE_REACH = 4, 60, 90  # days: refurbishment or holidays rather than a weekend
_NOTHING = 1e-12


# as of the cutoff


def recent(asof: AsOf, window: int) -> Array:
    """Mean of the last ``window`` periods against the reference."""
    return asof.recent(window)


def steps(asof: AsOf) -> Array:
    """Steps from the cutoff."""
    return asof.steps[None, :].astype(np.float64)


def reference_size(asof: AsOf) -> Array:
    """Size of the reference, in logs."""
    if asof.cube.space.is_log:
        return asof.reference
    size: Array = np.log(np.maximum(asof.reference, 0.0) + _OFFSET * asof.cube.scale[:, None])
    return size


def residual_std(asof: AsOf) -> Array:
    """Spread around the cells over half a year."""
    return asof.residual_std


def zero_share(asof: AsOf) -> Array:
    """Share of open periods of half a year without sales."""
    first = max(0, asof.known - asof.windows[-2])
    z, y = asof.cube.z[:, first:], asof.panel.y[:, first : asof.known]
    return mean_of(np.where(np.isfinite(z) & np.isfinite(y), y <= 0, np.nan))


def n_observed(asof: AsOf) -> Array:
    """Observed open periods of the last two years."""
    first = asof.known - 2 * asof.panel.frequency.year_length
    return asof.residual_sums.n(first, asof.known, asof.known).astype(np.float64)


def last_sale_ago(asof: AsOf) -> Array:
    """Periods since the last sale, those apart in which the goods ran out; at most the longest window; 0 = cutoff."""
    sold = asof.panel.observed & (asof.panel.y > 0)
    last = np.where(sold.any(1), asof.known - 1 - sold[:, ::-1].argmax(1), -1)
    ago = asof.known - 1 - last
    if asof.panel.withheld is not None:
        since = np.arange(asof.known) > last[:, None]
        ago = ago - (asof.panel.is_withheld[:, : asof.known] & since).sum(1)
    capped: Array = np.minimum(ago, asof.windows[-1]).astype(np.float64)
    return capped


# cells


def cell_difference(asof: AsOf, window: int) -> Array:
    """Weekday x flag effect over ``window`` periods against the reference."""
    difference: Array = (asof.cell_effect(window) - asof.reference) / asof.unit[:, None]
    return difference


def cell_observations(asof: AsOf, window: int) -> Array:
    """Observations of the target's cell in ``window`` periods."""
    return asof.cell_count(window)


def cell_id(asof: AsOf) -> Array:
    """The target's weekday x flag cell."""
    return asof.cell.astype(np.float64)


# years before; ``name`` is None for the series itself, "" for all of them together, or a key or static column


def cycle(asof: AsOf, period: int, n: int) -> Array:
    """Mean residual of the last n observations a whole number of cycles before each target."""
    return asof.cycle(period, n)


def _sums(asof: AsOf, name: str | None) -> Sums:
    return asof.residual_sums if name is None else asof.group_sums(name)


def _rows(asof: AsOf, name: str | None, value: Array) -> Array:
    of_series: Array = value if name is None else value[asof.group(name)]
    return of_series


def aligned(asof: AsOf, name: str | None) -> Array:
    """Holiday-aligned value a year ago."""
    return _rows(asof, name, asof.aligned(_sums(asof, name)))


def profile(asof: AsOf) -> Array:
    """Seasonal profile forecast."""
    return asof.profile


def year_ago(asof: AsOf, name: str | None, reach: int, years: int = 1) -> Array:
    """Mean of ± reach periods around the same season of years before."""
    return _rows(asof, name, asof.year_ago(_sums(asof, name), reach, years))


def year_level(asof: AsOf, name: str | None, window: int) -> Array:
    """Mean of the window that ended a year before the cutoff."""
    return _rows(asof, name, asof.year_ago_level(_sums(asof, name), window))


def year_growth(asof: AsOf, name: str | None, window: int) -> Array:
    """The last ``window`` periods against the same a year before."""
    return _rows(asof, name, asof.growth(_sums(asof, name), window))


def group_recent(asof: AsOf, name: str, window: int) -> Array:
    """Mean of the last ``window`` periods of a group."""
    return _rows(asof, name, _sums(asof, name).mean(asof.known - window, asof.known, asof.known))


# known in advance


def calendar_value(asof: AsOf, position: int) -> Array:
    """A calendar feature of the target."""
    return asof.calendar.values[position][None, asof.target]


def known_value(asof: AsOf, name: str) -> Array:
    """A known covariate at the target."""
    return asof.panel.covariate(name).values[:, asof.target]


def known_effect(asof: AsOf, name: str) -> Array:
    """What the value of a flag at the target added on past dates."""
    return asof.flag_effects(name).at(asof.panel.covariate(name).values[:, asof.target])


def known_distance(asof: AsOf, name: str, distance: Distance, cap: int) -> Array:
    """Distance from the target to where a flag is on (any value but 0)."""
    values = asof.panel.covariate(name).values
    return _of_targets(asof, values, lambda near: distance(np.isfinite(near) & (near != 0), cap), cap)


def known_neighbour(asof: AsOf, name: str, shift: int) -> Array:
    """A known covariate ``shift`` periods from the target; at the end of what is known, its last value."""
    values = asof.panel.covariate(name).values
    return values[:, np.clip(asof.target + shift, 0, values.shape[1] - 1)]


def known_relative(asof: AsOf, name: str) -> Array:
    """A known covariate at the target against its mean of the last year."""
    values = asof.panel.covariate(name).values
    year = asof.panel.frequency.year_length
    mean = mean_of(values[:, max(0, asof.known - year) : asof.known].astype(np.float64))
    relative: Array = values[:, asof.target] / _nonzero(mean)[:, None]
    return relative


def known_closed(asof: AsOf, distance: Distance, cap: int) -> Array:
    """Distance from the target to a closed period."""
    return _of_targets(asof, asof.panel.closed, lambda near: distance(near, cap), cap)


def long_closure(asof: AsOf, distance: Distance) -> Array:
    """Distance from the target to a day of a long closure."""

    def of(near: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        return distance(run_length(near, _CLOSURE_CAP) >= _LONG_CLOSURE, _CLOSURE_REACH)

    return _of_targets(asof, asof.panel.closed, of, _CLOSURE_REACH + _LONG_CLOSURE)


def open_week(asof: AsOf) -> Array:
    """Open periods among the seven around the target."""
    total = np.cumsum(np.pad(~asof.panel.closed, ((0, 0), (4, 3))).astype(np.int16), axis=1)
    return (total[:, 7:] - total[:, :-7])[:, asof.target].astype(np.float64)


# past covariates and static columns


def past_ratio(asof: AsOf, name: str, short: int, long: int) -> Array:
    """A past covariate as published at the cutoff: mean of the last ``short`` periods against the ``long`` ones."""
    values = asof.panel.covariate(name).values.astype(np.float64)
    bottom = mean_of(values[:, max(0, asof.known - long) :])
    ratio: Array = mean_of(values[:, max(0, asof.known - short) :]) / _nonzero(bottom)
    return ratio


def static_code(asof: AsOf, name: str) -> Array:
    """Code of a key or static column."""
    position = {value: float(code) for code, value in enumerate(asof.plan.codes[name])}
    values = asof.panel.series[name].cast(pl.String)
    return values.replace_strict(position, default=None, return_dtype=pl.Float64).to_numpy()


def static_number(asof: AsOf, name: str) -> Array:
    """Value of a key or static column."""
    return asof.panel.series[name].cast(pl.Float64).to_numpy()


def _of_targets(
    asof: AsOf, values: npt.NDArray[Any], of: Callable[[npt.NDArray[Any]], npt.NDArray[np.float32]], reach: int
) -> npt.NDArray[np.float32]:
    """What a function of ``values`` that looks at most ``reach`` columns back says of the targets."""
    first = max(0, asof.known - reach - 1)
    return of(values[:, first:])[:, asof.target - first]


def _nonzero(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.where(np.abs(values) > _NOTHING, values, np.nan)
