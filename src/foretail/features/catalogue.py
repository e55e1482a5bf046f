"""Every feature, declared once: name, kind, what it is, how it is computed from an `AsOf`.

Kinds: ``as_of`` (one value per series), ``ahead`` (per series and date, known in advance), ``season`` (per series,
cutoff and step), ``static``. A window always ends at the cutoff (`AsOf` holds nothing later).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
import polars as pl

from foretail.features.asof import AsOf, Plan
from foretail.features.events import run_length, since, until
from foretail.panel.panel import Panel

__all__ = ["Feature", "catalogue"]

Array = npt.NDArray[np.floating]
_EVENT_CAP = {"D": 42, "W": 8, "M": 4}


@dataclass(frozen=True)
class Feature:
    """One declared feature.

    Attributes
    ----------
    name : column of the training frame.
    kind : ``as_of``, ``ahead``, ``season`` or ``static``.
    about : what it is, for people.
    compute : from an `AsOf` to ``[N]``, ``[H]`` as ``[1, H]``, or ``[N, H]``; differences are in the units of `AsOf`.
    base : also a regressor of the linear base forecast.
    is_category : codes without order.
    """

    name: str
    kind: str
    about: str
    compute: Callable[[AsOf], Array]
    base: bool = False
    is_category: bool = False


def catalogue(panel: Panel, plan: Plan) -> tuple[Feature, ...]:
    """All features of a panel under a plan, in a fixed order."""
    return tuple(
        [*_levels(panel), *_cells(panel, plan), *_years(panel, plan), *_ahead(panel, plan), *_past(panel), *_static(plan, panel)]
    )


def _levels(panel: Panel) -> Iterator[Feature]:
    asof = _template(panel)
    for window in asof.windows:
        yield Feature(
            f"recent_{window}", "as_of", f"mean of the last {window} against the reference", partial(_recent, window=window),
            base=True,
        )
    yield Feature("step", "ahead", "steps from the cutoff", lambda asof: asof.steps[None, :].astype(float))
    yield Feature("reference", "season", "size of the reference, in logs", _reference_size)
    yield Feature("residual_std", "as_of", "spread around the cells", lambda asof: asof.residual_std)
    yield Feature("zero_share", "as_of", "share of open periods without sales", _zero_share)
    yield Feature("n_observed", "as_of", "observed periods, at most two years", _n_observed)
    yield Feature("since_sale", "as_of", "periods since the last sale", _since_sale)


def _cells(panel: Panel, plan: Plan) -> Iterator[Feature]:
    windows = _template(panel).cell_windows
    if plan.cells.n_cells > 1:
        for window in windows[1:]:
            yield Feature(
                f"cell_{window}", "season", f"weekday x flag effect over {window} against the reference",
                partial(_cell, window=window), base=True,
            )
        yield Feature("cell_n", "season", "observations of the cell", partial(_cell_n, window=windows[-2]))
        yield Feature("cell", "ahead", "weekday x flag cell", _cell_id, is_category=True)


def _years(panel: Panel, plan: Plan) -> Iterator[Feature]:
    asof = _template(panel)
    if not plan.has_years:
        return
    yield Feature("aligned", "season", "holiday-aligned value a year ago", _aligned, base=True)
    yield Feature("profile", "season", "seasonal profile forecast", lambda asof: asof.profile, base=True)
    short, long = asof.windows[2], asof.windows[-3]
    for name in ("own", "", *plan.groups):
        label = name or "all"
        for reach in asof.year_reach if name in ("own", "") else asof.year_reach[-2:]:
            yield Feature(
                f"year_{label}_{reach}", "season", f"± {reach} periods around a year ago, {label}",
                partial(_year, name=name, reach=reach), base=name in ("own", "") and reach == asof.year_reach[-2],
            )
        yield Feature(
            f"year_level_{label}", "as_of", f"level a year before the cutoff, {label}",
            partial(_year_level, name=name, window=short), base=name in ("own", ""),
        )
        for window in (short, long):
            yield Feature(
                f"growth_{label}_{window}", "as_of", f"year over year, last {window}, {label}",
                partial(_growth, name=name, window=window), base=name in ("own", "") and window == long,
            )
        if name != "own":
            yield Feature(
                f"recent_{label}", "as_of", f"recent level of {label}", partial(_group_recent, name=name, window=short)
            )
    yield Feature("two_years_own", "season", "two years ago", partial(_year, name="own", reach=asof.year_reach[-2], years=2))


def _ahead(panel: Panel, plan: Plan) -> Iterator[Feature]:
    for position, name in enumerate(_calendar_names(panel)):
        yield Feature(name, "ahead", name.replace("_", " "), partial(_calendar, position=position))
    cap = _EVENT_CAP[panel.spec.freq[0]]
    for item in panel.known:
        category = len(item.categories) > 2
        yield Feature(f"known_{item.name}", "ahead", item.name, partial(_known, name=item.name), is_category=category)
        if item.name in plan.flags:
            for name, function in (("in", until), ("ago", since), ("run", run_length)):
                yield Feature(
                    f"{item.name}_{name}", "ahead", f"{item.name}: periods {name}",
                    partial(_event, name=item.name, function=function, cap=cap),
                )
            for shift in (-1, 1):
                yield Feature(
                    f"{item.name}_{'next' if shift > 0 else 'before'}", "ahead", f"{item.name} one period away",
                    partial(_neighbour, name=item.name, shift=shift),
                )
        elif not item.categories:
            yield Feature(
                f"relative_{item.name}", "season", f"{item.name} against its mean of the last year",
                partial(_relative, name=item.name),
            )
    if panel.closed.any():
        yield Feature("closed_in", "ahead", "periods until next closed", partial(_closed, function=until, cap=cap))
        yield Feature("closed_ago", "ahead", "periods since last closed", partial(_closed, function=since, cap=cap))
        yield Feature("open_week", "ahead", "open periods among the seven around", _open_week)
        if panel.frequency.is_daily:
            yield Feature("shut_in", "ahead", "days until a long closure", partial(_shut, function=until))
            yield Feature("shut_ago", "ahead", "days since a long closure", partial(_shut, function=since))


def _past(panel: Panel) -> Iterator[Feature]:
    short, long = _template(panel).windows[1], _template(panel).windows[-1]
    for item in panel.past:
        if not item.categories:
            yield Feature(
                f"past_{item.name}", "as_of", f"{item.name}: last {short} against last {long}",
                partial(_past_ratio, name=item.name, short=short, long=long),
            )


def _static(plan: Plan, panel: Panel) -> Iterator[Feature]:
    for name in (*panel.spec.keys, *panel.spec.static):
        if name in plan.codes:
            yield Feature(f"static_{name}", "static", name, partial(_code, name=name), is_category=True)
        elif panel.series[name].dtype.is_numeric():
            yield Feature(f"static_{name}", "static", name, partial(_number, name=name))


class _template:  # noqa: N801  (window lists without building an AsOf)
    def __init__(self, panel: Panel):
        from foretail.features.asof import _CELL_WINDOWS, _WINDOWS, _YEAR_REACH

        letter = panel.spec.freq[0]
        self.windows, self.cell_windows, self.year_reach = _WINDOWS[letter], _CELL_WINDOWS[letter], _YEAR_REACH[letter]


# as of the cutoff


def _recent(asof: AsOf, window: int) -> Array:
    return asof.recent(window)


def _reference_size(asof: AsOf) -> Array:
    if asof.cube.space.is_log:
        return asof.reference
    return np.log(np.maximum(asof.reference, 0.0) + 0.01 * asof.cube.scale[:, None])


def _zero_share(asof: AsOf) -> Array:
    return asof.cube.zeros.mean(asof.known - asof.windows[-2], asof.known, asof.known)


def _n_observed(asof: AsOf) -> Array:
    return asof.residual_sums.n(asof.known - 2 * asof.panel.frequency.year_length, asof.known, asof.known).astype(float)


def _since_sale(asof: AsOf) -> Array:
    sold = asof.panel.observed & (asof.panel.y > 0)
    last = np.where(sold.any(1), asof.known - 1 - sold[:, ::-1].argmax(1), -1)
    return np.minimum(asof.known - 1 - last, asof.windows[-1]).astype(float)


# cells


def _cell(asof: AsOf, window: int) -> Array:
    return (asof.cell_effect(window) - asof.reference) / asof.unit[:, None]


def _cell_n(asof: AsOf, window: int) -> Array:
    return asof.cell_count(window)


def _cell_id(asof: AsOf) -> Array:
    return asof._cells[2][:, asof.target].astype(float)


# years before


def _sums(asof: AsOf, name: str) -> object:
    return asof.residual_sums if name == "own" else asof.group_sums(name)


def _rows(asof: AsOf, name: str, value: Array) -> Array:
    return value if name == "own" else value[asof.group(name)]


def _aligned(asof: AsOf) -> Array:
    return asof.aligned


def _year(asof: AsOf, name: str, reach: int, years: int = 1) -> Array:
    return _rows(asof, name, asof.year_ago(_sums(asof, name), reach, years))  # type: ignore[arg-type]


def _year_level(asof: AsOf, name: str, window: int) -> Array:
    return _rows(asof, name, asof.year_ago_level(_sums(asof, name), window))  # type: ignore[arg-type]


def _growth(asof: AsOf, name: str, window: int) -> Array:
    return _rows(asof, name, asof.growth(_sums(asof, name), window))  # type: ignore[arg-type]


def _group_recent(asof: AsOf, name: str, window: int) -> Array:
    sums = asof.group_sums(name)
    return _rows(asof, name, sums.mean(asof.known - window, asof.known, asof.known))


# known in advance


def _calendar_names(panel: Panel) -> tuple[str, ...]:
    from foretail.features.calendar import calendar_of

    return calendar_of(panel.frequency, panel.start, 1, panel.spec.country).names


def _calendar(asof: AsOf, position: int) -> Array:
    return asof.calendar.values[position][None, asof.target]


def _known(asof: AsOf, name: str) -> Array:
    return asof.panel.covariate(name).values[:, asof.target]


def _on(asof: AsOf, name: str) -> npt.NDArray[np.bool_]:
    values = asof.panel.covariate(name).values[:, : asof.known + asof.h]
    return np.isfinite(values) & (values != 0)


def _event(asof: AsOf, name: str, function: Callable[..., Array], cap: int) -> Array:
    return function(_on(asof, name), cap)[:, asof.target]


def _neighbour(asof: AsOf, name: str, shift: int) -> Array:
    values = asof.panel.covariate(name).values
    column = np.clip(asof.target + shift, 0, values.shape[1] - 1)
    return values[:, column]


def _relative(asof: AsOf, name: str) -> Array:
    values = asof.panel.covariate(name).values
    year = asof.panel.frequency.year_length
    with np.errstate(invalid="ignore"):
        past = values[:, max(0, asof.known - year) : asof.known].astype(float)
        count = np.isfinite(past).sum(1)
        mean = np.where(count > 0, np.nansum(past, 1) / np.maximum(count, 1), np.nan)
        return values[:, asof.target] / np.where(np.abs(mean) > 1e-12, mean, np.nan)[:, None]


def _closed(asof: AsOf, function: Callable[..., Array], cap: int) -> Array:
    return function(asof.panel.closed[:, : asof.known + asof.h], cap)[:, asof.target]


def _shut(asof: AsOf, function: Callable[..., Array]) -> Array:
    long = run_length(asof.panel.closed[:, : asof.known + asof.h], 60) >= 4
    return function(long, 90)[:, asof.target]


def _open_week(asof: AsOf) -> Array:
    closed = asof.panel.closed[:, : asof.known + asof.h]
    total = np.cumsum(np.pad(~closed, ((0, 0), (4, 3))).astype(np.int16), axis=1)
    return (total[:, 7:] - total[:, :-7])[:, asof.target].astype(float)


# past covariates and statics


def _past_ratio(asof: AsOf, name: str, short: int, long: int) -> Array:
    values = asof.panel.covariate(name).values.astype(float)

    def mean(window: int) -> Array:
        part = values[:, max(0, asof.known - window) :]
        count = np.isfinite(part).sum(1)
        return np.where(count > 0, np.nansum(part, 1) / np.maximum(count, 1), np.nan)

    bottom = mean(long)
    return mean(short) / np.where(np.abs(bottom) > 1e-12, bottom, np.nan)


def _code(asof: AsOf, name: str) -> Array:
    position = {value: float(code) for code, value in enumerate(asof.plan.codes[name])}
    values = asof.panel.series[name].cast(str)
    return values.replace_strict(position, default=None, return_dtype=pl.Float64).to_numpy()


def _number(asof: AsOf, name: str) -> Array:
    return asof.panel.series[name].cast(float).to_numpy()
