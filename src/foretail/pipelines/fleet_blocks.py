"""The panel of a large fleet built some thousand series at a time, so that memory is bounded; the panel is the same."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from foretail.core.columns import UNIQUE_ID
from foretail.panel.build import PanelBuild, build_panel
from foretail.panel.panel import Covariate, Panel
from foretail.panel.quality import Finding
from foretail.sources.table import Table

__all__ = ["Built", "build_in_blocks"]

Float32Matrix = npt.NDArray[np.float32]

_MOST_SERIES = 25_000  # built at once: about 1 GB while four months of days are laid out


@dataclass(frozen=True)
class Built:
    """A panel, and what came up on the way to it.

    Attributes
    ----------
    panel : N series. findings : of the quality report.
    cold : series asked for without an observation. cold_known : what is known ahead of them. cold_requested : their
        rows to answer, ``unique_id, ds, step`` and the keys.
    """

    panel: Panel
    findings: tuple[Finding, ...]
    cold: pl.DataFrame
    cold_known: tuple[Covariate, ...]
    cold_requested: pl.DataFrame


def build_in_blocks(
    table: Table, *, cutoff: dt.date | None, end: dt.date, horizon: int | None, most_series: int = _MOST_SERIES
) -> Built:
    """Build the panel of a table; see `foretail.panel.build.build_panel`.

    What series share is looked for within a block: covariates that have one value a date, weekdays on which all are
    closed.

    Parameters
    ----------
    end : the last date with an observation, at which every block ends. most_series : of a block.
    """
    keys = table.frame.select(table.spec.keys).unique().drop_nulls().sort(table.spec.keys) if table.spec.keys else None
    if keys is None or keys.height <= most_series:
        return _built([build_panel(table, cutoff=cutoff, horizon=horizon)])
    parts = (build_panel(part, cutoff=cutoff or end, horizon=horizon) for part in _parts(table, keys, most_series))
    return _built([replace(part, quarantine=part.quarantine.clear()) for part in parts])


def _parts(table: Table, keys: pl.DataFrame, most: int) -> Iterator[Table]:
    """The table block by block, in the order of the keys."""
    names = list(table.spec.keys)
    for block in keys.iter_slices(most):
        frame = table.frame.join(block, on=names, how="semi")
        future = None if table.future is None else table.future.join(block, on=names, how="semi")
        yield replace(table, frame=frame, future=future)


def _built(builds: Sequence[PanelBuild]) -> Built:
    if len(builds) == 1:
        panel, cold, known = builds[0].panel, builds[0].cold, builds[0].cold_known
    else:
        panel = _joined([item.panel for item in builds])
        cold = pl.concat([item.cold for item in builds])
        known = _cold_known(builds, panel) if cold.height else ()
    asked = pl.concat([item.requested.join(item.cold.select(UNIQUE_ID), on=UNIQUE_ID, how="semi") for item in builds])
    findings = tuple({item.text: item for build in builds for item in build.quality.findings}.values())
    return Built(panel, findings, cold, known, asked)


def _joined(panels: Sequence[Panel]) -> Panel:
    """One panel of all series; columns that a block lacks are not observed there."""
    first, start = panels[0], min(panel.start for panel in panels)
    end = max(panel.end for panel in panels)
    h = max(panel.n_future for panel in panels)
    width = end - start + 1
    y = np.concatenate([_wide(panel.y, panel.start - start, width, np.nan) for panel in panels])
    closed = np.concatenate([_wide(panel.closed, panel.start - start, width + h, False) for panel in panels])
    known = tuple(
        _covariate([panel.known[i] for panel in panels], panels, start, width + h) for i in range(len(first.known))
    )
    return replace(
        first,
        spec=first.spec.but(horizon=max(panel.spec.horizon for panel in panels)),
        series=pl.concat([panel.series for panel in panels]),
        start=start,
        y=y,
        closed=closed,
        known=known,
        revisions=_gathered(panels, "revisions"),
        withheld=_gathered(panels, "withheld"),
    )


def _covariate(items: Sequence[Covariate], panels: Sequence[Panel], start: int, width: int) -> Covariate:
    texts = tuple(sorted({text for item in items for text in item.categories}))
    values = [
        _wide(_coded(item, texts), panel.start - start, width, np.float32("nan"))
        for item, panel in zip(items, panels, strict=True)
    ]
    return Covariate(items[0].name, np.concatenate(values), texts, items[0].delay)


def _coded(item: Covariate, texts: tuple[str, ...]) -> Float32Matrix:
    """Values with their texts coded by their place among ``texts``."""
    if item.categories == texts:
        return item.values
    codes = np.array([texts.index(text) for text in item.categories] or [0], dtype=np.float32)
    known = np.isfinite(item.values)
    coded: Float32Matrix = np.where(known, codes[np.where(known, item.values, 0).astype(np.int64)], np.float32("nan"))
    return coded


def _wide(values: npt.NDArray[np.generic], before: int, width: int, fill: object) -> npt.NDArray[np.generic]:
    after = width - before - values.shape[1]
    if not before and not after:
        return values
    return np.pad(values, ((0, 0), (before, after)), constant_values=fill)  # type: ignore[call-overload,no-any-return]


def _gathered(panels: Sequence[Panel], name: str) -> Any:
    """Revisions or withheld periods of all panels, their rows counted on; None where no panel has any."""
    told, first = [], 0
    for panel in panels:
        item = getattr(panel, name)
        if item is not None:
            told.append(replace(item, row=item.row + first))
        first += panel.n_series
    if not told:
        return None
    columns = ([getattr(item, column.name) for item in told] for column in fields(told[0]))
    return type(told[0])(*map(np.concatenate, columns))


def _cold_known(builds: Sequence[PanelBuild], panel: Panel) -> tuple[Covariate, ...]:
    """What is known of the cold series, coded as in the whole panel."""
    told = [(item.panel, item.cold_known) for item in builds if item.cold.height]
    width = panel.closed.shape[1]
    return tuple(
        Covariate(
            item.name,
            np.concatenate(
                [
                    _wide(_coded(known[i], item.categories), part.start - panel.start, width, np.float32("nan"))
                    for part, known in told
                ]
            ),
            item.categories,
        )
        for i, item in enumerate(panel.known)
    )
