"""The twin of a large table: as many series as asked for, shop by shop in one file, and a spec that opens it."""

from __future__ import annotations

import polars as pl
import pytest
from benchmarks import scale
from benchmarks.table import growth

from foretail.core.spec import DatasetSpec
from foretail.panel.build import build_panel
from foretail.sources.table import Table


@pytest.fixture
def twin(tmp_path, monkeypatch):
    monkeypatch.setattr(scale, "_PRODUCTS", 4)
    return scale.write_twin(tmp_path, 10, 60, horizon=7)


def test_a_twin_has_the_series_and_days_asked_for(twin):
    sales, future = pl.read_parquet(twin.sales), pl.read_parquet(twin.future)
    assert twin.n_rows == sales.height
    assert sales.select("store_id", "product_id").n_unique() == twin.n_series == 10
    assert sorted(sales["store_id"].unique()) == [1, 2, 3]
    assert sales["date"].n_unique() == 60
    assert future["date"].n_unique() == 7
    assert (
        sales.group_by("store_id")
        .agg(pl.col("store_type", "region").n_unique())
        .select(pl.all_horizontal(pl.col("store_type", "region") == 1).all())
        .item()
    )


def test_a_twin_is_a_table_that_foretail_takes(twin):
    table = Table(pl.read_parquet(twin.sales), DatasetSpec.from_toml(twin.spec), pl.read_parquet(twin.future))
    build = build_panel(table)
    assert build.panel.n_series == 10
    assert build.panel.spec.horizon == 7


def test_time_that_grows_faster_than_the_table_misses_the_goal():
    linear, squared = (growth(1000, each_s, 100, 0.5) for each_s in (0.55, 5.0))
    assert linear.value == pytest.approx(1.1) and linear.met
    assert squared.value == pytest.approx(10) and not squared.met
