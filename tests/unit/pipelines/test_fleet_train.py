"""Training a fleet: statuses, versions, scores as a plain loop has them, forecasts stored once, nothing lost."""

from __future__ import annotations

import json
from dataclasses import replace

import fleet_shop as shop
import numpy as np
import polars as pl
import pytest
from sqlalchemy import text

from foretail.core.errors import DataError, UsageError
from foretail.core.progress import Silent
from foretail.models.fallback import last_season
from foretail.models.families import make
from foretail.pipelines.fleet import FleetRequest, fleet_request, fleet_train
from foretail.pipelines.fleet_data import read_fleet
from foretail.pipelines.request import Request
from foretail.registry.fleet_bundle import open_fleet_bundle
from foretail.warehouse.database import open_warehouse
from foretail.warehouse.forecasts import read_forecasts
from foretail.warehouse.versions import fleet_run_list, latest_versions


def versions(home):
    return latest_versions(open_warehouse(shop.settings_of(home).warehouse), shop.FLEET)


def forecasts(home):
    return read_forecasts(open_warehouse(shop.settings_of(home).warehouse), shop.FLEET)


def test_every_series_gets_a_status_and_a_reason(trained_fleet):
    _, home, result = trained_fleet
    rows = {row["unique_id"]: row for row in versions(home).to_dicts()}
    assert len(rows) == 9 and result.n_series == 9
    assert rows[shop.ENDED]["status"] == "stale" and rows[shop.ENDED]["reason"].startswith("nothing sold since 2024-0")
    assert rows[shop.NEVER]["status"] == "skipped" and rows[shop.NEVER]["reason"].startswith("never sold since")
    assert rows[shop.SHORT]["status"] == "fallback"
    assert rows[shop.GONE]["status"] == "stale" and rows[shop.GONE]["reason"].startswith("no row since 2024-01-")
    assert sum(row["status"] == "trained" for row in rows.values()) >= 3
    assert result.counts == {
        status: sum(row["status"] == status for row in rows.values())
        for status in ("trained", "fallback", "failed", "stale", "skipped")
    }
    assert all((row["reason"] is None) == (row["status"] == "trained") for row in rows.values())


def test_a_series_is_called_by_store_and_product(trained_fleet):
    _, home, _ = trained_fleet
    row = versions(home).row(by_predicate=pl.col("unique_id") == "3/2", named=True)
    assert (row["store"], row["productname"], row["version"]) == (3, "2", 1)
    assert row["model_id"] == "prophet-retail-forecaster-store-3-2"


def test_seven_days_are_seven_rows_for_every_series_that_has_sales(trained_fleet):
    _, home, result = trained_fleet
    rows = forecasts(home)
    counts = rows.group_by("unique_id").agg(pl.col("step").sort(), pl.col("ds").n_unique().alias("days"))
    assert counts.height == 8 and result.n_forecasts == rows.height == 8 * shop.H
    assert all(step == list(range(1, shop.H + 1)) for step in counts["step"].to_list())
    assert (counts["days"] == shop.H).all()
    assert set(rows["model_version"]) == {"1"}


def test_closed_days_are_forecast_as_closed_and_ended_series_as_nothing(trained_fleet):
    _, home, _ = trained_fleet
    rows = forecasts(home)
    sundays = rows.filter(pl.col("ds").dt.weekday() == 7)
    assert sundays.height == 8 and sundays.select(pl.max_horizontal("y_hat", "q97_5").max()).item() == 0
    for name in (shop.ENDED, shop.NEVER):
        assert rows.filter(pl.col("unique_id") == name)["y_hat"].to_list() == [0.0] * shop.H
    sold = rows.filter(
        (pl.col("ds").dt.weekday() < 7) & ~pl.col("unique_id").is_in([shop.ENDED, shop.NEVER, shop.SHORT])
    )
    assert sold["y_hat"].min() > 0
    assert sold.select((pl.col("q2_5") <= pl.col("y_hat")) & (pl.col("q97_5") >= pl.col("q2_5"))).to_series().all()


def test_scores_of_a_series_are_those_of_a_plain_loop(trained_fleet):
    spec, home, _ = trained_fleet
    panel = read_fleet(shop.request_of(spec), shop.settings_of(home)).panel
    assert panel.n_periods == 120
    row = panel.unique_ids.index("3/3")
    one = panel.select(np.array([row]))
    error = naive = total = 0.0
    for back in range(5, 0, -1):
        end = 120 - 7 * back
        past = one.as_of(end, 7)
        model = make("prophet").fit(past, 7).predict(past, 7).y_hat[0]
        season = np.where(past.closed[0, end:], 0.0, last_season(past, 7)[0])
        actual = one.y[0, end : end + 7]
        error += float(np.abs(actual - model).sum())
        naive += float(np.abs(actual - season).sum())
        total += float(np.abs(actual).sum())
    found = json.loads(versions(home).row(by_predicate=pl.col("unique_id") == "3/3", named=True)["metrics"])
    assert found["wape"] == pytest.approx(error / total, abs=1e-5)
    assert found["naive_wape"] == pytest.approx(naive / total, abs=1e-5)
    assert found["skill"] == pytest.approx(1 - error / naive, abs=1e-5)
    assert found["n_windows"] == 5 and found["recipe"] == "prophet@120d"
    assert 0 <= found["coverage_80"] <= found["coverage_95"] <= 1


