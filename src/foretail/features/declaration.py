"""What the feature store holds for a table of sales, declared once: keys, views, on-demand views and services.

From it come the Feast objects, the rows of the store, the documentation, the guards and the online row; the training
frame of `foretail run` is declared with the same `Feature` in `foretail.features.catalogue`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from itertools import chain
from typing import Any

import polars as pl

from foretail.core.frequency import Frequency
from foretail.core.spec import DatasetSpec, PastCovariate
from foretail.features import moments as m
from foretail.features.feature import Declaration, Dtype, Entity, Feature, Limits, Service, View, Window
from foretail.features.on_demand import AHEAD, DERIVED, is_size, on_demand_views
from foretail.features.spans import spans_of
from foretail.panel.panel import Panel

__all__ = [
    "Declaration",
    "Entity",
    "Feature",
    "Limits",
    "Service",
    "View",
    "Window",
    "declare",
    "declare_as",
    "holiday_reach",
    "types_of",
]

SALES = "sales_features"
TIMES = ("event_timestamp", "created_timestamp")

# lags and windows by frequency: the last values, the same weekday (month) before, a short season and, for days, a month
_LAGS = {"D": (1, 2, 7, 14, 28), "W": (1, 2, 4, 8), "M": (1, 2, 3, 12)}
_WINDOWS = {"D": (7, 28), "W": (4,), "M": (3,)}
# what shops and statistical offices can publish, in whatever unit; the ends are the bounds of the 0-1 scaling too
_BOUNDS = {"temperature": (-60.0, 140.0), "fuel_price": (0.0, 10.0), "cpi": (0.0, 400.0), "unemployment": (0.0, 30.0)}
_MOST_DAYS = {"D": 1, "W": 7, "M": 31}
_HOLIDAYS = ("isholiday", "holiday", "stateholiday", "publicholiday", "bankholiday")


def declare(spec: DatasetSpec, panel: Panel | None = None) -> Declaration:
    """Declare the features of a table.

    Parameters
    ----------
    spec : the meaning of the table's columns.
    panel : the table itself, to see which keys and covariates are text, which static columns are numbers, and which key
        each of these depends on. Without it keys are integers, covariates numbers, and a static column belongs to the
        key whose name it shares (``store_size`` to ``store_id``), else to the first; it is a number if it is a size.
    """
    types = _usual_types(spec) if panel is None else types_of(panel)
    owners = _usual_owners(spec) if panel is None else _owners_of(panel)
    return declare_as(spec, types, owners)


def declare_as(spec: DatasetSpec, types: Mapping[str, Dtype], owners: Mapping[str, tuple[str, ...]]) -> Declaration:
    """Declare the features of a table whose column types and static columns' keys are known.

    Parameters
    ----------
    types : dtype of the key, static and past columns. owners : keys that each static column depends on.
    """
    entities = tuple(Entity(name, types[name]) for name in spec.keys)
    names = _Names((*spec.keys, *TIMES))
    sales = View(SALES, spec.keys, tuple(_sales(spec, types, names)), "one row per series and as-of date T")
    statics = tuple(_static_views(spec, types, owners, names))
    derived = tuple(on_demand_views(spec, (sales, *statics), names.claim))
    views = (sales, *statics, *derived)
    return Declaration(spec, entities, views, tuple(_services(views)), dict(types), dict(owners))


def holiday_reach(spec: DatasetSpec) -> int:
    """Periods from T + 1 on that are searched for a holiday: never beyond the horizon, as a forecast knows no more."""
    return min(spec.horizon, spans_of(spec.frequency).event)


# what can be seen in a table, or is usual


def _usual_types(spec: DatasetSpec) -> dict[str, Dtype]:
    keys: dict[str, Dtype] = dict.fromkeys(spec.keys, "Int64")
    past: dict[str, Dtype] = dict.fromkeys((item.name for item in spec.past), "Float64")
    static: dict[str, Dtype] = {name: "Float64" if is_size(name) else "String" for name in spec.static}
    return keys | static | past


def types_of(panel: Panel) -> dict[str, Dtype]:
    """Dtype of each key, static and past column of a panel."""
    columns = {name: panel.series[name].dtype for name in (*panel.spec.keys, *panel.spec.static)}
    types: dict[str, Dtype] = {name: "Int64" if columns[name].is_integer() else "String" for name in panel.spec.keys}
    types |= {name: _static_type(columns[name]) for name in panel.spec.static}
    return types | {item.name: "String" if item.categories else "Float64" for item in panel.past}


def _static_type(dtype: pl.DataType) -> Dtype:
    if dtype.is_numeric():
        return "Float64"
    return "Bool" if dtype == pl.Boolean else "String"


def _usual_owners(spec: DatasetSpec) -> dict[str, tuple[str, ...]]:
    return {name: _usual_owner(name, spec.keys) for name in spec.static}


def _usual_owner(name: str, keys: tuple[str, ...]) -> tuple[str, ...]:
    stems = {key: _stem(key) for key in keys}
    like = [key for key in keys if name.lower().startswith(stems[key])]
    return tuple(like[:1] or keys[:1])


def _owners_of(panel: Panel) -> dict[str, tuple[str, ...]]:
    keys = panel.spec.keys
    owners = {}
    for name in panel.spec.static:
        usual = _usual_owner(name, keys)
        candidates = (*usual, *(key for key in keys if key not in usual))
        found = [key for key in candidates if _depends(panel.series, name, key)]
        owners[name] = tuple(found[:1] or keys)
    return owners


def _depends(series: pl.DataFrame, name: str, key: str) -> bool:
    return series.select(key, name).unique().height == series[key].n_unique()


def _stem(name: str) -> str:
    return re.sub(r"_?(id|nr|no|code|key)$", "", name.lower()) or name.lower()


# the views


class _Names:
    """Names that are taken: no two features of a declaration share one, whatever the columns are called."""

    def __init__(self, taken: tuple[str, ...]):
        self._taken = set(taken)

    def claim(self, name: str, prefix: str) -> str:
        """The name as a feature can carry it, with the prefix where it is taken."""
        clean = re.sub(r"\W+", "_", name).strip("_") or prefix
        while clean in self._taken:
            clean = f"{prefix}_{clean}"
        self._taken.add(clean)
        return clean

    def renamed(self, item: Feature, prefix: str) -> Feature:
        """The feature under a name of its own."""
        return replace(item, name=self.claim(item.name, prefix))


def _sales(spec: DatasetSpec, types: Mapping[str, Dtype], names: _Names) -> Iterator[Feature]:
    computed = tuple(chain(_windows(spec), _calendar(spec.frequency), _holidays(spec)))
    about = "sales at T: a label for earlier rows, never an input"
    target = _of_sales(spec.target, about, m.newest, Window(), spec)
    # computed names keep their place before those of the table's own columns; the target keeps its own if it can
    named = [names.renamed(item, prefix) for item, prefix in ((target, "target"), *((i, "feature") for i in computed))]
    yield replace(named[0], kind="label", role="target")
    yield from named[1:]
    for item in spec.past:
        yield names.renamed(_past(item, types[item.name]), "past")


def _of_sales(
    name: str, about: str, formula: Any, window: Window, spec: DatasetSpec, limits: Limits | None = None
) -> Feature:
    """A feature of past sales: what it computes and what it declares is one and the same window."""
    limits = limits or Limits(low=0.0 if spec.negatives == "clip" else None)
    compute = partial(formula, window=window)
    return Feature(name, "as_of", about, compute, window=window, source=spec.target, limits=limits)


def _windows(spec: DatasetSpec) -> Iterator[Feature]:
    noun, unit = spec.frequency.noun, spec.frequency.code[0]
    for k in _LAGS[unit]:
        about = "sales at T, the as-of date" if k == 1 else f"sales {k - 1} {noun}{'s' * (k > 2)} before T"
        yield _of_sales(f"lag_{k}", about, m.newest, Window(k), spec)
    for n in _WINDOWS[unit]:
        window, past = _mean_of(n, unit), f"the last {n} {noun}s up to T"
        yield _of_sales(f"rolling_mean_{n}{noun[0]}", f"mean of {past}", m.mean, window, spec)
        about = f"standard deviation of {past}"
        yield _of_sales(f"rolling_std_{n}{noun[0]}", about, m.std, window, spec, Limits(low=0.0))
    n = _WINDOWS[unit][0]
    about = f"sales at T against the mean of the last {n} {noun}s"
    yield _of_sales("sales_vs_avg", about, m.versus_mean, _mean_of(n, unit), spec, Limits())


def _mean_of(n: int, unit: str) -> Window:
    """Days may be missing (a shop without rows on Sundays): more than half of them do."""
    return Window(1, n, n // 2 + 1 if unit == "D" else None)


def _calendar(frequency: Frequency) -> Iterator[Feature]:
    places = (
        ("week_of_year", m.week_of_year, "week of the year, from 1 January on", 1, 53),
        ("month", m.month, "month", 1, 12),
        ("quarter", m.quarter, "quarter", 1, 4),
        ("week_of_month", m.week_of_month, "week of the month, from the 1st on", 1, 5),
        ("is_month_end", m.is_month_end, f"1 where the {frequency.noun} holds the last day of a month", 0, 1),
    )
    for name, formula, about, low, high in places:
        if not frequency.is_monthly or name in ("month", "quarter"):
            yield _ahead(name, about, formula, Limits(0.0, low, high), "calendar")


def _holidays(spec: DatasetSpec) -> Iterator[Feature]:
    column, noun = _holiday_of(spec), spec.frequency.noun
    if column is None and spec.country is None:
        return
    source = column or f"public holidays of {spec.country}"
    flag, limits = partial(m.is_holiday, name=column), Limits(0.1, 0.0, 1.0)
    yield _ahead("is_holiday", f"1 where the {noun} holds a holiday", flag, limits, source)
    reach = holiday_reach(spec)
    about = f"days to the next holiday, 0 on one; where there is none in {reach} {noun}s, their days"
    days, longest = partial(m.days_to_holiday, name=column), reach * _MOST_DAYS[spec.frequency.code[0]]
    yield _ahead("days_to_holiday", about, days, Limits(0.1, 0.0, longest), source)


def _holiday_of(spec: DatasetSpec) -> str | None:
    """The known covariate that says which dates are holidays."""
    words = {name: re.sub(r"[^a-z]", "", name.lower()) for name in spec.known}
    return next((name for word in _HOLIDAYS for name in spec.known if words[name] == word), None)


def _ahead(name: str, about: str, formula: Any, limits: Limits, source: str) -> Feature:
    return Feature(name, "ahead", f"T + 1 step: {about}", formula, dtype="Int64", source=source, limits=limits)


def _past(item: PastCovariate, dtype: Dtype) -> Feature:
    compute = partial(m.past_text if dtype == "String" else m.past_value, name=item.name)
    low, high = _BOUNDS.get(item.name.lower(), (None, None)) if dtype == "Float64" else (None, None)
    about = f"{item.name}, last published at T" + (f" (told {item.delay} periods late)" if item.delay else "")
    limits, window = Limits(0.25, low, high), Window(1 + item.delay)
    return Feature(item.name, "as_of", about, compute, dtype=dtype, window=window, source=item.name, limits=limits)


def _static_views(
    spec: DatasetSpec, types: Mapping[str, Dtype], owners: Mapping[str, tuple[str, ...]], names: _Names
) -> Iterator[View]:
    taken = {SALES, DERIVED, AHEAD}
    for keys in dict.fromkeys(owners[name] for name in spec.static):
        columns = [name for name in spec.static if owners[name] == keys]
        features = tuple(names.renamed(_static(name, types[name]), "static") for name in columns)
        name = _view_name(keys if len(keys) == 1 else ("series",), taken)
        yield View(name, keys, features, f"one row per {' and '.join(keys) or 'series'}, from its first date on")


def _view_name(keys: tuple[str, ...], taken: set[str]) -> str:
    stem = re.sub(r"\W+", "_", _stem(keys[0])).strip("_") or "key"
    name = f"{stem}_features"
    while name in taken:
        name = f"static_{name}"
    taken.add(name)
    return name


def _static(column: str, dtype: Dtype) -> Feature:
    limits = Limits(0.05, 0.0 if is_size(column) and dtype == "Float64" else None)
    compute = partial(m.static_value, name=column)
    return Feature(column, "static", column, compute, dtype=dtype, role="static", source=column, limits=limits)


# services


def _services(views: tuple[View, ...]) -> Iterator[Service]:
    stored = [(view.name, item.name) for view in views if not view.on_demand for item in view.features]
    target = next((view.name, item.name) for view in views for item in view.features if item.role == "target")
    inputs = tuple(pair for pair in stored if pair != target)
    yield Service("training_features", tuple(stored), "the target and what is stored of T")
    yield Service("inference_features", inputs, "what is stored of T, without the target")
    made: tuple[tuple[str, str], ...] = ()
    for view, suffix in zip((view for view in views if view.on_demand), ("derived", "ahead"), strict=False):
        made += tuple((view.name, name) for name in view.names)
        also = "and what is made on demand" + (" and from the request" if view.request else "")
        yield Service(f"training_features_{suffix}", (*stored, *made), f"the target, what is stored of T {also}")
        yield Service(f"inference_features_{suffix}", (*inputs, *made), f"what is stored of T {also}")
