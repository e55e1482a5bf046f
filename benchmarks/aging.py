"""How fast a version ages: error of a model fitted once against one fitted at every cutoff, by days since the fit.

A model is fitted at the first cutoff of a year or so and then only forecasts, each time from all sales up to the
cutoff; beside it the same model fitted again every fourth cutoff, and at every one. Worlds of shops from seeds of
their own, and the known layouts whose original files are at hand.

    python -m benchmarks.aging [--models profile,boosting] [--tables synthetic,rossmann,walmart]
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from benchmarks.table import Measure, publish
from foretail.backtest.aging import EVERY, Aging, aging
from foretail.core.settings import Settings
from foretail.panel.build import build_panel
from foretail.panel.panel import Panel
from foretail.pipelines.check import open_request
from foretail.pipelines.request import Request

__all__ = ["main", "measures"]

HORIZONS = {"synthetic": 28, "rossmann": 28, "walmart": 8}
_EVERY = 4  # windows


def measures(table: str, found: Aging) -> list[Measure]:
    """WAPE of every way to refit beside a fit at every cutoff, over all windows and at the oldest."""
    lines = []
    for way in found.windows:
        if way == EVERY:
            continue
        rows = (found.overall(way), found.by_age(way)[-1])
        for row in rows:
            age = "all ages" if row.age is None else f"{row.age} {found.noun}s after the fit"
            work = f"{table}, {found.model}, refit {way}, {age}: WAPE"
            lines.append(Measure(work, row.wape, "WAPE", "fitted at every cutoff", row.fresh))
    return lines


def panel_of(table: str) -> Panel:
    """The panel of a layout, as ``foretail run`` makes it."""
    request = Request(table, horizon=HORIZONS[table])
    return build_panel(open_request(request, Settings.load()), horizon=HORIZONS[table]).panel


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table and write ``benchmarks/results/aging.json``."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.aging", description=__doc__)
    parser.add_argument("--models", default="boosting", help="families, between commas")
    parser.add_argument("--tables", default="synthetic", help="layouts, between commas")
    given = parser.parse_args(arguments)
    found: list[Measure] = []
    for table in given.tables.split(","):
        panel = panel_of(table)
        for model in given.models.split(","):
            result = aging(panel, HORIZONS[table], model, every=_EVERY, n_threads=2)
            print(f"{table}: {result.verdict()}")
            found += measures(table, result)
    publish("aging", found)


if __name__ == "__main__":
    main()
