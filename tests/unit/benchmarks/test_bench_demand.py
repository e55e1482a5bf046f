"""The benchmark of true demand: its worlds, and that its ways differ only in what they are told."""

from __future__ import annotations

import numpy as np
import pytest
from benchmarks.demand import LEFT_OUT, SALES, TOLD, WAYS, WHOLE, Sums, estimates, forecasts, panels_of, shelves

from foretail.sources.synthetic import SyntheticConfig, SyntheticWorld, generate

CONFIG = {"stores": 3, "products": 4, "periods": 300, "horizon": 14, "seed": 5}


@pytest.fixture(scope="module", params=["days", "weeks"])
def world(request: pytest.FixtureRequest) -> SyntheticWorld:
    weekly = {"freq": "W-FRI", "periods": 120, "horizon": 8} if request.param == "weeks" else {}
    return generate(SyntheticConfig(**{**CONFIG, **weekly}, stockout_share=0.1))


def test_ways_have_the_same_cells(world: SyntheticWorld) -> None:
    panels = panels_of(world)
    assert tuple(panels) == WAYS
    assert len({panel.y.shape for panel in panels.values()}) == 1
    out = panels[LEFT_OUT].is_withheld
    assert 0.05 < out.mean() < 0.15
    for way in (TOLD, LEFT_OUT, WHOLE):
        np.testing.assert_array_equal(panels[way].y[~out], panels[SALES].y[~out])
    assert (panels[SALES].y[out] < panels[WHOLE].y[out]).all()


def test_shelves_run_out_as_often_as_asked_and_where_much_is_asked_for(world: SyntheticWorld) -> None:
    full = shelves(world, 0.1, 1)
    told = full.truth.filter(full.truth["demand"] > 0)
    assert told["stockout"].mean() == pytest.approx(0.1, abs=0.02)
    assert (full.truth["sales"] <= full.truth["demand"]).all()
    short = told.filter(told["stockout"])
    assert (short["demand"] / short["expected"]).mean() > 1.2 * (told["demand"] / told["expected"]).mean()


def test_telling_stockouts_helps_and_estimates_are_better_than_sales(world: SyntheticWorld) -> None:
    panels = panels_of(world)
    found = forecasts(world, panels, ["historic_average"])
    whole = found["historic_average", WHOLE].bias
    assert abs(found["historic_average", TOLD].bias - whole) < 0.3 * abs(found["historic_average", SALES].bias - whole)
    guessed = estimates(world, panels)
    sold = guessed.pop(SALES).wape
    assert all(item.wape < 0.6 * sold for item in guessed.values())


def test_a_column_that_never_tells_of_any_changes_nothing() -> None:
    world = generate(SyntheticConfig(**CONFIG, stockout_share=0.0))
    panels = {way: panel for way, panel in panels_of(world).items() if way in (SALES, TOLD)}
    found = forecasts(world, panels, ["profile"])
    assert found["profile", SALES] == found["profile", TOLD]


def test_sums_are_of_known_cells() -> None:
    found = Sums.of(np.array([1.0, 5.0, 3.0]), np.array([2.0, 4.0, np.nan])) + Sums.of(np.ones(1), np.zeros(1))
    assert (found.absolute, found.signed, found.size) == (3.0, 1.0, 6.0)
