"""backtest: compare families over rolling windows; the leaderboard, and the outer forecasts of the chosen one."""

from __future__ import annotations

from pathlib import Path

from foretail.backtest.result import Leaderboard
from foretail.core.progress import Progress
from foretail.core.settings import Settings
from foretail.forecasts.output import write_outputs
from foretail.pipelines.documents import json_writer
from foretail.pipelines.prepare import backtest_prepared, prepare
from foretail.pipelines.request import Request

__all__ = ["backtest_request"]


def backtest_request(request: Request, out: Path, settings: Settings, progress: Progress) -> Leaderboard:
    """Scores of every family, best first; ``leaderboard.json`` and ``backtest.parquet`` under ``out``."""
    result = backtest_prepared(prepare(request, settings, progress), settings, progress)
    write_outputs(
        out,
        {
            "backtest.parquet": result.frame.write_parquet,
            "leaderboard.json": json_writer(result.leaderboard.to_dict()),
        },
    )
    return result.leaderboard
