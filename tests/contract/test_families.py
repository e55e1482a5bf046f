"""What every family owes, for every row of the table of families: a new row is tested without new code."""

from __future__ import annotations

import datetime as dt
import subprocess
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from family_cases import BELIEVABLE, LENGTH, ODD, SHORT, bare_panel, crowd, small, wave
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from foretail.models.contract import Forecast, Forecaster
from foretail.models.families import FAMILIES, family_class
from foretail.panel.build import build_panel
from foretail.panel.panel import Panel
from foretail.panel.snapshot import write_panel
from foretail.sources.synthetic import SyntheticConfig, SyntheticWorld, generate
from foretail.sources.table import Table

H = 7
EVERY = [*sorted(FAMILIES), "neural[features=store]"]  # of a family that takes its features in two ways, both
LOCAL = [name for name in EVERY if family_class(name).tags.local]

pytestmark = pytest.mark.parametrize("family", EVERY)


@cache
def world() -> SyntheticWorld:
    return generate(SyntheticConfig(periods=230, stores=2, products=3, horizon=H, restated_share=0.1, seed=5))


@cache
def table() -> pl.DataFrame:
    """The world with text covariates and a promotion that decides."""
    return world().frame


@cache
def full() -> Panel:
    return build_panel(Table(table(), world().spec, world().future)).panel


CUTOFF = dt.date(2022, 7, 20)  # 29 days before the end of the world


@cache
def early() -> Panel:
    return build_panel(Table(table(), world().spec), cutoff=CUTOFF, horizon=H).panel


@cache
def fitted(family: str) -> Forecaster:
    return small(family).fit(early(), H)


@cache
def expected(family: str) -> Forecast:
    return fitted(family).predict(early(), H)


def check(forecast: Forecast, panel: Panel, h: int) -> None:
    """What holds for every forecast."""
    assert forecast.y_hat.shape == (panel.n_series, h)
    assert forecast.y_hat.dtype == np.float64
    assert np.isfinite(forecast.y_hat).all()
    assert all(0 <= row < panel.n_series and why for row, why in forecast.reasons.items())
    if forecast.quantiles is not None:
        assert forecast.quantiles.shape == (panel.n_series, h, len(forecast.levels))
        assert (np.diff(forecast.quantiles, axis=2) >= 0).all()


def assert_bits(first: Forecast, second: Forecast) -> None:
    assert first.y_hat.tobytes() == second.y_hat.tobytes()
    assert first.reasons == second.reasons
    if first.quantiles is not None and second.quantiles is not None:
        assert first.quantiles.tobytes() == second.quantiles.tobytes()


@pytest.mark.parametrize("h", [1, 3, H])
def test_steps_asked_are_steps_answered(family: str, h: int) -> None:
    check(fitted(family).predict(early(), h), early(), h)


def test_sales_that_are_never_negative_get_forecasts_that_are_not(family: str) -> None:
    assert (early().y[early().observed] >= 0).all()
    assert (expected(family).y_hat >= 0).all()


def test_ordinary_series_are_answered_by_the_family_itself(family: str) -> None:
    assert expected(family).reasons == {}


def test_the_same_seed_gives_the_same_bits(family: str) -> None:
    assert_bits(small(family).fit(early(), H).predict(early(), H), expected(family))


def test_a_forecast_does_not_change_the_model(family: str) -> None:
    fitted(family).predict(full(), H)
    assert_bits(fitted(family).predict(early(), H), expected(family))


def test_a_later_panel_needs_no_new_fit(family: str) -> None:
    later = full()
    forecast = fitted(family).predict(later, H)
    check(forecast, later, H)
    if family != "zero":
        assert not np.array_equal(forecast.y_hat, expected(family).y_hat)


# a fresh process

