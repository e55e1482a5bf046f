"""What a backtest says: windows, scores per model and window, the leaderboard."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

__all__ = ["NAIVE", "Leaderboard", "LeaderboardRow", "Scores", "Window"]

NAIVE = "seasonal_naive"  # the family that every leaderboard holds and all others are measured by


@dataclass(frozen=True)
class Window:
    """One rolling origin.

    Attributes
    ----------
    n_periods : columns of the panel that a model may see (the cutoff is column ``n_periods - 1``).
    h : steps scored.
    role : ``inner`` (selection, weights, calibration) or ``outer`` (reported, nothing is chosen on it).
    cutoff : ISO date of the cutoff.
    """

    n_periods: int
    h: int
    role: str
    cutoff: str


@dataclass(frozen=True)
class Scores:
    """Metrics of one model on one window or on several; formulas in `foretail.backtest.metrics`.

    NaN (``None`` in JSON) where a metric is not defined, e.g. coverage of a point forecast.
    """

    wape: float
    bias: float
    mase: float
    rmsse: float
    wql: float
    coverage_80: float
    coverage_95: float
    skill: float
    interval_score: float = float("nan")


@dataclass(frozen=True)
class LeaderboardRow:
    """One model.

    Attributes
    ----------
    model : family or ensemble name.
    scores : over all outer windows.
    inner_wape : over the inner windows on which the choice was made.
    windows : scores per outer window, by cutoff.
    seconds : wall time of its fits and predictions.
    failures : ``{reason: number of series or windows}``.
    chosen : the model that `run` uses.
    """

    model: str
    scores: Scores
    inner_wape: float
    windows: dict[str, Scores] = field(default_factory=dict)
    seconds: float = 0.0
    failures: dict[str, int] = field(default_factory=dict)
    chosen: bool = False


@dataclass(frozen=True)
class Leaderboard:
    """Models, best first; seasonal naive is always among them."""

    rows: tuple[LeaderboardRow, ...]
    windows: tuple[Window, ...]

    @property
    def chosen(self) -> LeaderboardRow:
        return next(row for row in self.rows if row.chosen)

    def row(self, model: str) -> LeaderboardRow:
        return next(row for row in self.rows if row.model == model)

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it: NaN becomes None."""
        cleaned: dict[str, Any] = _without_nan(asdict(self))
        return cleaned

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Leaderboard:
        """Read what ``to_dict`` wrote."""
        rows = tuple(
            LeaderboardRow(
                **{
                    **row,
                    "scores": _scores(row["scores"]),
                    "windows": {cutoff: _scores(item) for cutoff, item in row["windows"].items()},
                    "inner_wape": _nan(row["inner_wape"]),
                }
            )
            for row in values["rows"]
        )
        return cls(rows, tuple(Window(**window) for window in values["windows"]))


def _nan(value: float | None) -> float:
    return float("nan") if value is None else value


def _scores(values: dict[str, float | None]) -> Scores:
    return Scores(**{name: _nan(value) for name, value in values.items()})


def _without_nan(value: Any) -> Any:
    if isinstance(value, float) and value != value:
        return None
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(item) for item in value]
    return value
