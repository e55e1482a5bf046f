"""The house as a whole: layers, what an import costs, the public names, how modules begin."""

import ast
import importlib.metadata
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import foretail

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "src" / "foretail"
MODULES = sorted(PACKAGE.rglob("*.py"))
ROOMS = sorted(path.name for path in PACKAGE.iterdir() if (path / "__init__.py").exists())
HEAVY = {
    "alembic", "fsspec", "holidays", "jinja2", "lightgbm", "mlflow", "mlforecast", "numba", "numpy", "pandas", "plotly",
    "polars", "psutil", "pyarrow", "rich", "scipy", "sklearn", "sqlalchemy", "statsforecast",
}  # fmt: skip
OPTIONAL = {"cmdstanpy", "optuna", "prophet", "torch", "xgboost"}


def modules_after(program):
    """Names of top-level modules that a fresh interpreter holds after a program."""
    code = f"{program}\nimport json, sys\nsys.stderr.write(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return {name.split(".")[0] for name in json.loads(done.stderr)}


def test_rooms_import_only_rooms_below():
    code = "import sys\nfrom importlinter.cli import lint_imports\nsys.exit(lint_imports(no_cache=True))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_import_foretail_brings_nothing_heavy():
    held = modules_after("import foretail")
    assert held & (HEAVY | OPTIONAL) == set()
    assert "click" not in held


def test_every_family_can_be_made_before_its_library_is_loaded():
    program = "from foretail.models.families import FAMILIES, make\nfor name in FAMILIES: make(name)"
    held = modules_after(program)
    assert held & (OPTIONAL | {"lightgbm", "mlflow", "pandas", "plotly", "sklearn", "statsforecast"}) == set()


def test_the_help_brings_nothing_heavy():
    program = "from foretail.cli.main import main\ntry:\n    main(['--help'])\nexcept SystemExit:\n    pass"
    held = modules_after(program)
    assert held & HEAVY == set()
    assert "click" in held


def test_the_check_for_heavy_modules_would_see_one():
    assert "numpy" in modules_after("import foretail.core.frequency")


def test_public_names_are_few_sorted_and_there():
    assert len(foretail.__all__) <= 10
    assert foretail.__all__ == sorted(foretail.__all__)
    assert dir(foretail) == foretail.__all__
    for name in foretail.__all__:
        assert getattr(foretail, name) is not None


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = foretail.nothing


def test_the_version_is_that_of_the_package():
    assert foretail.__version__ == importlib.metadata.version("foretail")


def test_every_module_begins_with_one_sentence():
    for path in MODULES:
        text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
        assert text, path
        assert re.search(r"[.:]$", text.split("\n\n")[0].strip()), path


def test_no_module_is_a_drawer_for_everything():
    drawers = {"utils", "util", "helpers", "helper", "common", "misc", "manager"}
    assert [path for path in MODULES if path.stem in drawers] == []


def test_the_map_in_contributing_names_every_room():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    assert sorted(re.findall(r"^\| `(\w+)` \|", text, flags=re.M)) == ROOMS
