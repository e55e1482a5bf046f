"""JSON documents of the pipelines: readable, UTF-8, dates and paths as text, never NaN."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

__all__ = ["json_text"]


def json_text(values: Mapping[str, Any]) -> str:
    """An indented document that ends with a line break."""
    return json.dumps(values, indent=1, ensure_ascii=False, allow_nan=False, default=str) + "\n"
