"""What-ifs and explanations against a world that knows its truth: promotions added and removed, holidays, parts.

In made-up worlds the mean demand under any plan is known. Families are fitted on the sales alone. A scenario adds a
promotion to a series for a week of the horizon, or takes one away, with the price as this world sets it then; the
change of the forecast over the horizon is held against the change of the mean demand. Explanations are held against
what the promotion, and the holiday, truly add on their days. One world tells the price, and there a promotion and its
lower price always come together, so that no history tells them apart: both parts together are the promotion. The
other world does not tell it.

    python -m benchmarks.scenario [--families boosting,prophet] [--seeds 31,32] [--scenarios 200]
"""

from __future__ import annotations

import argparse
import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from benchmarks.table import Measure, publish
from foretail.backtest.run import Candidate, backtest
from foretail.features.groups import GROUPS
from foretail.forecasts.difference import SAMPLES, WIDTHS, difference_of
from foretail.forecasts.explain import Explainer
from foretail.forecasts.whatif import WhatIf
from foretail.models.contract import Forecaster
from foretail.models.dependence import Dependence
from foretail.models.families import make
from foretail.models.intervals import Conformal
from foretail.panel.build import build_panel
from foretail.panel.panel import Panel
from foretail.pipelines.dependence import calibration_of
from foretail.sources.synthetic import OtherPlan, SyntheticConfig, generate, other_plan

__all__ = ["Case", "main", "measure"]

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
IntArray = npt.NDArray[np.int64]

H, WEEK = 28, 7
LEVELS = (0.025, 0.1, 0.5, 0.9, 0.975)
GOAL = 0.2
# the horizon holds the fourth Thursday of November, the history five Novembers and Decembers less one
WORLD = {
    "start_date": dt.date(2021, 1, 1),
    "periods": 1044,
    "stores": 5,
    "products": 10,
    "horizon": H,
    "intermittent_share": 0.0,
    "opening_share": 0.0,
    "closing_share": 0.0,
    "stockout_share": 0.01,
}


@dataclass(frozen=True)
class Case:
    """A world, its panel and a fitted family.

    Attributes
    ----------
    config : of the world. panel : N series that end at the cutoff. model : fitted. tells_price : the panel has prices.
    intervals, dependence : of its backtest, or None when that was left out.
    """

    config: SyntheticConfig
    panel: Panel
    model: Forecaster
    tells_price: bool
    intervals: Conformal | None = None
    dependence: Dependence | None = None

    @classmethod
    def of(cls, seed: int, family: str, *, tells_price: bool, tests: bool, n_threads: int) -> Case:
        """Make the world, build the panel, fit the family, and backtest it where intervals are wanted."""
        config = SyntheticConfig(**WORLD, seed=seed)  # type: ignore[arg-type]
        table = generate(config).table
        if not tells_price:
            known = tuple(name for name in table.spec.known if name != "price")
            future = None if table.future is None else table.future.drop("price")
            table = replace(table, spec=table.spec.but(known=known), frame=table.frame.drop("price"), future=future)
        panel = build_panel(table).panel
        model = make(family, n_threads=n_threads).fit(panel, H)
        if not tests:
            return cls(config, panel, model, tells_price)
        result = backtest(panel, H, [Candidate(family)], levels=LEVELS, n_workers=n_threads).alone(family, panel, H)
        arrays = calibration_of(panel, H, result)
        return cls(config, panel, model, tells_price, Conformal.from_arrays(arrays), Dependence.from_arrays(arrays))

    @cached_property
    def plan(self) -> OtherPlan:
        """The world as it is."""
        return other_plan(self.config)

    @property
    def ahead(self) -> slice:
        """Columns of the horizon."""
        return slice(self.panel.n_periods, self.panel.n_periods + H)

    def answer(self) -> WhatIf:
        """The forecast, ready to be asked what if."""
        intervals = self.intervals or _no_intervals()
        return WhatIf(self.panel, self.model, H, intervals, intervals.levels)


