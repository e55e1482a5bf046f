"""What a model uses beside the sales: how much worse it forecasts a window when one column is shuffled, by permutation.

Unlike what trees say of their own splits this is measured on sales that the model had not seen, and the same for every
family and any mixture of them. Source: Breiman (2001), *Random forests*; Fisher, Rudin & Dominici (2019).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from foretail.models.contract import Forecaster
from foretail.panel.panel import Covariate, Panel

__all__ = ["AS_IT_IS", "importance_of", "permuted_forecasts", "sampled_rows"]

FloatArray = npt.NDArray[np.float64]
Float32Array = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]

AS_IT_IS = ""  # the name of the forecasts with nothing shuffled
_MOST_SERIES = 300  # with a horizon of steps each; more of them would cost more than they say


def sampled_rows(begun: npt.NDArray[np.bool_]) -> IntArray:
    """Series that columns are shuffled among: at most 300 of those that had begun, evenly."""
    rows = np.flatnonzero(begun)
    if len(rows) <= _MOST_SERIES:
        return rows
    return rows[np.linspace(0, len(rows) - 1, _MOST_SERIES).astype(np.int64)]


def permuted_forecasts(model: Forecaster, panel: Panel, h: int, seed: int) -> dict[str, FloatArray]:
    """Forecasts ``[n, h]`` as it is and with each column shuffled; nothing for a family that sees no such column.

    Parameters
    ----------
    panel : n series that end at the cutoff of the window. seed : of the shuffles; the same for every family, so that
        the members of a mixture see the same columns.
    """
    if not model.tags.covariates:
        return {}
    found = {AS_IT_IS: model.predict(panel, h).y_hat}
    if not np.isfinite(found[AS_IT_IS]).all():
        return {}
    for name, other in _shuffled(panel, h, seed):
        found[name] = np.nan_to_num(model.predict(other, h).y_hat)
    return found


def _shuffled(panel: Panel, h: int, seed: int) -> Iterator[tuple[str, Panel]]:
    """The panel with one column after the other shuffled."""
    t = panel.n_periods
    for item in panel.known:
        rng = np.random.default_rng([seed, *item.name.encode()])
        values = item.values.copy()
        values[:, t : t + h] = _cells(values[:, t : t + h], rng)
        yield item.name, replace(panel, known=_with(panel.known, replace(item, values=values)))
    for item in panel.past:
        order = np.random.default_rng([seed, *item.name.encode()]).permutation(panel.n_series)
        yield item.name, replace(panel, past=_with(panel.past, replace(item, values=item.values[order])))
    for name in panel.spec.static:
        order = np.random.default_rng([seed, *name.encode()]).permutation(panel.n_series)
        yield name, replace(panel, series=panel.series.with_columns(panel.series[name][order]))


def _cells(values: Float32Array, rng: np.random.Generator) -> Float32Array:
    """The same values in other cells; where all series share them, on other dates."""
    if (values == values[:1]).all():
        return values[:, rng.permutation(values.shape[1])]
    return rng.permutation(values.ravel()).reshape(values.shape)


def _with(items: tuple[Covariate, ...], other: Covariate) -> tuple[Covariate, ...]:
    return tuple(other if item.name == other.name else item for item in items)


def importance_of(
    y: FloatArray,
    forecasts: Mapping[str, Mapping[str, FloatArray]],
    mixed: Callable[[dict[str, FloatArray]], FloatArray],
) -> tuple[tuple[str, float], ...]:
    """By how much WAPE rises with each column shuffled (0.02 = two points), largest first.

    Parameters
    ----------
    y : ``[n, h]`` actuals, NaN where nothing counts. mixed : the forecast that forecasts by member make together.
    forecasts : by member, what `permuted_forecasts` gave; for one that sees no column, its forecast as it is.
    """
    total = float(np.nansum(np.abs(y)))
    names = dict.fromkeys(name for found in forecasts.values() for name in found if name != AS_IT_IS)
    if not total or not names:
        return ()

    def error(name: str) -> float:
        every = {member: found.get(name, found[AS_IT_IS]) for member, found in forecasts.items()}
        return float(np.nansum(np.abs(y - mixed(every)))) / total

    before = error(AS_IT_IS)
    return tuple(sorted(((name, error(name) - before) for name in names), key=lambda pair: (-pair[1], pair[0])))
