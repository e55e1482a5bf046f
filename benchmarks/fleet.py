"""A fleet from the table to stored forecasts: seconds, memory, its worth beside seasonal naive, one series again.

``python -m benchmarks.fleet`` trains 1,115 series (Rossmann's shops where their files are, else synthetic ones), 11,115
and 111,150 synthetic series, each as ``foretail fleet train`` in a process of its own, on a home whose stores are there
already: read, fit on 120 days, five-fold walk-forward, forecasts with intervals for 7 days, one bundle, one version in
the registry, a version row per series, stored forecasts. ``--sizes 1115,11115`` measures some of them.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.data import layout_folder
from benchmarks.job import watch
from benchmarks.table import Measure, growth, publish

_FORETAIL = Path(sys.executable).parent / "foretail"
_SIZES = (1_115, 11_115, 111_150)
_SHOPS = 1_115  # as many as Rossmann has
_GOALS = {1_115: (10.0, None), 11_115: (30.0, 2.0), 111_150: (None, 4.0)}  # seconds, GiB
_FOLDS = "read, fit, 5 windows, forecasts, bundle, rows"


def main() -> None:
    """Measure the sizes asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", default=",".join(map(str, _SIZES)), help="numbers of series, between commas")
    parser.add_argument("--retrain", metavar="HOME", help=argparse.SUPPRESS)
    parser.add_argument("--write", metavar="FOLDER", help=argparse.SUPPRESS)
    given = parser.parse_args()
    sizes = [int(size) for size in given.sizes.split(",")]
    if given.retrain:
        _retrain(Path(given.retrain))
    elif given.write:
        from benchmarks.fleet_world import write_world

        write_world(Path(given.write), sizes[0])
    else:
        publish("fleet", _measured(sizes))


def _measured(sizes: list[int]) -> list[Measure]:
    measures: list[Measure] = []
    per_series: dict[int, float] = {}
    with tempfile.TemporaryDirectory() as root:
        for size in sizes:
            folder = Path(root) / str(size)
            folder.mkdir()
            said, seconds, peak_gb = _trained(folder, size)
            per_series[size] = seconds / size
            measures += _lines(size, said, seconds, peak_gb)
            if size == sizes[0]:
                measures += _series_again(folder / "home", size)
    small, large = min(per_series), max(per_series)
    if large >= 10 * small and large > _SIZES[1]:
        before = max(size for size in per_series if size < large)
        measures.append(growth(large, per_series[large], before, per_series[before]))
    return measures


def _trained(folder: Path, size: int) -> tuple[dict[str, Any], float, float]:
    """What the training said, its wall seconds and its peak; the home and the table are made before."""
    words = _table(folder, size)
    home = ["--home", str(folder / "home")]
    _run([str(_FORETAIL), "fleet", "train", "synthetic", "--fleet", "first", *home])  # sets the stores up
    command = [str(_FORETAIL), "fleet", "train", *words, *home, "--fleet", "fleet", "--json"]
    seconds, peak_gb = watch(command, folder)
    said = (folder / "log.txt").read_text(encoding="utf-8")
    told: dict[str, Any] = json.JSONDecoder().raw_decode(said[said.index("{") :])[0]
    return told, seconds, peak_gb


def _table(folder: Path, size: int) -> list[str]:
    """The words that name the table."""
    shops = layout_folder("rossmann") if size == _SHOPS else None
    if shops is not None:
        return ["rossmann", "--data", str(shops.parent)]
    world = folder / "world"
    _run([sys.executable, "-m", "benchmarks.fleet", "--sizes", str(size), "--write", str(world)])
    return [str(world / "spec.toml")]


def _lines(size: int, said: dict[str, Any], seconds: float, peak_gb: float) -> list[Measure]:
    at_most_s, at_most_gb = _GOALS.get(size, (None, None))
    name = f"{size:,} series"
    stages = said["seconds"]
    naive = said["naive_wape"]
    return [
        Measure(f"{name}: {_FOLDS}", seconds, "s", at_most=at_most_s),
        *(Measure(f"{name}: of that, {stage}", stages[stage], "s") for stage in stages),
        Measure(f"{name}: peak of all processes", peak_gb, "GB", at_most=at_most_gb),
        Measure(f"{name}: WAPE of the walk-forward", said["wape"], "WAPE", "seasonal naive", naive, at_most=naive),
        Measure(f"{name}: coverage of the 80 % interval", said["coverage_80"], "share"),
        Measure(f"{name}: coverage of the 95 % interval", said["coverage_95"], "share"),
        Measure(f"{name}: better than seasonal naive", said["counts"]["trained"] / said["n_series"], "share"),
        Measure(f"{name}: forecasts stored", float(said["n_forecasts"]), "rows"),
    ]


def _series_again(home: Path, size: int) -> list[Measure]:
    """One series trained again in a warm process: the second call, as a worker's."""
    told = _run([sys.executable, "-m", "benchmarks.fleet", "--retrain", str(home)])
    seconds = float(told.strip().splitlines()[-1])
    return [Measure(f"one of {size:,} series trained again and forecast", seconds, "s", at_most=5.0)]


def _retrain(home: Path) -> None:
    from foretail.core.settings import Settings
    from foretail.pipelines.fleet import retrain_series
    from foretail.pipelines.fleet_view import series_names

    settings = Settings(home=home)
    names = series_names(settings, "fleet")[:2]
    for store, product in names:
        begun = time.perf_counter()
        retrain_series("fleet", store, product, settings)
        print(time.perf_counter() - begun)


def _run(command: list[str]) -> str:
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    return done.stdout


if __name__ == "__main__":
    main()
