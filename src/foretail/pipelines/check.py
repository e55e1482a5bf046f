"""check: read a table, build its panel, and report what was found; nothing is written."""

from __future__ import annotations

from pathlib import Path

from foretail.core.progress import Progress
from foretail.core.settings import Settings
from foretail.panel.build import build_panel
from foretail.panel.hierarchy import check_hierarchy
from foretail.panel.quality import QualityReport
from foretail.pipelines.request import Request
from foretail.sources.open import WAREHOUSE, open_table
from foretail.sources.table import Table

__all__ = ["check_request", "open_request", "place_of"]


def check_request(request: Request, settings: Settings, progress: Progress) -> QualityReport:
    """The quality report of a table; what was guessed about it is among the findings, named ``note``.

    Raises
    ------
    DataError : the table cannot be used as it is; every problem found is told.
    UsageError : a level of the hierarchy that cannot be, see `foretail.panel.hierarchy.check_hierarchy`.
    """
    with progress.stage("read"):
        table = open_request(request, settings)
    with progress.stage("check"):
        build = build_panel(table, cutoff=request.cutoff, horizon=request.horizon)
        check_hierarchy(build.series, build.panel.spec, build.quality)
        return build.quality


def open_request(request: Request, settings: Settings) -> Table:
    """Read the table of a request; what the request leaves open is guessed, and the guesses are in its notes."""
    given = ("keys", "time", "target", "freq", "horizon", "known", "past", "static", "country", "stockout", "hierarchy",
             "name")  # fmt: skip
    named = {key: getattr(request, key) for key in given}
    return open_table(
        request.table,
        data=request.data or place_of(request.table, settings),
        spec=Path(request.spec) if request.spec else None,
        future=request.future,
        cutoff=request.cutoff,
        **{key: value for key, value in named.items() if value},
    )


def place_of(table: str, settings: Settings) -> Path | str | None:
    """Where the settings say that a layout is: the URL of the warehouse, or the data folder if it holds the layout."""
    if table == WAREHOUSE:
        return settings.warehouse
    holds = settings.data is not None and (settings.data / table.replace("-", "_")).is_dir()
    return settings.data if holds else None
