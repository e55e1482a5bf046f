"""From the walk-forward of a fleet to a version of every series: its status, its reason, its title and its metrics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import polars as pl

from foretail.backtest.per_series import SeriesErrors, scores_of
from foretail.backtest.result import NAIVE
from foretail.core.columns import UNIQUE_ID
from foretail.forecasts.policy import is_back
from foretail.panel.panel import Panel
from foretail.panel.segments import open_sales, silence
from foretail.pipelines.fleet_data import FleetData
from foretail.pipelines.fleet_measure import Ground
from foretail.pipelines.fleet_request import FleetRequest
from foretail.pipelines.fleet_walk import Walk
from foretail.registry.fleet_gate import SKIPPED, STALE, ZERO_RECIPE, Evidence, Verdicts, judge

__all__ = ["Judged", "judge_fleet", "panel_rows", "version_rows"]

FloatArray = npt.NDArray[np.float64]
ObjectArray = npt.NDArray[np.object_]


@dataclass(frozen=True)
class Judged:
    """What became of the N series of a panel.

    Attributes
    ----------
    verdicts : status, reason, recipe and title of each new version. champion_recipe : ``[N]`` of the version before.
    errors : by recipe, on the cells that the new recipe answered. scale : ``[N]`` for MASE. n_windows : ``[N]``.
    coverage : by recipe, share ``[N]`` inside the 80 % and the 95 % interval.
    """

    verdicts: Verdicts
    champion_recipe: ObjectArray
    errors: Mapping[str, SeriesErrors]
    scale: FloatArray
    n_windows: npt.NDArray[np.int64]
    coverage: Mapping[str, tuple[FloatArray, FloatArray]] = field(default_factory=dict)

    def with_coverage(self, coverage: Mapping[str, tuple[FloatArray, FloatArray]]) -> Judged:
        """The same, with the coverage of each recipe's intervals."""
        return replace(self, coverage=coverage)

    def count(self, status: str) -> int:
        """Series of the panel with that status."""
        return int(np.count_nonzero(np.equal(self.verdicts.status, status)))


def judge_fleet(
    request: FleetRequest, panel: Panel, ground: Ground, walks: Mapping[str, Walk], champions: pl.DataFrame
) -> Judged:
    """Judge every series of a panel.

    Parameters
    ----------
    walks : by recipe: the request's, seasonal naive's, those of champions that have others. champions : versions that
        answer now.
    """
    own = walks[request.recipe]
    scored = ground.scored(own)
    errors = {name: ground.errors(walk, scored & ground.scored(walk)) for name, walk in walks.items()}
    before = _champion_recipes(panel, champions)
    ours, naive = errors[request.recipe], errors[NAIVE]
    skipped, stale = _ended(panel)
    verdicts = judge(
        Evidence(
            recipe=request.recipe,
            model=ours.absolute,
            naive=naive.absolute,
            n_scored=ours.n,
            wape=ours.wape,
            naive_wape=naive.wape,
            champion_recipe=before,
            champion=_champion_errors(before, errors, ours.n),
            gave_up=own.reasons,
            failed=own.failed,
            stale=stale,
            skipped=skipped,
        )
    )
    n_windows = scored.any(2).sum(1).astype(np.int64)
    return Judged(verdicts, before, errors, ground.scale, n_windows)


def version_rows(data: FleetData, judged: Judged, *, named: pl.DataFrame, bundle: str) -> pl.DataFrame:
    """A row for the version of every series, as `foretail.warehouse.versions.write_fleet` takes them.

    Parameters
    ----------
    named : ``unique_id, store, productname, model_id`` of the panel's series, then the cold, then the gone.
    bundle : where the fleet's models are.
    """
    n = data.panel.n_series
    others = pl.concat([_cold_rows(data), _gone_rows(data)])
    rest = named[n:].hstack(others).with_columns(pl.lit(bundle).alias("bundle"), _store())
    return pl.concat([panel_rows(judged, named=named[:n], bundle=bundle), rest])


