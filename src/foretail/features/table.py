"""The declared features as a page of the documentation: `python -m foretail.features.table docs/features-table.md`."""

from __future__ import annotations

import sys
from pathlib import Path

from foretail.core.errors import UsageError
from foretail.features.declaration import Declaration, Feature, View, declare
from foretail.sources.synthetic import synthetic_table

__all__ = ["features_page", "main", "weekly_declaration"]

_HEAD = "| feature | type | role | looks at | from | nulls at most | range | what |\n|---|---|---|---|---|---|---|---|"
_PAGE = """\
# The features of weekly sales by store and department

Written by `python -m foretail.features.table docs/features-table.md` from the one declaration of the feature store.
The row stamped T holds what was known at the close of T: lag 1 is the value at T, and the first date that the row may
help to forecast is T + 1 step. Other tables get the same features under the names of their own columns, with lags and
windows in their own periods.
"""


def features_page(declaration: Declaration) -> str:
    """The views and services of a declaration, in Markdown."""
    views = [_view(view) for view in declaration.views]
    services = [f"| `{item.name}` | {len(item.features)} | {item.about} |" for item in declaration.services]
    asked = "\n".join(["## Services", "", "| service | features | what |", "|---|---|---|", *services])
    return "\n".join([_PAGE, *views, asked, ""])


def _view(view: View) -> str:
    keys = ", ".join(f"`{key}`" for key in view.keys) or "none"
    sources = f", from {', '.join(f'`{name}`' for name in view.sources)}" if view.on_demand else ""
    title = f"## `{view.name}`\n\nKeys: {keys}. {view.about[:1].upper()}{view.about[1:]}{sources}.\n"
    return "\n".join([title, _HEAD, *(_row(item) for item in (*view.request, *view.features)), ""])


def _row(item: Feature) -> str:
    low, high = (("" if end is None else f"{end:g}") for end in (item.limits.low, item.limits.high))
    span = f"{low} … {high}".strip() if low or high else ""
    share = f"{item.limits.null_share:.0%}"
    cells = (f"`{item.name}`", item.dtype, item.role, str(item.window or ""), item.source, share, span, item.about)
    return f"| {' | '.join(cells)} |"


def weekly_declaration() -> Declaration:
    """The declaration of weekly sales by store and department; nothing but the meaning of its columns is needed."""
    return declare(synthetic_table({"stores": 1, "departments": 1, "weeks": 9}).spec)


def main(arguments: list[str]) -> None:
    """Write the page to the path given.

    Raises
    ------
    UsageError : no path, or several.
    """
    if len(arguments) != 1:
        raise UsageError("one path is needed.\n  where: foretail.features.table\n  fix:   … docs/features-table.md")
    Path(arguments[0]).write_text(features_page(weekly_declaration()), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
