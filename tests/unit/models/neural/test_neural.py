"""The neural family: learns what the base cannot, falls back with a reason, keeps its quantiles, costs no import."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from foretail.backtest.metrics import coverage, wape
from foretail.core.quantiles import DEFAULT_QUANTILES
from foretail.core.spec import DatasetSpec
from foretail.models.base import LinearBase
from foretail.models.neural import Neural
from foretail.models.neural.forward import Forward, quantiles
from foretail.models.neural.inputs import Inputs
from foretail.panel.panel import Covariate, Panel

H, T = 14, 300


def panel_of(y: Any, **spec: Any) -> Panel:
    y = np.atleast_2d(np.asarray(y, dtype=np.float64))
    whole = DatasetSpec(keys=("store",), time="date", target="sales", freq="D", horizon=H, **spec)
    names = [f"{row:02d}" for row in range(len(y))]
    return Panel(
        whole,
        pl.DataFrame({"unique_id": names, "store": names}),
        18000,
        y,
        np.zeros(y.shape, dtype=np.bool_),
    )


@cache
def shop() -> tuple[Panel, np.ndarray]:
    """Sales that a price moves, in half of the stores up and in half down: no sum of effects says that."""
    rng = np.random.default_rng(5)
    price = rng.uniform(-1, 1, (16, T + H)).astype(np.float32)
    sign = np.where(np.arange(16) % 2 == 0, 1.0, -1.0)[:, None]
    y = rng.uniform(20, 200, (16, 1)) * np.exp(0.5 * sign * price + rng.normal(0, 0.1, price.shape))
    bare = panel_of(y[:, :T], known=("price",))
    closed = np.zeros(price.shape, dtype=np.bool_)
    return replace(bare, closed=closed, known=(Covariate("price", price),)), y[:, T:]


def quick(**params: Any) -> Neural:
    return Neural(**{"epochs": 6, "members": 1, "n_threads": 1, **params})


@cache
def fitted() -> Neural:
    return quick(epochs=12, members=2).fit(shop()[0], H)


def test_it_learns_what_its_base_cannot() -> None:
    panel, y = shop()
    found = fitted().predict(panel, H)
    base = quick(epochs=1, learning_rate=1e-12).fit(panel, H).predict(panel, H)
    assert found.reasons == base.reasons == {}
    assert wape(y, found.y_hat) < 0.7 * wape(y, base.y_hat)
    assert wape(y, found.y_hat) < 0.15  # noise alone is 0.08


def test_the_forecast_is_the_median_and_the_intervals_hold_about_what_they_say() -> None:
    panel, y = shop()
    found = fitted().predict(panel, H)
    assert found.levels == DEFAULT_QUANTILES
    assert found.quantiles is not None
    assert np.array_equal(found.y_hat, found.quantiles[..., DEFAULT_QUANTILES.index(0.5)])
    inside = coverage(y, found.quantiles[..., 1], found.quantiles[..., -2])
    assert 0.6 < inside < 0.95


def test_what_decides_is_the_most_important() -> None:
    shares = dict(fitted().importance())
    assert next(iter(shares)) in ("known_price", "relative_price")
    assert set(shares) <= {*fitted().inputs_.names}  # type: ignore[union-attr]


def test_members_differ_and_their_quantiles_are_averaged() -> None:
    model = fitted()
    assert model.inputs_ is not None
    rng = np.random.default_rng(0)
    numbers = rng.normal(size=(40, model.inputs_.width)).astype(np.float32)
    codes = np.zeros((40, len(model.inputs_.sizes)), dtype=np.int64)
    forwards = [Forward.of(item) for item in model.networks_]
    first, second = (quantiles([item], numbers, codes) for item in forwards)
    assert not np.allclose(first, second)
    assert quantiles(forwards, numbers, codes) == pytest.approx((first + second) / 2)


def test_plain_arrays_answer_what_the_network_answers_and_alone_what_among_others() -> None:
    import torch

    from foretail.models.neural.training import answers

    model = fitted()
    assert model.inputs_ is not None
    rng = np.random.default_rng(0)
    numbers = rng.normal(scale=3.0, size=(300, model.inputs_.width)).astype(np.float32)
    codes = np.stack([rng.integers(0, size + 1, 300) for size in model.inputs_.sizes], axis=1)
    forward = Forward.of(model.networks_[0])
    found = forward(numbers, codes)
    wanted = answers(model.networks_[0].double(), torch.from_numpy(numbers), torch.from_numpy(codes)).numpy()
    model.networks_[0].float()
    np.testing.assert_allclose(found, wanted, rtol=1e-8, atol=1e-8)
    np.testing.assert_allclose(forward(numbers[7:8], codes[7:8]), found[7:8], rtol=1e-12, atol=1e-12)


def test_reading_gives_back_every_bit(tmp_path: Path) -> None:
    panel = shop()[0]
    fitted().save(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["networks.npz", "neural.json"]
    read = Neural.load(tmp_path)
    first, second = fitted().predict(panel, H), read.predict(panel, H)
    assert first.y_hat.tobytes() == second.y_hat.tobytes()
    assert first.quantiles.tobytes() == second.quantiles.tobytes()  # type: ignore[union-attr]
    assert read.importance() == fitted().importance()
    assert (read.members, read.epochs) == (2, 12)


def test_too_little_history_is_said_and_survives(tmp_path: Path) -> None:
    panel = panel_of([[4.0, 5.0, 6.0]])
    model = quick().fit(panel, 2)
    model.save(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["neural.json"]
    for some in (model, Neural.load(tmp_path)):
        assert some.predict(panel, 2).reasons == {0: "too little history for neural"}


def test_a_forecast_that_explodes_is_replaced_with_a_reason() -> None:
    """A base that says 55 times as much as it should."""
    panel = shop()[0]
    model = quick(epochs=1).fit(panel, H)
    assert model.base_ is not None
    model.base_ = LinearBase(model.base_.names, (4.0, *model.base_.with_year[1:]), (4.0, *model.base_.without_year[1:]))
    found = model.predict(panel, H)
    assert set(found.reasons.values()) == {"neural exploded"}
    assert set(found.reasons) == set(range(16))
    assert found.y_hat.max() <= panel.y.max()


def test_statistics_come_from_the_training_rows_alone() -> None:
    """What a forecast is asked with moves nothing that was learned."""
    panel = shop()[0]
    model = quick(epochs=1).fit(panel, H)
    before = model.inputs_
    item = panel.known[0]
    wild = np.where(np.arange(T + H) < T, item.values, 1e9).astype(np.float32)
    shifted = replace(panel, known=(replace(item, values=wild),))
    assert np.isfinite(model.predict(shifted, H).y_hat).all()
    assert model.inputs_ == before
    again = quick(epochs=1).fit(shifted, H)
    assert isinstance(again.inputs_, Inputs)
    assert again.inputs_ == before


def test_a_store_it_never_saw_is_answered() -> None:
    panel = shop()[0]
    renamed = panel.series.with_columns(store=pl.lit("new"))
    found = fitted().predict(replace(panel, series=renamed), H)
    assert found.reasons == {}
    assert np.isfinite(found.y_hat).all()


@pytest.mark.parametrize("space", ["log", "level"])
def test_sparse_sales_are_forecast_in_either_space(space: str) -> None:
    rng = np.random.default_rng(2)
    panel = panel_of(np.where(rng.random((12, T)) < 0.2, rng.integers(1, 9, (12, T)), 0))
    found = quick(space=space, epochs=2).fit(panel, H).predict(panel, H)
    assert found.reasons == {}
    assert (found.quantiles >= 0).all()  # type: ignore[operator]
    assert found.quantiles.max() <= 20 * panel.y.max()  # type: ignore[union-attr]


def test_torch_waits_for_the_first_network() -> None:
    code = "import sys, foretail.models.neural; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_without_torch_the_extra_is_named() -> None:
    code = (
        "import sys\nsys.modules['torch'] = None\nfrom foretail.core.errors import MissingExtraError\n"
        "from foretail.models.families import make\n"
        "try:\n    make('neural')\nexcept MissingExtraError as error:\n    print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "torch" in done.stdout
    assert "neural" in done.stdout
