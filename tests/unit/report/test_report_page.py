"""The page: whole in itself, safe with hostile names, complete with degenerate runs, compact with large ones."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from foretail.backtest.result import Leaderboard
from foretail.panel.quality import Finding
from foretail.report.data import ReportData
from foretail.report.page import render_report, write_report

HOSTILE = (
    '</script><script>document.title="owned"</script>',
    '"><img src=x onerror=alert(1)>',
    '<a href="javascript:alert(1)">x</a>',
    "{{ 7*7 }}{% raw %}",
    "<!--",
    "x" * 300,
    "\u2028\u2029 snow",
    "a'b&amp;c\\",
)
SECTIONS = {
    "answer",
    "total",
    "series",
    "models",
    "where",
    "ranges",
    "extremes",
    "drivers",
    "data",
    "fallbacks",
    "provenance",
}


@dataclass
class Parsed:
    """A page as a parser of HTML sees it."""

    tags: list[tuple[str, dict[str, str | None]]] = field(default_factory=list)
    scripts: list[tuple[dict[str, str | None], str]] = field(default_factory=list)
    text: str = ""

    def json(self, name: str) -> Any:
        return json.loads(next(body for attributes, body in self.scripts if attributes.get("id") == name))

    def ids(self) -> set[str | None]:
        return {attributes["id"] for _, attributes in self.tags if "id" in attributes}

    def plots(self) -> list[str | None]:
        return [attributes["data-figure"] for _, attributes in self.tags if "data-figure" in attributes]


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.page = Parsed()
        self._inside = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.page.tags.append((tag, dict(attrs)))
        self._inside = tag
        if tag == "script":
            self.page.scripts.append((dict(attrs), ""))

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "script":
            attributes, body = self.page.scripts[-1]
            self.page.scripts[-1] = (attributes, body + data)
        elif self._inside != "style":
            self.page.text += data


def parse(html: str) -> Parsed:
    reader = _Reader()
    reader.feed(html)
    reader.close()
    return reader.page


@pytest.fixture(scope="module")
def html(run: ReportData) -> str:
    return render_report(run)


def test_every_section_is_there_and_in_the_contents(html: str) -> None:
    page = parse(html)
    links = {attributes["href"] for tag, attributes in page.tags if tag == "a"}
    assert page.ids() >= SECTIONS
    assert {f"#{name}" for name in SECTIONS} <= links


def test_every_plot_has_its_figure(html: str) -> None:
    page = parse(html)
    assert sorted(map(str, page.plots())) == sorted(page.json("figures"))


def test_it_refers_to_nothing_outside(html: str) -> None:
    targets = [
        value
        for _, attributes in parse(html).tags
        for name, value in attributes.items()
        if name in ("src", "href", "srcset", "action", "data", "poster")
    ]
    assert targets
    assert all(target is not None and (target.startswith("#") or target == "data:,") for target in targets)
    assert "url(" not in html.split("<style>")[1].split("</style>")[0]


def test_the_policy_allows_its_own_scripts_only(html: str) -> None:
    page = parse(html)
    policy = next(str(a["content"]) for tag, a in page.tags if a.get("http-equiv") == "Content-Security-Policy")
    programs = [body for attributes, body in page.scripts if "type" not in attributes]
    digests = [base64.b64encode(hashlib.sha256(body.encode()).digest()).decode() for body in programs]
    assert policy.startswith("default-src 'none'; script-src " + " ".join(f"'sha256-{d}'" for d in digests) + ";")
    assert "unsafe-eval" not in policy
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]


def test_plotly_is_inlined_once(html: str) -> None:
    assert html.count("* plotly.js v") == 1


def test_the_same_run_gives_the_same_page(run: ReportData, html: str) -> None:
    assert render_report(run) == html


def test_the_numbers_on_the_first_screen_are_those_of_the_run(run: ReportData, html: str) -> None:
    text = parse(html).text.replace("\u00a0", " ")
    assert f"{run.forecasts['y_hat'].sum():,.0f} EUR" in text
    assert f"{100 * run.chosen.scores.wape:.1f} %" in text
    assert "14 days ahead for 12 series, 7 February 2023 to 20 February 2023" in text
    assert "seasonal_mean is in use: it beat seasonal naive" in text
    assert "3f9c2a7b10de" in text


def test_the_browser_holds_the_panel_and_the_forecasts(run: ReportData, html: str) -> None:
    browser = parse(html).json("browser")
    assert {item["id"] for item in browser["series"]} == set(run.panel.unique_ids)
    for item in browser["series"]:
        row = run.panel.unique_ids.index(item["id"])
        y = np.array([np.nan if value is None else value for value in item["y"]])
        np.testing.assert_array_equal(y, run.panel.y[row, run.panel.first[row] :])
        assert browser["dates"][item["first"]] == str(run.panel.dates()[run.panel.first[row]])
        ahead = run.forecasts.filter(pl.col("unique_id") == item["id"]).sort("ds")
        np.testing.assert_allclose(item["f"], ahead["y_hat"], rtol=1e-4)
        np.testing.assert_allclose(item["bands"][1][1], ahead["q90"], rtol=1e-4)
        assert browser["dates"][item["ahead"]] == str(ahead["ds"][0])
        assert len(item["tested"]) == 3


def test_large_panels_embed_the_largest_the_best_and_the_worst(make: Any, world: Any) -> None:
    data = make(world(n_series=400, n_periods=120, h=7, n_windows=2))
    html = render_report(data)
    browser = parse(html).json("browser")
    volume = dict(zip(data.panel.unique_ids, np.nansum(data.panel.y, axis=1), strict=True))
    titles = [title for title, _ in browser["groups"]]
    largest = [browser["series"][number]["id"] for number in browser["groups"][0][1]]
    assert titles == ["Largest", "Least accurate in the backtest", "Most accurate in the backtest"]
    assert largest == sorted(volume, key=lambda name: (-volume[name], name))[:60]
    assert 60 < len(browser["series"]) <= 84
    assert "of 400 series" in parse(html).text
    assert len(html) < 8_000_000


def hostile(make: Any, world: Any) -> ReportData:
    data = make(world(n_series=len(HOSTILE), names=HOSTILE, freq="W-FRI", n_periods=180, h=8))
    bad = HOSTILE[0]
    spec = data.spec.but(unit=HOSTILE[1], name=HOSTILE[2])
    row = replace(data.leaderboard.rows[0], model=bad, failures={HOSTILE[1]: 3})
    source = pl.when(pl.col("unique_id") == HOSTILE[3]).then(pl.lit(f"fallback:{bad}")).otherwise("source")
    return replace(
        data,
        title=bad,
        spec=spec,
        panel=replace(data.panel, spec=spec),
        quality=replace(data.quality, findings=(Finding(bad, bad, bad, examples=HOSTILE),)),
        leaderboard=Leaderboard((row, *data.leaderboard.rows[1:]), data.leaderboard.windows),
        forecasts=data.forecasts.with_columns(source=source),
        importance=((bad, 0.7), (HOSTILE[2], 0.3)),
        summary={"verdict": bad, "command": bad, "versions": {bad: bad}, "stages": {bad: {}}, "seed": bad},
    )


def test_hostile_names_stay_text(make: Any, world: Any) -> None:
    page = parse(render_report(hostile(make, world)))
    links = [str(attributes.get("href")) for tag, attributes in page.tags if tag == "a"]
    assert [attributes.get("id") for attributes, _ in page.scripts] == ["figures", "browser", None, None]
    assert not [tag for tag, _ in page.tags if tag in ("img", "iframe", "object", "base")]
    assert all(link.startswith("#") for link in links)
    assert {item["id"] for item in page.json("browser")["series"]} == set(HOSTILE)
    assert HOSTILE[0] in page.text
    assert HOSTILE[3] in page.text


def test_hostile_names_are_no_markup_in_plots(make: Any, world: Any) -> None:
    figures = parse(render_report(hostile(make, world))).json("figures")
    names = [trace.get("name", "") for trace in figures["windows"]["data"]]
    titles = figures["total"]["layout"]["yaxis"]["title"]["text"]
    assert not any("<" in text for text in [*names, titles, *figures["importance"]["layout"]["yaxis"]["ticktext"]])


DEGENERATE: dict[str, dict[str, Any]] = {
    "one series": {"n_series": 1},
    "one window": {"n_windows": 1},
    "no backtest": {"n_windows": 0},
    "all zero": {"is_zero": True},
    "point only": {"quantiles": ()},
    "three quantiles": {"quantiles": (0.1, 0.5, 0.9)},
    "one step": {"h": 1},
    "weekly": {"freq": "W-FRI", "n_periods": 150, "h": 8},
    "monthly": {"freq": "MS", "n_periods": 40, "h": 6},
    "three days": {"n_series": 1, "n_periods": 3, "h": 1, "n_windows": 1},
}


@pytest.mark.parametrize("kind", DEGENERATE)
def test_degenerate_runs_render_whole(kind: str, make: Any, world: Any) -> None:
    page = parse(render_report(make(world(**DEGENERATE[kind]))))
    assert page.ids() >= SECTIONS
    assert sorted(map(str, page.plots())) == sorted(page.json("figures"))
    assert "nan" not in page.text.lower().split()
    assert "None" not in page.text.split()


def test_what_is_not_there_is_said(run: ReportData, make: Any, world: Any) -> None:
    bare = replace(make(world(quantiles=())), importance=(), summary={})
    page = parse(render_report(bare))
    assert "it has no inputs to rank" in page.text
    assert "holds no ranges to measure" in page.text
    assert "foretail run TABLE --spec spec.toml --cutoff 2023-02-06" in page.text
    assert "seasonal_mean, the best of 2" in page.text
    assert "the backtest is too short" in parse(render_report(make(world(n_windows=1)))).text


def test_nothing_asked_for_renders(run: ReportData) -> None:
    page = parse(render_report(replace(run, forecasts=run.forecasts.clear(), backtest=run.backtest.clear())))
    assert "nothing was forecast" in page.text
    assert page.ids() >= SECTIONS


def test_series_without_history_are_shown_with_their_fallback(run: ReportData) -> None:
    cold = run.forecasts.filter(pl.col("unique_id") == "1/1").with_columns(
        unique_id=pl.lit("9/9"), source=pl.lit("fallback:no history")
    )
    page = parse(render_report(replace(run, forecasts=pl.concat([run.forecasts, cold]))))
    browser = page.json("browser")
    title, numbers = browser["groups"][-1]
    item = browser["series"][numbers[0]]
    assert (title, item["id"], item["y"]) == ("Without history", "9/9", [])
    assert len(item["f"]) == 14
    assert "fallback:no history" in page.text


def test_a_report_that_fails_leaves_the_old_one(tmp_path: Path, run: ReportData) -> None:
    path = tmp_path / "report.html"
    path.write_text("the old one")
    with pytest.raises(IndexError):
        write_report(path, replace(run, leaderboard=Leaderboard((), ())))
    assert path.read_text() == "the old one"
    write_report(path, run)
    assert path.read_text(encoding="utf-8") == render_report(run)
    assert [file.name for file in tmp_path.iterdir()] == ["report.html"]


def test_the_fixture_is_a_run(make: Callable[[], ReportData], run: ReportData) -> None:
    assert run.chosen.scores.wape < run.baseline.scores.wape  # type: ignore[union-attr]
    assert make().backtest.equals(run.backtest)
