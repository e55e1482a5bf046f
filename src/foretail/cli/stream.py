"""The verbs of the stream: stream produce / ingest / status / dead list / dead replay."""

from __future__ import annotations

import datetime as dt
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from foretail.cli.door import Door
from foretail.cli.options import data_option, day, home_option, json_option
from foretail.cli.show import show_json, text_table

if TYPE_CHECKING:
    from foretail.stream.options import Stop

__all__ = ["stream"]

_TOPIC = "sale_rossman_store"
_ENGINES = ("spark", "python")
_SHOWN = ("batches", "events", "changed", "duplicates", "late", "dead", "rows_per_s", "lag")
_CELL = 60  # characters of a text in a table
_SHARE = click.FloatRange(0, 1, max_open=True)

brokers_option = click.option(
    "--brokers", envvar="FORETAIL_KAFKA", default="", metavar="HOST:PORT", help="Kafka; else $FORETAIL_KAFKA."
)
topic_option = click.option("--topic", default=_TOPIC, show_default=True, metavar="NAME", help="The topic.")
stores_option = click.option(
    "--stores", type=click.Path(path_type=Path), metavar="FILE", help="A table of the stores that exist; else any do."
)
late_option = click.option(
    "--late-after", type=click.IntRange(min=0), default=3_660, show_default=True, metavar="DAYS",
    help="Statements about older days are set aside.",
)  # fmt: skip
timezone_option = click.option(
    "--timezone", default="UTC", show_default=True, metavar="NAME", help="Of the shops: which day it is there."
)


@click.group()
def stream() -> None:
    """Send sales through Kafka into the warehouse, once each."""


@stream.command()
@click.argument("table")
@data_option
@brokers_option
@topic_option
@click.option("--partitions", type=click.IntRange(min=1), default=4, show_default=True, metavar="N",
              help="Of the topic, if it has to be made.")  # fmt: skip
@click.option("--months", type=click.IntRange(min=1), default=5, show_default=True, metavar="N",
              help="Months of history to load.")  # fmt: skip
@click.option("--today", type=day, metavar="DATE", help="The day that is not over; today by default.")
@click.option("--bulk/--no-bulk", default=True, show_default=True, help="Load the history first.")
@click.option("--count", type=click.IntRange(min=0), metavar="N", help="Messages of today; for ever by default.")
@click.option("--rate", type=click.FloatRange(min=0, min_open=True), default=0.1, show_default=True, metavar="N",
              help="Messages of today per second.")  # fmt: skip
@click.option("--speed", type=click.FloatRange(min=1), default=1.0, show_default=True, metavar="N",
              help="How fast today passes from midnight until it has caught up.")  # fmt: skip
@click.option("--restated", type=_SHARE, default=0.0, metavar="SHARE", help="Share told wrongly, then corrected.")
@click.option("--late", type=_SHARE, default=0.0, metavar="SHARE", help="Share delivered late.")
@click.option("--duplicated", type=_SHARE, default=0.0, metavar="SHARE", help="Share delivered twice.")
@click.option("--seed", type=int, default=7, show_default=True, metavar="N", help="Of the draws.")
@home_option
@json_option
@click.pass_obj
def produce(door: Door, /, table: str, data: Path | None, home: Path | None, as_json: bool, **given: Any) -> None:
    """Tell a table of daily sales as events: its last months as if they ended yesterday, then today as it grows.

    TABLE is a layout (rossmann, synthetic) or a file with a store column, as foretail run takes it.
    """
    from foretail.pipelines.check import place_of
    from foretail.sources.open import open_table
    from foretail.stream.broker import ensure_topic
    from foretail.stream.producer import DayClock, EventProducer, Pace, live
    from foretail.stream.replay import Faults, Replay

    settings = door.settings(home)
    faults = Faults(given["restated"], given["late"], given["duplicated"], given["seed"])
    now = dt.datetime.now(dt.UTC)
    sales = open_table(table, data=data or place_of(table, settings))
    replay = Replay.of(sales, given["today"] or now.date(), given["months"])
    ensure_topic(given["brokers"], given["topic"], given["partitions"])
    producer = EventProducer(given["brokers"], given["topic"])
    if given["bulk"]:
        producer.send(replay.with_faults(replay.history(), faults, now))
        producer.flush()
        click.echo(f"sent {producer.n_sent} messages of {replay.first_day} to {replay.yesterday}", err=True)
    pace = Pace(given["rate"], given["count"], given["duplicated"])
    with _until_told(given["count"]):
        for events in live(replay, pace, DayClock(given["speed"]), seed=given["seed"]):
            producer.send(events)
    producer.flush()
    if as_json:
        days = {"first": replay.first_day, "last": replay.yesterday, "shift_days": replay.shift}
        show_json({"topic": given["topic"], "sent": producer.n_sent, **days})
    click.echo("next: foretail stream ingest --once takes them into the warehouse", err=True)


