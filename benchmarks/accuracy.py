"""`foretail run` on the last block of Walmart and of Rossmann: accuracy, calibration, seconds and memory, beside peers.

The command runs as a process of its own on the original files. Its forecasts are scored twice, by the neutral rules of
`benchmarks.neutral` and by foretail's own metrics; where both have the same formula they must agree.

    python -m benchmarks.accuracy [--only walmart|rossmann] [--peers] [--keep DIR]
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from benchmarks.data import layout_folder
from benchmarks.job import Job, run_foretail
from benchmarks.neutral import SPLITS, Block, Split, read_block, scores
from benchmarks.peers import PEERS, answer, matrix_frame
from benchmarks.table import RESULTS, Measure, publish
from foretail.backtest.metrics import Evaluation, scales, score
from foretail.backtest.result import Scores
from foretail.cli.show import text_table
from foretail.core.columns import DS, STEP, UNIQUE_ID, Y_HAT
from foretail.core.quantiles import DEFAULT_QUANTILES, quantile_column
from foretail.panel.build import PanelBuild, build_panel
from foretail.sources.open import open_table

__all__ = ["Result", "main", "own_scores"]

_SECONDS, _GB = 240.0, 4.0
_AGREE = 1e-9
_HEADER = (
    "split",
    "model",
    "rules",
    "WAPE",
    "WMAE/RMSPE",
    "bias",
    "MASE",
    "cov80",
    "cov95",
    "WQL",
    "seconds",
    "GB",
)


@dataclass(frozen=True)
class Result:
    """What came of one block.

    Attributes
    ----------
    split : which block. neutral : by the neutral rules. own : by foretail's metrics. job : the run.
    peers : neutral scores and seconds by peer.
    """

    split: Split
    neutral: dict[str, float]
    own: Scores
    job: Job
    peers: dict[str, tuple[dict[str, float], float]]


def own_scores(build: PanelBuild, split: Split, forecast: pl.DataFrame) -> Scores:
    """Score a forecast by `foretail.backtest.metrics`.

    Parameters
    ----------
    build : the panel of the whole file, the block included. forecast : as in ``forecasts.parquet``.
    """
    panel = build.panel
    n_periods = int(panel.frequency.to_index(np.asarray(np.datetime64(split.cutoff)))) - panel.start + 1
    cells = np.full((panel.n_series, split.horizon, 1 + len(DEFAULT_QUANTILES)), np.nan)
    columns = [Y_HAT, *map(quantile_column, DEFAULT_QUANTILES)]
    rows = pl.DataFrame({UNIQUE_ID: panel.unique_ids, "row": np.arange(panel.n_series)})
    keys = forecast.with_columns(_unique_id(split.keys)).join(rows, on=UNIQUE_ID, how="inner", maintain_order="left")
    cells[keys["row"].to_numpy(), keys[STEP].to_numpy().astype(np.int64) - 1] = keys.select(columns).to_numpy()
    scored = slice(n_periods, n_periods + split.horizon)
    y = panel.y[:, scored]
    seen = np.isfinite(y).any(1)
    scale, squared = scales(panel.as_of(n_periods))
    item = Evaluation(
        y[seen],
        cells[seen, :, 0],
        panel.closed[seen, scored],
        scale[seen],
        squared[seen],
        cells[seen, :, 1:],
        DEFAULT_QUANTILES,
    )
    return score([item])


def main(arguments: Sequence[str] | None = None) -> None:
    """Run both blocks, print the table, write ``benchmarks/results/accuracy.json``; one block is printed alone."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.accuracy", description=__doc__)
    parser.add_argument("--only", choices=sorted(SPLITS), help="one block")
    parser.add_argument("--peers", action="store_true", help="Theta and LightGBM too, not seasonal naive alone")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep the outputs here")
    asked = parser.parse_args(arguments)
    peers = list(PEERS) if asked.peers else ["seasonal naive"]
    results = []
    with tempfile.TemporaryDirectory(prefix="foretail-accuracy-") as scratch:
        for name in [asked.only] if asked.only else SPLITS:
            folder = layout_folder(name)
            if folder is not None:
                results.append(_result(SPLITS[name], folder, (asked.keep or Path(scratch)).resolve() / name, peers))
        if results:
            print(text_table(_HEADER, [row for result in results for row in _rows(result)]) + "\n")
            measures = [measure for result in results for measure in _measures(result)]
            publish("accuracy", measures, Path(scratch) if asked.only else RESULTS)


