"""Sales of fleets of any size, written once as Parquet beside a spec: synthetic shops with 9 products each."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from foretail.core.spec import DatasetSpec
from foretail.sources.synthetic import SyntheticConfig, SyntheticWorld, generate

__all__ = ["PRODUCTS", "write_world"]

PRODUCTS, DAYS, H = 9, 130, 7  # ten days more than a model sees, so that something is cut off
_BLOCK_STORES = 1_235


def write_world(folder: Path, n_series: int) -> Path:
    """Write ``n_series`` of daily sales (a multiple of 9, rounded up) and the next week; gives the spec's path."""
    folder.mkdir(parents=True, exist_ok=True)
    left, first, spec = -(-n_series // PRODUCTS), 0, None
    while left > 0:
        stores = min(left, _BLOCK_STORES)
        world = _block(stores, first)
        for name, frame in (("sales", world.frame), ("future", world.future)):
            _moved(frame, first).write_parquet(folder / f"{name}-{first:06d}.parquet")
        left, first, spec = left - stores, first + stores, world.spec
    for name in ("sales", "future"):
        pl.scan_parquet(sorted(folder.glob(f"{name}-*.parquet"))).sink_parquet(folder / f"{name}.parquet")
        for part in folder.glob(f"{name}-*.parquet"):
            part.unlink()
    assert spec is not None
    return _written(folder, spec, n_series)


def _block(stores: int, first: int) -> SyntheticWorld:
    config = SyntheticConfig(stores=stores, products=PRODUCTS, periods=DAYS, horizon=H, seed=7 + first)
    return generate(config)


def _moved(frame: pl.DataFrame, first: int) -> pl.DataFrame:
    return frame.with_columns(pl.col("store_id") + first)


def _written(folder: Path, spec: DatasetSpec, n_series: int) -> Path:
    path = folder / "spec.toml"
    named = spec.but(name=f"fleet-{n_series}").to_toml()
    path.write_text(f'table = "sales.parquet"\nfuture = "future.parquet"\n{named}', encoding="utf-8")
    return path
