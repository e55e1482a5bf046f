"""Java libraries that a pom names, fetched once by Maven into ``.foretail/jars``."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from scripts.services.process import HOME, ServiceError, alone, find

__all__ = ["POMS", "fetch"]

POMS = Path(__file__).parent
_MADE_FROM = "made-from"  # in a folder of jars: the digest of its pom


def fetch(name: str, home: Path = HOME) -> Path:
    """The folder that holds the jars of ``scripts/services/NAME/pom.xml``; Maven is asked when the pom is new.

    Raises
    ------
    ServiceError : Maven is missing, or cannot fetch them.
    """
    pom, folder = POMS / name / "pom.xml", home / "jars" / name
    digest = hashlib.sha256(pom.read_bytes()).hexdigest()
    with alone(folder.with_suffix(".lock")):
        if not _is_made_from(folder, digest):
            fresh = _download(pom, folder.parent)
            (fresh / _MADE_FROM).write_text(digest, encoding="utf-8")
            shutil.rmtree(folder, ignore_errors=True)
            fresh.rename(folder)
    return folder


def _is_made_from(folder: Path, digest: str) -> bool:
    made_from = folder / _MADE_FROM
    return made_from.exists() and made_from.read_text(encoding="utf-8") == digest


def _download(pom: Path, parent: Path) -> Path:
    """A new folder with what the pom names."""
    maven = find("mvn", "maven")
    fresh = Path(tempfile.mkdtemp(prefix=f"{pom.parent.name}-", dir=parent))
    goal = ["dependency:copy-dependencies", "-DincludeScope=runtime", f"-DoutputDirectory={fresh}"]
    print(f"fetching the jars of {pom}", file=sys.stderr)
    done = subprocess.run(
        [str(maven), "-q", "-B", "-f", str(pom), *goal], capture_output=True, text=True, stdin=subprocess.DEVNULL
    )
    if done.returncode or not any(fresh.glob("*.jar")):
        shutil.rmtree(fresh)
        first = next((line for line in done.stdout.splitlines() if "ERROR" in line), done.stderr.strip())
        raise ServiceError("Maven cannot fetch the jars", str(pom), f"it says: {first}")
    return fresh
