"""`neural[features=store]`: rows as the feature store holds them, one by one as all together, odd ones answered too."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "contract"))
from family_cases import BELIEVABLE, LENGTH, ODD, bare_panel, crowd, wave

from foretail.backtest.metrics import wape
from foretail.core.errors import UsageError
from foretail.core.quantiles import DEFAULT_QUANTILES
from foretail.features.declaration import declare
from foretail.features.history import feature_rows, store_frames
from foretail.models.contract import Forecast
from foretail.models.families import make
from foretail.models.neural import Neural
from foretail.models.neural.outcome import begin_job, read_outcome
from foretail.models.neural.store_inputs import SERVICE, StoreInputs, stored_values
from foretail.models.neural.train import train_job
from foretail.panel.build import build_panel
from foretail.panel.panel import Panel
from foretail.sources.synthetic import SyntheticConfig, generate, synthetic_table

H = 6
MEDIAN = DEFAULT_QUANTILES.index(0.5)
NOTHING = 1.0  # pieces that may be seen in a series that never sold


def quick(**params: Any) -> Neural:
    return Neural(**{"features": "store", "epochs": 2, "members": 2, "n_threads": 1, **params})


@cache
def chain() -> Panel:
    """A weekly chain with holidays, store types, sizes and regions: the table of the published names."""
    world = {"stores": 3, "departments": 3, "weeks": 110, "horizon": H, "seed": 3}
    return build_panel(synthetic_table(world), horizon=H).panel


@cache
def shops() -> Panel:
    """Daily sales with text covariates, of which a tenth was restated."""
    world = generate(SyntheticConfig(periods=150, stores=2, products=3, horizon=H, restated_share=0.1, seed=5))
    return build_panel(world.table).panel


PANELS = {"weekly": chain, "daily": shops}


@cache
def fitted(name: str) -> Neural:
    return quick().fit(PANELS[name](), H)


def joined(panel: Panel) -> pl.DataFrame:
    """The rows of the store at the panel's end, one per series, with their keys."""
    declared, rows = declare(panel.spec, panel), panel.series.select(panel.spec.keys)
    for view, frame in feature_rows(panel, declared, panel.cutoff).items():
        keys = list(declared.view(view).keys)
        stored = frame.drop("event_timestamp", "created_timestamp")
        rows = rows.join(stored, on=keys, how="left", maintain_order="left")
    return rows


def columns_of(panel: Panel, rows: pl.DataFrame) -> dict[str, np.ndarray[Any, Any]]:
    """Rows as `predict_rows` takes them."""
    texts = {item.name for item in declare(panel.spec, panel).features_of(SERVICE) if item.dtype == "String"}
    texts |= set(panel.spec.keys)
    names = [*(item.name for item in declare(panel.spec, panel).features_of(SERVICE)), *panel.spec.keys]
    return {
        name: np.array(rows[name].cast(pl.String).to_list(), dtype=object)
        if name in texts
        else rows[name].cast(pl.Float64).to_numpy()
        for name in names
    }


def asked(panel: Panel, n: int) -> np.ndarray[Any, Any]:
    return np.full(n, np.datetime64(panel.cutoff))


def same(first: Forecast, second: Forecast) -> None:
    assert first.y_hat.tobytes() == second.y_hat.tobytes()
    assert first.reasons == second.reasons


# rows


