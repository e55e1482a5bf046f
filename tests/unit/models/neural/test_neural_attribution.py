"""Integrated gradients: they add up, and an input at the start of the path gets nothing."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from foretail.models.neural.attribution import integrated_gradients
from foretail.models.neural.inputs import Inputs
from foretail.models.neural.network import QuantileNetwork

LEVELS = (0.1, 0.5, 0.9)
INPUTS = Inputs(
    numbers=("a", "b", "base"),
    low=(0.0,) * 3,
    high=(1.0,) * 3,
    mean=(0.0,) * 3,
    spread=(1.0,) * 3,
    marked=("b",),
    categories=("store", "kind"),
    sizes=(5, 3),
)


def networks() -> list[QuantileNetwork]:
    torch.manual_seed(3)
    found = []
    for _ in range(2):
        network = QuantileNetwork(INPUTS.width, INPUTS.sizes, (32, 16), LEVELS, 0.1, (-1.0, 0.0, 1.0))
        torch.nn.init.normal_(network.head.weight, std=0.3)
        for embedding in network.embeddings:
            embedding.weight.data[1:].mul_(10.0)
        found.append(network.eval())
    return found


def rows(n: int = 300) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.normal(0, 1, (n, INPUTS.width)).astype(np.float32), rng.integers(0, 4, (n, 2))


def test_they_add_up_to_the_median_less_that_of_a_row_of_nothing() -> None:
    numbers, codes = rows()
    parts, start = integrated_gradients(networks(), INPUTS, numbers, codes, 1)
    assert parts.shape == (300, len(INPUTS.names))
    with torch.no_grad():
        answers = [network(torch.from_numpy(numbers), torch.from_numpy(codes))[:, 1] for network in networks()]
        nothing = [
            network(torch.zeros(1, INPUTS.width), torch.zeros(1, 2, dtype=torch.long))[:, 1] for network in networks()
        ]
    wanted = torch.stack(answers).double().mean(0).numpy()
    assert start[0] == pytest.approx(float(torch.stack(nothing).mean()), abs=1e-6)
    missed = parts.sum(1) + start - wanted
    assert np.sqrt(np.mean(missed**2)) < 0.02 * wanted.std()


def test_what_is_at_the_start_of_the_path_gets_nothing() -> None:
    numbers, codes = rows()
    numbers[:, [1, 3]] = 0.0  # b at its mean, not missing
    codes[:, 1] = 0  # an unknown kind
    parts, _ = integrated_gradients(networks(), INPUTS, numbers, codes, 1)
    moved = np.abs(parts).max(0) > 0
    assert dict(zip(INPUTS.names, moved.tolist(), strict=True)) == {
        "a": True,
        "b": False,
        "base": True,
        "store": True,
        "kind": False,
    }


def test_a_mark_counts_for_the_number_that_it_marks() -> None:
    numbers, codes = rows(1)
    numbers[:] = 0.0
    numbers[0, 3] = 1.0
    codes[:] = 0
    parts, _ = integrated_gradients(networks(), INPUTS, numbers, codes, 1)
    assert parts[0, 1] != 0
    assert not np.delete(parts[0], 1).any()
