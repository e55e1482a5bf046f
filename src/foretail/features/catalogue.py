"""Every feature of the training frame, declared once: name, kind, what it is, how it is computed from an `AsOf`.

Kinds: ``as_of`` (one value per series), ``ahead`` (per series and date, known in advance), ``season`` (per series,
cutoff and step), ``static``. A window always ends at the cutoff (`AsOf` holds nothing later). A name that comes from a
column stands behind a prefix of its own, so that no two features can share a name whatever the columns are called.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import chain

from foretail.features import formulas as f
from foretail.features.calendar import calendar_of
from foretail.features.events import run_length, since, until
from foretail.features.feature import Feature, Window
from foretail.features.plan import Plan
from foretail.features.spans import spans_of
from foretail.panel.panel import Covariate, Panel

__all__ = ["Feature", "catalogue"]

_OF_THE_YEAR = ("month", "week_of_year", "day_of_year", "christmas_offset")


def catalogue(panel: Panel, plan: Plan) -> tuple[Feature, ...]:
    """All features of a panel under a plan, in a fixed order; the same for every cutoff of one dataset."""
    parts = (_levels, _cells, _cycles, _years, _calendar, _known, _closed, _past, _static)
    return tuple(chain.from_iterable(part(panel, plan) for part in parts))


def _levels(panel: Panel, plan: Plan) -> Iterator[Feature]:  # noqa: ARG001
    target = panel.spec.target
    half_year, two_years = _last(spans_of(panel.frequency).recent[-2]), _last(2 * panel.frequency.year_length)
    for window in spans_of(panel.frequency).recent:
        about = f"mean of the last {window} against the reference"
        compute, looks = partial(f.recent, window=window), _last(window)
        yield Feature(f"recent_{window}", "as_of", about, compute, base=True, window=looks, source=target)
    yield Feature("step", "ahead", "steps from the cutoff", f.steps, source="calendar")
    yield Feature("reference", "season", "size of the reference, in logs", f.reference_size, source=target)
    about = "share of open periods without sales"
    yield Feature("residual_std", "as_of", "spread around the cells", f.residual_std, window=half_year, source=target)
    yield Feature("zero_share", "as_of", about, f.zero_share, window=half_year, source=target)
    about = "observed periods, at most two years"
    yield Feature("n_observed", "as_of", about, f.n_observed, window=two_years, source=target)
    yield Feature("last_sale_ago", "as_of", "periods since the last sale", f.last_sale_ago, source=target)


def _last(n: int) -> Window:
    """The last n periods up to the cutoff, of which one at least is known."""
    return Window(1, n, 1)


def _cells(panel: Panel, plan: Plan) -> Iterator[Feature]:
    windows = spans_of(panel.frequency).cells
    if plan.cells.n_cells < 2:
        return
    for window in windows[1:]:
        about = f"weekday x flag effect over {window} against the reference"
        yield Feature(f"cell_{window}", "season", about, partial(f.cell_difference, window=window), base=True)
    yield Feature("cell_n", "season", "observations of the cell", partial(f.cell_observations, window=windows[-2]))
    yield Feature("cell", "ahead", "weekday x flag cell", f.cell_id, is_category=True)


def _cycles(panel: Panel, plan: Plan) -> Iterator[Feature]:  # noqa: ARG001
    for period in spans_of(panel.frequency).cycles:
        for n in (1, 3):
            about = f"mean of the last {n} at this place of a cycle of {period}"
            yield Feature(f"cycle_{period}_{n}", "season", about, partial(f.cycle, period=period, n=n))


def _years(panel: Panel, plan: Plan) -> Iterator[Feature]:
    if not plan.has_years:
        return
    about = "holiday-aligned value a year ago"
    yield Feature("aligned", "season", about, partial(f.aligned, name=None), base=True)
    if panel.frequency.is_daily:  # one day of one series is noisy; the profile tells weeks and months
        yield Feature("aligned_all", "season", f"{about}, all", partial(f.aligned, name=""))
    yield Feature("profile", "season", "seasonal profile forecast", f.profile, base=True)
    for name in (None, "", *plan.groups):
        yield from _years_of(panel, name)
    reach = spans_of(panel.frequency).year_reach[-2]
    yield Feature("two_years_own", "season", "two years ago", partial(f.year_ago, name=None, reach=reach, years=2))


def _years_of(panel: Panel, name: str | None) -> Iterator[Feature]:
    """Features of the year before of the series itself, of all series together, or of the group of a column."""
    spans = spans_of(panel.frequency)
    short, long = spans.recent[2], spans.recent[-3]
    base = not name
    label = f"by_{name}" if name else "own" if name is None else "all"
    for reach in spans.year_reach if base else spans.year_reach[-2:]:
        about, compute = f"± {reach} periods around a year ago, {label}", partial(f.year_ago, name=name, reach=reach)
        yield Feature(f"year_{label}_{reach}", "season", about, compute, base=base and reach == spans.year_reach[-2])
    about, compute = f"level a year before the cutoff, {label}", partial(f.year_level, name=name, window=short)
    yield Feature(f"year_level_{label}", "as_of", about, compute, base=base)
    for window in dict.fromkeys((short, long)):
        about, compute = f"year over year, last {window}, {label}", partial(f.year_growth, name=name, window=window)
        yield Feature(f"growth_{label}_{window}", "as_of", about, compute, base=base and window == long)
    if name is not None:
        compute = partial(f.group_recent, name=name, window=short)
        yield Feature(f"recent_{label}", "as_of", f"recent level of {label}", compute)


def _calendar(panel: Panel, plan: Plan) -> Iterator[Feature]:
    names = calendar_of(panel.frequency, panel.start, 1, panel.spec.country).names
    for position, name in enumerate(names):
        if panel.frequency.is_daily and name in _OF_THE_YEAR and not plan.has_two_years:
            continue  # a date seen once is learned by heart, and comes again on top of the value of a year ago
        compute = partial(f.calendar_value, position=position)
        yield Feature(name, "ahead", name.replace("_", " "), compute, source="calendar")


def _known(panel: Panel, plan: Plan) -> Iterator[Feature]:
    cap = spans_of(panel.frequency).event
    for item in panel.known:
        name, texts = item.name, _texts(item, plan)
        value = partial(f.known_value, name=name)
        yield Feature(f"known_{name}", "ahead", name, value, is_category=len(texts) > 2, source=name)
        if name in plan.effects:
            about, effect = f"{name}: what it added on past dates", partial(f.known_effect, name=name)
            yield Feature(f"effect_{name}", "season", about, effect, base=True, source=name)
        if name in plan.flags:
            yield from _flag(name, cap)
        elif not texts:
            relative = partial(f.known_relative, name=name)
            about = f"{name} against its mean of the last year"
            yield Feature(f"relative_{name}", "season", about, relative, source=name)


def _flag(name: str, cap: int) -> Iterator[Feature]:
    for prefix, distance in (("until", until), ("since", since), ("run", run_length)):
        compute = partial(f.known_distance, name=name, distance=distance, cap=cap)
        yield Feature(f"{prefix}_{name}", "ahead", f"{name}: periods {prefix}", compute, source=name)
    for prefix, shift in (("before", -1), ("after", 1)):
        compute = partial(f.known_neighbour, name=name, shift=shift)
        yield Feature(f"{prefix}_{name}", "ahead", f"{name} one period {prefix}", compute, source=name)


def _closed(panel: Panel, plan: Plan) -> Iterator[Feature]:
    if not plan.has_closed:
        return
    cap = spans_of(panel.frequency).event
    near, far = partial(f.known_closed, cap=cap), f.long_closure
    yield Feature("closed_in", "ahead", "periods until next closed", partial(near, distance=until))
    yield Feature("closed_ago", "ahead", "periods since last closed", partial(near, distance=since))
    yield Feature("open_week", "ahead", "open periods among the seven around", f.open_week)
    if panel.frequency.is_daily:
        yield Feature("shut_in", "ahead", "days until a long closure", partial(far, distance=until))
        yield Feature("shut_ago", "ahead", "days since a long closure", partial(far, distance=since))


def _past(panel: Panel, plan: Plan) -> Iterator[Feature]:
    windows = spans_of(panel.frequency).recent
    short, long = windows[1], windows[-1]
    for item in panel.past:
        if not _texts(item, plan):
            compute = partial(f.past_ratio, name=item.name, short=short, long=long)
            about = f"{item.name}: last {short} against last {long}"
            yield Feature(f"past_{item.name}", "as_of", about, compute, window=_last(long), source=item.name)


def _static(panel: Panel, plan: Plan) -> Iterator[Feature]:
    for name in (*panel.spec.keys, *panel.spec.static):
        if name in plan.codes:
            compute = partial(f.static_code, name=name)
            yield Feature(f"static_{name}", "static", name, compute, is_category=True, role="static", source=name)
        elif panel.series[name].dtype.is_numeric():
            compute = partial(f.static_number, name=name)
            yield Feature(f"static_{name}", "static", name, compute, role="static", source=name)


def _texts(item: Covariate, plan: Plan) -> tuple[str, ...]:
    return plan.categories.get(item.name, item.categories)
