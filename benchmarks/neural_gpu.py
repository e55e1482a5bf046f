"""The network's training on a GPU beside the same training on the processors of the same machine.

Rows a second of the epochs themselves, loss and WAPE of what was trained, and two processes that share the one GPU;
each training is a `foretail.models.neural.train` of its own. Matrix products are in bfloat16 on the GPU, so its losses
differ a little. Needs a GPU that PyTorch sees.

    python -m benchmarks.neural_gpu [--rows N] [--threads N]
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Mapping, Sequence

import numpy as np

from benchmarks.neural import Window, synthetic, weekly
from benchmarks.neural_ranks import epoch_seconds, trained, wape_of
from benchmarks.table import Measure, publish
from foretail.models.neural.outcome import Outcome

__all__ = ["main"]

_NO_GPU = {"CUDA_VISIBLE_DEVICES": ""}


def main(arguments: Sequence[str] | None = None) -> int:
    """Train on both, print the table, write ``benchmarks/results/neural_gpu.json``; 1 without a GPU."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.neural_gpu", description=__doc__)
    parser.add_argument("--rows", type=int, default=300_000, metavar="N", help="training rows of the daily panel")
    parser.add_argument("--threads", type=int, default=8, metavar="N", help="threads of the training without the GPU")
    asked = parser.parse_args(arguments)
    name = _gpu()
    if not name:
        print("error: no GPU here that PyTorch sees", file=sys.stderr)
        return 1
    weeks = _beside(weekly(), name, asked.threads)
    publish("neural_gpu", weeks + _beside(synthetic(), name, asked.threads, rows=asked.rows))
    return 0


def _beside(window: Window, gpu: str, threads: int, **size: int) -> list[Measure]:
    """One panel trained on the GPU by one process and by two, and without it."""

    def train(world: int, environ: Mapping[str, str]) -> Outcome:
        return trained(window.history, window.y.shape[1], world, environ=environ, threads=threads, **size)

    ours, both, cpu = train(1, {}), train(2, {}), train(1, _NO_GPU)
    n_rows, batch = ours.history[0]["rows"], ours.recipe.training(ours.history[0]["rows"], 1, 0).batch_size
    label, peer = f"{window.name}, {n_rows:,} rows, batches of {batch:,}", f"{threads} threads"
    speed, shared, slow = (n_rows / epoch_seconds(found) for found in (ours, both, cpu))
    worth, of_both, plain = (wape_of(found, window.history, window.y) for found in (ours, both, cpu))
    return [
        Measure(f"{label}, {gpu}, {ours.backend}: rows a second", speed, "rows/s", peer, slow),
        Measure(f"{label}, 2 processes on one GPU, {both.backend}: rows a second", shared, "rows/s", peer, slow),
        Measure(f"{label}: loss on the newest rows", _loss(ours), "", peer, _loss(cpu)),
        Measure(f"{label}: WAPE", worth, "share", peer, plain),
        Measure(f"{label}, 2 processes on one GPU: WAPE", of_both, "share", peer, plain),
    ]


def _loss(outcome: Outcome) -> float:
    return float(np.min([line["validation_loss"] for line in outcome.history if line["network"] == 0]))


def _gpu() -> str:
    """What PyTorch calls the GPU, asked in a process of its own; "" without one."""
    ask = "import torch; print(torch.cuda.get_device_name() if torch.cuda.is_available() else '')"
    return subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=True).stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