PREDICT = """
import sys
from pathlib import Path
import numpy as np
from foretail.models.families import family_class
from foretail.panel.snapshot import read_panel
folder = Path(sys.argv[1])
panels = {name: read_panel(folder / "panels" / name) for name in ("early", "full")}
answers = {}
for model in sorted((folder / "models").iterdir()):
    loaded = family_class(model.name).load(model)
    for name, panel in panels.items():
        answers[f"{model.name}/{name}"] = loaded.predict(panel, int(sys.argv[2])).y_hat
    answers[f"{model.name}/importance"] = np.array([share for _, share in loaded.importance()])
np.savez(folder / "answers.npz", **answers)
"""


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, np.ndarray]:
    """What every family says after it was loaded in another process (one for all of them: imports take seconds)."""
    folder = tmp_path_factory.mktemp("fresh")
    for name, panel in (("early", early()), ("full", full())):
        (folder / "panels" / name).mkdir(parents=True)
        write_panel(panel, folder / "panels" / name)
    for name in EVERY:
        (folder / "models" / name).mkdir(parents=True)
        fitted(name).save(folder / "models" / name)
    done = subprocess.run([sys.executable, "-c", PREDICT, str(folder), str(H)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    with np.load(folder / "answers.npz") as found:
        return {name: found[name] for name in found.files}


def test_a_fresh_process_predicts_the_same_bits(family: str, answers: dict[str, np.ndarray]) -> None:
    assert answers[f"{family}/early"].tobytes() == expected(family).y_hat.tobytes()
    assert answers[f"{family}/full"].tobytes() == fitted(family).predict(full(), H).y_hat.tobytes()


def test_importance_is_shares_largest_first_and_survives(family: str, answers: dict[str, np.ndarray]) -> None:
    found = fitted(family).importance()
    shares = np.array([share for _, share in found])
    assert answers[f"{family}/importance"].tobytes() == shares.tobytes()
    assert len({name for name, _ in found}) == len(found)
    if len(found):
        assert shares.sum() == pytest.approx(1.0)
        assert (shares > 0).all()
        assert (np.diff(shares) <= 0).all()


def test_nothing_is_pickled(family: str, tmp_path: Path) -> None:
    fitted(family).save(tmp_path)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert files
    assert {path.suffix for path in files} <= {".json", ".txt", ".npz", ".parquet", ".safetensors"}


# leaks


@given(seed=st.integers(0, 2**16), change=st.sampled_from(["other", "null", "huge", "gone", "twice as long"]))
@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_nothing_after_the_cutoff_moves_a_forecast(family: str, seed: int, change: str) -> None:
    changed = _after_the_cutoff(change, np.random.default_rng(seed))
    panel = build_panel(Table(changed, world().spec), cutoff=CUTOFF, horizon=H).panel
    assert_bits(small(family).fit(panel, H).predict(panel, H), expected(family))


def _after_the_cutoff(change: str, rng: np.random.Generator) -> pl.DataFrame:
    """The table with other targets and past covariates after the cutoff, other restatements, fewer or more rows."""
    frame, after = table(), pl.col("date") > CUTOFF
    if change == "gone":  # rows in reach of the horizon supply the known covariates
        in_reach = after & (pl.col("date") <= CUTOFF + dt.timedelta(days=H))
        kept = pl.Series(rng.random(frame.height) < 0.5)
        return frame.filter(in_reach | (after & kept) | (pl.col("recorded") <= CUTOFF))
    if change == "twice as long":
        more = frame.filter(after).with_columns(pl.col("date", "recorded") + pl.duration(days=29))
        return pl.concat([frame, more])
    noise = pl.Series(rng.integers(0, 5000, frame.height)).cast(pl.Float64)
    new = {"other": noise, "null": pl.lit(None, dtype=pl.Float64), "huge": pl.lit(1e300)}[change]
    told_late = frame.filter(~after).sample(40, seed=int(rng.integers(1 << 16)))
    told_late = told_late.with_columns(recorded=pl.lit(CUTOFF + dt.timedelta(days=2)), units=pl.col("units") * 9 + 1)
    columns = ("units", "temperature")
    replaced = frame.with_columns(
        pl.when(after).then(new).otherwise(pl.col(name)).cast(frame.schema[name], strict=False).alias(name)
        for name in columns
    )
    return pl.concat([replaced, told_late])


def test_a_cut_panel_is_forecast_like_one_that_ended_there(family: str) -> None:
    cut = full().as_of(early().n_periods, H)
    forecast = small(family).fit(cut, H).predict(cut, H)
    noise = np.random.default_rng(1).uniform(0, 1e6, full().y.shape)
    other = replace(
        full(),
        y=np.where(np.arange(full().n_periods) < early().n_periods, full().y, noise),
        past=tuple(replace(item, values=item.values.copy()) for item in full().past),
    )
    for item in other.past:
        item.values[:, early().n_periods :] = -1e6
    changed = other.as_of(early().n_periods, H)
    assert_bits(small(family).fit(changed, H).predict(changed, H), forecast)


# tags


def test_a_local_family_looks_at_one_series_at_a_time(family: str) -> None:
    order = np.random.default_rng(3).permutation(early().n_series)
    shuffled = early().select(order)
    forecast = small(family).fit(shuffled, H).predict(shuffled, H)
    if family in LOCAL:
        assert forecast.y_hat.tobytes() == expected(family).y_hat[order].tobytes()
        alone = early().select(np.array([2]))
        assert_bits(small(family).fit(alone, H).predict(alone, H), expected(family).select(np.array([2])))
    else:
        np.testing.assert_allclose(forecast.y_hat.sum(), expected(family).y_hat.sum(), rtol=0.2)


def test_a_global_family_learns_from_other_series(family: str) -> None:
    louder = replace(early(), y=early().y * np.where(np.arange(early().n_series) == 0, 1.0, 3.0)[:, None])
    alone = early().select(np.array([0]))
    first = small(family).fit(alone, H).predict(alone, H).y_hat[0]
    among = small(family).fit(louder, H).predict(louder, H).y_hat[0]
    assert np.array_equal(first, among) == (family in LOCAL)


def test_known_covariates_matter_where_the_tag_says_so(family: str) -> None:
    on = _promoted(1.0)
    off = _promoted(0.0)
    model = small(family).fit(on, H)
    moved = not np.array_equal(model.predict(on, H).y_hat, model.predict(off, H).y_hat)
    # rows of the store say nothing of what is planned for the date to forecast
    assert moved == (family_class(family).tags.covariates and "features=store" not in family)


def _promoted(ahead: float) -> Panel:
    """Sales that double on promotion; the promotion of the horizon is given."""
    rng = np.random.default_rng(8)
    promo = (rng.random((6, 260 + H)) < 0.4).astype(np.float32)
    promo[:, 260:] = ahead
    y = rng.uniform(10, 50, (6, 1)) * (1 + promo[:, :260]) * rng.normal(1, 0.05, (6, 260))
    bare = bare_panel(y, closed=np.zeros(promo.shape, dtype=np.bool_))
    item = replace(early().known[0], name="promo", values=promo, categories=())
    return replace(bare, spec=bare.spec.but(known=("promo",)), known=(item,))


def test_series_shorter_than_the_family_needs_get_a_reason(family: str) -> None:
    least = family_class(family).tags.min_periods
    if least > 1:
        panel = bare_panel(np.stack([wave(60), np.r_[np.full(61 - least, np.nan), wave(least - 1)]]))
        forecast = small(family).fit(panel, H).predict(panel, H)
        assert set(forecast.reasons) == {1}
    assert least >= 1


# odd panels


@pytest.mark.parametrize("freq", sorted(LENGTH))
@pytest.mark.parametrize("odd", sorted(ODD))
def test_an_odd_series_alone_is_answered(family: str, odd: str, freq: str) -> None:
    panel = bare_panel(ODD[odd](LENGTH[freq]), freq)
    check_believable(forecast_of(family, panel), panel)


@pytest.mark.parametrize("freq", sorted(LENGTH))
@pytest.mark.parametrize("length", [LENGTH, SHORT], ids=["long", "short"])
def test_odd_series_do_not_spoil_the_others(family: str, length: dict[str, int], freq: str) -> None:
    n = length[freq]
    sales = crowd(n + H, freq)
    odd = np.stack([ODD[kind](n) for kind in sorted(ODD) if kind not in BEYOND])
    alone, mixed = bare_panel(sales[:, :n], freq), bare_panel(np.vstack([sales[:, :n], odd]), freq)
    without, among = forecast_of(family, alone), forecast_of(family, mixed)
    check_believable(among, mixed)
    ordinary = among.select(np.arange(len(sales)))
    if family in LOCAL:
        assert_bits(ordinary, without)
    else:
        assert _wape(ordinary, sales[:, n:]) <= _wape(without, sales[:, n:]) + SPOILED


SPOILED = 0.1  # of the sales: what odd series may cost the others in a global family
NOTHING = 1.0  # pieces that a global family may see in a series that never sold, among others that do
BEYOND = ("absurd", "exponential")  # squares that are no numbers; sales that grow by 40 % a period outweigh all others


def _wape(forecast: Forecast, y: np.ndarray) -> float:
    """Mean over series, each scaled: a large one must not hide the others."""
    return float((np.abs(forecast.y_hat - y).sum(1) / y.sum(1)).mean())


def forecast_of(family: str, panel: Panel) -> Forecast:
    return small(family).fit(panel, H).predict(panel, H)


def check_believable(forecast: Forecast, panel: Panel) -> None:
    """Whatever a family says of odd series, it is no number that nobody would believe."""
    check(forecast, panel, H)
    largest = np.where(panel.observed, np.abs(panel.y), 0.0).max(axis=1)
    said = np.abs(forecast.y_hat).max(axis=1)
    assert (said[largest > 0] <= BELIEVABLE * largest[largest > 0]).all()
    assert (said[largest == 0] <= NOTHING).all()


@pytest.mark.parametrize("freq", sorted(LENGTH))
def test_what_never_moves_does_not_move(family: str, freq: str) -> None:
    if family == "zero":
        return
    zero, constant = (bare_panel(ODD[kind](LENGTH[freq]), freq) for kind in ("all zero", "constant"))
    np.testing.assert_allclose(forecast_of(family, zero).y_hat, 0.0, atol=1e-9)
    np.testing.assert_allclose(forecast_of(family, constant).y_hat, 5.0, rtol=0.1)


@pytest.mark.parametrize("unit", [1e12, 1e-9])
def test_the_unit_of_sales_does_not_matter(family: str, unit: float) -> None:
    sales = crowd(LENGTH["D"], "D")[::4]
    told, other = forecast_of(family, bare_panel(sales)), forecast_of(family, bare_panel(unit * sales))
    np.testing.assert_allclose(other.y_hat / unit, told.y_hat, rtol=1e-6 if family in LOCAL else 0.05)


def test_sales_below_nothing_are_forecast_where_they_may_be(family: str) -> None:
    panel = bare_panel(np.stack([-wave(200), ODD["both signs"](200)]), non_negative=False)
    forecast = forecast_of(family, panel)
    check_believable(forecast, panel)
    if family != "zero":
        assert (forecast.y_hat[0] < -5).all()


def test_series_that_were_never_open_are_answered(family: str) -> None:
    y = np.stack([wave(120), np.zeros(120), wave(120)])
    closed = np.zeros((3, 120 + H), dtype=np.bool_)
    closed[1] = True
    panel = bare_panel(y, closed=closed)
    forecast = small(family).fit(panel, H).predict(panel, H)
    check(forecast, panel, H)
    assert (forecast.y_hat[1] == 0).all()


def test_a_panel_that_was_never_open_is_answered(family: str) -> None:
    panel = bare_panel(np.zeros((2, 60)), closed=np.ones((2, 60 + H), dtype=np.bool_))
    check(small(family).fit(panel, H).predict(panel, H), panel, H)


@pytest.mark.parametrize("n_periods", [1, 2, 3, 8, 20])
@pytest.mark.parametrize("freq", sorted(LENGTH))
def test_hardly_any_history_is_answered(family: str, n_periods: int, freq: str) -> None:
    panel = bare_panel(np.stack([wave(n_periods), 3 * wave(n_periods)]), freq)
    check(small(family).fit(panel, 30).predict(panel, 30), panel, 30)  # the horizon is longer than the history


def test_more_steps_than_a_year_are_answered(family: str) -> None:
    panel = bare_panel(np.stack([wave(130), 3 * wave(130)]), "W-SUN")
    check(small(family).fit(panel, 60).predict(panel, 60), panel, 60)


def test_series_that_begin_and_end_anywhere_are_answered(family: str) -> None:
    y = np.tile(wave(400), (8, 1))
    for row in range(8):
        y[row, : 45 * row] = np.nan
        y[row, 400 - 20 * (row % 3) :] = np.nan
    panel = bare_panel(y)
    forecast = small(family).fit(panel, H).predict(panel, H)
    check(forecast, panel, H)
    young = panel.as_of(100, 0)  # most of them have not begun
    check(small(family).fit(panel, H).predict(young, H), young, H)
