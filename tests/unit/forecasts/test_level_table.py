"""The table of the levels: sums of the forecast table and of its joint samples, to the last digit."""

from __future__ import annotations

import datetime as dt

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foretail.core.quantiles import quantile_column
from foretail.core.spec import DatasetSpec
from foretail.forecasts.levels import N_SAMPLES, SEED, levels_frame, sample_sums
from foretail.forecasts.samples import Sampler, group_codes, sample_paths
from foretail.models.dependence import Dependence
from foretail.panel.hierarchy import hierarchy_of

LEVELS = (0.1, 0.5, 0.9)
CUTOFF = dt.date(2024, 3, 1)
SHARES = np.array([[0.3, 0, 0, 0, 0, 0], [0.2, 0, 0, 0, 0, 0], [0.1, 0.1, 0, 0, 0, 0.3]])
TOGETHER = Dependence(("", "store", "own"), SHARES, 7)


def spec(**changes):
    base = {"keys": ("store", "item"), "time": "date", "target": "sales", "freq": "D", "horizon": 4}
    return DatasetSpec(**{**base, "static": ("type",), "hierarchy": ("store", "type/item"), **changes})


def table(seed=1, n=90, share=0.8):
    """A forecast table of which some rows were not asked for, and its series."""
    rng = np.random.default_rng(seed)
    row = np.arange(n)
    series = pl.DataFrame(
        {"unique_id": [f"s{i}" for i in row], "store": row % 5, "item": row // 5, "type": ["xy"[i % 2] for i in row]}
    )
    quantiles = np.sort(rng.gamma(2.0, 10.0, (n, 4, 3)), axis=2)
    quantiles[rng.random((n, 4)) < 0.1] = 0.0
    kept = rng.random((n, 4)) < share
    place, step = np.nonzero(kept)
    frame = pl.DataFrame(
        {
            "unique_id": series["unique_id"][place],
            "ds": [CUTOFF + dt.timedelta(days=int(i) + 1) for i in step],
            "cutoff": [CUTOFF] * len(step),
            "step": (step + 1).astype(np.int32),
            "y_hat": quantiles[place, step, 1] * 1.1,
            **{quantile_column(level): quantiles[place, step, i] for i, level in enumerate(LEVELS)},
            "model": "profile",
            "model_version": "shop/3",
            "source": "model",
        }
    )
    return frame, series, np.where(kept[..., None], quantiles, 0.0)


def levels_of(frame, series, used=None, **more):
    asked = {
        "names": ("store", "type/item"),
        "levels": LEVELS,
        "sampled": LEVELS,
        "dependence": TOGETHER,
        "method": "wls",
    }
    return levels_frame(frame, series, used or spec(), **{**asked, **more})


def test_every_row_is_the_sum_of_the_rows_of_its_series():
    frame, series, _ = table()
    found = levels_of(frame, series)
    joined = frame.join(series, on="unique_id")
    for name, columns in (("total", []), ("store", ["store"]), ("type/item", ["type", "item"])):
        part = found.filter(pl.col("level") == name)
        sums = joined.group_by(*columns, "step").agg(pl.col("y_hat").sum(), pl.len().alias("n"))
        assert part.height == sums.height
        both = part.join(sums, on=[*columns, "step"], suffix="_sum")
        assert both.height == part.height
        np.testing.assert_allclose(both["y_hat"], both["y_hat_sum"], rtol=1e-12)
        assert (both["n_series"] == both["n"]).all()
    assert found.columns == ["level", "store", "type", "item", "date", "cutoff", "step", "y_hat", "q10", "q50", "q90",
                             "n_series", "model", "model_version", "method"]  # fmt: skip
    assert (found["date"] - found["cutoff"]).dt.total_days().to_list() == found["step"].to_list()


def test_quantiles_are_those_of_sums_of_the_samples_that_forecast_writes():
    frame, series, quantiles = table()
    asked = series.filter(pl.col("unique_id").is_in(frame["unique_id"].implode()))
    assert asked.height == series.height
    paths = sample_paths(
        quantiles, LEVELS, TOGETHER, N_SAMPLES, SEED, groups=group_codes(series, TOGETHER.columns)
    ).astype(np.float64)
    found = levels_of(frame, series).filter(pl.col("level") == "store")
    for row in found.iter_rows(named=True):
        drawn = paths[(series["store"] == row["store"]).to_numpy(), row["step"] - 1].sum(0)
        np.testing.assert_allclose([row["q10"], row["q50"], row["q90"]], np.quantile(drawn, LEVELS), rtol=1e-9)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 80))
def test_every_parent_is_the_sum_of_its_children_in_every_sample(seed, n):
    _, series, quantiles = table(seed, n, share=1.0)
    hierarchy = hierarchy_of(series, spec(), ("store", "store/type"))
    sampler = Sampler(TOGETHER, 4, 20, 3, group_codes(series, TOGETHER.columns))
    row = np.arange(n * 4).reshape(n, 4)
    sums = sample_sums(hierarchy, sampler, quantiles.reshape(-1, 3), row, LEVELS, non_negative=True)
    total, stores, crossed = (sums[part] for part in hierarchy.parts)
    np.testing.assert_allclose(stores.sum(0), total[0], rtol=1e-9)
    parent = hierarchy.levels[2].groups["store"].to_numpy()
    again = np.stack([crossed[parent == store].sum(0) for store in hierarchy.levels[1].groups["store"].to_list()])
    np.testing.assert_allclose(again, stores, rtol=1e-9)
    paths = sampler.paths(quantiles, LEVELS)
    np.testing.assert_allclose(paths.sum(0, dtype=np.float64), total[0], rtol=1e-6)


def test_a_total_of_series_that_go_together_is_wider():
    frame, series, _ = table(share=1.0)
    alone = levels_of(frame, series, dependence=Dependence.independent()).filter(pl.col("level") == "total")
    together = levels_of(frame, series).filter(pl.col("level") == "total")
    width, wider = ((item["q90"] - item["q10"]).to_numpy() for item in (alone, together))
    assert (wider > 2 * width).all()


def test_columns_of_the_user_keep_their_names():
    frame, series, _ = table()
    own = series.rename({"store": "level", "type": "method"})
    used = spec(keys=("level", "item"), static=("method",), hierarchy=())
    found = levels_of(frame, own, used, names=("level", "method/item"))
    assert found.columns[:4] == ["forecast_level", "level", "method", "item"]
    assert found["forecast_method"].unique().to_list() == ["wls"]
    assert found.filter(pl.col("forecast_level") == "level").height == 20


def test_a_single_series_may_be_asked_for():
    frame, series, _ = table(share=1.0)
    found = levels_of(frame.filter(pl.col("unique_id") == "s7"), series)
    assert found.height == 3 * 4 and found["y_hat"].n_unique() == 4


def test_nothing_is_said_of_a_series_without_its_group():
    frame, series, _ = table()
    lacking = series.with_columns(pl.when(pl.col("item") == 2).then(None).otherwise("type").alias("type"))
    with pytest.raises(Exception, match="belong to no group"):
        levels_of(frame, lacking)
