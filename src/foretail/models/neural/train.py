"""Trains the networks of a job in as many processes as ``torchrun`` starts, readable from top to bottom.

    torchrun --standalone --nproc-per-node 2 -m foretail.models.neural.train JOB

JOB is a folder that `foretail.models.neural.shards.write_job` wrote (or ``$FORETAIL_JOB``). ``NUM_EPOCHS``,
``BATCH_SIZE``, ``LEARNING_RATE`` and ``EARLY_STOP_PATIENCE`` change its recipe. A process reads its own shards, every
process makes equally many steps, and only the first one decides, writes and speaks. A process that is killed costs the
epoch it was in: started again (``--max-restarts``), all go on from the last checkpoint and end with the same weights,
bit for bit, as if nothing had happened.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from foretail.core.errors import ForetailError, UsageError
from foretail.core.quantiles import DEFAULT_QUANTILES
from foretail.models.neural.checkpoints import Standing, read_checkpoint, write_checkpoint
from foretail.models.neural.fit import importance_of, save_networks, untrained
from foretail.models.neural.lesson import Lesson, to_sales
from foretail.models.neural.network import QuantileNetwork
from foretail.models.neural.ranks import Ranks, joined
from foretail.models.neural.shards import Job, Part, read_job, read_shard
from foretail.models.neural.training import MOST_GRADIENT, Examples, answers, optimizer_of, pinball, rate_at

__all__ = ["main", "train_job"]

_APART = 1_000_003  # between the seeds of two processes: they drop other units and see other orders
_FEWEST_ROWS = 2  # in a step of one process: BatchNorm has no spread of one row
_MEDIAN = DEFAULT_QUANTILES.index(0.5)


def main(arguments: Sequence[str] | None = None) -> int:
    """Train the job that the command line or ``$FORETAIL_JOB`` names; gives the exit code."""
    parser = argparse.ArgumentParser(prog="python -m foretail.models.neural.train", description=__doc__)
    parser.add_argument("job", nargs="?", default=os.environ.get("FORETAIL_JOB"), metavar="JOB", help="its folder")
    asked = parser.parse_args(arguments)
    try:
        if not asked.job:
            raise UsageError("no job.\n  where: the command line\n  fix:   name its folder, or set FORETAIL_JOB")
        train_job(Path(asked.job), os.environ)
    except ForetailError as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201  (this is the door)
        return error.exit_code
    return 0


def train_job(folder: Path, environ: Mapping[str, str]) -> None:
    """Train every network of a job; ``result/`` holds the networks and their history in the end.

    Raises
    ------
    UsageError : no job there, a checkpoint of another training, a number of processes that the shards do not fit.
    DataError : a shard is missing or damaged.
    """
    job = read_job(folder)
    job = replace(job, recipe=job.recipe.with_environment(environ))
    with joined(environ) as ranks:
        torch.set_num_threads(max(1, job.recipe.n_threads // ranks.local_world))
        found = read_checkpoint(folder / "checkpoints" / "last.pt", job.recipe, ranks.world) if ranks.is_first else None
        told = ranks.told({"standing": vars(found)} if found else {})
        standing = Standing(**told["standing"]) if told else Standing()
        has_held = "held" in job.parts
        if not has_held:  # too little history to find out: half of what may be
            standing.epochs = max(1, job.recipe.epochs // 2)
        # network 0 learns the older rows and finds on the newest ones how many epochs are best; the others, which the
        # model is made of, learn all rows for so long
        if has_held and standing.network == 0:
            _train_network(folder, job, "older", standing, ranks, job.recipe.epochs, job.recipe.seed)
        standing.network = max(standing.network, 1)
        while standing.network <= job.recipe.members:
            seed = job.recipe.seed + standing.network - 1
            _train_network(folder, job, "whole", standing, ranks, standing.epochs, seed)
        if ranks.is_first:
            _write_result(folder, job, standing, ranks)
        ranks.total([0.0])  # nobody leaves before the result is there


def _train_network(folder: Path, job: Job, name: str, standing: Standing, ranks: Ranks, epochs: int, seed: int) -> None:
    """Train one network, from where it stands to its end."""
    part = job.parts[name]
    training = job.recipe.training(part.rows, epochs, seed)
    rows = _examples(read_shard(folder, job, name, ranks.rank, ranks.world)).to(ranks.device)
    held = read_shard(folder, job, "held", ranks.rank, ranks.world) if name == "older" else None

    torch.manual_seed(seed)
    model = untrained(part.inputs, part.start).to(ranks.device)
    if ranks.rank:
        torch.manual_seed(seed + _APART * ranks.rank)
    order = torch.Generator().manual_seed(seed + _APART * ranks.rank)
    optimizer = optimizer_of(model, training)
    # equally many steps everywhere: shards differ by a row at most, and no step is left with a single row
    n_steps = max(1, min(part.rows // training.batch_size, part.rows // ranks.world // _FEWEST_ROWS))
    n_all = n_steps * epochs
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: rate_at(step / n_all))
    if standing.epoch:
        model.load_state_dict(standing.model)
        optimizer.load_state_dict(standing.optimizer)
        schedule.load_state_dict(standing.schedule)
        _set_random(standing.random, order, ranks)

    standing.best = standing.best or _weights(model)
    is_over = _is_over(standing, epochs, training.patience, held)
    while not is_over:
        begun = time.perf_counter()
        # wrapped anew each epoch: after a restart the gradients are then added up in the order they would have been
        together = ranks.distributed(model)
        model.train()
        losses = []
        for index in torch.randperm(len(rows), generator=order).to(ranks.device).tensor_split(n_steps):
            batch = rows.take(index)
            with torch.autocast(ranks.device.type, dtype=torch.bfloat16, enabled=ranks.device.type == "cuda"):
                quantiles = together(batch.numbers, batch.codes)
            loss = pinball(quantiles, batch.target, batch.weight, model.levels)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(model.parameters(), MOST_GRADIENT)
            optimizer.step()
            schedule.step()
            losses.append(loss.detach())
        ranks.average(_running(model))
        standing.epoch += 1
        train_loss = ranks.total([float(torch.stack(losses).mean()) / ranks.world])[0]  # waits for a GPU
        seconds = time.perf_counter() - begun

        validation_loss, wape = _validated(model, held, part, job, ranks) if held else (None, None)
        # one process decides: a difference in the last bit must not let the others wait for it
        is_best = ranks.told({"is_best": validation_loss is None or validation_loss <= standing.best_loss})["is_best"]
        if is_best:
            standing.best_epoch, standing.best = standing.epoch, _weights(model)
            standing.best_loss = standing.best_loss if validation_loss is None else validation_loss
        is_over = _is_over(standing, epochs, training.patience, held)

        standing.model, standing.optimizer = model.state_dict(), optimizer.state_dict()
        standing.schedule, standing.random = schedule.state_dict(), _random_states(order, ranks)
        standing.history.append(
            {
                "network": standing.network,
                "epoch": standing.epoch,
                "train_loss": train_loss,
                "validation_loss": validation_loss,
                "wape": wape,
                "learning_rate": schedule.get_last_lr()[0],
                "rows": part.rows,
                "seconds": seconds,
                "at": time.time(),
            }
        )
        if ranks.is_first:
            _say(standing.history[-1])
            if is_best and held is not None:
                write_checkpoint(folder / "checkpoints" / "best.pt", standing, job.recipe, ranks.world)
            write_checkpoint(folder / "checkpoints" / "last.pt", standing, job.recipe, ranks.world)

    if held is None:
        standing.done.append(standing.best)
    else:
        standing.epochs = max(1, standing.best_epoch)
        if ranks.is_first:
            model.load_state_dict(standing.best)
            standing.importance = list(importance_of(model, part.inputs, _examples(held), seed))
    standing.next_network()


def _is_over(standing: Standing, epochs: int, patience: int, held: Lesson | None) -> bool:
    """Whether a network has made its passes, or the newest rows gained nothing for too long."""
    is_stale = held is not None and standing.epoch - standing.best_epoch >= patience
    return standing.epoch >= epochs or is_stale


def _weights(model: nn.Module) -> dict[str, Tensor]:
    """A copy in main memory."""
    return {name: value.detach().cpu().clone() for name, value in model.state_dict().items()}


def _examples(lesson: Lesson) -> Examples:
    return Examples.of(lesson.numbers, lesson.codes, lesson.target, lesson.weight)


def _running(model: nn.Module) -> list[Tensor]:
    """Running means and variances, which every process measured on its own rows."""
    return [value for name, value in model.named_buffers() if name.endswith(("running_mean", "running_var"))]


@torch.no_grad()
def _validated(model: QuantileNetwork, held: Lesson, part: Part, job: Job, ranks: Ranks) -> tuple[float, float]:
    """Pinball loss and WAPE in units of the target over the newest rows of all processes, every row counted once."""
    found = answers(model, torch.from_numpy(held.numbers), torch.from_numpy(held.codes)).double()
    target, weight = torch.from_numpy(held.target), torch.from_numpy(held.weight)
    loss = float(pinball(found, target, weight, model.levels.cpu().double()))
    y_hat = to_sales(
        found[:, [_MEDIAN]].numpy(), part.spread, job.space, held.base, held.reference, held.unit, held.scale
    )[:, 0]
    size = float(held.weight.sum())
    sums = ranks.total([loss * size, size, float(np.abs(held.y - y_hat).sum()), float(np.abs(held.y).sum())])
    return sums[0] / sums[1], sums[2] / max(sums[3], np.finfo(float).tiny)


def _random_states(order: torch.Generator, ranks: Ranks) -> Tensor:
    """``[W, B]`` states of the generators of every process."""
    states = [torch.get_rng_state(), order.get_state()]
    if ranks.device.type == "cuda":
        states.append(torch.cuda.get_rng_state(ranks.device))
    return ranks.gathered(torch.cat(states))


def _set_random(states: Tensor | None, order: torch.Generator, ranks: Ranks) -> None:
    """Go on where `_random_states` was."""
    if states is None:
        return
    n_global, n_order = len(torch.get_rng_state()), len(order.get_state())
    mine = states[ranks.rank].cpu()
    torch.set_rng_state(mine[:n_global].clone())
    order.set_state(mine[n_global : n_global + n_order].clone())
    if ranks.device.type == "cuda":
        torch.cuda.set_rng_state(mine[n_global + n_order :].clone(), ranks.device)


def _say(line: Mapping[str, Any]) -> None:
    shown = "" if line["wape"] is None else f", validation {line['validation_loss']:.5f}, WAPE {line['wape']:.4f}"
    text = f"network {line['network']} epoch {line['epoch']}: loss {line['train_loss']:.5f}{shown}"
    print(f"{text}, {line['rows'] / line['seconds']:,.0f} rows/s", file=sys.stderr, flush=True)  # noqa: T201


def _write_result(folder: Path, job: Job, standing: Standing, ranks: Ranks) -> None:
    """``networks.npz`` and ``result.json``, by one rename."""
    networks = []
    for state in standing.done:
        network = untrained(job.parts["whole"].inputs, job.parts["whole"].start)
        network.load_state_dict(state)
        networks.append(network.eval())
    draft, result = folder / ".result", folder / "result"
    for path in (draft, result):
        shutil.rmtree(path, ignore_errors=True)
    draft.mkdir()
    save_networks(networks, draft / "networks.npz")
    values = {
        "recipe": asdict(job.recipe),
        "epochs": standing.epochs,
        "importance": standing.importance,
        "history": standing.history,
        "world": ranks.world,
        "backend": ranks.backend,
        "device": ranks.device.type,
    }
    (draft / "result.json").write_text(json.dumps(values, indent=1), encoding="utf-8")
    draft.rename(result)


if __name__ == "__main__":
    sys.exit(main())
