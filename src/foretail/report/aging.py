"""How fast a version ages, as one self-contained page: the verdict, error by age, window by window, and the table."""

from __future__ import annotations

from pathlib import Path

import plotly.graph_objects as go

from foretail.backtest.aging import EVERY, NEVER, Aging, AgingRow
from foretail.report.standalone import figures_json, render_page, write_page
from foretail.report.tables import TextTable
from foretail.report.theme import BACKTEST, BASELINE, FORECAST, PALETTE, figure, rounded
from foretail.report.wording import percent, plural, signed_percent

__all__ = ["age_figure", "render_aging", "window_figure", "write_aging"]

_COLORS = {NEVER: BACKTEST, EVERY: FORECAST}


def write_aging(path: Path, found: Aging, dataset: str) -> None:
    """Write the page.

    Parameters
    ----------
    path : the HTML file; its folder exists. dataset : what the data are called.
    """
    write_page(path, render_aging(found, dataset))


def render_aging(found: Aging, dataset: str) -> str:
    """The page as one HTML document, the same for the same result."""
    verdict = found.verdict()
    return render_page(
        "aging",
        {
            "title": f"{dataset}: how fast {found.model} ages",
            "dataset": dataset,
            "verdict": verdict[:1].upper() + verdict[1:],
            "facts": _facts(found),
            "table": _table(found),
            "figures_json": figures_json({"age": age_figure(found), "windows": window_figure(found)}),
        },
    )


def age_figure(found: Aging) -> go.Figure:
    """More error than a fresh fit on the same windows, by the age of the fit."""
    traces = []
    for way in _stale(found):
        rows = found.by_age(way)
        traces.append(
            go.Scatter(
                x=[row.age for row in rows],
                y=rounded([row.loss for row in rows]),
                name=f"refit: {way}",
                mode="lines+markers",
                line={"color": _COLORS.get(way, PALETTE[2]), "width": 2.4},
                hovertemplate="%{y:+.1%}",
            )
        )
    zero = {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": 0, "y1": 0, "line": {"color": BASELINE}}
    return figure(
        traces,
        height=320,
        x_title=f"{found.noun}s since the fit",
        y_title="error against a fresh fit",
        yaxis_tickformat="+.1%",
        hovermode="x unified",
        shapes=[zero],
    )


def window_figure(found: Aging) -> go.Figure:
    """WAPE of every window under each way to refit."""
    traces = [
        go.Scatter(
            x=[window.cutoff for window in windows],
            y=rounded([window.error / window.sold if window.sold else float("nan") for window in windows]),
            name=f"refit: {way}",
            mode="lines+markers",
            line={"color": _COLORS.get(way, PALETTE[2]), "width": 2.4, "dash": "solid" if way == EVERY else "dash"},
            hovertemplate="%{y:.1%}",
        )
        for way, windows in found.windows.items()
    ]
    return figure(
        traces,
        height=320,
        y_title="WAPE",
        yaxis_tickformat=".0%",
        yaxis_rangemode="tozero",
        hovermode="x unified",
        xaxis_type="date",
    )


def _stale(found: Aging) -> list[str]:
    return [way for way in found.windows if way != EVERY]


def _facts(found: Aging) -> list[tuple[str, str, str]]:
    """(name, value, note) of the first screen."""
    old, oldest = found.overall(NEVER), found.by_age(NEVER)[-1]
    age = plural(oldest.age or 0, found.noun)
    return [
        ("Fitted once", percent(old.wape), f"WAPE over {plural(old.n_windows, 'window')}"),
        ("Fitted at every cutoff", percent(old.fresh), "WAPE on the same windows"),
        ("Price of no refit", signed_percent(old.loss), "error against a fresh fit, all ages"),
        ("At the oldest", signed_percent(oldest.loss), f"{age} after the fit"),
    ]


def _table(found: Aging) -> TextTable:
    rows = [
        (way, *_cells(row, found.noun)) for way in _stale(found) for row in (*found.by_age(way), found.overall(way))
    ]
    return TextTable(("Refit", "Since the fit", "Windows", "WAPE", "WAPE of a fresh fit", "Loss"), tuple(rows), 2)


def _cells(row: AgingRow, noun: str) -> tuple[str, ...]:
    age = "all ages" if row.age is None else plural(row.age, noun)
    return age, f"{row.n_windows}", percent(row.wape, 2), percent(row.fresh, 2), signed_percent(row.loss)
