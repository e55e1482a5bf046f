"""On-demand views: what is made of a row when it is read, from features that hang on a lag or are known in advance."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import chain

from foretail.core.spec import DatasetSpec
from foretail.features import moments as m
from foretail.features.derived import Derivation
from foretail.features.feature import Feature, Limits, View, Window

__all__ = ["AHEAD", "DERIVED", "is_size", "on_demand_views"]

Claim = Callable[[str, str], str]

DERIVED, AHEAD = "derived_features", "derived_ahead_features"
_SIZES = ("size", "area", "sqft", "square")
_WEEKS, _MONTHS = 365.25 / 7, 12.0


def on_demand_views(spec: DatasetSpec, stored: tuple[View, ...], claim: Claim) -> Iterator[View]:
    """The on-demand views over stored ones; what needs a column that the table lacks is not declared.

    Parameters
    ----------
    stored : the view of sales first. claim : gives a feature the name it asks for, or with the prefix if it is taken.
    """
    sales = stored[0]
    made = chain(_seasons(sales, claim), _size(stored, claim), _scaled(sales, claim), _momentum(sales, claim))
    yield _view(DERIVED, tuple(made), stored, (), "made from the row when it is read")
    columns = tuple(name for name in spec.known if "markdown" in name.lower())
    flags = [item.name for item in sales.features if getattr(item.compute, "func", None) is m.is_holiday]
    if columns and flags:
        yield _markdown_view(columns, flags[0], stored, claim)


def is_size(name: str) -> bool:
    """Whether a column is called like the size of a shop."""
    return any(word in name.lower() for word in _SIZES)


def _derived(name: str, about: str, how: Derivation, limits: Limits, window: Window | None = None) -> Feature:
    return Feature(name, "on_demand", about, how, window=window, source=", ".join(how.columns), limits=limits)


def _seasons(sales: View, claim: Claim) -> Iterator[Feature]:
    of_week = [item.name for item in sales.features if item.compute is m.week_of_year]
    of_month = [item.name for item in sales.features if item.compute is m.month]
    for kind, word in enumerate(("sin", "cos")):
        about = f"T + 1 step: {'co' * kind}sine of its place in the year"
        how = Derivation("season", ((of_week or of_month)[0],), (float(kind), _WEEKS if of_week else _MONTHS))
        yield _derived(claim(f"season_{word}", "derived"), about, how, Limits(0.0, -1.0, 1.0))


def _size(stored: tuple[View, ...], claim: Claim) -> Iterator[Feature]:
    columns = (item for view in stored for item in view.features if item.role == "static" and item.dtype == "Float64")
    for item in [item for item in columns if is_size(item.source)][:1]:
        how = Derivation("ratio", (_lag(stored[0], 1), item.name))
        about = f"sales at T per unit of {item.name}"
        yield _derived(claim("sales_per_sqft", "derived"), about, how, Limits(), Window())


def _scaled(sales: View, claim: Claim) -> Iterator[Feature]:
    for item in sales.features:
        low, high = item.limits.low, item.limits.high
        if item.kind == "as_of" and low is not None and high is not None:
            about = f"{item.name} from {low:g} to {high:g} as 0 to 1, bounds as declared"
            how, limits = Derivation("scaled", (item.name,), (low, high)), Limits(0.25, 0.0, 1.0)
            yield _derived(claim(f"{item.name}_scaled", "derived"), about, how, limits, item.window)


def _momentum(sales: View, claim: Claim) -> Iterator[Feature]:
    how = Derivation("momentum", (_lag(sales, 1), _lag(sales, 2)))
    about = "sales at T against those one period before: their difference over the sum of their sizes"
    yield _derived(claim("momentum", "derived"), about, how, Limits(0.25, -1.0, 1.0), Window(1, 2))


def _lag(sales: View, k: int) -> str:
    of_target = (item for item in sales.features if item.role == "input" and item.window == Window(k))
    return next(item.name for item in of_target if getattr(item.compute, "func", None) is m.newest)


def _markdown_view(columns: tuple[str, ...], flag: str, stored: tuple[View, ...], claim: Claim) -> View:
    total = claim("total_markdown", "request")
    about, source = "T + 1 step: sum of its markdowns, known in advance", ", ".join(columns)
    compute, limits = partial(m.known_sum, names=columns), Limits(1.0)
    request = Feature(total, "ahead", about, compute, role="request", source=source, limits=limits)
    name, about = claim("holiday_x_markdown", "derived"), "T + 1 step: its markdowns where it holds a holiday, else 0"
    made = _derived(name, about, Derivation("product", (flag, total)), limits)
    return _view(AHEAD, (made,), stored, (request,), "made from the row and what is known of the date to forecast")


def _view(
    name: str, features: tuple[Feature, ...], stored: tuple[View, ...], request: tuple[Feature, ...], about: str
) -> View:
    read = {column for item in features if isinstance(item.compute, Derivation) for column in item.compute.columns}
    inputs = tuple((view.name, item.name) for view in stored for item in view.features if item.name in read)
    sources = tuple(dict.fromkeys(view for view, _ in inputs))
    keys = tuple(dict.fromkeys(key for view in stored if view.name in sources for key in view.keys))
    return View(name, keys, features, about, on_demand=True, sources=sources, inputs=inputs, request=request)
