"""docs/families.md names every family, says of each what its class says, and shows only names that can be made."""

from __future__ import annotations

import inspect
import re
from functools import cache
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from foretail.core.spec import DatasetSpec
from foretail.models.families import FAMILIES, family_class, make
from foretail.panel.panel import Panel
from foretail.pipelines.prepare import _MOST_SERIES, AUTO

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs" / "families.md").read_text(encoding="utf-8")
FEW = {"rounds": 3, "epochs": 1, "members": 1, "n_threads": 1}  # whatever of these a family has
H = 4


def table(heading: str) -> dict[str, list[str]]:
    """First cell, without its quotes -> the other cells, of the table whose header begins so."""
    block = PAGE.split(f"| {heading} |", 1)[1].split("\n\n", 1)[0]
    rows = [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in block.splitlines()[2:]]
    return {row[0].strip("`"): row[1:] for row in rows}


ROWS = table("family | what it is")
NAMES = sorted(
    {name for page in ROOT.glob("docs/*.md") for name in re.findall(r"[a-z_-]+\[\w+=[^\]\s]+\]", page.read_text())}
)


@cache
def panel() -> Panel:
    """Six daily series of 120 days."""
    t = np.arange(120)
    y = 20 + np.arange(6)[:, None] + 5 * np.sin(2 * np.pi * t / 7) + np.random.default_rng(3).normal(0, 1, (6, 120))
    names = [f"s{row}" for row in range(len(y))]
    spec = DatasetSpec(keys=("store",), time="date", target="sales", freq="D", horizon=H)
    series = pl.DataFrame({"unique_id": names, "store": names})
    return Panel(spec, series, 18_000, y, np.zeros(y.shape, dtype=np.bool_))


def quantiles_of(name: str, **params: object) -> object:
    takes = inspect.signature(family_class(name).__init__).parameters
    few = {key: value for key, value in FEW.items() if key in takes and isinstance(takes[key].default, int)}
    return make(name, **few, **params).fit(panel(), H).predict(panel(), H).quantiles


def test_every_family_has_a_row_and_no_other() -> None:
    assert set(ROWS) == set(FAMILIES)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_row_says_what_the_class_says(name: str) -> None:
    _, scope, covariates, _, extra, parameters, source = ROWS[name]
    tags = family_class(name).tags
    assert scope == ("per series" if tags.local else "across series")
    assert covariates == ("yes" if tags.covariates else "no")
    assert extra.split(";")[0] == (f"`{FAMILIES[name].extra}`" if FAMILIES[name].extra else "–")
    takes = inspect.signature(family_class(name).__init__).parameters
    assert set(re.findall(r"`(\w+)`", re.sub(r"\(.*?\)", "", parameters))) <= set(takes)
    assert source


@pytest.mark.parametrize("name", [name for name in FAMILIES if not name.startswith("ensemble")])
def test_a_row_says_whether_the_family_has_quantiles(name: str) -> None:
    said = ROWS[name][3]
    assert (quantiles_of(name) is not None) == (said == "yes")
    if said == "with `heads`":
        assert quantiles_of(name, heads="quantile") is not None


@pytest.mark.parametrize("name", NAMES)
def test_every_name_that_is_shown_can_be_made(name: str) -> None:
    assert make(name)


def test_names_with_parameters_are_shown() -> None:
    assert len(NAMES) > 4


def test_what_auto_compares_is_what_it_compares() -> None:
    joins = {name: cells[0] for name, cells in table("family | joins").items()}
    assert set(joins) == set(AUTO)
    bounds = {name: re.search(r"up to ([\d,]+) series", text) for name, text in joins.items()}
    assert {name: int(found[1].replace(",", "")) for name, found in bounds.items() if found} == _MOST_SERIES
