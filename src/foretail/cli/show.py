"""How results are shown on stdout: JSON, or a plain table that a pipe can read."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

import click

__all__ = ["show_json", "text_table"]

_FIXED = 1e15  # from here on a float has no fourth digit to show: a model exploded


def show_json(value: Any) -> None:
    """Print a value as JSON on stdout; NaN and infinities become null, dates and paths text."""
    click.echo(json.dumps(_finite(value), indent=2, default=str, ensure_ascii=False, allow_nan=False))


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value


def text_table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Columns side by side, two spaces apart; numbers to the right, floats with up to four digits, None as a dash."""
    cells = [list(header), *([_cell(value) for value in row] for row in rows)]
    is_number = [bool(rows) and all(_is_number(row[i]) for row in rows) for i in range(len(header))]
    widths = [max(len(row[i]) for row in cells) for i in range(len(header))]
    lines = [
        "  ".join(
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(row, widths, is_number, strict=True)
        ).rstrip()
        for row in cells
    ]
    return "\n".join(lines)


def _is_number(value: object) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


def _cell(value: object) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "-"
    if not isinstance(value, float):
        return str(value)
    return f"{value:.4f}" if abs(value) < _FIXED else f"{value:.4g}"
