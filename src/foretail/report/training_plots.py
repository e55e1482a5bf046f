"""Curves of a training: the loss of every network, and WAPE on the newest rows, epoch by epoch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import plotly.graph_objects as go

from foretail.report.theme import BASELINE, FORECAST, PALETTE, figure

__all__ = ["loss_figure", "wape_figure", "write_curves"]

_EXPLORER = 0  # the network that found how many epochs are best


def loss_figure(history: Sequence[Mapping[str, Any]]) -> go.Figure:
    """Pinball loss by epoch: on training rows for every network, on the newest rows where they were held back.

    Parameters
    ----------
    history : lines with ``network, epoch, train_loss, validation_loss``.
    """
    networks = sorted({int(line["network"]) for line in history})
    traces = [
        _line(history, network, "train_loss", _name(network), BASELINE if network else PALETTE[1])
        for network in networks
    ]
    if _has_held(history):
        traces.append(_line(history, _EXPLORER, "validation_loss", "newest rows", FORECAST))
    return figure(traces, x_title="epoch", y_title="pinball loss")


def wape_figure(history: Sequence[Mapping[str, Any]]) -> go.Figure:
    """WAPE on the newest rows by epoch, in units of the target; no line where none were held back."""
    traces = [_line(history, _EXPLORER, "wape", "newest rows", FORECAST)] if _has_held(history) else []
    return figure(traces, x_title="epoch", y_title="WAPE", yaxis_tickformat=".1%")


def write_curves(history: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Write both figures as one page that needs nothing else."""
    loss = loss_figure(history).to_html(full_html=False, include_plotlyjs=True)
    wape = wape_figure(history).to_html(full_html=False, include_plotlyjs=False)
    head = "<!doctype html><html lang='en'><meta charset='utf-8'><title>Training curves</title>"
    path.write_text(f"{head}<body>{loss}{wape}</body></html>\n", encoding="utf-8")


def _has_held(history: Sequence[Mapping[str, Any]]) -> bool:
    return any(line["wape"] is not None for line in history)


def _name(network: int) -> str:
    return f"member {network}" if network else "older rows"


def _line(history: Sequence[Mapping[str, Any]], network: int, column: str, name: str, colour: str) -> Any:
    lines = [line for line in history if line["network"] == network]
    return go.Scatter(
        x=[line["epoch"] for line in lines],
        y=[line[column] for line in lines],
        name=name,
        mode="lines+markers",
        line={"color": colour, "width": 2},
    )
