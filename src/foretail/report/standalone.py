"""One self-contained HTML page from a template: it opens from a disk, fetches nothing, runs no script but its own."""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

__all__ = ["as_json", "figures_json", "render_page", "write_page"]


def write_page(path: Path, text: str) -> None:
    """Write a page; a file that is there is replaced when the new one is whole.

    Parameters
    ----------
    path : the HTML file; its folder exists.
    """
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        unfinished.write_text(text, encoding="utf-8", newline="\n")
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def render_page(name: str, content: Mapping[str, Any]) -> str:
    """The page of the template ``NAME.html.jinja`` with its script ``NAME.js.jinja``, in the style of all pages."""
    templates = _templates()
    plotly, script = (_clean(text) for text in (get_plotlyjs(), _source(templates, f"{name}.js.jinja")))
    return templates.get_template(f"{name}.html.jinja").render(
        **content,
        style=Markup(_source(templates, "page.css.jinja")),  # noqa: S704  (a file of this package)
        plotly=Markup(plotly),  # noqa: S704  (the library's own bundle)
        script=Markup(script),  # noqa: S704  (a file of this package)
        policy=_policy(plotly, script),
    )


def figures_json(figures: Mapping[str, go.Figure]) -> Markup:
    """Figures by name, for a script to draw."""
    parts = ",".join(f"{json.dumps(name)}:{figure.to_json()}" for name, figure in figures.items())
    return as_json("{" + parts + "}")


def as_json(text: str) -> Markup:
    """JSON that no HTML parser mistakes for markup: the letters that could end a script are written as escapes."""
    for letter in "<>&\u2028\u2029":
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    return Markup(text)  # noqa: S704  (escaped just above)


def _policy(*scripts: str) -> str:
    """A content security policy: only these scripts run, and nothing is fetched."""
    digests = (base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts)
    allowed = " ".join(f"'sha256-{digest}'" for digest in digests)
    return f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data: blob:; base-uri 'none'"


def _templates() -> Environment:
    folder = Path(__file__).parent
    return Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _source(templates: Environment, name: str) -> str:
    assert templates.loader is not None  # noqa: S101  (set in _templates)
    return templates.loader.get_source(templates, name)[0]


def _clean(script: str) -> str:
    """A script whose text is the same before and after an HTML parser read it, so that its digest holds."""
    return script.replace("\r\n", "\n").replace("\r", "\n").replace("</script", "<\\/script").replace("\0", "\\0")
