"""Whatever a model says, the forecast table keeps its rules."""

from __future__ import annotations

import datetime as dt

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from foretail.core.errors import DataError, ForecastError
from foretail.core.spec import DatasetSpec
from foretail.forecasts.cold import Cold
from foretail.forecasts.frame import NO_HISTORY, forecast_frame, user_frame
from foretail.models.contract import Forecast
from foretail.panel.panel import Panel

LEVELS = (0.1, 0.5, 0.9)


def small_panel(
    n: int, t: int = 6, h: int = 3, freq: str = "D", closed: np.ndarray | None = None, **spec: object
) -> Panel:
    meaning = DatasetSpec(keys=("store",), time="day", target="units", freq=freq, horizon=h, **spec)  # type: ignore[arg-type]
    series = pl.DataFrame(
        {"unique_id": [str(i) for i in range(n)], "store": range(n)}, schema_overrides={"unique_id": pl.String}
    )
    start = int(meaning.frequency.to_index(np.array("2024-03-01", dtype="datetime64[D]")))
    shut = np.zeros((n, t + h), dtype=bool)
    if closed is not None:
        shut[:, t:] = closed
    return Panel(meaning, series, start, np.ones((n, t)), shut)


def all_rows(panel: Panel, h: int, extra: tuple[str, ...] = ()) -> pl.DataFrame:
    ids = [*panel.unique_ids, *extra]
    return pl.DataFrame(
        {
            "unique_id": np.repeat(ids, h).tolist(),
            "ds": pl.Series(np.tile(panel.future_dates(h), len(ids)), dtype=pl.Date),
            "step": np.tile(np.arange(1, h + 1), len(ids)),
        }
    )


def forecast_of(rng: np.random.Generator, n: int, h: int, scale: float = 10.0) -> Forecast:
    return Forecast(rng.normal(0, scale, (n, h)), LEVELS, rng.normal(0, scale, (n, h, len(LEVELS))))


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 5),
    st.integers(1, 4),
    st.booleans(),
    st.integers(0, 2**32 - 1),
    st.sampled_from(["D", "W-FRI", "MS", "ME"]),
)
def test_rules_hold_for_any_forecast(n: int, h: int, non_negative: bool, seed: int, freq: str) -> None:
    rng = np.random.default_rng(seed)
    closed = rng.random((n, h)) < 0.3
    panel = small_panel(n, h=h, freq=freq, closed=closed, non_negative=non_negative)
    forecast = forecast_of(rng, n, h)
    asked = all_rows(panel, h).sample(fraction=0.7, shuffle=True, seed=seed % 1000)
    frame = forecast_frame(panel, forecast, requested=asked, model="m", model_version="3", levels=LEVELS)

    assert_frame_equal(frame.select("unique_id", "ds"), asked.select("unique_id", "ds"))
    assert frame.columns == [
        *("unique_id", "ds", "cutoff", "step", "y_hat", "q10", "q50", "q90", "model", "model_version", "source")
    ]
    assert frame.null_count().sum_horizontal().item() == 0
    values = frame.select("y_hat", "q10", "q50", "q90").to_numpy()
    assert (np.diff(values[:, 1:], axis=1) >= 0).all()
    assert not non_negative or (values >= 0).all()
    row, step = frame["unique_id"].cast(int).to_numpy(), frame["step"].to_numpy() - 1
    assert (values[closed[row, step]] == 0).all()
    open_values = np.maximum(forecast.y_hat, 0) if non_negative else forecast.y_hat
    np.testing.assert_array_equal(values[:, 0], np.where(closed, 0, open_values)[row, step])
    assert (frame["cutoff"] == panel.cutoff).all()
    assert (frame["ds"] > frame["cutoff"]).all()


def test_a_fallback_says_why_in_its_rows() -> None:
    panel = small_panel(2)
    forecast = Forecast(np.ones((2, 3)), reasons={1: "3 observations only"})
    frame = forecast_frame(panel, forecast, requested=all_rows(panel, 3), model="m", model_version="1", levels=())
    assert frame["source"].to_list() == ["model"] * 3 + ["fallback:3 observations only"] * 3


