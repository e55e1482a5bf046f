"""The page about aging and the report's part about days out of range: whole in themselves, every number shown."""

from __future__ import annotations

import datetime as dt
import html
import json
import re
from dataclasses import replace

import polars as pl
import pytest

from foretail.backtest.aging import Aging, AgingWindow
from foretail.report.aging import age_figure, render_aging, window_figure, write_aging
from foretail.report.anomalies import anomaly_figures, anomaly_tables
from foretail.report.page import render_report


def grown(way, every, losses=(0.0, 0.1, 0.3)):
    return tuple(
        AgingWindow(f"2024-0{k + 1}-01", "2024-01-01", 28 * (k % every), 20.0 * (1 + loss), 100.0, 20.0)
        for k, loss in enumerate(losses)
    )


@pytest.fixture
def found():
    ways = {"never": grown("never", 9), "every 2 windows": grown("", 2, (0.0, 0.1, 0.0))}
    return Aging("boosting", "day", 28, 28, {**ways, "every window": grown("", 1, (0.0, 0.0, 0.0))})


def test_the_page_tells_the_verdict_and_every_age(found, tmp_path):
    write_aging(tmp_path / "aging.html", found, "corner <shops>")
    text = (tmp_path / "aging.html").read_text()
    assert [path.name for path in tmp_path.iterdir()] == ["aging.html"]
    assert found.verdict()[1:] in text
    assert "corner &lt;shops&gt;" in text
    for cell in ("28\u00a0days", "56\u00a0days", "+30.0\u00a0%", "+13.3\u00a0%", "all ages"):
        assert cell in text


def test_the_page_fetches_nothing(found):
    text = html.unescape(render_aging(found, "shops"))
    assert "default-src 'none'" in text
    head, _, rest = text.partition("<script>")
    assert not re.findall(r"(?:src|href)=.?https?://", head)
    assert rest.count("</script>") == 2  # the library and the page's own


def test_the_picture_shows_the_loss_by_age_and_every_window(found):
    traces = {trace.name: trace for trace in age_figure(found).data}
    assert set(traces) == {"refit: never", "refit: every 2 windows"}
    assert list(traces["refit: never"].x) == [0, 28, 56]
    assert list(traces["refit: never"].y) == [0, 0.1, 0.3]
    lines = {trace.name: list(trace.y) for trace in window_figure(found).data}
    assert lines["refit: every window"] == [0.2, 0.2, 0.2]


def test_windows_without_sales_are_gaps(found):
    silent = (*found.windows["never"][:2], replace(found.windows["never"][2], sold=0.0, error=0.0, fresh_error=0.0))
    changed = replace(found, windows={**found.windows, "never": silent})
    assert list(window_figure(changed).data[0].y) == [0.2, 0.22, None]
    assert "boosting" in render_aging(changed, "shops")


def outside():
    return pl.DataFrame(
        {
            "unique_id": ["1/2", "1/3", "<b>", "1/2"],
            "ds": [dt.date(2024, 3, day) for day in (1, 1, 2, 3)],
            "y": [0.0, 500.0, 3.0, 12.0],
            "y_hat": [40.0, 50.0, 0.0, 8.0],
            "size": [-40.0, 450.0, 3.0, 4.0],
            "widths": [0.5, 6.25, float("inf"), 0.01],
            "cause": ["stockout", "data error", "unknown", "chance"],
            "why": ["a", "b", "c", "d"],
        }
    )


def test_causes_are_counted_and_the_largest_days_listed_without_chance():
    tables = anomaly_tables(outside())
    assert [row[:3] for row in tables["causes"].rows] == [
        ("data error", "1", "1"),
        ("stockout", "1", "1"),
        ("unknown", "1", "1"),
        ("chance", "1", "1"),
    ]
    assert [row[0] for row in tables["anomalies"].rows] == ["1/3", "1/2", "<b>"]
    assert tables["anomalies"].rows[0][4:] == ("500", "50", "450", "6.25")
    assert tables["anomalies"].rows[2][-1] == "–"


def test_bars_add_up_to_the_days():
    (figure,) = anomaly_figures(outside()).values()
    assert sum(sum(trace.y) for trace in figure.data) == 4
    assert anomaly_figures(None) == anomaly_figures(outside().clear()) == {}


def test_the_report_has_the_part_with_and_without_days(run):
    text = render_report(replace(run, anomalies=outside()))
    assert 'id="plot-anomalies"' in text
    assert "&lt;b&gt;" in text
    figures = json.loads(re.search(r'id="figures">(.*?)</script>', text, flags=re.S)[1])
    assert "anomalies" in figures
    assert "No day of the backtest lies outside its range" in render_report(run)