def test_trained_again_every_series_counts_up_and_the_forecast_is_the_same(own_fleet):
    spec, home = own_fleet
    before = forecasts(home)
    result = shop.train(spec, home)
    after = forecasts(home)
    assert set(versions(home)["version"]) == {2}
    assert after.height == 2 * before.height
    key = ["unique_id", "ds", "y_hat", "q10", "q90", "source"]
    assert after.filter(pl.col("model_version") == "2").select(key).equals(before.select(key))
    assert result.n_champions == 9  # a refresh of the same recipe needs not be better than itself
    runs = fleet_run_list(open_warehouse(shop.settings_of(home).warehouse), shop.FLEET)
    assert [run.status for run in runs] == ["done", "done"] and runs[0].ended is not None


def test_a_worse_recipe_does_not_replace_a_champion(own_fleet):
    spec, home = own_fleet
    before, held = forecasts(home), versions(home)
    shop.train(spec, home, family="historic_average")
    rows = versions(home).join(held.select("unique_id", before_status="status"), on="unique_id")
    refused = rows.filter(~pl.col("is_champion"))
    assert set(refused["unique_id"]) >= set(held.filter(pl.col("status") == "trained")["unique_id"])
    assert refused["reason"].str.contains("no better than the champion (prophet@120d)", literal=True).all()
    now = forecasts(home).join(refused.select("unique_id"), on="unique_id", how="semi")
    assert set(now["model_version"]) == {"1"}, "the champion goes on answering"
    was = before.join(refused.select("unique_id"), on="unique_id", how="semi")
    assert np.allclose(now["y_hat"], was["y_hat"])


def test_a_registry_that_is_down_costs_the_registered_version_only(trained_fleet):
    spec, home, result = trained_fleet
    assert result.model_version == "unregistered"
    assert any("not registered" in note for note in result.notes)
    where = set(versions(home)["bundle"])
    assert len(where) == 1
    bundle = open_fleet_bundle(where.pop(), shop.settings_of(home))
    panel = read_fleet(shop.request_of(spec), shop.settings_of(home)).panel
    assert bundle.panel.dataset_version == panel.dataset_version
    names = [bundle.recipes[code] for code in bundle.answer]
    assert names[bundle.panel.unique_ids.index("3/3")] == "prophet@120d"
    assert names[bundle.panel.unique_ids.index(shop.ENDED)] == "zero"


def test_a_fleet_that_is_registered_is_one_version_of_one_model(trained_fleet, tmp_path):
    spec, _, _ = trained_fleet
    settings = replace(shop.settings_of(tmp_path / "home"), tracking_uri="")
    result = fleet_train(shop.request_of(spec), settings, Silent())
    assert result.model_version == "prophet-retail-forecaster-corner-shops/1"
    engine = open_warehouse(settings.warehouse)
    assert set(latest_versions(engine, shop.FLEET)["bundle"]) == {result.model_version}
    assert open_fleet_bundle(result.model_version, settings).info.model == "prophet"


def test_two_forecasts_for_a_series_day_cutoff_and_version_cannot_be(trained_fleet):
    _, home, _ = trained_fleet
    engine = open_warehouse(shop.settings_of(home).warehouse)
    with engine.connect() as connection:
        twice = connection.execute(
            text(
                "SELECT count(*) FROM (SELECT 1 FROM forecast_results "
                "GROUP BY dataset, unique_id, forecast_date, cutoff, model_version HAVING count(*) > 1)"
            )
        ).scalar()
    assert twice == 0


def test_a_yearly_season_on_four_months_is_refused_unless_asked_for_with_a_warning(trained_fleet, tmp_path):
    spec, _, _ = trained_fleet
    settings = shop.settings_of(tmp_path / "home")
    with pytest.raises(UsageError, match="two years"):
        fleet_train(FleetRequest(Request(str(spec)), family="prophet[yearly_seasonality=true]"), settings, Silent())
    result = fleet_train(replace(shop.request_of(spec), yearly=True), settings, Silent())
    assert any("a guess" in note for note in result.notes)
    assert "yearly_seasonality=true" in result.family


def test_a_history_too_short_to_measure_is_an_error(trained_fleet, tmp_path):
    spec, _, _ = trained_fleet
    with pytest.raises(DataError, match="too short to measure"):
        fleet_train(replace(shop.request_of(spec), last="12d"), shop.settings_of(tmp_path / "home"), Silent())


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"family": "boosting"}, "one model per series"),
        ({"family": "no-such"}, "unknown model family"),
        ({"last": "four months"}, "--last 120d"),
        ({"last": "0d"}, "--last 120d"),
        ({"n_windows": 0}, "--windows"),
        ({"family": "theta", "yearly": True}, "no yearly terms"),
    ],
)
def test_what_cannot_be_asked_for_is_said_before_anything_is_read(given, said):
    with pytest.raises(UsageError, match=said):
        FleetRequest(Request("nowhere.csv"), **given)


def test_what_was_asked_is_kept_with_the_run_and_can_be_asked_again(trained_fleet):
    spec, home, _ = trained_fleet
    assert fleet_request(shop.settings_of(home)) == shop.request_of(spec)


def test_local_families_of_every_kind_train(trained_fleet, tmp_path):
    spec, _, _ = trained_fleet
    result = shop.train(spec, tmp_path / "home", family="croston_sba")
    assert result.n_forecasts == 8 * shop.H and 0 < result.coverage_80 <= result.coverage_95 <= 1
