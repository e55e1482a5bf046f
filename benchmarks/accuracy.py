"""`foretail run` on held-back windows of Walmart and Rossmann: accuracy, calibration, seconds, memory, beside peers.

Each window is a process of its own on the original files. Its forecasts are scored twice, by the neutral rules of
`benchmarks.neutral` and by foretail's own metrics; where both have the same formula they must agree. The peers are
seasonal naive, Theta and AutoETS of statsforecast, LightGBM of mlforecast and AutoGluon; their answers are kept, so
only the first run waits for them (AutoGluon takes up to 15 minutes a window, and there are 23). Two splits are twins of
tasks of the public fev-bench, whose published figures stand beside ours where they are at hand.

    python -m benchmarks.accuracy [--only SPLIT,…] [--peers NAME,…|none|all] [--windows N] [--goal] [--keep DIR]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from json import dumps
from pathlib import Path

import numpy as np
import polars as pl

from benchmarks.autogluon import PRESET, TIME_LIMIT_S, AutoGluon
from benchmarks.data import layout_folder
from benchmarks.job import Job, JobError
from benchmarks.neutral import SPLITS, Block, Split, read_block, scores
from benchmarks.peers import PEERS, Answer, Question, kept
from benchmarks.published import published_file, read_published
from benchmarks.splits import Window, answered, run_window, windows
from benchmarks.standings import OURS, Entry, Outcome, grids, kept_outcomes, measures, merged
from benchmarks.table import RESULTS, Measure, show, write
from foretail.backtest.metrics import Evaluation, scales, score
from foretail.backtest.result import Scores
from foretail.core.columns import STEP, UNIQUE_ID, Y_HAT
from foretail.core.errors import UsageError, nearest
from foretail.core.quantiles import DEFAULT_QUANTILES, quantile_column
from foretail.panel.build import PanelBuild, build_panel

__all__ = ["main", "own_scores", "peers_named"]

_AGREE = 1e-9
_LABELS = {
    "seasonal naive": "seasonal naive",
    "theta": "OptimizedTheta (statsforecast)",
    "ets": "AutoETS (statsforecast)",
    "lightgbm": "LightGBM (mlforecast)",
    "autogluon": "AutoGluon",
}
_GROUPS = {"statsforecast": ("theta", "ets"), "mlforecast": ("lightgbm",), "all": tuple(_LABELS), "none": ()}


def own_scores(build: PanelBuild, split: Split, forecast: pl.DataFrame) -> Scores:
    """Score the forecast of one window by `foretail.backtest.metrics`.

    Parameters
    ----------
    build : the panel of the whole file, the window included.
    forecast : as in ``forecasts.parquet``, its ``cutoff`` included.
    """
    panel = build.panel
    cutoff = forecast["cutoff"].cast(pl.Date).unique().item()
    n_periods = int(panel.frequency.to_index(np.asarray(np.datetime64(cutoff)))) - panel.start + 1
    cells = np.full((panel.n_series, split.horizon, 1 + len(DEFAULT_QUANTILES)), np.nan)
    columns = [Y_HAT, *map(quantile_column, DEFAULT_QUANTILES)]
    rows = pl.DataFrame({UNIQUE_ID: panel.unique_ids, "row": np.arange(panel.n_series)})
    unique_id = pl.concat_str([pl.col(key).cast(pl.String) for key in split.keys], separator="/").alias(UNIQUE_ID)
    keys = forecast.with_columns(unique_id).join(rows, on=UNIQUE_ID, how="inner", maintain_order="left")
    cells[keys["row"].to_numpy(), keys[STEP].to_numpy().astype(np.int64) - 1] = keys.select(columns).to_numpy()
    scored = slice(n_periods, n_periods + split.horizon)
    y = panel.y[:, scored]
    seen = np.isfinite(y).any(1)
    scale, squared = scales(panel.as_of(n_periods))
    item = Evaluation(
        y[seen],
        cells[seen, : y.shape[1], 0],
        panel.closed[seen, scored],
        scale[seen],
        squared[seen],
        cells[seen, : y.shape[1], 1:],
        DEFAULT_QUANTILES,
    )
    return score([item])


def peers_named(text: str) -> tuple[str, ...]:
    """The peers of ``--peers``: names or groups between commas, in the order of the table.

    Raises
    ------
    UsageError : a name that is none.
    """
    names = [name.strip().replace("-", " ").lower() for name in text.split(",") if name.strip()]
    known = [*_LABELS, *_GROUPS]
    for name in names:
        if name not in known:
            raise UsageError(f"no peer is called {name!r}.\n  where: --peers\n  fix:   {nearest(name, known)}")
    chosen = {peer for name in names for peer in _GROUPS.get(name, (name,))}
    return tuple(peer for peer in _LABELS if peer in chosen)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the splits, print their tables, keep whole splits under ``benchmarks/results``.

    Returns
    -------
    2 for a name that is not known; 1 where a split failed, or a goal was missed and ``--goal`` asked; else 0.
    """
    asked = _parser().parse_args(arguments)
    try:
        names, peers = _splits_named(asked.only), peers_named(asked.peers)
    except UsageError as error:
        print(error, file=sys.stderr)
        return 2
    ask = _asks(peers, AutoGluon(asked.autogluon_preset, asked.autogluon_limit))
    path, failed, lines = published_file(), False, list[Measure]()
    with tempfile.TemporaryDirectory(prefix="foretail-accuracy-") as scratch:
        for name in names:
            folder = layout_folder(SPLITS[name].layout)
            if folder is None:
                continue
            try:
                outcome = _outcome(SPLITS[name], folder, asked.keep or Path(scratch), ask, asked.windows)
            except JobError as error:
                print(f"{name}: FAILED, {error}", flush=True)
                failed = True
                continue
            lines += _told(outcome, path)
    lines = [line for line in lines if line.goal or not asked.goal]
    if lines:
        show(lines)
    return int(failed or (asked.goal and any(line.met is False for line in lines)))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.accuracy", description=__doc__)
    parser.add_argument("--only", default="", metavar="A,B", help=f"of {', '.join(SPLITS)}")
    parser.add_argument("--peers", default="all", metavar="A,B", help=f"of {', '.join([*_LABELS, *_GROUPS])}")
    parser.add_argument("--windows", type=int, metavar="N", help="the first N windows of each split; nothing is kept")
    parser.add_argument("--goal", action="store_true", help="show lines with a goal alone; exit 1 if one is missed")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep the outputs of the runs here")
    parser.add_argument("--autogluon-limit", type=float, default=TIME_LIMIT_S, metavar="S", help="seconds a window")
    parser.add_argument("--autogluon-preset", default=PRESET, metavar="NAME", help="of AutoGluon")
    return parser


