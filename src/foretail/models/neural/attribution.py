"""What each input adds to the median of the networks: integrated gradients from a row of which nothing is known.

Source: Sundararajan, Taly & Yan (2017), *Axiomatic attribution for deep networks*. The path is straight, from
numbers at their mean without marks and unknown codes. Imports torch: import this module where networks are explained.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from foretail.models.neural.inputs import Inputs
from foretail.models.neural.network import QuantileNetwork
from foretail.models.neural.training import threads

__all__ = ["integrated_gradients"]

FloatArray = npt.NDArray[np.float64]
Float32Array = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]

_POINTS = 64  # of the path; a test holds what their mean misses below 2 % of the spread of the answers
_ROWS = 256  # explained at once


def integrated_gradients(
    networks: Sequence[QuantileNetwork], inputs: Inputs, numbers: Float32Array, codes: IntArray, n_threads: int
) -> tuple[FloatArray, FloatArray]:
    """Mean over the networks of what each input adds to the median, and of the median where nothing is known.

    Parameters
    ----------
    numbers, codes : see `Inputs`.

    Returns
    -------
    ``[R, D + K]`` by `Inputs.names`, marks with what they mark, and ``[R]``; in spreads.
    """
    with threads(n_threads):
        found = [_of_network(network, numbers, codes) for network in networks]
    raw = np.mean([parts for parts, _ in found], axis=0)
    n, marked = len(inputs.numbers), [inputs.numbers.index(name) for name in inputs.marked]
    by_name = np.concatenate([raw[:, :n], raw[:, inputs.width :]], axis=1)
    by_name[:, marked] += raw[:, n : inputs.width]
    return by_name, np.full(len(numbers), np.mean([start for _, start in found]))


def _of_network(network: QuantileNetwork, numbers: Float32Array, codes: IntArray) -> tuple[FloatArray, float]:
    """``[R, D + M + K]`` of one network, and its answer at the start of the path."""
    network.eval()
    rows = zip(torch.split(torch.from_numpy(numbers), _ROWS), torch.split(torch.from_numpy(codes), _ROWS), strict=True)
    parts = [_along_the_path(network, some, code) for some, code in rows]
    n_embedded = sum(cast(nn.Embedding, embedding).embedding_dim for embedding in network.embeddings)
    start = _median(network, torch.zeros(1, numbers.shape[1] + n_embedded))
    return torch.cat(parts).double().numpy(), float(start.item())


def _along_the_path(network: QuantileNetwork, numbers: Tensor, codes: Tensor) -> Tensor:
    embedded = [embedding(codes[:, i]).detach() for i, embedding in enumerate(network.embeddings)]
    end = torch.cat([numbers, *embedded], dim=1)
    share = (torch.arange(_POINTS) + 0.5) / _POINTS
    points = (share[:, None, None] * end).reshape(-1, end.shape[1]).requires_grad_()
    (gradient,) = torch.autograd.grad(_median(network, points).sum(), points)
    parts = end * gradient.reshape(_POINTS, *end.shape).mean(0)
    widths = [numbers.shape[1], *(item.shape[1] for item in embedded)]
    first, *others = torch.split(parts, widths, dim=1)
    return torch.cat([first, *(item.sum(1, keepdim=True) for item in others)], dim=1)


def _median(network: QuantileNetwork, end: Tensor) -> Tensor:
    """``[R]`` of numbers and embeddings side by side."""
    raw: Tensor = network.head(network.blocks(end))
    return raw[:, network.median]