def panel_rows(judged: Judged, *, named: pl.DataFrame, bundle: str) -> pl.DataFrame:
    """The rows of the N series of a panel alone; see `version_rows`."""
    verdicts = judged.verdicts
    rows = pl.DataFrame(
        {
            "status": pl.Series(verdicts.status.tolist(), dtype=pl.String),
            "reason": pl.Series(verdicts.reason.tolist(), dtype=pl.String),
            "metrics": _metrics(judged),
            "is_champion": verdicts.is_champion,
        }
    )
    return named.hstack(rows).with_columns(pl.lit(bundle).alias("bundle"), _store())


def _store() -> pl.Expr:
    """The store as the number that the warehouse holds; null where the key is no number."""
    return pl.col("store").cast(pl.Int32, strict=False)


def _ended(panel: Panel) -> tuple[dict[int, str], dict[int, str]]:
    """Series that never sold, and those that sell no more, each with the reason."""
    sold = np.abs(open_sales(panel)) > 0
    never = ~sold.any(1)
    silent, bound = silence(panel)
    over = (silent > bound) & ~never & ~is_back(panel)
    last = panel.dates(0)[panel.n_periods - 1 - sold[:, ::-1].argmax(1)]
    first = panel.dates(0, 1)[0]
    return (
        dict.fromkeys(np.flatnonzero(never).tolist(), f"never sold since {first}"),
        {row: f"nothing sold since {last[row]}" for row in np.flatnonzero(over).tolist()},
    )


def _champion_recipes(panel: Panel, champions: pl.DataFrame) -> ObjectArray:
    """``[N]`` the recipe of the version that answers each series now; None where there is none."""
    told = champions.select(UNIQUE_ID, pl.col("metrics").str.json_path_match("$.recipe").alias("recipe"))
    joined = panel.series.select(UNIQUE_ID).join(told, on=UNIQUE_ID, how="left", maintain_order="left")
    recipes = np.empty(panel.n_series, dtype=np.object_)
    recipes[:] = joined["recipe"].to_list()
    return recipes


def _champion_errors(before: ObjectArray, errors: Mapping[str, SeriesErrors], n: FloatArray) -> FloatArray:
    """``[N]`` absolute errors of each champion's recipe where it answered every cell that the new one did, else NaN."""
    found = np.full(len(before), np.nan)
    for name, item in errors.items():
        mine = np.equal(before, name).astype(np.bool_) & (item.n == n)
        found[mine] = item.absolute[mine]
    return found


def _metrics(judged: Judged) -> pl.Series:
    """JSON of each version: scores of what answers, the windows and the recipe."""
    recipe, nothing = judged.verdicts.recipe, np.full(len(judged.scale), np.nan)
    columns: dict[str, FloatArray] = {}
    for name in (item for item in judged.errors if (recipe == item).any()):
        inside = judged.coverage.get(name, (nothing, nothing))
        scores = scores_of(judged.errors[name], judged.errors[NAIVE], judged.scale, *inside)
        for key, values in vars(scores).items():
            columns[key] = np.where(recipe == name, values, columns.get(key, nothing))
    told = pl.DataFrame({key: np.round(values, 6) for key, values in columns.items()}, nan_to_null=True)
    naive = pl.Series("naive_wape", np.round(judged.errors[NAIVE].wape, 6), nan_to_null=True)
    full = told.with_columns(
        naive, pl.Series("n_windows", judged.n_windows), pl.Series("recipe", recipe.tolist(), dtype=pl.String)
    )
    return full.select(pl.struct(pl.all()).struct.json_encode().alias("metrics"))["metrics"]


def _cold_rows(data: FleetData) -> pl.DataFrame:
    n = data.built.cold.height
    return _plain_rows(SKIPPED, [f"no sales up to {data.panel.cutoff}"] * n)


def _gone_rows(data: FleetData) -> pl.DataFrame:
    return _plain_rows(STALE, [f"no row since {last}" for last in data.gone["last"].to_list()])


def _plain_rows(status: str, reasons: list[str]) -> pl.DataFrame:
    """Rows of series that no model can be had of."""
    return pl.DataFrame(
        {
            "status": pl.Series([status] * len(reasons), dtype=pl.String),
            "reason": pl.Series(reasons, dtype=pl.String),
            "metrics": pl.Series([f'{{"n_windows":0,"recipe":"{ZERO_RECIPE}"}}'] * len(reasons), dtype=pl.String),
            "is_champion": pl.Series([True] * len(reasons), dtype=pl.Boolean),
        }
    )