def _splits_named(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",") if name.strip()] or list(SPLITS)
    for name in names:
        if name not in SPLITS:
            raise UsageError(f"no split is called {name!r}.\n  where: --only\n  fix:   {nearest(name, list(SPLITS))}")
    return names


def _asks(peers: Sequence[str], autogluon: AutoGluon) -> dict[str, Callable[[Question], Answer]]:
    """How each peer is asked, by the name it has in the table."""
    found: dict[str, Callable[[Question], Answer]] = {}
    for peer in peers:
        if peer == "autogluon":
            found[f"{_LABELS[peer]} ({autogluon.name.removeprefix('autogluon ')})"] = autogluon.answer
        else:
            found[_LABELS[peer]] = partial(_kept, peer)
    return found


def _kept(peer: str, question: Question) -> Answer:
    return kept(peer, question, PEERS[peer])


def _outcome(
    split: Split, data: Path, scratch: Path, ask: dict[str, Callable[[Question], Answer]], n_windows: int | None
) -> Outcome:
    block = read_block(split, data, n_windows)
    chosen = list(windows(split, data, n_windows))
    ours = _ours(split, block, chosen, scratch)
    peers = [_peer(label, answer, block, chosen) for label, answer in ask.items()]
    return Outcome(split.name, len(chosen), [ours, *(peer for peer in peers if peer is not None)])


