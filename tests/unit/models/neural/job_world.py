"""A small panel of sales and a job on it, for tests of training in several processes."""

from __future__ import annotations

from pathlib import Path

from foretail.models.neural import Neural
from foretail.models.neural.lesson import Curriculum
from foretail.models.neural.shards import Job, write_job
from foretail.panel.build import build_panel
from foretail.panel.panel import Panel
from foretail.sources.synthetic import SyntheticConfig, generate

H = 7


def small_panel() -> Panel:
    """Twenty-four daily series over ten months."""
    return build_panel(generate(SyntheticConfig(stores=6, products=4, periods=300, seed=5)).table, horizon=H).panel


def small_model(**given: int) -> Neural:
    return Neural(**{"epochs": 3, "members": 2, "n_threads": 1, "max_rows": 4000, **given})  # type: ignore[arg-type]


def small_job(folder: Path, panel: Panel, n_shards: int, **given: int) -> tuple[Job, Curriculum]:
    """The job of the small model on a panel, with what it was written from."""
    model = small_model(**given)
    curriculum = model.curriculum(panel, H)
    assert curriculum is not None
    (folder / "model").mkdir(parents=True)
    model.save(folder / "model")
    return write_job(folder, curriculum, model.recipe(), n_shards), curriculum
