"""The synthetic world is the same for the same seed, and its truth is true."""

from __future__ import annotations

import datetime as dt
import math
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from foretail.core.errors import UsageError
from foretail.sources.synthetic import PRESETS, SyntheticConfig, SyntheticWorld, generate, synthetic_table

BIG = SyntheticConfig(stores=20, products=20, periods=400, seed=11)


@pytest.fixture(scope="module")
def world() -> SyntheticWorld:
    return generate(BIG)


def _open(world: SyntheticWorld) -> pl.DataFrame:
    return world.truth.filter(pl.col("open") == 1)


@pytest.mark.parametrize("config", [{}, {"weeks": 60, "stores": 2}, {"restated_share": 0.1, "duplicate_share": 0.1}])
def test_the_same_seed_gives_the_same_world(config: dict[str, object]) -> None:
    first, second = synthetic_table(config), synthetic_table(config)
    assert first.frame.equals(second.frame)
    assert first.future is not None and second.future is not None and first.future.equals(second.future)
    assert not first.frame.equals(synthetic_table({**config, "seed": 8}).frame)


def test_the_weekly_world_has_the_columns_of_a_weekly_chain() -> None:
    table = synthetic_table({"start_date": "2010-02-05", "weeks": 100, "stores": 4, "departments": 6, "seed": 42})
    assert table.spec.keys == ("store_id", "dept_id")
    assert (table.spec.time, table.spec.target, table.spec.freq) == ("date", "weekly_sales", "W-FRI")
    wanted = {"is_holiday", "temperature", "fuel_price", "cpi", "unemployment", "store_type", "store_size", "region"}
    assert wanted | {f"markdown_{i}" for i in range(1, 6)} < set(table.frame.columns)
    assert set(table.spec.columns) == set(table.frame.columns)
    assert table.frame["date"].min() == dt.date(2010, 2, 5)
    assert table.frame["date"].n_unique() == 100
    assert table.frame.select("store_id", "dept_id").n_unique() == 24
    assert (table.frame["date"].dt.weekday() == 5).all()
    assert table.frame["weekly_sales"].min() >= 0


@pytest.mark.parametrize(
    ("preset", "stores", "departments", "weeks", "rows"),
    [("weekly-5k", 10, 5, 104, 5_200), ("weekly-65k", 45, 14, 104, 65_520), ("weekly-425k", 45, 66, 143, 424_710)],
)
def test_named_sizes_are_exact_and_complete(preset: str, stores: int, departments: int, weeks: int, rows: int) -> None:
    table = synthetic_table({"preset": preset})
    frame = table.frame
    assert len(frame) == rows
    assert (frame["store_id"].n_unique(), frame["dept_id"].n_unique()) == (stores, departments)
    lengths = frame.group_by("store_id", "dept_id").agg(n=pl.col("date").n_unique())
    assert len(lengths) == stores * departments
    assert lengths["n"].unique().to_list() == [weeks]
    assert frame.null_count().sum_horizontal().item() == 0
    assert table.future is not None
    assert len(table.future) == stores * departments * table.spec.horizon
    per_store = frame.group_by("store_id").agg(pl.col(table.spec.static).n_unique())
    assert (per_store.select(table.spec.static).max_horizontal() == 1).all()


def test_named_sizes_can_be_changed() -> None:
    table = synthetic_table({"preset": "weekly-5k", "weeks": 20, "seed": 3, "restated_share": 0.1})
    assert table.frame["date"].n_unique() == 20
    assert table.spec.recorded == "recorded"
    assert set(PRESETS) == {"weekly-5k", "weekly-65k", "weekly-425k"}


def test_weather_and_economy_do_not_move_demand() -> None:
    """Between two stores, what a price explains is the whole difference; nothing is left for any other column."""
    world = generate(
        SyntheticConfig.from_dict(
            {"stores": 2, "departments": 30, "weeks": 120, "trend": 0.0, "promo_share": 0.0, "opening_share": 0.0}
        )
    )
    cell = ["store_id", "dept_id", "date"]
    noise = ["temperature", "fuel_price", "cpi", "unemployment", "markdown_1", "markdown_5"]
    joined = world.truth.join(world.frame.select(*cell, "price", *noise), on=cell)
    first, second = (joined.filter(pl.col("store_id") == store) for store in (1, 2))
    pairs = first.join(second, on=["dept_id", "date"], suffix="_2").with_columns(
        gap=(pl.col("expected") / pl.col("expected_2")).log(), price_gap=(pl.col("price") / pl.col("price_2")).log()
    )
    left = pairs.group_by("dept_id", "price_gap").agg(pl.col("gap").std(ddof=0))["gap"]
    assert left.max() < 1e-9
    for name in noise:
        assert (pairs[name] - pairs[f"{name}_2"]).std() > 0.1


