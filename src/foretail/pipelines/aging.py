"""backtest --refit: the leaderboard, and how fast the model that it chooses ages when nobody fits it again."""

from __future__ import annotations

import time
from pathlib import Path

from foretail.backtest.aging import Aging, aging, aging_windows
from foretail.backtest.result import Leaderboard
from foretail.core.progress import Progress
from foretail.core.settings import Settings
from foretail.forecasts.output import write_outputs
from foretail.pipelines.documents import json_writer
from foretail.pipelines.prepare import backtest_prepared, prepare
from foretail.pipelines.request import Request

__all__ = ["aging_request"]


def aging_request(
    request: Request, every: int | None, out: Path, settings: Settings, progress: Progress
) -> tuple[Leaderboard, Aging]:
    """Compare families, then let the chosen one grow old.

    Parameters
    ----------
    every : refit every K windows, beside never and always; None for these two alone.

    Returns
    -------
    The leaderboard and the aging; ``leaderboard.json``, ``backtest.parquet``, ``aging.json`` and ``aging.html`` under
    ``out``.

    Raises
    ------
    DataError : the history is too short for three windows; said before anything is fitted.
    """
    begun = time.monotonic()
    prepared = prepare(request, settings, progress)
    aging_windows(prepared.panel, prepared.h)
    result = backtest_prepared(prepared, settings, progress)
    found = aging(
        prepared.panel,
        prepared.h,
        result.chosen,
        result.params,
        every=every,
        seed=request.seed,
        n_threads=settings.n_workers,
        budget_s=None if request.budget_s is None else max(0.0, request.budget_s - (time.monotonic() - begun)),
        progress=progress,
    )

    def page(path: Path) -> None:
        from foretail.report.aging import write_aging

        write_aging(path, found, prepared.panel.spec.name)

    write_outputs(
        out,
        {
            "backtest.parquet": result.frame.write_parquet,
            "leaderboard.json": json_writer(result.leaderboard.to_dict()),
            "aging.html": page,
            "aging.json": json_writer(found.to_dict()),
        },
    )
    return result.leaderboard, found
