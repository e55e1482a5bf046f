"""What a backtest says of joint errors: totals that joint samples cover and other ways do not, and what is left out."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest

from foretail.backtest.result import Window
from foretail.backtest.run import WindowResult, errors_of
from foretail.core.quantiles import DEFAULT_QUANTILES
from foretail.core.spec import DatasetSpec
from foretail.models.intervals import Conformal, Size
from foretail.panel.panel import Panel
from foretail.pipelines.dependence import calibration_of, dependence_of, totals_coverage

N, H, T = 400, 14, 600


def panel():
    rng = np.random.default_rng(0)
    ids = [f"{i:03d}" for i in range(N)]
    series = pl.DataFrame({"unique_id": ids, "item": ids, "store": [i % 10 for i in range(N)]})
    spec = DatasetSpec(("item",), "date", "units", "D", H, static=("store",))
    return Panel(spec, series, 0, 50 + 5 * rng.standard_normal((N, T)), np.zeros((N, T + H), dtype=bool))


def window(sales, n_periods, role, seed):
    """Errors of which two fifths of the variance last the path; a tenth of the days are closed, a tenth unknown."""
    rng = np.random.default_rng(seed)
    error = 5 * (np.sqrt(0.4) * rng.standard_normal((N, 1)) + np.sqrt(0.6) * rng.standard_normal((N, H)))
    y_hat = np.full((N, H), 50.0)
    closed = rng.random((N, H)) < 0.1
    y = np.where(closed, 0.0, np.where(rng.random((N, H)) < 0.1, np.nan, y_hat + error))
    size = Size.of(sales.as_of(n_periods))
    forecasts = {"profile": np.where(closed, 0.0, y_hat)}
    return WindowResult(Window(n_periods, H, role, ""), y, closed, forecasts, size, np.ones(N), np.ones(N))


@pytest.fixture(scope="module")
def tested():
    """The sales and what of a backtest is read."""
    sales = panel()
    results = [
        *(window(sales, T - H * back, "inner", back) for back in (6, 5, 4, 3)),
        *(window(sales, T - H * back, "outer", back) for back in (2, 1)),
    ]
    held = [result.held_back("profile", T, T) for result in results]
    intervals = Conformal.fit(held, DEFAULT_QUANTILES, H)
    return sales, SimpleNamespace(results=results, chosen="profile", levels=DEFAULT_QUANTILES, intervals=intervals)


def test_joint_samples_cover_totals_and_other_ways_do_not(tested):
    found = totals_coverage(*tested[:1], H, tested[1])
    assert found.n == 2 * N
    assert found.joint == pytest.approx(0.8, abs=0.05)
    assert found.summed > 0.9
    assert found.independent < 0.65
    assert found.group > 0.6


def test_what_lasts_the_path_is_found_from_the_windows(tested):
    sales, test = tested
    held = errors_of(sales, H, test.results, "profile", T)
    correlation = dependence_of(sales, held, test.intervals).correlation(H)
    assert correlation[0, 3] == pytest.approx(0.4, abs=0.1)  # ties are set by trial on some totals
    assert correlation[0, 13] == pytest.approx(0.4, abs=0.1)


def test_only_what_was_known_is_used(tested):
    sales, test = tested
    known = T - 2 * H
    held = errors_of(sales, H, test.results, "profile", known)
    assert len(held) == 4
    assert all(item.age > 0 for item in held)


def test_intervals_and_dependence_travel_together(tested):
    sales, test = tested
    arrays = calibration_of(sales, H, test)
    assert Conformal.from_arrays(arrays).levels == DEFAULT_QUANTILES
    assert "dependence_shares" in arrays


def test_nothing_measured_is_none_in_json(tested):
    sales, test = tested
    only_inner = SimpleNamespace(**{**vars(test), "results": test.results[:4]})
    found = totals_coverage(sales, H, only_inner).to_dict()
    assert found == {"joint": None, "summed": None, "independent": None, "group": None, "n": 0}


def test_fewer_series_are_measured_where_asked(tested):
    assert totals_coverage(tested[0], H, tested[1], n_series=50).n == 100
