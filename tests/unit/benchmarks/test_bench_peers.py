"""The peers: finite answers of the right shape on awkward panels, the same rules as ours, kept by content."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from benchmarks.peers import PEERS, answer, matrix_frame

from foretail.core.quantiles import DEFAULT_QUANTILES
from foretail.core.spec import DatasetSpec
from foretail.models.naive import SeasonalNaive
from foretail.panel.panel import Covariate, Panel


def daily_panel(*, known: bool = False, n_periods: int = 70, h: int = 7) -> Panel:
    """Four series of a shop shut on Sundays: whole, with a hole, late, and hardly selling."""
    rng = np.random.default_rng(1)
    weekday = np.arange(n_periods) % 7
    y = 50.0 + 20 * weekday + rng.normal(0, 2, (4, n_periods))
    y[1, 30:45] = np.nan
    y[2, : n_periods - 10] = np.nan
    y[3] = rng.random(n_periods) < 0.1
    closed = np.tile(np.arange(n_periods + h) % 7 == 6, (4, 1))
    y[closed[:, :n_periods] & np.isfinite(y)] = 0.0
    spec = DatasetSpec(("shop",), "date", "sales", "D", h, known=("promo",) if known else ())
    series = pl.DataFrame({"unique_id": list("abcd"), "shop": list("abcd")})
    promo = np.tile((np.arange(n_periods + h) % 5 == 0).astype(np.float32), (4, 1))
    covariates = (Covariate("promo", promo),) if known else ()
    return Panel(spec, series, 18_000, y, closed, covariates)


@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize("peer", PEERS)
def test_every_peer_answers_every_series_by_the_rules(peer, known, tmp_path):
    if peer == "lightgbm":
        pytest.importorskip("mlforecast", reason="mlforecast comes with the extra bench")
    panel = daily_panel(known=known)
    found = answer(peer, panel, 7, tmp_path)
    assert found.quantiles is None
    assert found.y_hat.shape == (4, 7)
    assert np.isfinite(found.y_hat).all()
    assert (found.y_hat >= 0).all()
    assert (found.y_hat[panel.closed[:, 70:]] == 0).all()
    open_days = ~panel.closed[0, 70:]
    expected = (50 + 20 * (np.arange(70, 77) % 7))[open_days]
    assert np.abs(found.y_hat[0, open_days] - expected).sum() / expected.sum() < 0.1


@pytest.mark.parametrize("peer", PEERS)
def test_intervals_rise_hold_the_median_and_know_closed_days(peer, tmp_path):
    if peer == "lightgbm":
        pytest.importorskip("mlforecast", reason="mlforecast comes with the extra bench")
    panel = daily_panel(known=True).select(np.array([0, 1, 3]))
    found = answer(peer, panel, 7, tmp_path, intervals=True)
    assert found.quantiles is not None
    assert found.quantiles.shape == (3, 7, len(DEFAULT_QUANTILES))
    assert np.isfinite(found.quantiles).all()
    assert (np.diff(found.quantiles, axis=-1) >= 0).all()
    assert (found.quantiles >= 0).all()
    assert (found.quantiles[panel.closed[:, 70:]] == 0).all()
    width = found.quantiles[0, :, -1] - found.quantiles[0, :, 0]
    assert (width[~panel.closed[0, 70:]] > 0).all()
    again = answer(peer, panel, 7, tmp_path, intervals=True)
    assert again.quantiles == pytest.approx(found.quantiles, rel=1e-6)
    assert (again.y_hat == found.y_hat).all()


def test_conformal_intervals_need_two_horizons_of_every_series(tmp_path):
    pytest.importorskip("mlforecast", reason="mlforecast comes with the extra bench")
    found = answer("lightgbm", daily_panel(known=True), 7, tmp_path, intervals=True)
    assert found.quantiles is None, "one series has ten days of history"


def test_seasonal_naive_intervals_are_those_of_its_own_errors(tmp_path):
    panel = daily_panel()
    found = answer("seasonal naive", panel, 14, tmp_path, intervals=True)
    assert found.quantiles is not None
    difference = panel.y[0, 7:] - panel.y[0, :-7]
    spread = np.sqrt((difference**2).mean())
    low, high = DEFAULT_QUANTILES.index(0.1), DEFAULT_QUANTILES.index(0.9)
    width = found.quantiles[0, :, high] - found.quantiles[0, :, low]
    seen = ~np.isin(np.arange(70, 84) % 7, [0, 6])
    assert width[:7][seen[:7]] == pytest.approx(2 * 1.2815515655 * spread)
    assert width[7:][seen[7:]] == pytest.approx(2 * 1.2815515655 * spread * np.sqrt(2))


@pytest.mark.parametrize("peer", PEERS)
def test_a_series_that_ends_earlier_is_answered_from_there(peer, tmp_path):
    if peer == "lightgbm":
        pytest.importorskip("mlforecast", reason="mlforecast comes with the extra bench")
    panel = daily_panel(known=True).select(np.array([0, 1]))
    ends = np.array([70, 63])
    found = answer(peer, panel, 7, tmp_path, ends=ends)
    panel.y[1, 63:] = 1e6
    hidden = answer(peer, panel, 7, tmp_path, ends=ends)
    assert (found.y_hat == hidden.y_hat).all(), "what lies after the end of a series is not seen"
    frame = matrix_frame(panel, found, ends).filter(pl.col("shop") == "b")
    assert frame["date"].to_list() == panel.dates(63, 7).tolist()


def test_an_answer_is_kept_by_what_was_asked(tmp_path):
    panel = daily_panel()
    first = answer("seasonal naive", panel, 7, tmp_path)
    (kept,) = tmp_path.iterdir()
    with np.load(kept) as file:
        parts = {**file, "y_hat": first.y_hat + 1, "seconds": 3.0}
    np.savez_compressed(kept, **parts)
    again = answer("seasonal naive", panel, 7, tmp_path)
    assert again.seconds == 3.0
    assert (again.y_hat == first.y_hat + 1).all()
    panel.y[0, 0] += 1
    assert (answer("seasonal naive", panel, 7, tmp_path).y_hat == first.y_hat).all()
    assert len(list(tmp_path.iterdir())) == 2


def test_a_matrix_becomes_rows_of_the_user():
    panel = daily_panel()
    y_hat = SeasonalNaive().predict(panel, 2).y_hat
    frame = matrix_frame(panel, y_hat)
    assert frame.columns == ["shop", "date", "y_hat"]
    assert frame["shop"].to_list() == ["a", "a", "b", "b", "c", "c", "d", "d"]
    assert frame["date"].to_list() == panel.future_dates(2).tolist() * 4
    assert frame["y_hat"].to_numpy().reshape(4, 2).tolist() == y_hat.tolist()
