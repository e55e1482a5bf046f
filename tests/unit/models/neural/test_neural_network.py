"""The network and its training loop: ordered quantiles, the loss by a loop, the best epoch kept, no traces left."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from foretail.models.neural.network import QuantileNetwork
from foretail.models.neural.training import Examples, Training, answers, mean_loss, pinball, seeded, threads, train

LEVELS = (0.1, 0.5, 0.9)
START = (-1.0, 0.25, 2.0)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    with threads(1):
        yield


def network(width: int = 2, sizes: tuple[int, ...] = (), seed: int = 0) -> QuantileNetwork:
    with seeded(seed):
        return QuantileNetwork(width, sizes, (16, 8), LEVELS, 0.0, START)


def examples(n: int, seed: int = 0) -> Examples:
    """A target whose middle follows the first number and whose spread follows the second."""
    rng = np.random.default_rng(seed)
    numbers = rng.uniform(-1, 1, (n, 2)).astype(np.float32)
    target = 2 * numbers[:, 0] + (0.6 + 0.5 * numbers[:, 1]) * rng.normal(size=n)
    parts = (numbers, np.zeros((n, 0), dtype=np.int64), target.astype(np.float32), np.ones(n, dtype=np.float32))
    return Examples(*map(torch.from_numpy, parts))


def plan(**changes: float) -> Training:
    usual = {"epochs": 12, "batch_size": 128, "learning_rate": 0.01, "weight_decay": 0.0, "patience": 99, "seed": 1}
    return Training(**{**usual, **changes})  # type: ignore[arg-type]


def test_before_training_every_row_gets_the_start() -> None:
    found = answers(network(), 100 * torch.randn(7, 2), torch.zeros(7, 0, dtype=torch.int64))
    assert found.numpy() == pytest.approx(np.tile(START, (7, 1)), abs=1e-5)


def test_a_start_with_tails_far_beyond_the_middle_is_answered_as_it_is() -> None:
    start = (-5e4, -0.5, 0.0, 0.002, 3e3)  # targets that are nearly all alike, and a few that are not
    wide = QuantileNetwork(2, (), (4,), (0.1, 0.3, 0.5, 0.7, 0.9), 0.0, start)
    found = answers(wide, torch.zeros(1, 2), torch.zeros(1, 0, dtype=torch.int64))
    assert found.numpy()[0] == pytest.approx(start, rel=1e-5, abs=1e-5)


@given(seed=st.integers(0, 999), size=st.sampled_from([0.0, 1.0, 100.0, 1e6]))
@settings(max_examples=30, deadline=None)
def test_quantiles_never_cross_whatever_the_weights(seed: int, size: float) -> None:
    model = network(sizes=(3,), seed=seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for item in model.parameters():
            item.copy_(size * torch.randn(item.shape, generator=generator))
    codes = torch.randint(0, 4, (50, 1), generator=generator)
    found = answers(model, torch.randn(50, 2, generator=generator), codes)
    assert (found.diff(dim=1) >= 0).all()


def test_an_unknown_code_adds_nothing_and_known_ones_do() -> None:
    model = network(sizes=(3,))
    with torch.no_grad():
        torch.nn.init.ones_(model.head.weight)
    numbers = torch.zeros(4, 2)
    found = answers(model, numbers, torch.arange(4)[:, None])
    assert torch.equal(model.embeddings[0].weight[0], torch.zeros(3))  # type: ignore[arg-type, index]
    assert len({tuple(row) for row in found.tolist()}) == 4


def test_the_unknown_code_stays_at_nothing_after_training() -> None:
    model = network(sizes=(3,))
    data = examples(400)
    coded = Examples(data.numbers, torch.arange(400)[:, None] % 4, data.target, data.weight)
    train(model, coded, plan(epochs=2))
    assert torch.equal(model.embeddings[0].weight[0], torch.zeros(3))  # type: ignore[arg-type, index]


def test_the_loss_against_a_loop() -> None:
    rng = np.random.default_rng(3)
    quantiles, y, weight = np.sort(rng.normal(size=(9, 3)), axis=1), rng.normal(size=9), rng.uniform(1, 5, 9)
    total = 0.0
    for row in range(9):
        for column, level in enumerate(LEVELS):
            error = y[row] - quantiles[row, column]
            total += weight[row] * (level * error if error > 0 else (level - 1) * error) / 3
    found = pinball(*map(torch.from_numpy, (quantiles, y, weight)), torch.tensor(LEVELS, dtype=torch.float64))
    assert float(found) == pytest.approx(total / weight.sum())


def test_training_finds_the_middle_and_the_spread() -> None:
    model = network()
    with seeded(1):
        history = train(model, examples(4000), plan())
    assert history.best_epoch == 12
    assert history.train_loss[-1] < 0.8 * history.train_loss[0]
    ask = torch.tensor([[-0.5, 0.0], [0.5, 0.0], [0.0, -0.8], [0.0, 0.8]])
    low, middle, high = answers(model, ask, torch.zeros(4, 0, dtype=torch.int64)).numpy().T
    assert middle == pytest.approx([-1.0, 1.0, 0.0, 0.0], abs=0.25)
    true = 2 * 1.2816 * (0.6 + 0.5 * ask[:, 1].numpy())
    assert high - low == pytest.approx(true, abs=0.4)  # from 0.5 to 2.6


def test_weights_say_which_rows_count() -> None:
    data = examples(2000)
    target = torch.where(torch.arange(2000) % 2 == 0, 5.0, -5.0)
    weight = torch.where(torch.arange(2000) % 2 == 0, 1.0, 0.001)
    model = network()
    train(model, Examples(data.numbers, data.codes, target, weight), plan())
    assert answers(model, data.numbers, data.codes)[:, 1].numpy() == pytest.approx(5.0, abs=1.5)


def test_the_best_epoch_is_kept() -> None:
    """Validation that contradicts the training: the first epochs are the best."""
    model, held = network(), examples(500, seed=9)
    turned = Examples(held.numbers, held.codes, -held.target, held.weight)
    history = train(model, examples(2000), plan(patience=3, learning_rate=0.003), turned)
    assert len(history.validation_loss) == history.best_epoch + 3 < 12
    assert history.validation_loss[history.best_epoch - 1] == min(history.validation_loss)
    assert mean_loss(model, turned) == pytest.approx(min(history.validation_loss), abs=0.0)


def test_the_same_seed_gives_the_same_weights_and_another_does_not() -> None:
    def weights(seed: int) -> bytes:
        with seeded(seed):
            model = QuantileNetwork(2, (), (16, 8), LEVELS, 0.2, START)
            train(model, examples(500), plan(epochs=2, seed=seed))
        return b"".join(value.numpy().tobytes() for value in model.state_dict().values())

    assert weights(4) == weights(4)
    assert weights(4) != weights(5)


def test_drawing_inside_leaves_no_trace_outside() -> None:
    torch.manual_seed(11)
    undisturbed = torch.rand(3)
    torch.manual_seed(11)
    with seeded(5):
        torch.rand(100)
    assert torch.equal(torch.rand(3), undisturbed)


def test_threads_are_given_back_even_after_an_error() -> None:
    before = torch.get_num_threads()
    with pytest.raises(RuntimeError, match="stop"), threads(before + 1):
        assert torch.get_num_threads() == before + 1
        raise RuntimeError("stop")
    assert torch.get_num_threads() == before


@pytest.mark.parametrize("n", [2, 3, 129, 255])
def test_any_number_of_rows_can_be_trained_on(n: int) -> None:
    history = train(network(), examples(n), plan(epochs=2))
    assert np.isfinite(history.train_loss).all()