def test_the_daily_world_is_described_by_its_spec(world: SyntheticWorld) -> None:
    assert set(world.spec.columns) == set(world.frame.columns)
    assert world.frame["date"].n_unique() == BIG.periods
    assert world.future.columns == [*world.spec.keys, "date", *world.spec.known]
    assert world.future["date"].n_unique() == BIG.horizon
    assert world.truth.filter(pl.col("date") > world.frame["date"].max()).height == world.future.height
    assert world.frame.select("store_id", "product_id", "date").is_unique().all()


def test_demand_scatters_around_the_expected_demand(world: SyntheticWorld) -> None:
    truth = _open(world)
    n, expected, demand = truth.height, truth["expected"], truth["demand"]
    variance = expected + (BIG.noise * expected) ** 2  # negative binomial
    z = (demand - expected).sum() / np.sqrt(variance.sum())
    assert abs(z) < 4
    assert ((demand - expected) ** 2 / variance).mean() == pytest.approx(1.0, abs=10 / np.sqrt(n))


def test_weekly_demand_has_the_noise_asked_for() -> None:
    truth = generate(SyntheticConfig(freq="W-FRI", periods=200, stores=10, products=10, noise=0.3)).truth
    ratio = truth["demand"] / truth["expected"]
    assert ratio.mean() == pytest.approx(1.0, abs=0.01)
    assert ratio.std() == pytest.approx(0.3, abs=0.01)


def test_stockouts_cut_sales_but_not_demand(world: SyntheticWorld) -> None:
    short = world.truth["stockout"]
    assert short.mean() == pytest.approx(BIG.stockout_share, rel=0.5)
    assert (world.truth["sales"] <= world.truth["demand"]).all()
    assert (world.truth["sales"] == world.truth["demand"]).filter(~short).all()
    assert (world.truth["sales"] < world.truth["demand"]).filter(short).all()


def test_shut_days_have_no_demand(world: SyntheticWorld) -> None:
    shut = world.truth.filter(pl.col("open") == 0)
    assert shut["demand"].sum() == shut["expected"].sum() == 0
    assert (shut["date"].dt.weekday() == 7).mean() > 0.95
    assert dt.date(2022, 12, 25) in set(shut["date"])


def test_promotions_lift_demand_and_dip_afterwards() -> None:
    config = SyntheticConfig(stores=10, products=10, periods=300, trend=0.0)
    base = generate(config)
    never = generate(SyntheticConfig(stores=10, products=10, periods=300, trend=0.0, promo_share=0.0))
    cell = ["store_id", "product_id", "date"]
    joined = base.truth.join(never.truth, on=cell, suffix="_never").join(base.frame.select(*cell, "promo"), on=cell)
    joined = joined.filter((pl.col("open") == 1) & (pl.col("expected_never") > 0)).sort(cell)
    by_series = joined.with_columns(before=pl.col("promo").shift(1).over("store_id", "product_id"))
    ratio = by_series.with_columns(ratio=pl.col("expected") / pl.col("expected_never"))
    promoted = ratio.filter(pl.col("promo") == 1)["ratio"].median()
    after = ratio.filter((pl.col("promo") == 0) & (pl.col("before") == 1))["ratio"].median()
    quiet = ratio.filter((pl.col("promo") == 0) & (pl.col("before") == 0))["ratio"].median()
    assert promoted > 1.2 * quiet
    assert after < 0.95 * quiet


def test_weekdays_and_the_year_have_seasons(world: SyntheticWorld) -> None:
    truth = _open(world)
    weekday = truth.group_by(pl.col("date").dt.weekday()).agg(pl.col("expected").mean()).sort("date")["expected"]
    assert weekday[5] > 1.2 * weekday[0]  # Saturday against Monday
    one = truth.filter((pl.col("store_id") == 1) & (pl.col("product_id") == 1))
    month = one.group_by(pl.col("date").dt.month()).agg(pl.col("expected").median())["expected"]
    assert month.max() > 1.1 * month.min()


