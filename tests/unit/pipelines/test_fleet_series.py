"""One series trained again, a fleet's stored forecast, its status; and what is asked for that is not there."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace

import fleet_shop as shop
import polars as pl
import pytest

from foretail.core.errors import DataError, UsageError
from foretail.core.progress import Silent
from foretail.pipelines.fleet import fleet_forecast, fleet_retry, fleet_show, fleet_status, retrain_series
from foretail.pipelines.fleet_view import kept_request, request_of
from foretail.registry.fleet_bundle import open_fleet_bundle
from foretail.warehouse.database import open_warehouse
from foretail.warehouse.versions import fleet_run_list, latest_versions

VALUES = ["unique_id", "ds", "step", "y_hat", "q10", "q90"]


def versions(home):
    return latest_versions(open_warehouse(shop.settings_of(home).warehouse), shop.FLEET)


def test_one_series_trained_again_is_one_row_and_a_bundle_of_its_own(own_fleet):
    _, home = own_fleet
    settings = shop.settings_of(home)
    before, stored = versions(home), fleet_forecast(settings, Silent())
    made = retrain_series(shop.FLEET, "3", "3", settings)
    assert (made.unique_id, made.version, made.status, made.is_champion) == ("3/3", 2, "trained", True)
    after = versions(home)
    assert after.filter(pl.col("unique_id") != "3/3").equals(before.filter(pl.col("unique_id") != "3/3"))
    bundle = open_fleet_bundle(made.bundle, settings)
    assert bundle.panel.unique_ids == ["3/3"] and made.bundle.startswith("home:fleets/corner-shops/series/")
    now = fleet_forecast(settings, Silent())
    assert now.height == stored.height
    assert set(now.filter(pl.col("unique_id") == "3/3")["model_version"]) == {"2"}
    assert now.select(VALUES).equals(stored.select(VALUES)), "nothing was sold since: it says the same"


def test_a_series_trained_again_sees_the_sales_that_came_since(own_fleet):
    spec, home = own_fleet
    settings = shop.settings_of(home)
    request = fleet_status(settings)["cutoff"]
    moved = replace(shop.request_of(spec))
    shop.train(spec, home)  # the run then names the files of this test
    shop.later(spec, 7)
    made = retrain_series(shop.FLEET, "3", "2", settings)
    shown = fleet_show(settings, "3", "2")
    expected = dt.date.fromisoformat(request) + dt.timedelta(days=7)
    assert {row["cutoff"] for row in shown["forecast"]} == {expected}
    assert shown["served_version"] == made.version == 3
    assert moved.recipe == made.metrics["recipe"]


def test_the_same_week_shows_the_same_forecast_until_it_is_refreshed(own_fleet):
    spec, home = own_fleet
    settings = shop.settings_of(home)
    shop.train(spec, home)
    first = fleet_forecast(settings, Silent())
    shop.later(spec, 7)
    assert fleet_forecast(settings, Silent()).equals(first)
    fresh = fleet_forecast(settings, Silent(), refresh=True)
    assert fresh["cutoff"].unique().to_list() == [first["cutoff"][0] + dt.timedelta(days=7)]
    assert set(fresh["model_version"]) == set(first["model_version"]), "a refresh trains nothing"
    assert fresh.height == first.height
    again = fleet_forecast(settings, Silent(), refresh=True)
    assert again.select(VALUES).equals(fresh.select(VALUES))


def test_a_refresh_of_unchanged_sales_says_what_the_training_said(own_fleet):
    _, home = own_fleet
    settings = shop.settings_of(home)
    first = fleet_forecast(settings, Silent())
    fresh = fleet_forecast(settings, Silent(), refresh=True)
    assert fresh.select(*VALUES, "source").equals(first.select(*VALUES, "source"))
    assert set(fresh["run_id"]) != set(first["run_id"])


def test_series_are_tried_again_together(own_fleet):
    _, home = own_fleet
    settings = shop.settings_of(home)
    assert fleet_retry(settings, Silent()) == [], "none has failed"
    made = fleet_retry(settings, Silent(), statuses=("fallback", "skipped"))
    wanted = set(versions(home).filter(pl.col("version") == 2)["unique_id"])
    assert {item.unique_id for item in made} == wanted >= {shop.NEVER, shop.SHORT}
    runs = fleet_run_list(open_warehouse(settings.warehouse), shop.FLEET)
    assert [run.n_series for run in runs] == [len(made), 9]
    assert len({item.bundle for item in made}) == 1


def test_the_status_counts_the_newest_versions(own_fleet):
    _, home = own_fleet
    settings = shop.settings_of(home)
    retrain_series(shop.FLEET, "3", "1", settings)
    found = fleet_status(settings)
    assert found["fleet"] == shop.FLEET and found["n_series"] == 9 == sum(found["counts"].values())
    assert found["n_served"] == 9 and found["forecast_until"] > found["forecast_cutoff"] == found["cutoff"]
    named = {item["unique_id"]: item["status"] for item in found["not_trained"]}
    assert named[shop.ENDED] == "stale" and named[shop.NEVER] == "skipped"


def test_one_series_is_shown_with_its_versions_newest_first(own_fleet):
    _, home = own_fleet
    settings = shop.settings_of(home)
    retrain_series(shop.FLEET, "3", "1", settings)
    found = fleet_show(settings, "3", "1")
    assert [item["version"] for item in found["versions"]] == [2, 1] and found["served_version"] == 2
    assert len(found["forecast"]) == shop.H
    assert found["model_id"] == "prophet-retail-forecaster-store-3-1"


@pytest.mark.parametrize(
    ("store", "product"), [("9", "1"), ("3", "99"), ("3'; DROP TABLE series_versions; --", "1"), ("$(id)", "../..")]
)
def test_a_series_that_is_not_there_is_said(trained_fleet, store, product):
    _, home, _ = trained_fleet
    settings = shop.settings_of(home)
    for ask in (
        lambda: retrain_series(shop.FLEET, store, product, settings),
        lambda: fleet_show(settings, store, product),
    ):
        with pytest.raises(UsageError, match="no series of store"):
            ask()
    assert versions(home).height == 9


def test_a_fleet_that_is_not_there_is_said(trained_fleet, tmp_path):
    _, home, _ = trained_fleet
    with pytest.raises(UsageError, match="did you mean 'corner-shops'"):
        fleet_status(shop.settings_of(home), "corner-shop")
    with pytest.raises(UsageError, match="foretail fleet train"):
        fleet_status(shop.settings_of(tmp_path / "empty"))


def test_a_series_without_sales_in_the_history_that_a_model_sees_cannot_be_trained(trained_fleet):
    _, home, _ = trained_fleet
    with pytest.raises(DataError, match=r"no sales to train on.*\n.*2/1"):
        retrain_series(shop.FLEET, *shop.GONE.split("/"), shop.settings_of(home))


def test_no_password_is_kept_with_a_run(trained_fleet):
    spec, home, _ = trained_fleet
    request = shop.request_of(spec)
    url = "postgresql://reader:hunter2@127.0.0.1/shops"
    kept = kept_request(replace(request, request=replace(request.request, table=url)))
    assert "hunter2" not in str(kept)
    run = fleet_run_list(open_warehouse(shop.settings_of(home).warehouse))[0]
    settings = replace(shop.settings_of(home), warehouse=url)
    again = request_of(replace(run, summary={"request": kept}), settings)
    assert again.request.table == url, "the settings know it"