@pytest.mark.parametrize("name", sorted(PANELS))
def test_a_training_row_holds_what_was_known_at_its_date(name: str) -> None:
    panel = PANELS[name]()
    declared = declare(panel.spec, panel)
    inputs = StoreInputs.of(panel, "level")
    cutoffs = np.arange(panel.n_periods - 2, panel.n_periods // 2, -9)
    rows = inputs.training(panel, H, cutoffs, 10**6, 7)
    frame = store_frames(panel, declared)["sales_features"]
    frame = frame.filter(pl.col("created_timestamp") == pl.col("event_timestamp"))  # as first told
    days = panel.frequency.to_date(panel.start + rows.cutoff).astype("datetime64[us]")
    keys = panel.series.select(panel.spec.keys)[rows.series].with_columns(
        event_timestamp=pl.Series(days).dt.replace_time_zone("UTC")
    )
    stored = keys.join(frame, on=[*panel.spec.keys, "event_timestamp"], how="left", maintain_order="left")
    for feature in inputs.amounts:  # told as differences from the reference, in units
        told = rows.x[:, rows.names.index(feature)] * rows.unit + rows.reference
        np.testing.assert_allclose(
            told, stored[feature].cast(pl.Float64).to_numpy(), rtol=1e-4, atol=1e-3 * inputs.floor
        )
    for feature in set(inputs.numbers) & set(frame.columns):
        expected = stored[feature].cast(pl.Float64).to_numpy().astype(np.float32)
        np.testing.assert_array_equal(rows.x[:, rows.names.index(feature)], expected)
    y = rows.target * rows.unit + rows.reference
    np.testing.assert_allclose(y, panel.y[rows.series, rows.cutoff + rows.step], rtol=1e-9, atol=1e-9 * inputs.floor)
    assert ((rows.step >= 1) & (rows.step <= H) & (rows.cutoff + rows.step < panel.n_periods)).all()


def test_restated_sales_are_in_these_worlds() -> None:
    revisions = shops().revisions
    assert revisions is not None
    assert len(revisions.y) > 20


@pytest.mark.parametrize("name", sorted(PANELS))
def test_the_rows_of_a_forecast_are_those_of_the_store(name: str) -> None:
    panel = PANELS[name]()
    seen = replace(panel.as_of(panel.n_periods, H), revisions=None)
    series = np.arange(panel.n_series)
    found = stored_values(seen, series, np.full(panel.n_series, panel.n_periods - 1), None)
    expected = columns_of(panel, joined(panel))
    assert set(found) == set(expected)
    for feature, column in expected.items():
        np.testing.assert_array_equal(found[feature], column, err_msg=feature)


def test_the_date_to_forecast_moves_with_the_step() -> None:
    panel = chain()
    inputs = StoreInputs.of(panel, "log")
    rows = inputs.ahead(panel, H)
    week = rows.x[:, rows.names.index("target week_of_year")].reshape(-1, H)
    expected = [
        int(day.astype("datetime64[D]").item().timetuple().tm_yday - 1) // 7 + 1 for day in panel.future_dates(H)
    ]
    assert (week == expected).all()
    days = rows.x[:, rows.names.index("target holiday")].reshape(-1, H)
    stored = columns_of(panel, joined(panel))["days_to_holiday"]
    assert (days == stored[:, None] - 7 * np.arange(H)).all()


def test_nothing_after_the_cutoff_moves_a_forecast() -> None:
    panel, n = shops(), 130
    cut = panel.as_of(n, H)
    wild = np.random.default_rng(1).uniform(0, 1e6, panel.y.shape)
    y = np.where(np.arange(panel.n_periods) < n, panel.y, wild)
    past = tuple(replace(item, values=np.where(np.arange(panel.n_periods) < n, item.values, -7)) for item in panel.past)
    changed = replace(panel, y=y, past=past).as_of(n, H)
    same(quick().fit(changed, H).predict(changed, H), quick().fit(cut, H).predict(cut, H))


# one by one and all together


@pytest.mark.parametrize("name", sorted(PANELS))
def test_rows_one_by_one_give_the_forecast_of_the_panel(name: str) -> None:
    panel, model = PANELS[name](), fitted(name)
    whole = model.predict(panel, H)
    assert whole.reasons == {}
    columns = columns_of(panel, joined(panel))
    for i in range(panel.n_series):
        row = {feature: column[[i]] for feature, column in columns.items()}
        for step in range(1, H + 1):
            y_hat, quantiles = model.predict_rows(row, asked(panel, 1), np.array([step]))
            np.testing.assert_allclose(y_hat, whole.y_hat[i, step - 1], rtol=1e-9)
            np.testing.assert_allclose(quantiles[0], whole.quantiles[i, step - 1], rtol=1e-9)  # type: ignore[index]


@pytest.mark.parametrize("name", sorted(PANELS))
def test_every_kind_of_feature_counts(name: str) -> None:
    panel, model = PANELS[name](), fitted(name)
    columns = columns_of(panel, joined(panel))
    n = panel.n_series
    before, _ = model.predict_rows(columns, asked(panel, n), np.ones(n, dtype=np.int64))
    assert model.inputs_ is not None
    assert model.store_ is not None
    held = [item for item in columns if item in (*model.inputs_.names, *model.store_.levels)]
    assert {"lag_1", "lag_2", "rolling_mean_4w" if name == "weekly" else "rolling_mean_7d"} <= set(held)
    assert set(panel.spec.keys) <= set(held)
    for feature in held:
        column = columns[feature]
        is_text = column.dtype == object
        # one of the two is not beyond the bounds within which values count, if the value itself is
        others = [np.full(n, "elsewhere", dtype=object)] if is_text else [column * 2 + 1, column * 0]
        after = [
            model.predict_rows({**columns, feature: other}, asked(panel, n), np.ones(n, dtype=np.int64))[0]
            for other in others
        ]
        assert any(not np.array_equal(found, before) for found in after), feature
        assert np.isfinite(after).all()


# what is not known


def test_what_is_missing_has_a_mark_and_is_no_zero() -> None:
    panel, model = chain(), quick(epochs=6).fit(young(), H)
    assert model.inputs_ is not None
    assert {"lag_4", "lag_8"} <= set(model.inputs_.marked)
    columns = columns_of(panel, joined(panel))
    columns["lag_8"] = np.full(panel.n_series, np.nan)
    assert model.store_ is not None
    rows = model.store_.rows(columns, np.full(panel.n_series, panel.end), np.ones(panel.n_series, dtype=np.int64))
    numbers = model.inputs_.numeric(rows, np.zeros(len(rows)))
    mark = len(model.inputs_.numbers) + model.inputs_.marked.index("lag_8")
    assert (numbers[:, model.inputs_.numbers.index("lag_8")] == 0).all()  # at its mean
    assert (numbers[:, mark] == 1).all()
    assert not numbers[:, len(model.inputs_.numbers) + model.inputs_.marked.index("lag_4")].any()


@cache
def young() -> Panel:
    """Half of the series have only begun: their longer lags are not known at most cutoffs."""
    panel = chain()
    y = panel.y.copy()
    for row in range(0, panel.n_series, 2):
        y[row, : panel.n_periods - 14 - row] = np.nan
    return replace(panel, y=y)


def test_a_row_without_sales_is_not_answered() -> None:
    panel, model = chain(), fitted("weekly")
    ended = replace(panel, y=np.where(np.arange(panel.n_periods) < panel.n_periods - 12, panel.y, np.nan))
    mixed = replace(panel, y=np.concatenate([ended.y[:2], panel.y[2:]]))
    found = model.predict(mixed, H)
    assert found.reasons == dict.fromkeys((0, 1), "no recent sales known")
    columns = columns_of(mixed, joined(mixed))
    y_hat, quantiles = model.predict_rows(columns, asked(mixed, mixed.n_series), np.full(mixed.n_series, 2))
    assert np.isnan(y_hat[:2]).all()
    assert np.isnan(quantiles[:2]).all()
    np.testing.assert_allclose(y_hat[2:], found.y_hat[2:, 1], rtol=1e-9)


def test_a_model_without_rows_of_the_store_says_so() -> None:
    columns = columns_of(chain(), joined(chain()))
    for model in (quick(features="asof").fit(chain(), H), quick().fit(chain().as_of(2, 0), H)):
        with pytest.raises(UsageError, match=r"neural\[features=store\]"):
            model.predict_rows(columns, asked(chain(), chain().n_series), np.ones(chain().n_series, dtype=np.int64))


def test_too_little_history_is_said_and_survives(tmp_path: Path) -> None:
    panel = bare_panel(wave(5))
    model = quick().fit(panel, 2)
    model.save(tmp_path)
    for some in (model, Neural.load(tmp_path)):
        assert some.predict(panel, 2).reasons == {0: "too little history for neural"}


# the family


def test_it_is_made_by_name_and_refuses_other_words() -> None:
    made = make("neural[features=store,epochs=3]")
    assert isinstance(made, Neural)
    assert (made.features, made.epochs) == ("store", 3)
    assert fitted("weekly").outlook_plan() is None
    with pytest.raises(UsageError, match="did you mean 'store'"):
        make("neural[features=stored]")


@pytest.mark.parametrize("name", sorted(PANELS))
def test_reading_gives_back_every_bit(name: str, tmp_path: Path) -> None:
    panel, model = PANELS[name](), fitted(name)
    model.save(tmp_path)
    read = Neural.load(tmp_path)
    assert json.loads((tmp_path / "neural.json").read_text())["params"]["features"] == "store"
    same(read.predict(panel, H), model.predict(panel, H))
    assert (read.features, read.store_, read.outlook_plan()) == ("store", model.store_, None)


def test_the_same_seed_gives_the_same_bits() -> None:
    same(quick().fit(shops(), H).predict(shops(), H), fitted("daily").predict(shops(), H))


def test_scalers_come_from_the_training_rows_alone() -> None:
    """Sales after the last target of the older rows move nothing that the older lens measured."""
    panel = chain()
    told = quick().curriculum(panel, H)
    y = panel.y.copy()
    y[:, -H:] *= 50
    other = quick().curriculum(replace(panel, y=y), H)
    assert told is not None and told.older_lens is not None
    assert other is not None and other.older_lens is not None
    assert other.older_lens.inputs == told.older_lens.inputs
    assert other.lens.inputs != told.lens.inputs


def test_it_learns_what_the_calendar_of_the_target_says() -> None:
    """Sales that double in the last week of every month: no lag of weeks says that."""
    rng = np.random.default_rng(5)
    panel = bare_panel(rng.uniform(20, 200, (16, 160 + H)), "W-FRI")
    month = panel.dates().astype("datetime64[M]")
    last = (panel.dates() + 7).astype("datetime64[M]") != month
    level = rng.uniform(20, 200, (16, 1))
    y = level * np.where(last, 2.0, 1.0) * np.exp(rng.normal(0, 0.05, (16, 160 + H)))
    past = replace(panel, y=y[:, :160], closed=panel.closed[:, :160])
    found = quick(epochs=20, members=1).fit(past, H).predict(past, H)
    assert wape(y[:, 160:], found.y_hat) < 0.15  # without it about 0.3, noise alone is 0.04


def test_a_shop_and_a_text_it_never_saw_are_answered() -> None:
    panel, model = shops(), fitted("daily")
    renamed = panel.series.with_columns(pl.lit("new").alias(name) for name in panel.spec.static)
    past = tuple(replace(item, categories=tuple(f"{text}x" for text in item.categories)) for item in panel.past)
    found = model.predict(replace(panel, series=renamed, past=past), H)
    assert found.reasons == {}
    assert np.isfinite(found.y_hat).all()


@pytest.mark.parametrize("freq", sorted(LENGTH))
@pytest.mark.parametrize("odd", sorted(ODD))
def test_an_odd_series_alone_is_answered(odd: str, freq: str) -> None:
    panel = bare_panel(ODD[odd](LENGTH[freq]), freq)
    believable(quick(epochs=1, members=1).fit(panel, H).predict(panel, H), panel)


@pytest.mark.parametrize("freq", sorted(LENGTH))
def test_odd_series_do_not_spoil_the_others(freq: str) -> None:
    n = LENGTH[freq]
    sales = crowd(n + H, freq)
    odd = np.stack([ODD[kind](n) for kind in sorted(ODD) if kind not in ("absurd", "exponential")])
    alone, mixed = bare_panel(sales[:, :n], freq), bare_panel(np.vstack([sales[:, :n], odd]), freq)
    model = {"epochs": 1, "members": 1}
    without, among = (quick(**model).fit(panel, H).predict(panel, H) for panel in (alone, mixed))
    believable(among, mixed)
    y = sales[:, n:]
    lost = (np.abs(among.y_hat[: len(sales)] - y) - np.abs(without.y_hat - y)).sum(1) / y.sum(1)
    assert lost.mean() < 0.1


def believable(forecast: Forecast, panel: Panel) -> None:
    largest = np.where(panel.observed, np.abs(panel.y), 0.0).max(axis=1)
    said = np.abs(forecast.y_hat).max(axis=1)
    assert np.isfinite(forecast.y_hat).all()
    assert (said[largest > 0] <= BELIEVABLE * largest[largest > 0]).all()
    assert (said[largest == 0] <= NOTHING).all()
    if forecast.quantiles is not None:
        assert (np.diff(forecast.quantiles, axis=2) >= 0).all()


def test_processes_train_it_too(tmp_path: Path) -> None:
    before = torch.get_num_threads()
    try:
        begin_job(tmp_path, quick(members=1), chain(), H, 2)
        train_job(tmp_path, {})
    finally:
        torch.set_num_threads(before)
    model = read_outcome(tmp_path).model
    assert model.features == "store"
    panel = chain()
    columns = columns_of(panel, joined(panel))
    y_hat, _ = model.predict_rows(columns, asked(panel, panel.n_series), np.ones(panel.n_series, dtype=np.int64))
    np.testing.assert_allclose(y_hat, model.predict(panel, H).y_hat[:, 0], rtol=1e-9)
