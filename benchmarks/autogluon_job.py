"""One AutoGluon forecast, run by the interpreter of its throw-away environment: Parquet files in, Parquet file out.

It stands alone: that environment holds AutoGluon and not foretail. ``-I`` keeps the module beside it out of the way.

    python -I autogluon_job.py FOLDER

FOLDER holds ``job.json`` (``freq, horizon, levels, known, preset, time_limit_s, seed``), ``history.parquet``
(``item_id, timestamp, target``, known covariates), ``future.parquet`` (``item_id, timestamp``, known covariates) and
``static.parquet`` (``item_id``, what does not change). It gets ``answer.parquet`` (``item_id, timestamp``, one column
per level, by its number) and ``models.json`` (the weights of the models behind the answer, and all that were fitted).
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

__all__ = ["main"]


def main(folder: Path) -> None:
    """Fit and forecast what the folder asks for."""
    import pandas as pd
    from autogluon.timeseries import TimeSeriesDataFrame, TimeSeriesPredictor

    job = json.loads((folder / "job.json").read_text(encoding="utf-8"))
    static = pd.read_parquet(folder / "static.parquet")
    history = TimeSeriesDataFrame.from_data_frame(
        pd.read_parquet(folder / "history.parquet"), static_features_df=static if static.shape[1] > 1 else None
    )
    predictor = TimeSeriesPredictor(
        target="target",
        known_covariates_names=job["known"],
        prediction_length=job["horizon"],
        freq=job["freq"],
        eval_metric="WQL",
        quantile_levels=job["levels"],
        path=str(folder / "predictor"),
    )
    predictor.fit(history, presets=job["preset"], time_limit=job["time_limit_s"], random_seed=job["seed"])
    future = TimeSeriesDataFrame.from_data_frame(pd.read_parquet(folder / "future.parquet"))
    answer = predictor.predict(history, known_covariates=future if job["known"] else None, random_seed=job["seed"])
    frame = answer.reset_index().rename(columns=str)
    frame[["item_id", "timestamp", *map(str, job["levels"])]].to_parquet(folder / "answer.parquet", index=False)
    (folder / "models.json").write_text(json.dumps(_models(predictor), indent=1), encoding="utf-8")


def _models(predictor: Any) -> dict[str, Any]:
    """``best``, and what each fitted model scored in AutoGluon's own validation (higher is better)."""
    board = predictor.leaderboard(silent=True)
    return {"best": predictor.model_best, "scores": dict(zip(board["model"], board["score_val"], strict=True))}


if __name__ == "__main__":
    main(Path(sys.argv[1]))
