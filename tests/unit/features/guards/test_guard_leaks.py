"""A training set that knows later values, or whose inputs give its label, is refused; one that does not is not."""

from __future__ import annotations

import datetime as dt

import numpy as np
import polars as pl
import pytest
from guard_chain import Chain

from foretail.core.errors import DataError, UsageError
from foretail.features.declaration import declare
from foretail.features.guards import check_leaks, label_ahead
from foretail.features.history import store_frames
from foretail.panel.build import build_panel
from foretail.sources.synthetic import SyntheticConfig, generate


@pytest.fixture
def labelled(chain: Chain) -> pl.DataFrame:
    return label_ahead(chain.training, chain.declaration)


def test_the_label_of_a_row_is_the_target_of_a_later_one(chain: Chain, labelled: pl.DataFrame) -> None:
    told = {
        (store, dept, stamp.date()): value
        for store, dept, stamp, value in chain.training.select(
            "store_id", "dept_id", "event_timestamp", "weekly_sales"
        ).iter_rows()
    }
    for step in (1, 3):
        ahead = label_ahead(chain.training, chain.declaration, step)
        assert ahead.drop("label", "label_time").equals(chain.training)
        for row in ahead.iter_rows(named=True):
            day = row["event_timestamp"].date() + dt.timedelta(weeks=step)
            assert row["label_time"] == day
            assert row["label"] == told.get((row["store_id"], row["dept_id"], day))
    assert labelled["label"].null_count() == 50


def test_labels_keep_entity_rows_in_number_and_order(chain: Chain) -> None:
    mixed = pl.concat([chain.training, chain.training.head(200)]).sample(fraction=1.0, shuffle=True, seed=1)
    ahead = label_ahead(mixed, chain.declaration)
    assert ahead.drop("label", "label_time").equals(mixed)
    assert ahead.unique(["store_id", "dept_id", "event_timestamp"]).height == chain.training.height


@pytest.mark.parametrize("step", [0, -1])
def test_a_label_of_the_row_itself_cannot_be_made(chain: Chain, step: int) -> None:
    with pytest.raises(UsageError, match="lies after its as-of date"):
        label_ahead(chain.training, chain.declaration, step)


def test_a_clean_training_set_passes(chain: Chain, labelled: pl.DataFrame) -> None:
    check_leaks(labelled, chain.declaration, label="label", label_time="label_time")
    full = labelled.rename({"lag_1": "sales_features__lag_1"})
    check_leaks(full, chain.declaration, label="label", label_time="label_time")


def test_the_target_of_the_row_is_no_label_for_it(chain: Chain) -> None:
    """The row of T holds the sales of T as lag_1: a model trained on both learns to copy."""
    with pytest.raises(DataError, match="input 'lag_1' is the label of its own row") as caught:
        check_leaks(chain.training, chain.declaration, label="weekly_sales")
    assert "label_ahead" in str(caught.value)
    named = chain.training.rename({"lag_1": "sales_features__lag_1"})
    with pytest.raises(DataError, match="input 'sales_features__lag_1' is the label"):
        check_leaks(named, chain.declaration, label="weekly_sales")


def test_a_ratio_of_the_same_week_is_found_by_its_product(chain: Chain, labelled: pl.DataFrame) -> None:
    """Sales against their own mean, of the week to forecast: neither column is the label, both together are."""
    leaky = labelled.with_columns(
        sales_vs_avg=pl.col("label") / pl.mean_horizontal("label", "lag_1", "lag_2"),
        rolling_mean_4w=pl.mean_horizontal("label", "lag_1", "lag_2"),
    )
    with pytest.raises(
        DataError, match="'rolling_mean_4w' and 'sales_vs_avg' give the label of their own row: product"
    ):
        check_leaks(leaky, chain.declaration, label="label")


@pytest.mark.parametrize(
    ("formula", "said"),
    [
        (pl.col("label"), "is the label of its own row"),
        (pl.col("label").log1p(), "rises or falls with the label"),
        (-2 * pl.col("label") + 3, "rises or falls with the label"),
        (pl.col("label") / pl.col("label").mean().over("store_id", "dept_id"), "correlation 1 with the label"),
        (pl.col("label") - pl.col("lag_1"), "difference|sum"),
        (pl.col("label") / pl.col("lag_2"), "product"),
    ],
)
def test_labels_in_disguise(chain: Chain, labelled: pl.DataFrame, formula: pl.Expr, said: str) -> None:
    with pytest.raises(DataError, match=said) as caught:
        check_leaks(labelled.with_columns(cpi=formula), chain.declaration, label="label")
    assert "'cpi'" in str(caught.value)


def test_a_leak_in_most_rows_is_found_and_noise_hides_no_label(chain: Chain, labelled: pl.DataFrame) -> None:
    few = pl.Series(np.random.default_rng(0).random(labelled.height) < 0.005)
    mostly = labelled.with_columns(cpi=pl.when(few).then("cpi").otherwise("label"))
    with pytest.raises(DataError, match="'cpi'"):
        check_leaks(mostly, chain.declaration, label="label")
    noise = pl.Series(np.random.default_rng(1).normal(1, 0.2, labelled.height))
    check_leaks(labelled.with_columns(cpi=pl.col("label") * noise), chain.declaration, label="label")


