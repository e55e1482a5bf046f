"""Ask one work of the feature benchmark in a process of its own, under a limit, in the environment it needs.

Feast's DuckDB store needs packages that foretail does not. They live in ``benchmarks/results/features/env``, a thin
environment over this interpreter's own, so that both sides run on the same Feast, Polars and pandas; deleting that
folder undoes it.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from dataclasses import dataclass
from pathlib import Path

from benchmarks.feature_job import Answer, Job
from benchmarks.job import JobError, OverLimit, watch
from benchmarks.table import RESULTS

__all__ = ["ENVIRONMENT", "LIMIT_GB", "LIMIT_S", "Asked", "ask", "environment"]

ENVIRONMENT = RESULTS / "features" / "env"
LIMIT_S, LIMIT_GB = 120.0, 10.0
_ROOT = Path(__file__).resolve().parents[1]
_PACKAGE = "ibis-framework[duckdb]>=10"
_STORE_OF_ENVIRONMENT = "duckdb"
_OF_MANY_PROCESSES = ("ray",)


@dataclass(frozen=True)
class Asked:
    """What a job came to.

    Attributes
    ----------
    answer : None where there is none.
    peak_gb : the job's own high-water mark, GiB; for a store that works in processes of its own, what was sampled of
        the whole tree.
    why : why there is no answer, e.g. ``over the time limit``; "" where there is one.
    """

    answer: Answer | None
    peak_gb: float = 0.0
    why: str = ""


def ask(job: Job, limit_s: float = LIMIT_S, limit_gb: float = LIMIT_GB, scratch: Path | None = None) -> Asked:
    """Run the job; a limit that is met, or a failure, is an answer too.

    Parameters
    ----------
    limit_s : for the whole process, imports included.
    scratch : kept where given (the files of an online store), else a folder of its own that goes afterwards.
    """
    if scratch is not None:
        scratch.mkdir(parents=True, exist_ok=True)
        return _ask(job, limit_s, limit_gb, scratch)
    (RESULTS / "features").mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=RESULTS / "features", prefix="job-") as folder:
        return _ask(job, limit_s, limit_gb, Path(folder))


def _ask(job: Job, limit_s: float, limit_gb: float, folder: Path) -> Asked:
    question, answer = folder / "job.json", folder / "answer.json"
    job.write(question)
    answer.unlink(missing_ok=True)
    command = [_python(job), "-m", "benchmarks.feature_job", str(question), str(answer)]
    settings = {"PYTHONPATH": str(_ROOT), "FEAST_USAGE": "False", "RAY_USAGE_STATS_ENABLED": "0"}
    try:
        _, sampled = watch(command, folder, limit_s, limit_gb, settings)
    except OverLimit as reached:
        return Asked(None, why=f"over {limit_s:g} s" if "time" in str(reached) else str(reached))
    except JobError as failed:
        print(str(failed)[-1500:], file=sys.stderr, flush=True)
        return Asked(None, why=f"failed: {str(failed).strip().splitlines()[-1][:90]}")
    found = Answer(**json.loads(answer.read_text(encoding="utf-8")))
    return Asked(found, sampled if job.store in _OF_MANY_PROCESSES else found.peak_gb or sampled)


def environment(folder: Path = ENVIRONMENT) -> Path:
    """The interpreter of the thin environment; it is made where it is not there."""
    python, done = folder / "bin" / "python", folder / "installed"
    if not done.exists():
        print(f"installing {_PACKAGE} into {folder}", file=sys.stderr, flush=True)
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
        _site(python).joinpath("beneath.pth").write_text(
            "\n".join([sysconfig.get_path("purelib"), str(_ROOT / "src")]) + "\n", encoding="utf-8"
        )
        pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet"]
        subprocess.run([*pip, "--disable-pip-version-check", _PACKAGE], check=True, stdout=sys.stderr)
        done.touch()
    return python


def _site(python: Path) -> Path:
    code = "import sysconfig; print(sysconfig.get_path('purelib'))"
    found = subprocess.run([str(python), "-c", code], check=True, capture_output=True, text=True)
    return Path(found.stdout.strip())


def _python(job: Job) -> str:
    is_peer = job.work == "historical" and job.store == _STORE_OF_ENVIRONMENT
    return os.fspath(environment()) if is_peer else sys.executable
