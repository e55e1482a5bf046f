"""The sales of a fleet: the last periods only, the same panel in blocks, days that nobody tells anything of."""

from __future__ import annotations

from dataclasses import replace

import fleet_shop as shop
import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from foretail.core.frequency import Frequency
from foretail.panel.build import build_panel
from foretail.pipelines.fleet_blocks import build_in_blocks
from foretail.pipelines.fleet_data import read_fleet, requested_rows, table_signature, with_usual_closures
from foretail.pipelines.fleet_request import named_series, window_periods
from foretail.pipelines.fleet_walk import naive_walk, origins, walk, window_panel
from foretail.sources.synthetic import SyntheticConfig, generate
from foretail.sources.table import Table


def with_texts() -> Table:
    """A table whose text covariate takes other values in the last stores."""
    made = generate(SyntheticConfig(stores=4, products=3, periods=90, horizon=7, opening_share=0.0))
    late = pl.col("store_id") > 2
    text = (
        pl.when(pl.col("promo") == 0)
        .then(pl.lit("none"))
        .when(late)
        .then(pl.lit("big"))
        .otherwise(pl.lit("small"))
        .alias("action")
    )
    spec = made.spec.but(known=(*made.spec.known, "action"), static=(), past=())
    return Table(made.frame.with_columns(text), spec, made.future.with_columns(text))


@pytest.mark.parametrize("most", [1, 4, 11])
def test_a_panel_built_in_blocks_is_the_panel(most):
    table = with_texts()
    whole = build_panel(table).panel
    end = table.frame["date"].max()
    built = build_in_blocks(table, cutoff=None, end=end, horizon=None, most_series=most)
    panel = built.panel
    assert_frame_equal(panel.series, whole.series)
    assert (panel.start, panel.spec) == (whole.start, whole.spec)
    np.testing.assert_array_equal(panel.y, whole.y)
    np.testing.assert_array_equal(panel.closed, whole.closed)
    for found, expected in zip(panel.known, whole.known, strict=True):
        assert (found.name, found.categories) == (expected.name, expected.categories)
        np.testing.assert_array_equal(found.values, expected.values)


def test_restated_values_survive_the_blocks():
    made = generate(SyntheticConfig(stores=3, products=2, periods=90, horizon=7, restated_share=0.1))
    table = replace(made.table, spec=made.spec.but(static=(), past=()))
    whole = build_panel(table).panel
    end = table.frame["date"].max()
    panel = build_in_blocks(table, cutoff=None, end=end, horizon=None, most_series=2).panel
    assert whole.revisions is not None and panel.revisions is not None
    for n in (60, 80, whole.n_periods):
        np.testing.assert_array_equal(panel.as_of(n).y, whole.as_of(n).y)


def test_only_the_last_periods_are_read(trained_fleet, tmp_path):
    spec, home, _ = trained_fleet
    data = read_fleet(shop.request_of(spec), shop.settings_of(home))
    assert data.panel.n_periods == 120 and data.panel.n_series == 8 and data.panel.n_future == shop.H
    assert data.gone["unique_id"].to_list() == [shop.GONE]
    everything = read_fleet(replace(shop.request_of(spec), last="all"), shop.settings_of(home))
    assert everything.panel.n_periods == shop.DAYS and everything.panel.n_series == 9
    np.testing.assert_array_equal(window_panel(everything.panel.select(np.array([8])), 120).y, data.panel.y[-1:])


def test_a_cutoff_forgets_what_came_after_it(trained_fleet):
    spec, home, _ = trained_fleet
    asked = shop.request_of(spec)
    whole = read_fleet(asked, shop.settings_of(home)).panel
    cutoff = whole.dates(106, 1)[0].item()
    early = read_fleet(replace(asked, request=replace(asked.request, cutoff=cutoff)), shop.settings_of(home)).panel
    assert early.cutoff == cutoff and early.n_periods == 120
    row = [whole.unique_ids.index(name) for name in early.unique_ids if name in whole.unique_ids]
    mine = [early.unique_ids.index(whole.unique_ids[i]) for i in row]
    np.testing.assert_array_equal(early.y[mine][:, 13:], whole.y[row][:, :107])


