"""What a report is made of: the results of one run, as the other rooms hand them over."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import polars as pl

from foretail.backtest.result import Leaderboard, LeaderboardRow
from foretail.core.spec import DatasetSpec
from foretail.panel.panel import Panel
from foretail.panel.quality import QualityReport

__all__ = ["ReportData"]

_BASELINE = "seasonal_naive"


@dataclass(frozen=True)
class ReportData:
    """Everything `write_report` shows.

    Attributes
    ----------
    title : heading of the page.
    spec : meaning of the user's columns.
    panel : the history that the final model saw; it ends at the cutoff.
    quality : what the data look like and what was repaired.
    leaderboard : models, best first.
    backtest : the chosen model on the outer windows: ``unique_id, ds, cutoff, step, y, y_hat`` and quantile columns;
        may be empty, and a point forecast has no quantile columns. A row whose ``y`` is null or NaN is not scored.
    forecasts : ``unique_id, ds, cutoff, step, y_hat``, quantile columns, ``model, model_version, source``.
    anomalies : days outside their interval (`foretail.backtest.anomalies.anomalies`); None where nobody looked.
    importance : (feature, share 0-1), largest first; empty where the model has nothing to say.
    permuted : (column, by how much WAPE of the newest window rises when it is shuffled), largest first; may be empty.
    summary : what run.json holds. Read when there: ``verdict`` (one sentence), ``command`` (how to run it again),
        ``seed``, ``dataset_version``, ``model_version``, ``versions`` ({package: version}) and ``stages``
        ({stage: {"seconds": s, "peak_mb": MiB}}).
    """

    title: str
    spec: DatasetSpec
    panel: Panel
    quality: QualityReport
    leaderboard: Leaderboard
    backtest: pl.DataFrame
    forecasts: pl.DataFrame
    anomalies: pl.DataFrame | None = field(default=None, kw_only=True)
    importance: tuple[tuple[str, float], ...] = ()
    permuted: tuple[tuple[str, float], ...] = field(default=(), kw_only=True)
    summary: dict[str, Any] = field(default_factory=dict)

    @property
    def chosen(self) -> LeaderboardRow:
        """The row of the model in use; the best one when none is marked."""
        rows = self.leaderboard.rows
        return next((row for row in rows if row.chosen), rows[0])

    @property
    def baseline(self) -> LeaderboardRow | None:
        """The row of seasonal naive, or None when it is not on the board."""
        return next((row for row in self.leaderboard.rows if row.model == _BASELINE), None)

    @property
    def h(self) -> int:
        """Steps forecast: as far as the forecasts reach, the horizon of the spec when there are none."""
        last = self.forecasts["step"].max() if self.forecasts.height else None
        return int(last) if isinstance(last, int) else self.spec.horizon
