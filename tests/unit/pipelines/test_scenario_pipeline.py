"""A scenario beside the plan on a whole version: series without a past, closed days, what stays, what is added up."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from functools import cache

import numpy as np
import polars as pl
import pytest

from foretail.models.families import make
from foretail.models.intervals import Conformal
from foretail.panel.build import build_panel
from foretail.pipelines.answer import Wanted, answer
from foretail.pipelines.scenario import compare
from foretail.registry.bundle import Bundle
from foretail.sources.synthetic import SyntheticConfig, generate
from version_maker import last_errors, version_of

H, LEVELS = 7, (0.1, 0.5, 0.9)


@cache
def asked() -> tuple[Bundle, Wanted]:
    """A version of Prophet on a dozen series, asked for one more that was never observed."""
    config = SyntheticConfig(
        start_date=dt.date(2024, 1, 1), periods=200, stores=3, products=4, horizon=H, promo_share=0.3, closing_share=0.0
    )
    table = generate(config).table
    new = (pl.col("store_id") == 3) & (pl.col("product_id") == 4)
    build = build_panel(replace(table, frame=table.frame.filter(~new)), horizon=H)
    panel = build.panel
    model = make("prophet").fit(panel, H)
    calibration = last_errors(panel, model, H, LEVELS).to_arrays()
    assert build.cold.height == 1
    bundle = version_of(panel, "prophet", model, H, LEVELS, calibration)
    return bundle, Wanted(panel, build.requested, build.cold, build.cold_known)


def open_days() -> list[dt.date]:
    bundle, _ = asked()
    days = bundle.panel.future_dates(H).astype("datetime64[D]").astype(object).tolist()
    return [day for day in days if day.weekday() != 6]


def compared(**columns: object):
    bundle, wanted = asked()
    return compare(bundle, "v/1", wanted, pl.DataFrame(columns))


def test_the_base_is_the_plain_forecast() -> None:
    bundle, wanted = asked()
    found = compared(store_id=[1], promo=[1])
    intervals = Conformal.from_arrays(bundle.calibration)
    plain = answer(wanted, bundle.model, intervals, label="prophet", model_version="v/1", levels=LEVELS)
    assert found.base.equals(plain)


def test_only_what_is_named_or_moved_is_told_and_totals_add_up() -> None:
    found = compared(store_id=[1], product_id=[2], date=[open_days()[1]], promo=[1], price=["-20%"])
    frame, summary = found.frame(), found.summary()
    assert found.ids == ("1/2",) and frame.height == H == summary["n_rows"]
    assert frame["difference"].sum() == pytest.approx(summary["difference"])
    assert summary["difference_q10"] <= summary["difference"] <= summary["difference_q90"]
    moved = frame.filter(pl.col("difference") != 0)
    assert moved["ds"].to_list() == [open_days()[1]]
    price = moved.row(0, named=True)
    assert price["price_scenario"] == pytest.approx(0.8 * price["price_base"], rel=1e-5)


def test_a_series_without_a_past_has_scenarios_too() -> None:
    day = open_days()[2]
    off, on = (compared(store_id=[3], product_id=[4], date=[day], promo=[flag]) for flag in (0, 1))
    for found in (off, on):
        assert found.ids == ("3/4",)
        assert set(found.frame()["source"]) == {"fallback:no history"}
        assert any("answered by a fallback" in warning for warning in found.warnings)
    at = [found.frame().filter(pl.col("ds") == day)["y_hat"].item() for found in (off, on)]
    assert at[1] > 1.1 * at[0]
    elsewhere = pl.col("ds") != day
    np.testing.assert_allclose(
        on.frame().filter(elsewhere)["y_hat"].to_numpy(), off.frame().filter(elsewhere)["y_hat"].to_numpy()
    )


def test_a_day_that_the_scenario_shuts_sells_nothing() -> None:
    day = open_days()[0]
    found = compared(store_id=[2], date=[day], open=[0])
    shut = found.frame().filter(pl.col("ds") == day)
    assert shut.height == 4 and not shut["y_hat"].to_numpy().any() and (shut["y_hat_base"] > 0).all()
    assert (shut["difference_q90"] <= 0).all()


def test_what_is_known_already_moves_nothing_and_says_so() -> None:
    found = compared(price=["+0%"])
    assert not found.frame()["difference"].to_numpy().any()
    assert any("moves no forecast" in warning for warning in found.warnings)
    assert not found.difference.total.any()