def test_a_shop_is_closed_when_nobody_says_and_it_was_so_for_four_weeks(trained_fleet):
    spec, home, _ = trained_fleet
    panel = read_fleet(shop.request_of(spec), shop.settings_of(home)).panel
    n = panel.n_periods
    unknown = tuple(
        replace(item, values=np.where(np.arange(item.values.shape[1]) >= n, np.float32("nan"), item.values))
        for item in panel.known
    )
    untold = replace(panel, known=unknown, closed=np.concatenate([panel.closed[:, :n], panel.closed[:, n:] & False], 1))
    np.testing.assert_array_equal(with_usual_closures(untold).closed, panel.closed)
    once_open = untold.closed.copy()
    sunday = int(np.flatnonzero(panel.closed[0, :n])[-1])
    once_open[0, sunday] = False
    assert not with_usual_closures(replace(untold, closed=once_open)).closed[0, n:].any()
    told_open = tuple(
        replace(item, values=np.nan_to_num(item.values, nan=1.0)) if item.name == "open" else item for item in unknown
    )
    assert not with_usual_closures(replace(untold, known=told_open)).closed[:, n:].any(), "what is told stays"


def test_walk_forward_sees_nothing_after_its_cutoff(trained_fleet):
    spec, home, _ = trained_fleet
    panel = read_fleet(shop.request_of(spec), shop.settings_of(home)).panel
    ends = origins(panel, 5)
    assert ends == (85, 92, 99, 106, 113)
    other = panel.y.copy()
    other[:, ends[2] :] = 1e6
    before = walk(panel, "prophet", ends, seed=7, n_workers=1)
    after = walk(replace(panel, y=other), "prophet", ends, seed=7, n_workers=1)
    np.testing.assert_array_equal(before.y_hat[:, :3], after.y_hat[:, :3])
    assert not np.array_equal(before.y_hat[:, 3:], after.y_hat[:, 3:])
    naive = naive_walk(panel, ends), naive_walk(replace(panel, y=other), ends)
    np.testing.assert_array_equal(naive[0].y_hat[:, :3], naive[1].y_hat[:, :3])


def test_the_walk_of_a_series_is_the_same_alone_and_in_company(trained_fleet):
    spec, home, _ = trained_fleet
    panel = read_fleet(shop.request_of(spec), shop.settings_of(home)).panel
    ends = origins(panel, 5)
    every = walk(panel, "prophet", ends, seed=7, n_workers=1)
    alone = walk(panel.select(np.array([5])), "prophet", ends, seed=7, n_workers=1)
    np.testing.assert_array_equal(every.y_hat[5], alone.y_hat[0])


def test_every_series_is_asked_for_every_step(trained_fleet):
    spec, home, _ = trained_fleet
    panel = read_fleet(shop.request_of(spec), shop.settings_of(home)).panel
    rows = requested_rows(panel)
    assert rows.height == panel.n_series * 7 and rows["ds"].min() > panel.cutoff


def test_a_signature_changes_with_the_files(own_fleet):
    spec, home = own_fleet
    settings = shop.settings_of(home)
    first = table_signature(shop.request_of(spec), settings)
    assert first is not None and first == table_signature(shop.request_of(spec), settings)
    shop.later(spec, 7)
    assert table_signature(shop.request_of(spec), settings) != first


@pytest.mark.parametrize(("code", "n"), [("D", 120), ("W-FRI", 18), ("MS", 4)])
def test_days_of_history_are_periods_of_the_table(code, n):
    assert window_periods("120d", Frequency(code)) == n
    assert window_periods("all", Frequency(code)) is None


def test_names_of_series_with_one_two_and_three_keys():
    frame = pl.DataFrame({"unique_id": ["1/b/c"], "s": [1], "p": ["b"], "q": ["c"]})
    assert named_series(frame, ("s", "p", "q"), "theta", "x").row(0) == (
        "1/b/c",
        "1",
        "b-c",
        "theta-retail-forecaster-store-1-b-c",
    )
    assert named_series(frame, ("s",), "prophet[growth=flat]", "product_A").row(0)[1:] == (
        "1",
        "product_A",
        "prophet-retail-forecaster-store-1-product_A",
    )
    assert named_series(frame, (), "prophet", "product_A").row(0)[1] == "all"
