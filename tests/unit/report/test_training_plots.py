"""Curves of a training: a line per network, the newest rows where some were held back, one page that needs nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from foretail.report.training_plots import loss_figure, wape_figure, write_curves


def _history(held: bool) -> list[dict[str, Any]]:
    explorer = [
        {"network": 0, "epoch": epoch, "train_loss": 1 / epoch, "validation_loss": 2 / epoch, "wape": 0.3 / epoch}
        for epoch in (1, 2)
    ]
    member = [{"network": 1, "epoch": 1, "train_loss": 0.9, "validation_loss": None, "wape": None}]
    return [*(explorer if held else []), *member]


def test_every_network_has_its_line() -> None:
    figure = loss_figure(_history(held=True))
    assert [(line.name, list(line.y)) for line in figure.data] == [
        ("older rows", [1.0, 0.5]),
        ("member 1", [0.9]),
        ("newest rows", [2.0, 1.0]),
    ]
    assert [list(line.y) for line in wape_figure(_history(held=True)).data] == [[0.3, 0.15]]


def test_without_held_rows_there_is_nothing_to_show_of_them() -> None:
    assert [line.name for line in loss_figure(_history(held=False)).data] == ["member 1"]
    assert not wape_figure(_history(held=False)).data


def test_the_page_needs_nothing_else(tmp_path: Path) -> None:
    write_curves(_history(held=True), tmp_path / "curves.html")
    text = (tmp_path / "curves.html").read_text(encoding="utf-8")
    assert "<script src=" not in text
    assert text.count("Plotly.newPlot") >= 2
