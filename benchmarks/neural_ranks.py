"""Training by world size: epochs and rows a second with one and two processes, beside the same network in a plain loop.

One thread a process, so that two processes use two cores where one uses one; the network, the rows and the number of
steps are the same. What is timed is the epochs themselves (the network that finds how many are best), without the start
of Python.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import numpy as np

from benchmarks.table import Measure
from foretail.backtest.metrics import pooled_wape
from foretail.models.families import make
from foretail.models.neural import Neural
from foretail.models.neural.outcome import Outcome, begin_job, read_outcome
from foretail.panel.panel import Panel
from foretail.pipelines.torchrun import Nodes, torchrun

__all__ = ["distributed", "epoch_seconds", "trained", "wape_of"]

_ROWS = 65_520  # training rows, of which the explorer holds the newest back
_EPOCHS = 6  # as the family has them; their median is what counts


def distributed(name: str, history: Panel, y: np.ndarray, rows: int = _ROWS, epochs: int = _EPOCHS) -> list[Measure]:
    """Measures of one window.

    Parameters
    ----------
    history : panel to learn from. y : ``[N, H]`` what came after it. rows : training rows; batches grow with them.
    """
    h = y.shape[1]
    plain_s, n_rows = _plain(history, h, rows, epochs)
    one, two = (trained(history, h, world, rows, epochs) for world in (1, 2))
    speed = {world: n_rows / epoch_seconds(found) for world, found in ((1, one), (2, two))}
    boosting = make("boosting", random_state=7, n_threads=2, max_rows=rows).fit(history, h).predict(history, h).y_hat
    reference = pooled_wape([y], [boosting])
    lines = [
        Measure(
            f"{name}: epochs a second, {world} of 1 thread", speed[world] / n_rows, "1/s", "plain loop", 1 / plain_s
        )
        for world in (1, 2)
    ]
    return [
        *lines,
        Measure(f"{name}: rows a second, 2 ranks", speed[2], "rows/s", "1 rank", speed[1]),
        Measure(f"{name}: speed of 2 ranks to 1", speed[2] / speed[1], "x", at_least=1.6),
        *(
            Measure(f"{name}: WAPE, {world} ranks", wape_of(found, history, y), "share", "boosting", reference)
            for world, found in ((1, one), (2, two))
        ),
        Measure(f"{name}: 20 epochs, 2 ranks", 20 * n_rows / speed[2], "s", "published: 15-20 epochs, 4 GPUs", 44.0),
    ]


def _plain(history: Panel, h: int, rows: int, epochs: int) -> tuple[float, int]:
    """Seconds an epoch of the older rows in a plain loop of one thread, and how many rows those are."""
    from foretail.models.neural.fit import untrained
    from foretail.models.neural.lesson import target_quantiles
    from foretail.models.neural.training import Examples, seeded, threads, train

    model = Neural(n_threads=1, max_rows=rows)
    curriculum = model.curriculum(history, h)
    if curriculum is None or curriculum.older is None or curriculum.older_lens is None:
        raise ValueError(f"{history.spec.name}: too little history to time anything")
    older = curriculum.older
    examples = Examples.of(older.numbers, older.codes, older.target, older.weight)
    with seeded(7), threads(1):
        start = target_quantiles(older.target, older.weight).tolist()
        network = untrained(curriculum.older_lens.inputs, start)
        begun = time.perf_counter()
        train(network, examples, replace(model.recipe(), epochs=epochs).training(len(older), epochs, 7))
    return (time.perf_counter() - begun) / epochs, len(older)


def trained(
    history: Panel,
    h: int,
    world: int,
    rows: int = _ROWS,
    epochs: int = _EPOCHS,
    environ: Mapping[str, str] = MappingProxyType({}),
    threads: int | None = None,
) -> Outcome:
    """One network trained by ``world`` processes, each with one thread when ``threads``, those of all, is not given."""
    with tempfile.TemporaryDirectory(prefix="foretail-") as place:
        folder = Path(place)
        model = Neural(n_threads=threads or world, epochs=epochs, members=1, max_rows=rows)
        begin_job(folder, model, history, h, world)
        torchrun(folder, Nodes(1, 0, world), lambda _: None, {"EARLY_STOP_PATIENCE": str(epochs), **environ})
        return read_outcome(folder)


def epoch_seconds(outcome: Outcome) -> float:
    """Median of the epochs of the network that finds how many are best."""
    return float(np.median([line["seconds"] for line in outcome.history if line["network"] == 0]))


def wape_of(outcome: Outcome, history: Panel, y: np.ndarray) -> float:
    """Of the periods ``y [N, H]`` that came after the history."""
    return pooled_wape([y], [outcome.model.predict(history, y.shape[1]).y_hat])
