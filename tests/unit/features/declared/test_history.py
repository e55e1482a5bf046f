"""The rows of the store against plain loops, against one date at a time, and against everything that comes later."""

from __future__ import annotations

import datetime as dt
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from panel_maker import make_panel
from test_feature_leaks import changed_after

from foretail.core.errors import DataError, UsageError
from foretail.features.declaration import Declaration, declare
from foretail.features.history import feature_rows, known_ahead, store_frames, write_store
from foretail.panel.build import build_panel
from foretail.panel.panel import Covariate, Panel, Revisions
from foretail.sources.synthetic import generate, synthetic_table
from foretail.sources.synthetic_config import SyntheticConfig
from foretail.sources.table import Table

FREQS = ("D", "W-WED", "ME")
TIMES = ("event_timestamp", "created_timestamp")


def holiday_panel(freq: str, seed: int, length: int = 60, country: bool = False) -> Panel:
    """A small panel whose promotion is called a holiday, or whose holidays are those of a country."""
    panel = make_panel(freq, seed, length=length)
    series = panel.series.with_columns(type=pl.Series(["x", "y", None])[panel.series["store"].to_numpy() % 3])
    series = series.with_columns(size=series["item"] * 10.0)
    panel = replace(panel, series=series)
    if country:
        return replace(panel, spec=panel.spec.but(country="DE"))
    known = (replace(panel.known[0], name="is_holiday"), *panel.known[1:])
    return replace(panel, known=known, spec=panel.spec.but(known=("is_holiday", "price", "kind")))


def stamp(panel: Panel, column: int) -> dt.datetime:
    day = panel.frequency.to_date(panel.start + column).item()
    return dt.datetime.combine(day, dt.time(), dt.UTC)


def at(frame: pl.DataFrame, panel: Panel, column: int) -> pl.DataFrame:
    """The rows of an as-of date as they were first told."""
    when = stamp(panel, column)
    return frame.filter(pl.col(TIMES[0]) == when, pl.col(TIMES[1]) == when)


def told_by(frames: dict[str, pl.DataFrame], panel: Panel, column: int) -> dict[str, pl.DataFrame]:
    """What the store held at the close of a column."""
    when = stamp(panel, column)
    return {name: frame.filter(pl.col(TIMES[1]) <= when) for name, frame in frames.items()}


def same(first: dict[str, pl.DataFrame], second: dict[str, pl.DataFrame]) -> bool:
    return first.keys() == second.keys() and all(first[name].equals(second[name]) for name in first)


# against plain loops


def by_hand(panel: Panel, row: int, column: int) -> dict[str, float | None]:
    """The features of sales of one row, by a loop over what was known then."""
    y = panel.as_of(column + 1).y[row]
    lags = [y[column - k] if column >= k and math.isfinite(y[column - k]) else None for k in range(28)]
    unit = panel.frequency.code[0]
    n, least = {"D": (7, 4), "W": (4, 4), "M": (3, 3)}[unit]
    known = [value for value in lags[:n] if value is not None]
    centre = sum(known) / len(known) if len(known) >= least else None
    name = f"{n}{panel.frequency.noun[0]}"
    spread = None if centre is None else math.sqrt(sum((v - centre) ** 2 for v in known) / (len(known) - 1))
    against = None if centre is None or lags[0] is None or centre == 0 else lags[0] / centre
    wanted = {f"lag_{k}": lags[k - 1] for k in {"D": (1, 2, 7, 14, 28), "W": (1, 2, 4, 8), "M": (1, 2, 3, 12)}[unit]}
    return {
        **wanted,
        "sales": lags[0],
        f"rolling_mean_{name}": centre,
        f"rolling_std_{name}": spread,
        "sales_vs_avg": against,
    }