def test_inputs_that_may_give_the_label_are_allowed_by_name(chain: Chain, labelled: pl.DataFrame) -> None:
    known = labelled.with_columns(cpi=pl.col("label"))
    check_leaks(known, chain.declaration, label="label", allowed=["cpi"])
    with pytest.raises(DataError, match="'cpi'"):
        check_leaks(known, chain.declaration, label="label", inputs=["cpi"])
    check_leaks(known, chain.declaration, label="label", inputs=["lag_1"])


def test_slow_sellers_do_not_look_like_leaks() -> None:
    """Nearly every value is 0, the same as its lag; that is no leak. The copied label is one all the same."""
    config = SyntheticConfig(periods=200, stores=4, products=6, intermittent_share=0.99, opening_share=0.0)
    panel = build_panel(generate(config).table).panel
    declaration = declare(panel.spec, panel)
    frame = label_ahead(store_frames(panel, declaration)["sales_features"], declaration)
    assert (frame["label"] == 0).mean() > 0.5
    check_leaks(frame, declaration, label="label", label_time="label_time")
    with pytest.raises(DataError, match="'lag_2' is the label"):
        check_leaks(frame.with_columns(lag_2=pl.col("label")), declaration, label="label")


def test_too_few_rows_say_nothing(chain: Chain) -> None:
    check_leaks(chain.training.head(19), chain.declaration, label="weekly_sales")
    with pytest.raises(DataError):
        check_leaks(chain.training.head(60), chain.declaration, label="weekly_sales")


@pytest.mark.parametrize("column", ["sales_features__event_timestamp", "created_timestamp"])
def test_values_that_happened_or_became_known_later_are_refused(
    chain: Chain, labelled: pl.DataFrame, column: str
) -> None:
    same = labelled.with_columns(pl.col("event_timestamp").alias(column))
    check_leaks(same, chain.declaration, label="label")
    second = pl.int_range(pl.len()) == 7
    late = same.with_columns(pl.when(second).then(pl.col(column) + pl.duration(microseconds=1)).otherwise(column))
    with pytest.raises(DataError, match="1 of 5,200 rows hold what was not there") as caught:
        check_leaks(late, chain.declaration, label="label")
    assert f"column '{column}'" in str(caught.value)
    check_leaks(late, chain.declaration, label="label", times=[])
    check_leaks(
        same.with_columns(pl.lit(None, pl.Datetime("us", "UTC")).alias(column)), chain.declaration, label="label"
    )


def test_labels_that_are_not_later_than_their_row_are_refused(chain: Chain, labelled: pl.DataFrame) -> None:
    early = labelled.with_columns(pl.col("event_timestamp").dt.date().alias("label_time"))
    with pytest.raises(DataError, match="5,200 of 5,200 labels are not later"):
        check_leaks(early, chain.declaration, label="label", label_time="label_time")


def test_all_problems_are_told_at_once(chain: Chain) -> None:
    frame = chain.training.with_columns(created_timestamp=pl.col("event_timestamp") + pl.duration(days=1))
    with pytest.raises(DataError) as caught:
        check_leaks(frame, chain.declaration, label="weekly_sales", label_time="event_timestamp")
    assert len(caught.value.problems) >= 3


@pytest.mark.parametrize("option", ["label", "label_time", "as_of"])
def test_columns_that_do_not_exist(chain: Chain, option: str) -> None:
    given = {"label": "weekly_sales", option: "nothing"}
    with pytest.raises(UsageError, match="no column 'nothing'"):
        check_leaks(chain.training, chain.declaration, **given)  # type: ignore[arg-type]


def test_the_ratio_of_the_store_knows_nothing_of_the_week_to_forecast(chain: Chain) -> None:
    """Against the noise of the week to forecast it is as blind as a lag; the ratio of the same week sees it."""
    keys = ["store_id", "dept_id"]
    truth = chain.world.truth.select(*keys, "date", noise=(pl.col("demand") / pl.col("expected")).log())
    frame = chain.training.with_columns(date=pl.col("event_timestamp").dt.date().dt.offset_by("1w"))
    joined = frame.join(truth, on=[*keys, "date"]).sort(*keys, "date")
    ahead = pl.col("weekly_sales").shift(-1).over(keys)
    mean_ahead = pl.mean_horizontal(ahead, "lag_1", "lag_2", pl.col("lag_2").shift(1).over(keys))
    joined = joined.with_columns(leaky=ahead / mean_ahead).drop_nulls(["leaky", "sales_vs_avg", "noise"])
    blind = [joined.select(pl.corr(name, "noise")).item() for name in ("sales_vs_avg", "lag_1", "lag_2")]
    by_chance = 4 / np.sqrt(joined.height)
    assert max(map(abs, blind)) < by_chance
    assert joined.select(pl.corr("leaky", "noise")).item() > 5 * by_chance