def _no_intervals() -> Conformal:
    return Conformal((0.1, 0.9), "forecast", np.empty(0), np.array([1]), np.zeros((1, 1, 2)), H)


# what if


@dataclass(frozen=True)
class Changes:
    """S scenarios of one series each.

    Attributes
    ----------
    rows : ``[S]``. added : bool ``[S]`` a promotion is added, not removed.
    true, found : ``[S]`` change over the horizon.
    inside : per way of the interval, bool ``[S]`` whether its 80 % range of that change holds the truth.
    """

    rows: IntArray
    added: BoolArray
    true: FloatArray
    found: FloatArray
    inside: dict[str, BoolArray]

    def error(self, which: BoolArray | None = None) -> float:
        """Median of the error of the change, as a share of the true change."""
        share = np.abs(self.found - self.true) / np.abs(self.true)
        return float(np.median(share if which is None else share[which]))


def what_if(case: Case, n: int, seed: int) -> Changes:
    """Add or remove a promotion of a week in n places of the horizon."""
    rng = np.random.default_rng(seed)
    rows = rng.integers(0, case.panel.n_series, n)
    first = rng.integers(0, H - WEEK + 1, n)
    promo = case.plan.promo[rows, case.ahead].copy()
    week = (np.arange(H) >= first[:, None]) & (np.arange(H) < first[:, None] + WEEK)
    added = (promo & week).sum(1) * 2 < WEEK
    promo[week] = np.repeat(added, WEEK)
    other = [_other(case, row, promo[i]) for i, row in enumerate(rows.tolist())]
    true = (np.stack([expected for expected, _ in other]) - case.plan.expected[rows, case.ahead]).sum(1)
    ahead = {"promo": promo.astype(np.float32)}
    if case.tells_price:
        ahead["price"] = np.stack([price for _, price in other]).astype(np.float32)
    whatif = case.answer()
    base = whatif.as_it_is()[0][rows]
    changed = np.stack([answer.values for answer in whatif.answers(whatif.change_to(rows, ahead))])
    found = (changed - base)[..., 0].sum(1)
    return Changes(rows, added, true, found, _inside(case, base, changed, true))


def _other(case: Case, row: int, promo: BoolArray) -> tuple[FloatArray, FloatArray]:
    """Mean demand and price ``[H]`` of a series under other promotions in the horizon."""
    plan = case.plan.promo.copy()
    plan[row, case.ahead] = promo
    changed = other_plan(case.config, plan)
    return changed.expected[row, case.ahead], changed.price[row, case.ahead]


def _inside(case: Case, base: FloatArray, changed: FloatArray, true: FloatArray) -> dict[str, BoolArray]:
    if case.intervals is None:
        return {}
    found = {}
    for name, dependence in ((SAMPLES, case.dependence), (WIDTHS, None)):
        difference = difference_of(base, changed, case.intervals.levels, dependence, {})
        low, high = (difference.series[:, difference.levels.index(level)] for level in (0.1, 0.9))
        found[name] = (low <= true) & (true <= high)
    return found


# why


@dataclass(frozen=True)
class Parts:
    """What D days are said to sell because of one thing, and truly do.

    Attributes
    ----------
    found, forecast : ``[D]`` part of the explanation, and the whole it is a part of.
    true, expected : ``[D]`` what the thing adds to the mean demand, and that demand.
    """

    found: FloatArray
    forecast: FloatArray
    true: FloatArray
    expected: FloatArray

    @property
    def error(self) -> float:
        """Median of the error in pieces, as a share of the true pieces."""
        return float(np.median(np.abs(self.found - self.true) / np.abs(self.true)))

    @property
    def share_error(self) -> float:
        """The same of the share of the day: the forecast is near the median of a day, the truth is its mean."""
        scaled = self.found * self.expected / np.maximum(self.forecast, 1e-9)
        return float(np.median(np.abs(scaled - self.true) / np.abs(self.true)))


