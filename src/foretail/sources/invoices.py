"""Cancellations matched with the purchases that they take back, for all customers at once."""

from __future__ import annotations

import polars as pl

__all__ = ["match_cancellations"]

_GROUP = ["customer", "stock_code", "size"]


def match_cancellations(lines: pl.DataFrame) -> pl.DataFrame:
    """Pair each cancellation with the last purchase before it that is still open.

    A purchase and a cancellation may pair when customer, product and quantity are the same; each is used once. They
    pair like brackets: a cancellation closes the bracket that was opened last. Lines without a customer never pair.

    Parameters
    ----------
    lines : ``customer, stock_code, quantity`` (negative in cancellations), ``at`` (time), ``day``, ``is_cancelled``.

    Returns
    -------
    ``stock_code, day`` (of the purchase), ``known`` (day of the cancellation), ``quantity`` (positive): one row per
    pair.
    """
    depth, floor = pl.col("depth"), pl.col("floor")
    sized = lines.filter(pl.col("customer").is_not_null()).with_columns(size=pl.col("quantity").abs())
    events = (
        sized.join(sized.filter("is_cancelled"), on=_GROUP, how="semi", maintain_order="left")
        .sort(*_GROUP, "at", "is_cancelled", maintain_order=True)
        .with_columns(total=pl.when("is_cancelled").then(-1).otherwise(1).cum_sum().over(_GROUP))
        .with_columns(floor=pl.min_horizontal(pl.col("total").cum_min().over(_GROUP), pl.lit(0)))
        .with_columns(depth=pl.col("total") - floor)
        # a cancellation that finds no open purchase lowers the floor
        .filter(~pl.col("is_cancelled") | (floor == floor.shift(1, fill_value=0).over(_GROUP)))
        .with_columns(level=pl.when("is_cancelled").then(depth + 1).otherwise(depth))
        .with_columns(purchase=pl.col("day").shift(1).over([*_GROUP, "level"]))
    )
    return events.filter("is_cancelled").select("stock_code", day="purchase", known="day", quantity="size")
