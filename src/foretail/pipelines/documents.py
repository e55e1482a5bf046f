"""JSON documents of the pipelines: readable, UTF-8, dates and paths as text, never NaN."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from foretail.forecasts.output import Writer

__all__ = ["json_writer"]


def json_writer(values: Mapping[str, Any]) -> Writer:
    """Writes an indented document that ends with a line break; ``values`` are read when it is written."""

    def write(path: Path) -> None:
        text = json.dumps(values, indent=1, ensure_ascii=False, allow_nan=False, default=str)
        path.write_text(text + "\n", encoding="utf-8")

    return write
