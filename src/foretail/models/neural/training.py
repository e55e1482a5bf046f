"""The training loop of a network with quantile outputs, readable from top to bottom.

Imports torch: import this module where a network is trained, not before.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from foretail.models.neural.network import QuantileNetwork
from foretail.models.neural.recipe import Training

__all__ = [
    "MOST_GRADIENT",
    "Examples",
    "History",
    "Training",
    "answers",
    "mean_loss",
    "optimizer_of",
    "pinball",
    "rate_at",
    "seeded",
    "threads",
    "train",
]

FloatArray = npt.NDArray[np.float64]
Float32Array = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]

_PREDICT_BATCH = 65_536  # fixed: the same rows in other batches could differ in the last bit
_WARM_UP = 0.05  # share of the steps in which the learning rate rises
MOST_GRADIENT = 1.0


@dataclass(frozen=True)
class Examples:
    """What a network learns from; row i of each tensor belongs together.

    Attributes
    ----------
    numbers : float32 ``[R, D]``. codes : int64 ``[R, K]``. target : float32 ``[R]``. weight : float32 ``[R]``.
    """

    numbers: Tensor
    codes: Tensor
    target: Tensor
    weight: Tensor

    def __len__(self) -> int:
        return len(self.target)

    @classmethod
    def of(cls, numbers: Float32Array, codes: IntArray, target: FloatArray, weight: FloatArray) -> Examples:
        """From arrays."""
        return cls(*map(torch.from_numpy, (numbers, codes, target.astype(np.float32), weight.astype(np.float32))))

    def take(self, index: Tensor) -> Examples:
        """Some of the rows."""
        return Examples(self.numbers[index], self.codes[index], self.target[index], self.weight[index])

    def to(self, device: torch.device) -> Examples:
        """The same on a device."""
        return Examples(*(item.to(device) for item in (self.numbers, self.codes, self.target, self.weight)))


@dataclass
class History:
    """What became of a training.

    Attributes
    ----------
    train_loss : mean over the batches of each epoch. validation_loss : after each epoch; empty without validation.
    best_epoch : passes after which the kept weights were reached.
    """

    train_loss: list[float] = field(default_factory=list)
    validation_loss: list[float] = field(default_factory=list)
    best_epoch: int = 0


def train(
    model: QuantileNetwork,
    examples: Examples,
    training: Training,
    validation: Examples | None = None,
) -> History:
    """Train a network in place; with validation examples the weights of the best epoch are kept.

    AdamW on the weighted pinball loss; the learning rate rises, then falls along a cosine to 0. The model and all
    examples are moved to the GPU where there is one, and the matrix products are in bfloat16 there.
    """
    device = _device()
    model.to(device)
    examples = examples.to(device)
    optimizer = optimizer_of(model, training)
    n_batches = max(1, len(examples) // training.batch_size)
    n_steps = n_batches * training.epochs
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: rate_at(step / n_steps))
    order = torch.Generator().manual_seed(training.seed)
    history = History()
    best = copy.deepcopy(model.state_dict())
    for epoch in range(1, training.epochs + 1):
        model.train()
        losses = []
        for index in torch.randperm(len(examples), generator=order).to(device).tensor_split(n_batches):
            batch = examples.take(index)
            with torch.autocast(device.type, dtype=torch.bfloat16, enabled=device.type == "cuda"):
                quantiles = model(batch.numbers, batch.codes)
            loss = pinball(quantiles, batch.target, batch.weight, model.levels)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(model.parameters(), MOST_GRADIENT)
            optimizer.step()
            schedule.step()
            losses.append(loss.detach())
        history.train_loss.append(float(torch.stack(losses).mean()))
        if validation is None:
            history.best_epoch = epoch
            continue
        history.validation_loss.append(mean_loss(model, validation))
        if history.validation_loss[-1] <= min(history.validation_loss):
            history.best_epoch, best = epoch, copy.deepcopy(model.state_dict())
        if epoch - history.best_epoch >= training.patience:
            break
    if validation is not None:
        model.load_state_dict(best)
    return history


def pinball(quantiles: Tensor, target: Tensor, weight: Tensor, levels: Tensor) -> Tensor:
    """Weighted mean over rows, mean over levels, of the pinball loss of ``quantiles [R, Q]``."""
    error = target[:, None] - quantiles
    loss = torch.maximum(levels * error, (levels - 1) * error).mean(1)
    return (loss * weight).sum() / weight.sum()


@torch.no_grad()
def answers(model: QuantileNetwork, numbers: Tensor, codes: Tensor) -> Tensor:
    """Quantiles ``[R, Q]`` on the CPU, dropout off, in batches of a fixed size, in the precision of the model."""
    first = next(model.parameters())
    if model.training:  # else it is a walk through all modules for every row that is asked for
        model.eval()
    parts = zip(torch.split(numbers, _PREDICT_BATCH), torch.split(codes, _PREDICT_BATCH), strict=True)
    return torch.cat([model(some.to(first), code.to(first.device)).cpu() for some, code in parts])


def mean_loss(model: QuantileNetwork, examples: Examples) -> float:
    """The loss on examples, dropout off."""
    found = answers(model, examples.numbers, examples.codes)
    return float(pinball(found, examples.target, examples.weight, model.levels.cpu()))


@contextmanager
def threads(n: int) -> Iterator[None]:
    """Torch works on n threads inside and on as many as before outside."""
    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Torch draws from this seed inside; outside it goes on as if nothing had been drawn."""
    devices = list(range(torch.cuda.device_count()))
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        yield


def _device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def rate_at(share: float) -> float:
    """Learning rate at a share of the steps, relative to its peak."""
    if share < _WARM_UP:
        return 0.1 + 0.9 * share / _WARM_UP
    return 0.5 * (1 + math.cos(math.pi * (share - _WARM_UP) / (1 - _WARM_UP)))


def optimizer_of(model: nn.Module, training: Training) -> torch.optim.Optimizer:
    """AdamW in one pass over the weights; matrices decay, biases and the scales of BatchNorm do not."""
    matrices = [item for item in model.parameters() if item.ndim > 1]
    vectors = [item for item in model.parameters() if item.ndim <= 1]
    groups = [{"params": matrices, "weight_decay": training.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=training.learning_rate, fused=True)