@pytest.mark.parametrize("freq", FREQS)
def test_windows_of_sales(freq: str) -> None:
    panel = holiday_panel(freq, 3)
    declaration = declare(panel.spec, panel)
    frame = store_frames(panel, declaration)["sales_features"]
    for column in (0, 1, 5, 13, 31, 59):
        rows = at(frame, panel, column)
        for row, series in enumerate(panel.series.iter_rows(named=True)):
            found = rows.filter(store=series["store"], item=series["item"]).to_dicts()
            if not np.isfinite(panel.as_of(column + 1).y[row]).any():
                assert found == []
                continue
            wanted = by_hand(panel, row, column)
            for name, value in wanted.items():
                assert found[0][name] == (value if value is None else pytest.approx(value, rel=1e-12)), (column, name)


@pytest.mark.parametrize("freq", FREQS)
def test_what_lies_after_t(freq: str) -> None:
    """The calendar and the holidays are those of T + 1 step."""
    panel = holiday_panel(freq, 4)
    declaration = declare(panel.spec, panel)
    frame = store_frames(panel, declaration)["sales_features"]
    on = panel.covariate("is_holiday").values
    reach = {"D": 5, "W": 5, "M": 4}[freq[0]]
    for column in (4, 30, 58, 59):
        for row, series in enumerate(panel.series.iter_rows(named=True)):
            found = at(frame, panel, column).filter(store=series["store"], item=series["item"]).to_dicts()
            for values in found:
                after = panel.frequency.to_date(panel.start + column + 1).item()
                assert (values["month"], values["quarter"]) == (after.month, (after.month + 2) // 3)
                if freq != "ME":
                    assert values["week_of_month"] == (after.day - 1) // 7 + 1
                    assert values["week_of_year"] == (after.timetuple().tm_yday - 1) // 7 + 1
                    days = [after - dt.timedelta(k) for k in range(7 if freq != "D" else 1)]
                    assert values["is_month_end"] == any((day + dt.timedelta(1)).day == 1 for day in days)
                assert values["is_holiday"] == on[row, column + 1]
                steps = next((k for k in range(reach) if on[row, column + 1 + k] == 1), reach)
                far = panel.frequency.to_date(panel.start + column + 1 + steps).item()
                assert values["days_to_holiday"] == (far - after).days


def test_public_holidays_where_no_column_tells_them() -> None:
    panel = holiday_panel("D", 5, length=40, country=True)  # 2 March to 10 April 2020, Good Friday
    frame = store_frames(panel, declare(panel.spec, panel))["sales_features"]
    days = frame.filter(pl.col(TIMES[0]) == pl.col(TIMES[1])).select(TIMES[0], "is_holiday", "days_to_holiday").unique()
    found = {row[0].day: row[1:] for row in days.rows() if row[0].month == 4}
    # reach is the horizon, five days; after Good Friday the 10th come Easter Sunday and Monday
    assert {day: found[day] for day in (2, 4, 8, 9, 10)} == {2: (0, 5), 4: (0, 5), 8: (0, 1), 9: (1, 0), 10: (0, 2)}


def test_the_future_is_null_where_it_is_not_given() -> None:
    panel = holiday_panel("W-WED", 6)
    bare = replace(
        panel,
        closed=panel.closed[:, :60],
        known=tuple(replace(item, values=item.values[:, :60]) for item in panel.known),
    )
    frame = store_frames(bare, declare(panel.spec, panel))["sales_features"]
    last = at(frame, bare, 59)
    assert last["is_holiday"].null_count() == last["days_to_holiday"].null_count() == last.height == 6
    # a holiday that is known to come is known, whatever lies behind it
    before = at(frame, bare, 57)
    on = panel.covariate("is_holiday").values[:, 58:60]
    assert before["days_to_holiday"].is_null().to_list() == (on == 0).all(1)[[0, 3, 1, 4, 2, 5]].tolist()


def test_past_covariates_are_those_last_published() -> None:
    panel = holiday_panel("D", 7)
    frame = store_frames(panel, declare(panel.spec, panel))["sales_features"]
    weather = panel.covariate("weather")
    rows = at(frame, panel, 30)
    wanted = [float(str(weather.values[row, 27])) for row in (0, 3, 1, 4, 2, 5)]
    assert rows["weather"].to_list() == wanted
    assert at(frame, panel, 2)["weather"].null_count() == at(frame, panel, 2).height > 0


def test_numbers_are_those_of_the_table() -> None:
    """float32 inside, but what was written comes back."""
    table = synthetic_table({"preset": "weekly-5k", "stores": 2, "departments": 2, "weeks": 30})
    panel = build_panel(table).panel
    frame = store_frames(panel, declare(panel.spec, panel))["sales_features"]
    joined = frame.join(
        table.frame.with_columns(pl.col("date").cast(pl.Datetime("us", "UTC"))),
        left_on=["store_id", "dept_id", TIMES[0]],
        right_on=["store_id", "dept_id", "date"],
        validate="1:1",
    )
    assert joined.height == frame.height == 120
    for name in ("temperature", "fuel_price", "cpi", "unemployment", "weekly_sales"):
        assert joined[name].equals(joined[f"{name}_right"], check_names=False), name
    asked = known_ahead(panel, declare(panel.spec, panel))
    one = asked.filter(store_id=2, dept_id=1)["total_markdown"]
    markdowns = pl.concat([table.frame, table.future], how="diagonal").filter(store_id=2, dept_id=1).sort("date")
    total = markdowns.select(pl.sum_horizontal(pl.col("^markdown_.*$")))[1:31].to_series()
    assert one.to_list() == pytest.approx(total.to_list(), rel=1e-12)


def test_text_and_truth() -> None:
    panel = holiday_panel("D", 8)
    told = Covariate("visitors", np.arange(360, dtype=np.float32).reshape(6, 60) % 2, ("low", "high"))
    kind = replace(panel.known[0], categories=("0", "x"))
    panel = replace(panel, past=(told, panel.past[1]), known=(kind, *panel.known[1:]))
    frame = store_frames(panel, declare(panel.spec, panel))["sales_features"]
    assert set(at(frame, panel, 9)["visitors"]) == {"high"}
    assert at(frame, panel, 9)["is_holiday"].to_list() == kind.values[[0, 3, 1, 4, 2, 5], 10].astype(int).tolist()


# one date at a time, and what comes later


@given(freq=st.sampled_from(FREQS), seed=st.integers(0, 2**16), column=st.integers(0, 59), country=st.booleans())
@settings(max_examples=40, deadline=None)
def test_a_row_is_the_same_alone_and_among_all(freq: str, seed: int, column: int, country: bool) -> None:
    panel = holiday_panel(freq, seed, country=country)
    declaration = declare(panel.spec, panel)
    frames = store_frames(panel, declaration)
    alone = feature_rows(panel, declaration, stamp(panel, column).date())
    assert alone["sales_features"].equals(at(frames["sales_features"], panel, column))
    others = [view.name for view in declaration.stored[1:]]
    assert all(alone[name].equals(told_by(frames, panel, column)[name]) for name in others)


def moved_later(panel: Panel, column: int, rng: np.random.Generator) -> Panel:
    """Other sales and past covariates after a column, and other known values beyond the horizon."""
    after = np.arange(panel.n_periods) > column
    beyond = np.arange(panel.closed.shape[1]) > column + panel.spec.horizon
    past = tuple(
        replace(item, values=np.where(np.arange(60) > column - item.delay, np.float32(1e6), item.values))
        for item in panel.past
    )
    known = tuple(replace(item, values=np.where(beyond, 1 - item.values, item.values)) for item in panel.known)
    y = np.where(after, rng.choice([np.nan, 0.0, -5.0, 1e9], panel.y.shape), panel.y)
    return replace(panel, y=y, past=past, known=known)


def told_later(panel: Panel, column: int, rng: np.random.Generator) -> Panel:
    """The panel without the corrections made after a column, and with others: of cells before it, known only later."""
    told = panel.revisions
    assert told is not None
    keep = told.known_at <= panel.start + column
    cells = np.flatnonzero(np.isfinite(panel.y) & (np.arange(panel.n_periods) <= column))
    cells = rng.choice(np.setdiff1d(cells, told.row * panel.n_periods + told.period - panel.start), 20, replace=False)
    row, period = np.divmod(cells, panel.n_periods) + np.array([[0], [panel.start]])
    later = panel.start + column + rng.integers(1, 9, 20)
    y = panel.y.copy()
    y.ravel()[cells] = 12345.0
    revisions = Revisions(
        np.r_[told.row[keep], row, row],
        np.r_[told.period[keep], period, period],
        np.r_[told.known_at[keep], period, later],
        np.r_[told.y[keep], panel.y.ravel()[cells], np.full(20, 12345.0)],
    )
    return replace(panel, y=y, revisions=revisions)


@given(freq=st.sampled_from(FREQS), seed=st.integers(0, 2**16), column=st.integers(15, 50), country=st.booleans())
@settings(max_examples=40, deadline=None)
def test_nothing_that_comes_later_moves_a_row(freq: str, seed: int, column: int, country: bool) -> None:
    """Sales, covariates and corrections after T are changed, added, deleted; known values beyond the horizon too."""
    panel = holiday_panel(freq, seed, country=country)
    declaration = declare(panel.spec, panel)
    rng = np.random.default_rng(seed)
    moved = told_later(moved_later(panel, column, rng), column, rng)
    first, second = (told_by(store_frames(item, declaration), panel, column) for item in (panel, moved))
    assert same(first, second)
    # and the table may end anywhere after T, or tell another way to what was known at T
    other, day = changed_after(panel, column, rng), stamp(panel, column).date()
    wanted = feature_rows(panel, declaration, day)["sales_features"]
    assert feature_rows(other, declaration, day)["sales_features"].equals(wanted)
    assert at(store_frames(other, declaration)["sales_features"], panel, column).equals(wanted)


def test_the_property_would_see_a_leak() -> None:
    """What was sold at T, and what is known of T + 1, does move the row of T."""
    panel = replace(holiday_panel("D", 1), revisions=None)
    declaration = declare(panel.spec, panel)
    y = panel.y.copy()
    y[:, 40] = 777.0
    flipped = replace(panel.known[0], values=1 - panel.known[0].values)
    for changed in (replace(panel, y=y), replace(panel, known=(flipped, *panel.known[1:]))):
        first, second = (at(store_frames(item, declaration)["sales_features"], panel, 40) for item in (panel, changed))
        assert not first.equals(second)


def test_a_table_cut_at_t_gives_the_same_rows() -> None:
    """From the raw table: rows up to T, against a table that goes on."""
    world = generate(SyntheticConfig.from_dict({"stores": 3, "departments": 2, "weeks": 70, "seed": 3}))
    cutoff = dt.date(2022, 12, 30)
    whole = build_panel(world.table).panel
    cut = build_panel(world.table, cutoff=cutoff).panel
    declaration = declare(whole.spec, whole)
    column = cut.n_periods - 1
    first, second = (told_by(store_frames(item, declaration), cut, column) for item in (whole, cut))
    assert same(first, second)
    assert same(feature_rows(whole, declaration, cutoff), feature_rows(cut, declaration, cutoff))


# restated sales


@given(freq=st.sampled_from(FREQS), seed=st.integers(0, 2**16), column=st.integers(0, 59), later=st.integers(0, 25))
@settings(max_examples=40, deadline=None)
def test_the_newest_version_is_what_was_known(freq: str, seed: int, column: int, later: int) -> None:
    """Of the versions of an as-of date, the last one told by a time is the row computed from what was told by then."""
    panel = holiday_panel(freq, seed)
    declaration = declare(panel.spec, panel)
    now = min(column + later, panel.n_periods - 1)
    held = told_by(store_frames(panel, declaration), panel, now)["sales_features"]
    newest = (
        held.filter(pl.col(TIMES[0]) == stamp(panel, column))
        .unique(["store", "item"], keep="last")
        .sort("store", "item")
    )
    # the sales of T and before, as they were told at the later time
    then = replace(
        panel, y=np.where(np.arange(60) <= now, np.pad(panel.as_of(now + 1).y, ((0, 0), (0, 59 - now))), panel.y)
    )
    wanted = feature_rows(replace(then, revisions=None), declaration, stamp(panel, column).date())["sales_features"]
    wanted = wanted.join(newest, on=["store", "item"], how="semi").sort("store", "item")
    assert newest.drop(TIMES[1]).equals(wanted.drop(TIMES[1]))


def test_a_restatement_comes_again_for_the_dates_that_look_at_it() -> None:
    panel = holiday_panel("W-WED", 2)
    y = np.arange(360, dtype=np.float64).reshape(6, 60) + 1
    start = panel.start
    told = Revisions(
        np.array([1, 1]), np.array([20, 20]) + start, np.array([20, 24]) + start, np.array([5.0, y[1, 20]])
    )
    panel = replace(panel, y=y, closed=np.zeros_like(panel.closed), revisions=told)
    frame = store_frames(panel, declare(panel.spec, panel))["sales_features"]
    again = frame.filter(pl.col(TIMES[0]) != pl.col(TIMES[1]))
    assert again[TIMES[1]].unique().to_list() == [stamp(panel, 24)]
    # lags 1 to 4 and 8 look at it; the dates from the correction on hold it from the start
    assert again[TIMES[0]].to_list() == [stamp(panel, column) for column in (20, 21, 22, 23)]
    assert again["lag_1"][0] == y[1, 20]
    assert at(frame, panel, 20).filter(store=1, item=0)["lag_1"].to_list() == [5.0]
    assert at(frame, panel, 27).filter(store=1, item=0)["lag_8"].to_list() == [y[1, 20]]
    assert frame.height == 360 + 4


def test_restated_tables_from_the_file_to_the_rows() -> None:
    world = generate(SyntheticConfig.from_dict({"stores": 2, "products": 3, "periods": 90, "restated_share": 0.1}))
    panel = build_panel(world.table).panel
    declaration = declare(panel.spec, panel)
    frame = store_frames(panel, declaration)["sales_features"]
    assert (frame[TIMES[1]] > frame[TIMES[0]]).sum() > 100
    assert not frame.select("store_id", "product_id", *TIMES).is_duplicated().any()
    for column in (10, 50, panel.n_periods - 1):
        alone = feature_rows(panel, declaration, stamp(panel, column).date())["sales_features"]
        assert alone.equals(at(frame, panel, column))


# rows, keys, worlds


def declared(config: dict[str, object]) -> tuple[Panel, Declaration, dict[str, pl.DataFrame]]:
    panel = build_panel(synthetic_table(config)).panel
    declaration = declare(panel.spec, panel)
    return panel, declaration, store_frames(panel, declaration)


def test_the_world_of_45_stores() -> None:
    _, declaration, frames = declared({"preset": "weekly-65k"})
    sales, stores = frames["sales_features"], frames["store_features"]
    assert (sales.height, stores.height) == (45 * 14 * 104, 45)
    assert sales.columns == ["store_id", "dept_id", TIMES[0], *declaration.view("sales_features").names, TIMES[1]]
    assert [sales.schema[name] for name in ("store_id", "month", TIMES[0])] == [
        pl.Int64,
        pl.Int64,
        pl.Datetime("us", "UTC"),
    ]
    nulls = sales.null_count().row(0, named=True)
    series = 45 * 14
    assert (nulls["lag_1"], nulls["lag_2"], nulls["lag_8"]) == (0, series, 7 * series)
    assert (nulls["rolling_mean_4w"], nulls["sales_vs_avg"], nulls["days_to_holiday"]) == (3 * series, 3 * series, 0)
    for view in declaration.stored:
        for name, limits in view.limits.items():
            values = frames[view.name][name]
            assert values.null_count() <= limits.null_share * len(values), name
            assert limits.low is None or values.min() >= limits.low, name
            assert limits.high is None or values.max() <= limits.high, name
    assert sales.drop_nulls().height > 0.9 * sales.height


def test_days_with_openings_closings_and_sundays() -> None:
    panel, _, frames = declared({"stores": 4, "products": 5, "periods": 300, "closing_share": 0.5})
    sales = frames["sales_features"]
    assert sales.height == int((panel.n_periods - panel.first).sum())
    assert set(frames) == {"sales_features", "store_features", "product_features"}
    # a series that has ended has rows until the end, and they say that nothing is known
    ended = int(panel.last.argmin())
    keys = panel.series.select("store_id", "product_id").row(ended, named=True)
    last = sales.filter(**keys).tail(1)
    assert panel.last[ended] < panel.n_periods - 30
    assert last[TIMES[0]].item() == stamp(panel, panel.n_periods - 1)
    assert last.select("lag_1", "lag_28", "rolling_mean_28d").null_count().row(0) == (1, 1, 1)


def test_one_series_without_keys() -> None:
    days = pl.date_range(dt.date(2020, 1, 1), dt.date(2022, 12, 1), "1mo", eager=True)
    frame = pl.DataFrame({"month": days, "sold": np.arange(36.0) + 1})
    from foretail.core.spec import DatasetSpec

    panel = build_panel(Table(frame, DatasetSpec((), "month", "sold", "MS", 3))).panel
    frames = store_frames(panel, declare(panel.spec, panel))
    assert list(frames) == ["sales_features"]
    last = frames["sales_features"].tail(1).to_dicts()[0]
    assert (last["sold"], last["lag_1"], last["lag_12"], last["rolling_mean_3m"]) == (36, 36, 25, 35)
    # T is December 2022, its next step January
    assert (last["month"], last["quarter"]) == (1, 1)


# what is refused, what is written


def test_another_table_is_refused_with_everything_at_once() -> None:
    panel = holiday_panel("D", 1)
    declaration = declare(panel.spec, panel)
    text = replace(
        panel, series=panel.series.with_columns(pl.col("store").cast(pl.String), pl.col("size").cast(pl.String))
    )
    with pytest.raises(DataError, match="declare\\(spec, panel\\)") as refused:
        store_frames(text, declaration)
    assert [problem.what for problem in refused.value.problems] == [
        "'store' holds String and was declared Int64",
        "'size' holds String and was declared Float64",
    ]
    bare = replace(panel, past=panel.past[:1], known=panel.known[1:])
    with pytest.raises(DataError) as refused:
        feature_rows(bare, declaration, panel.cutoff)
    assert [problem.what for problem in refused.value.problems] == [
        "the table has no 'weather'",
        "the table has no 'is_holiday'",
    ]
    with pytest.raises(DataError, match="not sold"):
        store_frames(panel, declare(panel.spec.but(target="sold"), panel))
    changing = replace(panel, series=panel.series.with_columns(size=pl.Series([float(i) for i in range(6)])))
    with pytest.raises(DataError, match="'size' does not depend on item alone"):
        store_frames(changing, declaration)


@pytest.mark.parametrize("day", ["2020-03-01", "2020-05-01", "2030-01-01"])
def test_a_date_off_the_time_line(day: str) -> None:
    panel = holiday_panel("D", 1)
    with pytest.raises(UsageError, match="2020-03-02 to 2020-04-30") as refused:
        feature_rows(panel, declare(panel.spec, panel), dt.date.fromisoformat(day))
    assert day in str(refused.value)


def test_files_are_replaced_whole(tmp_path: Path) -> None:
    panel = holiday_panel("D", 1)
    frames = store_frames(panel, declare(panel.spec, panel))
    folder = tmp_path / "a" / "features"
    paths = write_store(frames, folder)
    assert paths == {name: folder / name for name in frames}
    write_store({name: frame.head(3) for name, frame in frames.items()}, folder)
    write_store(frames, folder)
    for name, path in paths.items():
        assert [item.name for item in path.iterdir()] == ["part-0.parquet"]
        assert pl.read_parquet(path).equals(frames[name])
    meta = pq.ParquetFile(paths["sales_features"] / "part-0.parquet").metadata
    assert meta.row_group(0).column(0).statistics.has_min_max
    before = (paths["sales_features"] / "part-0.parquet").read_bytes()
    unwritable = {"sales_features": frames["sales_features"].head(1), "other": pl.DataFrame({"a": [object()]})}
    with pytest.raises(pl.exceptions.PolarsError):
        write_store(unwritable, folder)
    assert (paths["sales_features"] / "part-0.parquet").read_bytes() == before
    assert not [item for item in folder.iterdir() if item.name.startswith(".")]