def test_closed_days_beyond_what_is_known_count_as_open() -> None:
    panel = small_panel(1, h=3)
    short = Panel(panel.spec, panel.series, panel.start, panel.y, panel.closed[:, :7])
    frame = forecast_frame(
        short, Forecast(np.ones((1, 3))), requested=all_rows(panel, 3), model="m", model_version="1", levels=()
    )
    assert frame["y_hat"].to_list() == [1, 1, 1]


def problems_of(panel: Panel, asked: pl.DataFrame, **more: Cold) -> str:
    with pytest.raises(DataError) as caught:
        forecast_frame(
            panel,
            Forecast(np.ones((panel.n_series, 3))),
            requested=asked,
            model="m",
            model_version="1",
            levels=(),
            **more,
        )
    return str(caught.value)


def test_requests_that_cannot_be_answered_are_told_all_at_once() -> None:
    panel = small_panel(2)
    asked = all_rows(panel, 3, extra=("unknown",))
    wrong_date = asked[:1].with_columns(pl.lit(dt.date(2024, 5, 1)).alias("ds"))
    text = problems_of(panel, pl.concat([asked, asked[1:2], wrong_date]))
    assert "twice" in text and "2024-03-08" in text
    assert "neither in the history nor described" in text and "unknown" in text
    assert "not the step" in text and "0 on 2024-05-01 (step 1)" in text
    assert text.count("fix:") == 3


@pytest.mark.parametrize("step", [0, 4, None])
def test_a_step_outside_the_horizon_is_refused(step: int | None) -> None:
    panel = small_panel(1)
    asked = all_rows(panel, 3)[:1].with_columns(pl.lit(step, dtype=pl.Int64).alias("step"))
    assert "outside 1..3" in problems_of(panel, asked)


def test_a_forecast_that_is_not_finite_is_refused() -> None:
    panel = small_panel(3)
    y_hat = np.ones((3, 3))
    y_hat[1, 2] = np.nan
    with pytest.raises(ForecastError, match=r"no finite forecast.*\n.*1 of 3 series: 1"):
        forecast_frame(panel, Forecast(y_hat), requested=all_rows(panel, 3), model="m", model_version="1", levels=())


def test_a_missing_quantile_level_is_refused() -> None:
    panel = small_panel(1)
    with pytest.raises(ForecastError, match=r"no quantile 0\.2"):
        forecast_frame(
            panel,
            Forecast(np.ones((1, 3)), (0.5,), np.ones((1, 3, 1))),
            requested=all_rows(panel, 3),
            model="m",
            model_version="1",
            levels=(0.2, 0.5),
        )


def test_a_forecast_of_other_series_is_refused() -> None:
    with pytest.raises(ForecastError, match="1 series forecast, 2 in the panel"):
        forecast_frame(
            small_panel(2),
            Forecast(np.ones((1, 3))),
            requested=all_rows(small_panel(2), 3),
            model="m",
            model_version="1",
            levels=(),
        )


def grid_panel() -> Panel:
    """Stores A, B (big, small) x items 1, 2."""
    spec = DatasetSpec(keys=("store", "item"), time="day", target="units", freq="D", horizon=2, static=("size",))
    series = pl.DataFrame(
        {
            "unique_id": ["A/1", "A/2", "B/1", "B/2"],
            "store": list("AABB"),
            "item": [1, 2, 1, 2],
            "size": ["big", "big", "small", None],
        }
    )
    return Panel(spec, series, 0, np.ones((4, 5)), np.zeros((4, 7), dtype=bool))


def cold_answer(cold: pl.DataFrame) -> pl.DataFrame:
    panel = grid_panel()
    y_hat = np.array([[10.0, 20], [30, 40], [100, 100], [200, 200]])
    quantiles = np.stack([y_hat * 0.8, y_hat, y_hat * 1.2], axis=2)
    asked = all_rows(panel, 2, extra=tuple(cold["unique_id"]))
    frame = forecast_frame(
        panel,
        Forecast(y_hat, LEVELS, quantiles),
        requested=asked,
        cold=Cold(cold),
        model="m",
        model_version="1",
        levels=LEVELS,
    )
    return frame.filter(pl.col("unique_id").is_in(cold["unique_id"].to_list()))


def test_a_new_series_says_that_it_has_no_history() -> None:
    cold = pl.DataFrame({"unique_id": ["A/3", "C/9"], "store": ["A", "C"], "item": [3, 9], "size": ["big", None]})
    frame = cold_answer(cold)
    assert frame["source"].unique().to_list() == [NO_HISTORY]
    assert frame.height == 4
    low, middle, high = (frame[name].to_numpy() for name in ("q10", "q50", "q90"))
    assert (low < middle).all() and (middle < high).all()


