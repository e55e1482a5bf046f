"""Days outside their interval: every cause from the evidence for it, sizes, and the way into a bundle and back."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from foretail.backtest.anomalies import anomalies, counts, from_arrays, to_arrays, watched
from foretail.backtest.causes import CAUSES, RULES, Watched
from foretail.core.spec import DatasetSpec, Event
from foretail.panel.panel import Covariate, Panel

STORES, ITEMS, T, H = 4, 6, 210, 14
FIRST = T - H
DAY = 5  # of the window, a Saturday far from any holiday
LEVEL = 60.0


def shop(**spec: object) -> Panel:
    """Four shops that sell six items, about sixty pieces a day each with a rhythm of the week, a promotion unused."""
    rng = np.random.default_rng(3)
    store, item = np.repeat(np.arange(STORES), ITEMS), np.tile(np.arange(ITEMS), STORES)
    names = [f"{s}/{i}" for s, i in zip(store, item, strict=True)]
    series = pl.DataFrame({"unique_id": names, "store": store, "item": item, "kind": [f"k{i % 2}" for i in item]})
    settings = {"keys": ("store", "item"), "static": ("kind",), "known": ("promo",), "non_negative": False}
    told = DatasetSpec(time="date", target="units", freq="D", horizon=H, **{**settings, **spec})
    start = int(told.frequency.to_index(np.array("2023-02-06", dtype="datetime64[D]")))
    y = LEVEL + rng.integers(-8, 9, (len(names), T)) + 3.0 * (np.arange(T) % 7)
    promo = Covariate("promo", np.zeros((len(names), T + H), dtype=np.float32))
    return Panel(told, series, start, y, np.zeros((len(names), T + H), dtype=np.bool_), (promo,))


def expected(panel: Panel) -> np.ndarray:
    return np.broadcast_to(LEVEL + 3.0 * (np.arange(FIRST, T) % 7), (panel.n_series, H)).copy()


def window(panel: Panel) -> Watched:
    """What a good model says: the level of the day, twelve pieces up or down."""
    y_hat = expected(panel)
    return Watched(FIRST, panel.y[:, FIRST:].copy(), y_hat, y_hat - 12, y_hat + 12)


def with_sales(panel: Panel, rows: object, days: object, values: object) -> Panel:
    y = panel.y.copy()
    y[np.ix_(np.atleast_1d(rows), FIRST + np.atleast_1d(days))] = values
    return replace(panel, y=y)


def cause_of(panel: Panel, row: int, day: int = DAY) -> tuple[str, str]:
    found = anomalies(panel, [window(panel)])
    cell = found.filter((pl.col("unique_id") == panel.unique_ids[row]) & (pl.col("step") == day + 1))
    assert cell.height == 1, "the day is not outside"
    return cell["cause"].item(), cell["why"].item()


def test_ordinary_days_are_none():
    assert anomalies(shop(), [window(shop())]).is_empty()


def test_every_rule_has_a_known_cause_and_a_sentence_of_its_own():
    assert {rule.cause for rule in RULES} == set(CAUSES)
    assert len({rule.why for rule in RULES}) == len(RULES)


@pytest.mark.parametrize(
    ("value", "why"),
    [(-40.0, "negative"), (700.0, "about ten times"), (7000.0, "about a hundred times")],
)
def test_a_number_that_cannot_be_is_a_data_error(value, why):
    cause, text = cause_of(with_sales(shop(), 8, DAY, value), 8)
    assert cause == "data error"
    assert why in text


def test_a_hundredth_of_much_is_a_data_error_and_a_tenth_is_an_empty_shelf():
    panel = shop()
    large = replace(panel, y=panel.y * 100)
    seen = window(panel)
    wide = Watched(FIRST, large.y[:, FIRST:].copy(), seen.y_hat * 100, seen.low * 100, seen.high * 100)
    for value, cause in ((73.0, "data error"), (730.0, "stockout")):
        wide.y[8, DAY] = value
        assert anomalies(large, [replace(wide)])["cause"].to_list() == [cause]


def test_ten_times_the_sales_of_the_whole_group_is_no_error():
    panel = shop()
    rows = np.flatnonzero(panel.series["store"].to_numpy() == 2)
    assert cause_of(with_sales(panel, rows, DAY, 700.0), int(rows[0]))[0] == "promotion"


def test_a_day_copied_from_the_day_before_is_a_data_error():
    panel = shop()
    rows = np.flatnonzero(panel.series["store"].to_numpy() == 1)
    copied = with_sales(panel, rows, [3, 4], 21.0 + np.arange(len(rows))[:, None])
    assert cause_of(copied, int(rows[2]), 4) == (
        "data error",
        "the value of the period before again, with most of its group",
    )


def test_a_shop_without_sales_is_closed():
    panel = shop()
    rows = np.flatnonzero(panel.series["store"].to_numpy() == 1)
    cause, why = cause_of(with_sales(panel, rows, DAY, 0.0), int(rows[0]))
    assert cause == "closed"
    assert "whole group" in why


def test_sales_on_a_closed_day_are_outside_however_few():
    panel = shop()
    closed = panel.closed.copy()
    closed[3, FIRST + DAY] = True
    panel = replace(with_sales(panel, 3, DAY, 2.0), closed=closed)
    seen = window(panel)
    for part in (seen.y_hat, seen.low, seen.high):
        part[3, DAY] = 0.0
    found = anomalies(panel, [seen])
    assert found.select("cause", "why").rows() == [("closed", "sold on a day that the data call closed")]
    assert found["widths"].item() == np.inf


@pytest.mark.parametrize(("left", "why"), [(0.0, "nothing sold"), (15.0, "little sold")])
def test_an_empty_shelf_is_alone(left, why):
    cause, text = cause_of(with_sales(shop(), 8, DAY, left), 8)
    assert cause == "stockout"
    assert why in text


def test_a_series_that_often_sells_nothing_is_no_empty_shelf():
    panel = shop()
    y = panel.y.copy()
    y[8, :FIRST:3] = 0.0
    assert cause_of(with_sales(replace(panel, y=y), 8, DAY, 0.0), 8)[0] == "unknown"


def test_a_table_of_one_key_takes_nothing_sold_for_closed():
    panel = shop()
    series = panel.series.select("unique_id", pl.col("unique_id").alias("store"), "kind")
    panel = replace(panel, spec=panel.spec.but(keys=("store",)), series=series)
    assert cause_of(with_sales(panel, 8, DAY, 0.0), 8) == ("closed", "nothing sold though the data say open")


def test_a_rise_of_the_group_is_a_promotion_that_nobody_announced():
    panel = shop()
    rows = np.flatnonzero(panel.series["item"].to_numpy() == 2)
    cause, why = cause_of(with_sales(panel, rows, DAY, 130.0), int(rows[0]))
    assert cause == "promotion"
    assert "its like rose" in why


def test_a_rise_for_days_in_a_row_is_one_too_and_of_one_day_is_not():
    panel = shop()
    assert cause_of(with_sales(panel, 8, [4, 5, 6], 130.0), 8)[0] == "promotion"
    assert cause_of(with_sales(panel, 8, DAY, 130.0), 8) == ("unknown", "nothing in the data explains it")


def test_an_announced_promotion_is_not_called_unannounced():
    panel = with_sales(shop(), 8, [4, 5, 6], 130.0)
    promo = panel.known[0].values.copy()
    promo[8, FIRST + 4 : FIRST + 7] = 1.0
    panel = replace(panel, known=(Covariate("promo", promo),))
    cause, why = cause_of(panel, 8)
    assert cause == "unknown"
    assert "announced did not do" in why


def test_a_holiday_of_the_users_own_explains_a_common_fall():
    date = shop().dates(FIRST + DAY, 1)[0].astype(object)
    panel = shop(events=(Event("fair", (date,)),))
    everyone = np.arange(panel.n_series)
    assert cause_of(with_sales(panel, everyone, DAY, 40.0), 5) == ("holiday", "a holiday")
    assert cause_of(with_sales(panel, everyone, DAY + 1, 40.0), 5, DAY + 1)[1].startswith("near a holiday")
    assert cause_of(with_sales(panel, everyone, DAY + 4, 40.0), 5, DAY + 4)[0] != "holiday"
    assert cause_of(with_sales(panel, 5, DAY, 0.0), 5)[0] == "stockout"  # the holiday moved nobody else


def test_a_public_holiday_counts_where_the_country_is_known():
    panel = shop(country="DE")
    dates = panel.dates(FIRST, H).astype(object).tolist()
    assert dt.date(2023, 9, 3) in dates and dt.date(2023, 10, 3) not in dates
    moved = replace(panel, start=panel.start + 38)  # the window holds 3 October
    day = moved.dates(FIRST, H).astype(object).tolist().index(dt.date(2023, 10, 3))
    assert cause_of(with_sales(moved, np.arange(24), day, 35.0), 4, day)[0] == "holiday"


def test_barely_outside_is_chance():
    panel = with_sales(shop(), 8, DAY, expected(shop())[8, DAY] + 14)
    assert cause_of(panel, 8)[0] == "chance"


def test_size_is_in_units_and_in_widths():
    panel = with_sales(shop(), 8, DAY, expected(shop())[8, DAY] + 60)
    found = anomalies(panel, [window(panel)])
    assert found["size"].item() == pytest.approx(60)
    assert found["widths"].item() == pytest.approx((60 - 12) / 24)
    assert found["ds"].item() == panel.dates(FIRST + DAY, 1)[0].astype(object)
    assert found["cutoff"].item() == panel.dates(FIRST - 1, 1)[0].astype(object)


def test_the_order_of_the_series_does_not_matter():
    panel = with_sales(with_sales(shop(), [1, 9], DAY, 0.0), 17, 2, 650.0)
    order = np.random.default_rng(0).permutation(panel.n_series)
    shuffled = panel.select(order)
    assert_frame_equal(anomalies(panel, [window(panel)]), anomalies(shuffled, [window(shuffled)]))


def test_cells_that_nobody_scores_are_not_outside():
    panel = with_sales(shop(), 8, DAY, np.nan)
    assert anomalies(panel, [window(panel)]).is_empty()


def long_frame(panel: Panel) -> pl.DataFrame:
    seen = window(panel)
    row, column = np.divmod(np.arange(panel.n_series * H), H)
    return pl.DataFrame(
        {
            "unique_id": panel.series["unique_id"].gather(row),
            "ds": panel.dates(FIRST, H)[column],
            "cutoff": np.full(len(row), panel.dates(FIRST - 1, 1)[0]),
            "step": (column + 1).astype(np.int32),
            "y": seen.y.ravel(),
            "y_hat": seen.y_hat.ravel(),
            "q2_5": seen.low.ravel(),
            "q97_5": seen.high.ravel(),
        }
    )


def test_a_backtest_frame_says_the_same_as_its_arrays():
    panel = with_sales(with_sales(shop(), [1, 9], DAY, 0.0), 17, 2, 650.0)
    assert_frame_equal(anomalies(panel, long_frame(panel)), anomalies(panel, [window(panel)]))


def test_a_frame_without_intervals_has_no_anomalies():
    panel = with_sales(shop(), 8, DAY, 0.0)
    assert anomalies(panel, long_frame(panel).drop("q2_5")).is_empty()
    nothing = long_frame(panel).with_columns(pl.lit(None, dtype=pl.Float64).alias("q2_5"))
    assert watched(panel, nothing) == []


def test_arrays_hold_them_whole_and_an_older_bundle_holds_none():
    panel = with_sales(with_sales(shop(), [1, 9], DAY, 0.0), 17, 2, 650.0)
    found = anomalies(panel, [window(panel)])
    arrays = to_arrays(panel, found)
    assert all(not array.dtype.hasobject for array in arrays.values())
    back = from_arrays(panel, {"levels": np.array([0.1]), **arrays})
    assert back is not None
    assert_frame_equal(back, found)
    assert from_arrays(panel, {"levels": np.array([0.1])}) is None
    empty = from_arrays(panel, to_arrays(panel, found.clear()))
    assert empty is not None
    assert empty.is_empty()


def test_counts_are_in_the_order_of_the_causes():
    panel = with_sales(with_sales(shop(), [1, 9], DAY, 0.0), 17, 2, 700.0)
    found = counts(anomalies(panel, [window(panel)]))
    assert found == {"data error": 1, "stockout": 2}
    assert list(found) == ["data error", "stockout"]