def test_series_open_close_and_sell_now_and_then(world: SyntheticWorld) -> None:
    life = world.frame.group_by(world.spec.keys).agg(
        first=pl.col("date").min(), last=pl.col("date").max(), zeros=(pl.col("units") == 0).mean()
    )
    begin, end = world.frame["date"].min(), world.frame["date"].max()
    assert (life["first"] > begin).mean() == pytest.approx(BIG.opening_share, abs=0.06)
    assert (life["last"] < end).mean() == pytest.approx(BIG.closing_share, abs=0.05)
    assert (life["zeros"] > 0.5).mean() == pytest.approx(BIG.intermittent_share, abs=0.1)


def test_restatements_end_at_the_truth_and_duplicates_repeat() -> None:
    world = generate(SyntheticConfig(periods=200, restated_share=0.1, duplicate_share=0.05))
    assert (world.spec.duplicates, world.spec.recorded) == ("last", "recorded")
    cell = ["store_id", "product_id", "date"]
    last = world.frame.sort("recorded", maintain_order=True).group_by(cell).agg(pl.col("units").last(), n=pl.len())
    joined = last.join(world.truth, on=cell)
    assert joined.height == last.height
    assert (joined["units"] == joined["sales"]).all()
    assert (last["n"] > 1).mean() == pytest.approx(0.15, abs=0.02)
    assert (world.frame["recorded"] >= world.frame["date"]).all()
    late = world.frame.filter(pl.col("recorded") > pl.col("date"))
    assert late.height / last.height == pytest.approx(0.1, abs=0.02)
    assert ((late["recorded"] - late["date"]).dt.total_days() <= 14).all()


def test_prices_move_demand_by_an_elasticity_of_each_product() -> None:
    """Two stores differ in one product only by a constant and by when its price rose by 5 %."""
    world = generate(SyntheticConfig(stores=2, products=30, trend=0.0, promo_share=0.0, opening_share=0.0))
    cell = ["store_id", "product_id", "date"]
    joined = _open(world).join(world.frame.select(*cell, "price"), on=cell)
    first, second = (joined.filter(pl.col("store_id") == store) for store in (1, 2))
    pairs = first.join(second, on=["product_id", "date"], suffix="_2").with_columns(
        demand=(pl.col("expected") / pl.col("expected_2")).log(), price_gap=(pl.col("price") / pl.col("price_2")).log()
    )
    slopes = pairs.group_by("product_id").agg(
        slope=pl.cov("demand", "price_gap") / pl.col("price_gap").var(), moved=pl.col("price_gap").n_unique() > 1
    )
    slopes = slopes.filter("moved")["slope"]
    assert len(slopes) > 20
    assert slopes.is_between(-2.001, -0.499).all()


@pytest.mark.parametrize("year", [2010, 2011, 2016, 2018, 2019, 2024, 2038])
def test_holidays_are_on_their_dates(year: int) -> None:
    from dateutil.easter import easter

    config = SyntheticConfig(start_date=dt.date(year, 1, 1), periods=365, stores=1, products=1, opening_share=0)
    days = set(generate(config).frame.filter(pl.col("is_holiday") == 1)["date"])
    november = [dt.date(year, 11, day) for day in range(1, 31)]
    thanksgiving = [day for day in november if day.weekday() == 3][3]
    assert days == {easter(year), thanksgiving, *(dt.date(year, 12, day) for day in (24, 25, 26))}


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"shops": 3}, "unknown key 'shops'"),
        ({"stores": 0}, "stores = 0"),
        ({"promo_share": 1.5}, "promo_share = 1.5"),
        ({"freq": "MS"}, "freq = 'MS'"),
        ({"start_date": "soon"}, "synthetic world"),
        ({"weeks": "many"}, "synthetic world"),
        ({"preset": "weekly-66k"}, "unknown preset 'weekly-66k'"),
        ({"preset": 65}, "unknown preset 65"),
    ],
)
def test_impossible_worlds(config: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        synthetic_table(config)


def test_the_documentation_tells_every_named_size() -> None:
    text = (Path(__file__).parents[3] / "docs" / "command-line.md").read_text(encoding="utf-8")
    for name, config in PRESETS.items():
        sizes = [config[key] for key in ("stores", "departments", "weeks")]
        said = " x ".join(map(str, sizes))
        assert f"| `synthetic:{name}` | {said} | {math.prod(sizes):,} |" in text