def _result(split: Split, data: Path, scratch: Path, peers: Sequence[str]) -> Result:
    block = read_block(split, data)
    given = ["--horizon", str(split.horizon), "--cutoff", split.cutoff.isoformat(), "--data", str(data.parent)]
    job = run_foretail([split.name, *given], scratch)
    forecast = job.forecasts
    neutral = scores(block, forecast)
    table = open_table(split.name, data=data.parent)
    own = own_scores(build_panel(table), split, forecast)
    _must_agree(split, neutral, own)
    history = build_panel(table, cutoff=split.cutoff, horizon=split.horizon)
    found = {peer: _peer(peer, history, block, split) for peer in peers}
    return Result(split, neutral, own, job, found)


def _peer(peer: str, history: PanelBuild, block: Block, split: Split) -> tuple[dict[str, float], float]:
    """Neutral scores and seconds of a peer; series without a history count as no sales."""
    found = answer(peer, history.panel, split.horizon)
    frame = matrix_frame(history.panel, found.y_hat).with_columns(_unique_id(split.keys, "_")).rename({"Date": DS})
    frame = frame.select(UNIQUE_ID, DS, Y_HAT)
    every = block.rows.select(UNIQUE_ID, DS).join(frame, on=[UNIQUE_ID, DS], how="left")
    return scores(block, every.with_columns(pl.col(Y_HAT).fill_null(0.0))), found.seconds


def _unique_id(keys: tuple[str, ...], separator: str = "/") -> pl.Expr:
    return pl.concat_str([pl.col(key).cast(pl.String) for key in keys], separator=separator).alias(UNIQUE_ID)


def _must_agree(split: Split, neutral: dict[str, float], own: Scores) -> None:
    """WAPE and bias have one formula: two scorers that differ mean that one of them is wrong."""
    apart = max(abs(neutral["WAPE"] - own.wape), abs(neutral["bias"] - own.bias))
    if not apart <= _AGREE:
        raise RuntimeError(f"{split.name}: the neutral scorer and foretail's metrics differ by {apart:.3g}")


def _special(split: Split) -> str:
    return "WMAE" if split.name == "walmart" else "RMSPE"


def _rows(result: Result) -> list[tuple[object, ...]]:
    name, nan, own = result.split.name, None, result.own
    cost = (round(result.job.seconds, 1), round(result.job.peak_gb, 2))
    rows: list[tuple[object, ...]] = [
        (name, f"foretail ({result.job.chosen})", "neutral", *_shown(result.split, result.neutral), *cost),
        (name, "", "own", own.wape, nan, own.bias, own.mase, own.coverage_80, own.coverage_95, own.wql, nan, nan),
    ]
    rows += [
        (name, peer, "neutral", *_shown(result.split, found), round(seconds, 1), nan)
        for peer, (found, seconds) in result.peers.items()
    ]
    return rows


def _shown(split: Split, found: dict[str, float]) -> tuple[float | None, ...]:
    return tuple(found.get(key) for key in ("WAPE", _special(split), "bias", "MASE", "cov80", "cov95", "WQL9"))


def _measures(result: Result) -> list[Measure]:
    """The goals, and each metric beside each peer."""
    what, ours = f"{result.split.name}, {result.split.horizon} steps", result.neutral
    lines = []
    for peer, (found, _) in result.peers.items():
        lines += [
            Measure(f"{what}: WAPE", ours["WAPE"], "share", peer, found["WAPE"], at_most=result.split.goal),
            *(
                Measure(f"{what}: {metric}", ours[metric], "", peer, found[metric])
                for metric in (_special(result.split), "bias", "MASE")
            ),
        ]
    return [
        *lines,
        Measure(f"{what}: 80 % interval covers", ours["cov80"], "share", at_least=0.76, at_most=0.84),
        Measure(f"{what}: 95 % interval covers", ours["cov95"], "share"),
        Measure(f"{what}: WQL (deciles)", ours["WQL9"], "share"),
        Measure(f"{what}: time", result.job.seconds, "s", at_most=_SECONDS),
        Measure(f"{what}: peak memory", result.job.peak_gb, "GB", at_most=_GB),
    ]


if __name__ == "__main__":
    main()