def promotion_part(case: Case) -> Parts:
    """The part of the promotion (and of its price) and what it truly adds, on every promoted open day ahead."""
    without = case.plan.promo.copy()
    without[:, case.ahead] = False
    expected = case.plan.expected[:, case.ahead]
    true = expected - other_plan(case.config, without).expected[:, case.ahead]
    row, column = np.nonzero(case.plan.promo[:, case.ahead] & (expected > 0))
    found = Explainer(case.model, case.panel).explain(row, column + 1)
    groups = ["promotion", "price"] if case.tells_price else ["promotion"]
    part = found.parts[:, [GROUPS.index(group) for group in groups]].sum(1)
    return Parts(part, found.y_hat, true[row, column], expected[row, column])


def holiday_part(case: Case) -> Parts:
    """The part of the holiday and what it truly adds, on every open holiday ahead."""
    expected = case.plan.expected[:, case.ahead]
    true = expected - other_plan(case.config, has_holidays=False).expected[:, case.ahead]
    row, column = np.nonzero(true > 0)
    found = Explainer(case.model, case.panel).explain(row, column + 1)
    named = found.features.filter(found.features["feature"].str.contains("holiday"))
    part = np.zeros(len(row))
    np.add.at(part, named["row"].to_numpy(), named["part"].to_numpy())
    return Parts(part, found.y_hat, true[row, column], expected[row, column])


# the table


def measure(families: Sequence[str], seeds: Sequence[int], n: int, n_threads: int) -> list[Measure]:
    """Every figure, pooled over the seeds."""
    lines: list[Measure] = []
    for family in families:
        for tells_price in (True, False):
            tests = tells_price and family == families[0]
            cases = [Case.of(seed, family, tells_price=tells_price, tests=tests, n_threads=n_threads) for seed in seeds]
            lines += _of_family(family, cases, n)
    return lines


def _of_family(family: str, cases: Sequence[Case], n: int) -> list[Measure]:
    told = "promotion and price" if cases[0].tells_price else "promotion, price not told"
    each = -(-n // len(cases))
    changes = [what_if(case, each, seed) for seed, case in enumerate(cases)]
    found = Changes(*(np.concatenate([getattr(item, name) for item in changes]) for name in _ARRAYS), {})
    work = f"{family}, {told}"
    lines = [
        Measure(
            f"{work}: change of a forecast, median error of {len(found.rows)}", found.error(), "share", at_most=GOAL
        ),
        Measure(f"{work}: of these, promotion added", found.error(found.added), "share", at_most=GOAL),
        Measure(f"{work}: of these, promotion removed", found.error(~found.added), "share", at_most=GOAL),
        Measure(f"{work}: change of all of them, error of the sum", _sum_error(found), "share"),
    ]
    for name in changes[0].inside:
        covered = float(np.concatenate([item.inside[name] for item in changes]).mean())
        way = "joint samples" if name == SAMPLES else "widths of both"
        lines.append(Measure(f"{work}: true change inside the 80 % range by {way}", covered, "share"))
    parts = [promotion_part(case) for case in cases]
    holidays = [holiday_part(case) for case in cases]
    for name, found_parts in (("promotion", parts), ("holiday", holidays)):
        every = Parts(*(np.concatenate([getattr(item, field.name) for item in found_parts]) for field in fields(Parts)))
        label = f"{work}: {name} part of an explanation, median error of {len(every.found)} days"
        lines.append(Measure(label, every.error, "share", at_most=GOAL))
        lines.append(Measure(f"{label}, of its share of the day", every.share_error, "share", at_most=GOAL))
    return lines


_ARRAYS = ("rows", "added", "true", "found")


def _sum_error(found: Changes) -> float:
    sign = np.where(found.added, 1.0, -1.0)
    true = (sign * found.true).sum()
    return float(abs((sign * found.found).sum() - true) / abs(true))


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--families", default="boosting,profile,prophet")
    parser.add_argument("--seeds", default="31,32")
    parser.add_argument("--scenarios", type=int, default=200)
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args(arguments)
    seeds = [int(seed) for seed in given.seeds.split(",")]
    publish("scenario", measure(given.families.split(","), seeds, given.scenarios, given.threads))


if __name__ == "__main__":
    main()
