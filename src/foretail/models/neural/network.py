"""The network of the neural family: embeddings, an MLP, quantiles that cannot cross.

Imports torch: import this module where a network is made, not before.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["QuantileNetwork"]

_LEAST_STEP = 1e-3  # between neighbouring quantiles at the start, in spreads
_UNKNOWN_SHARE = 0.1  # of the codes hidden while training, so that the network can answer for one it never saw


class QuantileNetwork(nn.Module):
    """Embeddings beside the numbers, blocks of Linear, BatchNorm, ReLU and Dropout, and quantiles in ascending order.

    Parameters
    ----------
    width : numeric inputs. sizes : codes per category, without the unknown one. hidden : units per block.
    levels : the Q quantile levels, ascending. dropout : share of units left out while training.
    start : ``[Q]`` quantiles that the untrained network answers, whatever it is asked.
    """

    def __init__(
        self,
        width: int,
        sizes: Sequence[int],
        hidden: Sequence[int],
        levels: Sequence[float],
        dropout: float,
        start: Sequence[float],
    ):
        super().__init__()
        # 0 is the unknown code: it adds nothing, and training leaves it alone
        self.embeddings = nn.ModuleList(nn.Embedding(n + 1, _embedded(n), padding_idx=0) for n in sizes)
        for embedding in self.embeddings:
            cast(nn.Embedding, embedding).weight.data.mul_(0.1)
        n_inputs = width + sum(_embedded(n) for n in sizes)
        blocks: list[nn.Module] = []
        for n_units in hidden:
            blocks += [nn.Linear(n_inputs, n_units), nn.BatchNorm1d(n_units), nn.ReLU(), nn.Dropout(dropout)]
            n_inputs = n_units
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Linear(n_inputs, len(levels))
        self.median = int(np.argmin(np.abs(np.asarray(levels) - 0.5)))
        self._start(np.asarray(start, dtype=np.float64))
        self.levels: Tensor
        self.register_buffer("levels", torch.tensor(levels, dtype=torch.float32))

    def _start(self, start: npt.NDArray[np.float64]) -> None:
        """The head answers the same for every row until it has learned better."""
        steps = np.maximum(np.diff(start), _LEAST_STEP)
        raw = steps + np.log(-np.expm1(-steps))  # the inverse of softplus, without overflow for wide tails
        bias = np.concatenate([raw[: self.median], start[self.median : self.median + 1], raw[self.median :]])
        nn.init.zeros_(self.head.weight)
        self.head.bias.data.copy_(torch.from_numpy(bias))

    def forward(self, numbers: Tensor, codes: Tensor) -> Tensor:
        """Quantiles ``[R, Q]`` of ``numbers [R, D]`` and ``codes [R, K]``."""
        if self.training and codes.shape[1]:
            codes = codes * (torch.rand(codes.shape, device=codes.device) >= _UNKNOWN_SHARE)
        embedded = [embedding(codes[:, i]) for i, embedding in enumerate(self.embeddings)]
        raw = self.head(self.blocks(torch.cat([numbers, *embedded], dim=1))).to(self.levels.dtype)
        middle = raw[:, self.median : self.median + 1]
        below = functional.softplus(raw[:, : self.median]).flip(1).cumsum(1).flip(1)
        above = functional.softplus(raw[:, self.median + 1 :]).cumsum(1)
        return torch.cat([middle - below, middle, middle + above], dim=1)


def _embedded(n_codes: int) -> int:
    """Columns of an embedding: about the square root of what it tells apart, at most 16."""
    return min(16, 1 + math.ceil(math.sqrt(n_codes)))
