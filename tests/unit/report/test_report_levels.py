"""The report's part on levels: there with levels, absent without, and the numbers of the run in it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from foretail.models.reconcile import METHODS
from foretail.report.levels import METHOD_NAMES, level_figures, level_tables, level_words
from foretail.report.page import render_report

ROWS = [
    {"level": "total", "n": 1, "own": 0.04, "bottom_up": 0.08, "top_down": 0.04, "wls": 0.05, "shrink": 0.055},
    {"level": "<b>region", "n": 4, "own": 0.2, "bottom_up": 0.1, "top_down": 0.11, "wls": 0.09, "shrink": 0.095},
    {"level": "series", "n": 30, "own": 0.3, "bottom_up": 0.3, "top_down": 0.31, "wls": 0.29, "shrink": None},
]


def summary(method):
    families = {"total": "profile", "<b>region": "ensemble"}
    return {"hierarchy": {"levels": ["<b>region"], "method": method, "families": families, "accuracy": ROWS}}


def test_every_method_has_its_words():
    assert set(METHOD_NAMES) == set(METHODS)
    assert {level_words(summary(method)) for method in METHODS} - {""} and level_words({}) == ""


def test_each_level_has_its_errors():
    table = level_tables(summary("wls"))["levels"]
    cells = [[cell.replace("\u00a0", " ") for cell in row] for row in table.rows]
    assert cells[0] == ["total", "profile", "1", "4.0 %", "8.0 %", "5.0 %"]
    assert cells[2][1:3] == ["–", "30"]
    figure = level_figures(summary("wls"))["levels"]
    assert [trace.name for trace in figure.data] == ["By itself", "Sums of series", "As used"]
    assert list(figure.data[2].y) == [0.05, 0.09, 0.29]


def test_sums_that_are_used_are_drawn_once():
    assert [trace.name for trace in level_figures(summary("bottom_up"))["levels"].data] == ["By itself", "As used"]


@pytest.mark.parametrize("told", [{}, {"hierarchy": None}])
def test_without_levels_there_is_no_part(run, told):
    page = render_report(replace(run, summary={**run.summary, **told}))
    assert 'id="levels"' not in page and '"#levels"' not in page


def test_with_levels_there_is_one_and_names_are_no_markup(run):
    page = render_report(replace(run, summary={**run.summary, **summary("wls")}))
    assert '<section id="levels"' in page and 'href="#levels"' in page
    assert "<b>region" not in page and "&lt;b&gt;region" in page
