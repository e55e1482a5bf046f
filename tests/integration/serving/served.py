"""A registry with two versions of `sales-forecast`, and servers of it in processes of their own."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import polars as pl

from foretail.core.progress import Silent
from foretail.core.settings import Settings
from foretail.models.families import make
from foretail.pipelines.forecast import forecast_version
from foretail.pipelines.request import Request
from foretail.pipelines.train import train_request
from foretail.registry.bundle import read_bundle, write_bundle
from foretail.registry.info import FamilyTree
from foretail.registry.versions import Registry

NAME = "sales-forecast"
COMMAND = Path(sys.executable).parent / "foretail"
_QUANTILES = (0.1, 0.5, 0.9)


@dataclass(frozen=True)
class World:
    """A home whose registry holds version 1 (champion, `profile`) and version 2 (challenger, `seasonal_naive`).

    Attributes
    ----------
    forecasts : what ``foretail forecast`` writes for each version.
    """

    home: Path
    forecasts: dict[int, pl.DataFrame]

    def copy(self, folder: Path) -> Path:
        """The home again, to be changed by one test."""
        return Path(shutil.copytree(self.home, folder / "home"))


@dataclass(frozen=True)
class Served:
    """A running server."""

    http: str
    grpc: str
    process: subprocess.Popen[str]
    log: Path

    def predict(self, *instances: dict[str, Any], path: str = f"/v1/models/{NAME}:predict") -> list[dict[str, Any]]:
        """Predictions of V1 instances."""
        answer = httpx.post(f"{self.http}{path}", json={"instances": list(instances)}, timeout=30)
        assert answer.status_code == 200, answer.text
        predictions: list[dict[str, Any]] = answer.json()["predictions"]
        return predictions

    def metric(self, line: str) -> float:
        """A value of /metrics; 0 for a line that is not there."""
        shown = httpx.get(f"{self.http}/metrics", timeout=30).text.splitlines()
        return sum(float(text.rsplit(" ", 1)[1]) for text in shown if text.startswith(line))

    def stop(self) -> int:
        """SIGTERM; gives the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)


def registry_of(home: Path) -> Registry:
    return Registry(Settings(home=home))


def set_alias(home: Path, alias: str, version: int) -> None:
    registry_of(home)._client.set_registered_model_alias(NAME, alias, str(version))


def log_other(home: Path, folder: Path) -> None:
    """Log a version like the first one but for its model, a seasonal naive, with the intervals of the first."""
    bundle = read_bundle(registry_of(home).fetch(NAME, 1))
    model = make("seasonal_naive").fit(bundle.panel, bundle.info.horizon)
    info = replace(bundle.info, model="seasonal_naive", tree=FamilyTree("seasonal_naive"))
    write_bundle(folder, replace(bundle, info=info, model=model))
    registry_of(home).log(folder, NAME)


@contextmanager
def running(home: Path, log: Path, *words: str) -> Iterator[Served]:
    """A server on free ports; it is ended by SIGTERM if the test did not end it."""
    command = [str(COMMAND), "serve", "kserve", "--http-port", "0", "--grpc-port", "0", "--home", str(home), "--json"]
    plain = {name: value for name, value in os.environ.items() if not name.startswith("FORETAIL_")}
    with log.open("w") as errors:
        process = subprocess.Popen(
            [*command, *words], stdout=subprocess.PIPE, stderr=errors, text=True, cwd=log.parent, env=plain
        )
    assert process.stdout is not None
    try:
        told = ""
        while not _is_whole(told):
            line = process.stdout.readline()
            assert line, f"the server ended: {log.read_text()}"
            told += line
        ports = json.loads(told)
        yield Served(ports["http"], ports["grpc"], process, log)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        process.wait(60)
        process.stdout.close()


def _is_whole(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def make_world(folder: Path) -> World:
    """Train, log and forecast."""
    settings = Settings(home=folder / "home", workers=1)
    request = Request(
        table="synthetic:weekly-5k", name=NAME, models=("seasonal_naive", "profile"), quantiles=_QUANTILES
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of MLflow's own making
        train_request(request, folder / "out", settings, Silent())
        log_other(settings.home, folder / "other")
        set_alias(settings.home, "challenger", 2)
        forecasts = {
            version: forecast_version(
                f"{NAME}/{version}",
                table=None,
                future=None,
                horizon=None,
                out=folder / f"forecasts{version}",
                settings=settings,
                progress=Silent(),
            )
            for version in (1, 2)
        }
    return World(settings.home, forecasts)