def _ours(split: Split, block: Block, chosen: Sequence[Window], scratch: Path) -> Entry:
    """foretail on every window; a window's time and memory are those of all its runs."""
    whole = None if split.min_rows else build_panel(chosen[0].table)
    frames, jobs = list[pl.DataFrame](), list[list[Job]]()
    for window in chosen:
        forecast, ran = run_window(window, scratch)
        seconds = sum(job.seconds for job in ran)
        part = scores(block.window(window.cutoff), forecast)
        print(f"{split.name} {window.cutoff}: WAPE {part['WAPE']:.4f}, {seconds:.0f} s", file=sys.stderr, flush=True)
        if whole is not None:
            _must_agree(window, part, own_scores(whole, split, forecast))
        frames.append(forecast)
        jobs.append(ran)
    names = sorted({job.chosen for ran in jobs for job in ran})
    found = scores(block, pl.concat(frames, how="diagonal_relaxed"))
    peak_gb = max(job.peak_gb for ran in jobs for job in ran)
    return Entry(OURS, found, [sum(job.seconds for job in ran) for ran in jobs], peak_gb, f"used {', '.join(names)}")


def _peer(label: str, ask: Callable[[Question], Answer], block: Block, chosen: Sequence[Window]) -> Entry | None:
    """A peer on every window; one that fails is said and left out."""
    frames, found = list[pl.DataFrame](), list[Answer]()
    try:
        for window in chosen:
            found.append(ask(window.question))
            frames.append(answered(window, block.window(window.cutoff), found[-1]))
            print(f"{label} {window.cutoff}: {found[-1].seconds:.0f} s", file=sys.stderr, flush=True)
    except JobError as error:
        print(f"{label}: FAILED, {error}", flush=True)
        return None
    # a peer may have intervals in some windows only: then it has none of the split
    together = pl.concat(frames, how="diagonal")
    peaks = [answer.peak_gb for answer in found if answer.peak_gb is not None]
    notes = dict.fromkeys(answer.note for answer in found if answer.note)
    seconds = [answer.seconds for answer in found]
    return Entry(label, scores(block, together), seconds, max(peaks, default=None), "; ".join(notes))


def _must_agree(window: Window, neutral: dict[str, float], own: Scores) -> None:
    """WAPE and bias have one formula: two scorers that differ mean that one of them is wrong."""
    apart = max(abs(neutral["WAPE"] - own.wape), abs(neutral["bias"] - own.bias))
    if not apart <= _AGREE:
        where = f"{window.split.name}, {window.cutoff}"
        raise RuntimeError(f"{where}: the neutral scorer and foretail's metrics differ by {apart:.3g}")


def _told(outcome: Outcome, path: Path | None) -> list[Measure]:
    """Print the tables of a split, keep it if it is whole; gives its measures."""
    folder = RESULTS / "accuracy"
    if outcome.is_whole:
        outcome = merged(outcome, folder)
        outcome.write(folder)
        _write_all(folder, path)
    published = read_published(SPLITS[outcome.split].twin, path)
    for grid in grids(outcome, published):
        print(grid.text(), flush=True)
    return measures(outcome, published)


def _write_all(folder: Path, path: Path | None) -> None:
    """``accuracy.json`` and ``accuracy.tables.json`` from every split that is kept."""
    lines, tables = list[Measure](), list[dict[str, object]]()
    for outcome in kept_outcomes(folder):
        published = read_published(SPLITS[outcome.split].twin, path)
        lines += measures(outcome, published)
        tables += [asdict(grid) for grid in grids(outcome, published)]
    write("accuracy", lines)
    (folder.parent / "accuracy.tables.json").write_text(dumps(tables, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
