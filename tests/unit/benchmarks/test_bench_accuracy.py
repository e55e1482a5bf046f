"""The two scorers of the accuracy benchmark see the same forecast in the same way."""

from __future__ import annotations

import datetime as dt

import numpy as np
import polars as pl
import pytest
from benchmarks.accuracy import own_scores
from benchmarks.neutral import Split, read_block, scores

from foretail.core.quantiles import DEFAULT_QUANTILES, quantile_column
from foretail.core.spec import DatasetSpec
from foretail.panel.build import build_panel
from foretail.sources.table import Table

CUTOFF = dt.date(2012, 1, 27)
SPLIT = Split("four weeks", "walmart", 4, (CUTOFF,), 52, 7, ("Store", "Dept"), "Weekly_Sales", "Dept")


def sales() -> pl.DataFrame:
    """Three series of 104 + 4 weeks, the last of which is new in the block."""
    rng = np.random.default_rng(2)
    weeks = [CUTOFF + dt.timedelta(days=7 * week) for week in range(-103, 5)]
    parts = [
        pl.DataFrame({"Store": 1, "Dept": dept, "Date": weeks[first:], "Weekly_Sales": rng.gamma(3, 100, 108 - first)})
        for dept, first in ((1, 0), (2, 0), (3, 105))
    ]
    return pl.concat(parts).with_columns(IsHoliday=pl.lit("FALSE"))


@pytest.fixture
def forecast() -> pl.DataFrame:
    rng = np.random.default_rng(4)
    rows = sales().filter(pl.col("Date") > CUTOFF)
    step = ((pl.col("Date") - CUTOFF).dt.total_days() // 7).alias("step")
    values = np.sort(rng.gamma(3, 100, (rows.height, len(DEFAULT_QUANTILES))), axis=1)
    quantiles = [pl.Series(quantile_column(level), values[:, i]) for i, level in enumerate(DEFAULT_QUANTILES)]
    return rows.select("Store", "Dept", "Date", step).with_columns(
        pl.Series("y_hat", values[:, 5]), *quantiles, cutoff=pl.lit(CUTOFF)
    )


def test_both_scorers_agree_where_they_have_one_formula(tmp_path, forecast):
    sales().write_csv(tmp_path / "train.csv")
    neutral = scores(read_block(SPLIT, tmp_path), forecast)
    spec = DatasetSpec(SPLIT.keys, "Date", SPLIT.target, "W-FRI", SPLIT.horizon)
    own = own_scores(build_panel(Table(sales(), spec)), SPLIT, forecast.sample(fraction=1.0, shuffle=True, seed=1))
    assert own.wape == pytest.approx(neutral["WAPE"], abs=1e-12)
    assert own.bias == pytest.approx(neutral["bias"], abs=1e-12)
    assert own.coverage_80 == pytest.approx(neutral["cov80"], abs=1e-12)
    assert own.coverage_95 == pytest.approx(neutral["cov95"], abs=1e-12)
    assert np.isfinite([own.mase, own.rmsse, own.wql]).all()
