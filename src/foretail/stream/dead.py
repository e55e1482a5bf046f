"""Dead letters tried again under the rules of today: what has become an event is applied, the rest stays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from foretail.core.errors import DataError, Problem
from foretail.stream.events import Rules, parse
from foretail.stream.schema import MESSAGE_SCHEMA
from foretail.warehouse.dead_letters import list_dead, mark_replayed
from foretail.warehouse.sales import SalesSink

__all__ = ["Replayed", "replay_dead"]


@dataclass(frozen=True)
class Replayed:
    """What came of dead letters.

    Attributes
    ----------
    tried : how many. applied : those that are events now. changed : store-days that hold another statement for it.
    """

    tried: int
    applied: int
    changed: int


def replay_dead(
    sink: SalesSink, rules: Rules, *, ids: Sequence[int] = (), topic: str | None = None, reason: str = ""
) -> Replayed:
    """Try dead letters again.

    Applying comes before marking: interrupted in between, the letters are applied once more, which changes nothing.

    Parameters
    ----------
    rules : what they are held against now, e.g. with a store that has opened since.
    ids : these only. topic : of this one only. reason : those whose reason holds this text.

    Raises
    ------
    DataError : ids that no letter that waits has.
    ForetailError : the warehouse does not answer or refuses.
    """
    letters = list_dead(sink.engine, topic=topic, is_replayed=False)
    if ids:
        unknown = sorted(set(ids) - set(letters["id"]))
        if unknown:
            where = ", ".join(map(str, unknown[:10]))
            fix = "foretail stream dead list shows those that wait"
            raise DataError(Problem("no dead letter that waits has this id", where, fix))
        letters = letters.filter(pl.col("id").is_in(list(ids)))
    if reason:
        letters = letters.filter(pl.col("reason").str.contains(reason, literal=True))
    parsed = parse(letters.select(list(MESSAGE_SCHEMA)), rules)
    if parsed.events.is_empty():
        return Replayed(letters.height, 0, 0)
    place = ["topic", "partition", "offset"]
    done = letters.join(parsed.dead.select(place), on=place, how="anti")
    accepted = sink.write(parsed.events)
    mark_replayed(sink.engine, done["id"].to_list())
    return Replayed(letters.height, done.height, accepted.changed)
