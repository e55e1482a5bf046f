"""The files of samples and totals: a table without keys, and one whose columns have our names."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from foretail.core.errors import UsageError
from foretail.core.spec import DatasetSpec
from foretail.forecasts.frame import forecast_frame, user_frame
from foretail.models.contract import Forecast
from foretail.models.dependence import Dependence
from foretail.models.marginals import knots
from foretail.panel.panel import Panel
from foretail.pipelines.forecast import stored
from foretail.pipelines.samples import SamplesAsked, Sampling, _check

H, LEVELS = 3, (0.025, 0.1, 0.5, 0.9, 0.975)


def files(folder, keys, time, asked):
    """Two series of a table with these keys, or the one of a table without keys."""
    n = 2 if keys else 1
    series = pl.DataFrame({"unique_id": [str(i) for i in range(n)], **{key: ["a", "b"] for key in keys}})
    panel = Panel(DatasetSpec(keys, time, "y", "D", H), series, 100, np.full((n, 20), 9.0), np.zeros((n, 20 + H), bool))
    wanted = stored(panel, H)
    quantiles = np.broadcast_to(10 + knots(LEVELS), (n, H, 5))
    forecast = Forecast(np.full((n, H), 10.0), LEVELS, quantiles)
    frame = forecast_frame(
        panel, forecast, requested=wanted.requested, model="m", model_version="v/1", levels=LEVELS
    )  # fmt: skip
    sampling = Sampling(asked, Dependence.independent(), wanted, LEVELS)
    for name, write in sampling.files(frame, user_frame(frame, panel.spec, wanted.series)).items():
        write(folder / name)
    return pl.read_parquet(folder / "samples.parquet"), pl.read_parquet(folder / "totals.parquet")


def test_a_table_without_keys_has_one_total_per_span(tmp_path):
    drawn, totals = files(tmp_path, (), "date", SamplesAsked(300, lead_times=(2,)))
    assert drawn.columns == ["date", "step", "samples"] and drawn.height == H
    assert totals["steps"].to_list() == [3, 2]
    assert totals["y_hat"].to_list() == [30.0, 20.0]
    assert totals["n_series"].to_list() == [1, 1]
    # independent steps of spread 1: the total of three has the spread of the square root of three
    width = (totals["q90"] - totals["q10"])[0]
    assert width == pytest.approx(2 * 1.2816 * np.sqrt(3), rel=0.15)
    assert totals["model_version"].to_list() == ["v/1"] * 2


def test_columns_that_have_our_names_keep_them(tmp_path):
    keys = ("samples", "steps", "cutoff", "n_series")
    drawn, totals = files(tmp_path, keys, "first", SamplesAsked(50, by=(("steps",),)))
    assert drawn.columns == [*keys, "first", "step", "forecast_samples"]
    assert totals.columns[:4] == list(keys)
    assert {"forecast_steps", "forecast_cutoff", "forecast_n_series", "last"} <= set(totals.columns)
    assert totals.filter(pl.col("samples").is_not_null())["steps"].to_list() == ["a", "b"]
    assert totals["forecast_n_series"].to_list() == [1, 1, 1, 1, 2]


def test_dates_of_a_span_are_its_first_and_last(tmp_path):
    _, totals = files(tmp_path, ("k",), "date", SamplesAsked(50, lead_times=(1,)))
    assert totals.filter(pl.col("steps") == 1).select(pl.col("first") == pl.col("last")).to_series().all()
    span = totals.filter(pl.col("steps") == 3).select(pl.col("last") - pl.col("first")).to_series()
    assert {item.days for item in span} == {2}


def test_a_column_of_no_series_is_refused_before_anything_is_forecast():
    series = pl.DataFrame({"unique_id": ["a"], "store": ["a"]})
    panel = Panel(DatasetSpec(("store",), "d", "y", "D", H), series, 0, np.ones((1, 9)), np.zeros((1, 9 + H), bool))
    with pytest.raises(UsageError, match="did you mean 'store'"):
        _check(SamplesAsked(by=(("stor",),)), stored(panel, H))
