"""The declared features of a small weekly chain, and its training set joined without Feast."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from foretail.features.declaration import Declaration, declare
from foretail.features.history import store_frames
from foretail.panel.build import build_panel
from foretail.sources.synthetic import SyntheticConfig, SyntheticWorld, generate


@dataclass(frozen=True)
class Chain:
    """A world, what is declared of it, the rows of the store, and all of them as one training set."""

    world: SyntheticWorld
    declaration: Declaration
    frames: dict[str, pl.DataFrame]
    training: pl.DataFrame


def make_chain() -> Chain:
    """The weekly world of 10 stores, 5 departments and 104 weeks."""
    world = generate(SyntheticConfig.from_dict({"preset": "weekly-5k"}))
    panel = build_panel(world.table).panel
    declaration = declare(panel.spec, panel)
    frames = store_frames(panel, declaration)
    sales = frames["sales_features"].drop("created_timestamp")
    stores = frames["store_features"].drop("event_timestamp", "created_timestamp")
    return Chain(world, declaration, frames, sales.join(stores, on="store_id", maintain_order="left"))