def test_descriptions_that_nobody_asked_for_are_ignored() -> None:
    panel = grid_panel()
    cold = pl.DataFrame({"unique_id": ["Z/1", "A/1"], "store": ["Z", "A"], "item": [1, 1], "size": ["big", "big"]})
    frame = forecast_frame(
        panel,
        Forecast(np.ones((4, 2))),
        requested=all_rows(panel, 2),
        cold=Cold(cold),
        model="m",
        model_version="1",
        levels=(),
    )
    assert frame["source"].unique().to_list() == ["model"]


def test_many_new_series_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    cold = pl.DataFrame(
        {"unique_id": [f"A/{i}" for i in range(3, 40)], "store": "A", "item": range(3, 40), "size": "big"}
    )
    whole = cold_answer(cold)
    monkeypatch.setattr("foretail.forecasts.cold._BLOCK", 8)
    assert_frame_equal(cold_answer(cold), whole)


def test_all_series_new_is_refused() -> None:
    panel = small_panel(0)
    cold = pl.DataFrame({"unique_id": ["7"], "store": [7]})
    assert "no series has any history" in problems_of(panel, all_rows(panel, 3, extra=("7",)), cold=Cold(cold))


def test_the_users_own_columns_come_back_in_the_order_of_the_contract() -> None:
    panel = grid_panel()
    cold = pl.DataFrame({"unique_id": ["C/9"], "store": ["C"], "item": [9], "size": ["big"]})
    asked = all_rows(panel, 2, extra=("C/9",)).reverse()
    levels = (0.025, 0.1, 0.975)
    forecast = Forecast(np.ones((4, 2)), levels, np.ones((4, 2, 3)))
    frame = forecast_frame(
        panel, forecast, requested=asked, cold=Cold(cold), model="m", model_version="1", levels=levels
    )
    series = pl.concat([panel.series, cold], how="vertical_relaxed")
    shown = user_frame(frame, panel.spec, series)
    assert shown.columns == [
        *("store", "item", "day", "cutoff", "step", "y_hat", "q2_5", "q10", "q97_5", "model", "model_version", "source")
    ]
    assert shown.height == 10
    assert shown.row(0)[:3] == ("C", 9, panel.frequency.shift(panel.cutoff, 2))
    assert shown["store"].to_list() == [text[0] for text in asked["unique_id"]]


def test_a_key_called_like_a_column_of_ours_keeps_its_name() -> None:
    spec = DatasetSpec(keys=("model",), time="ds", target="y", freq="D", horizon=1)
    panel = Panel(
        spec, pl.DataFrame({"unique_id": ["x"], "model": ["x"]}), 0, np.ones((1, 3)), np.zeros((1, 4), dtype=bool)
    )
    frame = forecast_frame(
        panel, Forecast(np.ones((1, 1))), requested=all_rows(panel, 1), model="zero", model_version="1", levels=()
    )
    shown = user_frame(frame, spec, panel.series)
    assert shown.columns == ["model", "ds", "cutoff", "step", "y_hat", "forecast_model", "model_version", "source"]
    assert shown["model"].to_list() == ["x"] and shown["forecast_model"].to_list() == ["zero"]


def test_a_single_series_without_keys() -> None:
    spec = DatasetSpec(keys=(), time="day", target="y", freq="D", horizon=1)
    panel = Panel(spec, pl.DataFrame({"unique_id": ["all"]}), 0, np.ones((1, 3)), np.zeros((1, 4), dtype=bool))
    frame = forecast_frame(
        panel, Forecast(np.ones((1, 1))), requested=all_rows(panel, 1), model="m", model_version="1", levels=()
    )
    assert user_frame(frame, spec, panel.series).columns[:2] == ["day", "cutoff"]


def test_series_without_keys_are_not_lost_in_silence() -> None:
    panel = small_panel(2)
    frame = forecast_frame(
        panel, Forecast(np.ones((2, 3))), requested=all_rows(panel, 3), model="m", model_version="1", levels=()
    )
    with pytest.raises(DataError, match="no keys"):
        user_frame(frame, panel.spec, panel.series[:1])