@contextmanager
def _until_told(count: int | None) -> Iterator[None]:
    """What goes on for ever ends well by Ctrl-C or SIGTERM."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    except KeyboardInterrupt:
        if count is not None:
            raise
    finally:
        signal.signal(signal.SIGTERM, before)


@stream.command()
@click.option("--once/--continuous", "is_once", default=True, show_default=True,
              help="Up to what the topic holds now, or for ever.")  # fmt: skip
@click.option("--engine", type=click.Choice(_ENGINES), default="spark", show_default=True,
              help="What reads the topic.")  # fmt: skip
@brokers_option
@topic_option
@click.option("--consumer", default="foretail", show_default=True, metavar="NAME",
              help="Under which offsets are kept.")  # fmt: skip
@click.option("--source", default="stream", show_default=True, metavar="NAME",
              help="Whose statements they are; another source's stand beside.")  # fmt: skip
@click.option("--batch", type=click.IntRange(min=1), default=100_000, show_default=True, metavar="N",
              help="Messages in one transaction at most.")  # fmt: skip
@click.option("--trigger", type=click.FloatRange(min=0.05), default=1.0, show_default=True, metavar="S",
              help="Seconds that messages wait for a batch to fill.")  # fmt: skip
@click.option("--patience", type=click.FloatRange(min=0), default=300.0, show_default=True, metavar="S",
              help="Seconds that Kafka or the warehouse may be away.")  # fmt: skip
@stores_option
@late_option
@timezone_option
@click.option("--from-start", is_flag=True, help="Forget the offsets; nothing is applied twice.")
@click.option("--checkpoint", type=click.Path(path_type=Path), metavar="DIR",
              help="Where Spark keeps its offsets; else under --home, by topic and consumer.")  # fmt: skip
@click.option("--jars", type=click.Path(path_type=Path), envvar="FORETAIL_SPARK_JARS", metavar="DIR",
              help="Spark's connector; else $FORETAIL_SPARK_JARS, else under --home.")  # fmt: skip
@click.option("--master", default="local[2]", show_default=True, metavar="URL", help="Where Spark runs.")
@click.option("--memory", default="1g", show_default=True, metavar="SIZE", help="Of Spark's driver.")
@click.option("--metrics-port", type=click.IntRange(0, 65535), metavar="N", help="Answer Prometheus on loopback.")
@home_option
@json_option
@click.pass_obj
def ingest(door: Door, /, home: Path | None, as_json: bool, **given: Any) -> None:
    """Take what a topic holds into the warehouse: each batch in one transaction, what cannot be used set aside.

    Killed at any moment it goes on where it was: nothing is lost, and nothing counts twice.
    """
    from foretail.stream.engines import run_ingest
    from foretail.stream.metrics import Metrics, metrics_server
    from foretail.stream.options import Ingest, SparkOptions, read_stores

    settings = door.settings(home)
    wanted = Ingest(
        brokers=given["brokers"],
        topic=given["topic"],
        consumer=given["consumer"],
        is_continuous=not given["is_once"],
        batch_rows=given["batch"],
        trigger_s=given["trigger"],
        patience_s=given["patience"],
        stores=read_stores(given["stores"]),
        late_after=given["late_after"],
        timezone=given["timezone"],
    )
    checkpoint = settings.home / "checkpoints" / f"{wanted.topic}-{wanted.consumer}"
    spark = SparkOptions(
        jars=given["jars"] or settings.home / "jars" / "spark",
        checkpoint=given["checkpoint"] or checkpoint,
        master=given["master"],
        memory=given["memory"],
    )
    metrics = Metrics(wanted.topic)
    with _stopping() as stop, metrics_server(metrics, given["metrics_port"]) as url:
        if url:
            click.echo(f"metrics at {url}", err=True)
        run_ingest(
            settings.warehouse,
            wanted,
            spark if given["engine"] == "spark" else None,
            metrics,
            source=given["source"],
            from_start=given["from_start"],
            stop=stop,
        )
    done = metrics.to_dict()
    if as_json:
        show_json(done)
    else:
        click.echo(text_table(("what", "n"), [(name, done[name]) for name in _SHOWN]))
    dead = "foretail stream dead list shows what was set aside" if done["dead"] else "foretail stream status"
    click.echo(f"next: {dead}", err=True)


@contextmanager
def _stopping() -> Iterator[Stop]:
    """SIGTERM and Ctrl-C end the ingest after the batch in hand."""
    from foretail.stream.options import Stop

    stop = Stop()
    before = {number: signal.signal(number, lambda *_: stop.set()) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@stream.command()
@brokers_option
@home_option
@json_option
@click.pass_obj
def status(door: Door, /, brokers: str, home: Path | None, as_json: bool) -> None:
    """Show offsets, lag, speed and dead letters; without --brokers what the warehouse alone knows."""
    from foretail.stream.status import read_status
    from foretail.warehouse.database import opened_warehouse

    with opened_warehouse(door.settings(home).warehouse) as engine:
        found = read_status(engine, brokers)
    if as_json:
        show_json(found.to_dict())
    else:
        header = ("consumer", "topic", "partition", "next_offset", "end", "lag")
        click.echo(text_table(header, [[getattr(item, name) for name in header] for item in found.partitions]))
        speed = "" if found.rows_per_s is None else f", {found.rows_per_s:,.0f} rows/s over the last batches"
        click.echo(f"{found.batches} batches, {found.rows} rows{speed}; {found.dead} dead letters wait")
    click.echo(f"next: foretail stream {'dead list' if found.dead else 'ingest'}", err=True)


@stream.group()
def dead() -> None:
    """See messages that could not be used, and try them again."""


@dead.command("list")
@click.option("--topic", metavar="NAME", help="Of this topic only.")
@click.option(
    "--limit", type=click.IntRange(min=1), default=20, show_default=True, metavar="N", help="At most so many."
)
@click.option("--all", "is_all", is_flag=True, help="Those that were replayed too.")
@home_option
@json_option
@click.pass_obj
def dead_list(door: Door, /, topic: str | None, limit: int, is_all: bool, home: Path | None, as_json: bool) -> None:
    """List dead letters with their reason and their place, oldest first."""
    from foretail.warehouse.database import opened_warehouse
    from foretail.warehouse.dead_letters import list_dead

    with opened_warehouse(door.settings(home).warehouse) as engine:
        found = list_dead(engine, topic=topic, is_replayed=None if is_all else False, limit=limit).to_dicts()
    shown = [{**row, **{name: _text(row[name]) for name in ("key", "value")}} for row in found]
    if as_json:
        show_json(shown)
    else:
        header = ("id", "topic", "partition", "offset", "reason", "value")
        click.echo(text_table(header, [[_cut(row[name]) for name in header] for row in shown]))
    click.echo("next: foretail stream dead replay tries them again", err=True)


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode(errors="replace")


def _cut(value: Any) -> Any:
    """A text on one short line."""
    if not isinstance(value, str):
        return value
    line = " ".join(value.split())
    return line if len(line) <= _CELL else f"{line[: _CELL - 1]}…"


@dead.command("replay")
@click.argument("ids", nargs=-1, type=int)
@click.option("--topic", metavar="NAME", help="Of this topic only.")
@click.option("--reason", default="", metavar="TEXT", help="Those whose reason holds this text.")
@click.option("--source", default="stream", show_default=True, metavar="NAME", help="Whose statements they are.")
@stores_option
@late_option
@timezone_option
@home_option
@json_option
@click.pass_obj
def dead_replay(door: Door, /, ids: tuple[int, ...], home: Path | None, as_json: bool, **given: Any) -> None:
    """Try dead letters again under the rules of now: all that wait, or those with these IDS.

    What has become an event is applied, the rest stays where it is.
    """
    from foretail.stream.dead import replay_dead
    from foretail.stream.options import read_stores, rules_now
    from foretail.warehouse.database import opened_warehouse
    from foretail.warehouse.sales import SalesSink

    rules = rules_now(read_stores(given["stores"]), given["late_after"], given["timezone"])
    with opened_warehouse(door.settings(home).warehouse) as engine:
        sink = SalesSink(engine, given["source"])
        done = replay_dead(sink, rules, ids=ids, topic=given["topic"], reason=given["reason"])
    if as_json:
        show_json({"tried": done.tried, "applied": done.applied, "changed": done.changed})
    else:
        click.echo(f"{done.applied} of {done.tried} dead letters were applied, {done.changed} store-days changed")
    left = done.tried - done.applied
    click.echo(
        "next: foretail stream dead list shows what is left" if left else "next: foretail stream status", err=True
    )
