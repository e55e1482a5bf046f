"""The page of a scenario: whole in itself, before and after in numbers, warnings as text, every series reachable."""

from __future__ import annotations

import json
import re
from datetime import date
from html import unescape

import numpy as np
import polars as pl
import pytest

from foretail.core.spec import DatasetSpec
from foretail.forecasts.difference import WIDTHS, Difference
from foretail.panel.panel import Panel
from foretail.report.scenario import ScenarioData, render_scenario, write_scenario

H, T = 3, 40
NASTY = "</script><b>a&b"


def data(warnings: tuple[str, ...] = ("price leaves the range seen: <9> for x",)) -> ScenarioData:
    spec = DatasetSpec(("shop",), "day", "units", "D", H, name="sales", unit="pieces")
    ids = [NASTY, "quiet"]
    y = np.vstack([np.full(T, 20.0), np.full(T, 5.0)])
    start = int(spec.frequency.to_index(np.array("2024-01-01", dtype="datetime64[D]")))
    panel = Panel(spec, pl.DataFrame({"unique_id": ids, "shop": ids}), start, y, np.zeros((2, T + H), dtype=bool))
    days = [date(2024, 2, 10 + step) for step in range(H)]
    more = np.array([[0.0, 8.0, 4.0], [0.0, 0.0, 1.0]])
    base = np.repeat([[20.0], [5.0]], H, axis=1)
    frame = pl.DataFrame(
        {
            "unique_id": np.repeat(ids, H),
            "ds": days * 2,
            "step": [1, 2, 3] * 2,
            "y_hat_base": base.ravel(),
            "y_hat": (base + more).ravel(),
            "difference": more.ravel(),
            "difference_q10": (more - 1).ravel(),
            "difference_q90": (more + 1).ravel(),
            "source": ["model"] * 6,
        }
    )
    cells = np.stack([more - 1, more + 1], axis=2)
    difference = Difference((0.1, 0.9), cells, cells.sum(0), cells.sum(1), cells.sum((0, 1)), WIDTHS)
    summary = {
        "scenario": "plan.csv",
        "model_version": "sales/3",
        "n_series": 2,
        "n_rows": 6,
        "y_hat_base": 75.0,
        "y_hat": 88.0,
        "difference": 13.0,
        "difference_q10": 7.0,
        "difference_q90": 19.0,
        "interval": WIDTHS,
        "warnings": list(warnings),
    }
    return ScenarioData(panel, frame, difference, summary)


@pytest.fixture(scope="module")
def html() -> str:
    return render_scenario(data())


def told(html: str, name: str) -> object:
    found = re.search(rf'<script type="application/json" id="{name}">(.*?)</script>', html, re.S)
    assert found is not None
    return json.loads(found[1])


def test_the_page_says_what_comes_of_it(html: str) -> None:
    text = re.sub(r"<script.*?</script>|<style.*?</style>", "", html, flags=re.S).replace("\u00a0", " ")
    assert "2 series would sell 13 pieces more over 3 days (+17.3 %)" in text
    assert "80 % range 7 to 19" in text
    assert "price leaves the range seen: &lt;9&gt; for x" in text
    assert "sales/3" in text and "plan.csv" in text
    assert WIDTHS in text


def test_the_page_is_whole_in_itself(html: str) -> None:
    # the library's own text holds addresses; the page's own markup must not
    markup = re.sub(r"<script.*?</script>", "", html, flags=re.S)
    assert not re.search(r"(src|href)=\"(?!#|data:)", markup)
    assert "default-src 'none'" in unescape(markup)


def test_the_pictures_hold_both_futures(html: str) -> None:
    figures = told(html, "figures")
    history, base, other = figures["total"]["data"]
    assert base["y"] == [25, 25, 25] and other["y"] == [25, 33, 30]
    assert len(history["y"]) == T and set(history["y"]) == {25}
    (bars,) = figures["difference"]["data"]
    assert bars["y"] == [0, 8, 5] and bars["error_y"]["array"] == [2, 2, 2]


def test_the_series_that_moves_most_comes_first_and_its_name_is_text(html: str) -> None:
    first, second = told(html, "items")
    assert (first["id"], second["id"]) == (NASTY, "quiet")
    assert first["difference"] == [0, 8, 4] and first["low"] == [-1, 7, 3]
    assert NASTY not in html


def test_the_same_data_give_the_same_page_and_a_file_is_replaced_whole(html: str, tmp_path) -> None:
    path = tmp_path / "scenario.html"
    path.write_text("old", encoding="utf-8")
    write_scenario(path, data())
    assert path.read_text(encoding="utf-8") == html
    assert [item.name for item in tmp_path.iterdir()] == ["scenario.html"]


def test_without_warnings_there_is_no_list_of_them() -> None:
    assert 'class="findings"' not in render_scenario(data(()))
