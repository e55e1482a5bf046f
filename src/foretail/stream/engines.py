"""One door for both engines: opens the warehouse, and lets Spark or plain Python read the topic."""

from __future__ import annotations

from foretail.core.errors import UsageError
from foretail.stream.metrics import Metrics
from foretail.stream.options import Ingest, SparkOptions, Stop
from foretail.warehouse.database import opened_warehouse
from foretail.warehouse.sales import SalesSink, forget_offsets

__all__ = ["run_ingest"]


def run_ingest(
    warehouse: str,
    ingest: Ingest,
    spark: SparkOptions | None,
    metrics: Metrics,
    *,
    source: str = "stream",
    from_start: bool = False,
    stop: Stop | None = None,
) -> None:
    """Take what a topic holds into a warehouse.

    Parameters
    ----------
    warehouse : its URL.
    spark : how Spark runs; None reads without it.
    metrics : counts what is done.
    source : whose statements they are.
    from_start : read from the beginning of the topic whatever was read before; nothing is applied twice.

    Raises
    ------
    UsageError : the broker is not named, Spark's jars are missing, or its checkpoint stands against ``from_start``.
    MissingExtraError : confluent-kafka or pyspark is not installed.
    DataError : there is no such topic, or messages are gone that were not read.
    ServiceError : Kafka or the warehouse does not answer, or was away for too long.
    """
    if not ingest.brokers:
        fix = "--brokers HOST:PORT, or set FORETAIL_KAFKA"
        raise UsageError(f"Kafka's address is not known.\n  where: --brokers\n  fix:   {fix}")
    if spark is None:
        from foretail.stream.python_engine import ingest_with_python

        with opened_warehouse(warehouse) as engine:
            if from_start:
                forget_offsets(engine, ingest.consumer)
            ingest_with_python(SalesSink(engine, source), ingest, metrics, stop=stop)
        return
    from foretail.stream.spark_engine import ingest_with_spark

    if from_start and spark.checkpoint.exists():
        fix = f"delete {spark.checkpoint}, or give another --checkpoint"
        raise UsageError(f"Spark reads on where its checkpoint stands.\n  where: --from-start\n  fix:   {fix}")
    with opened_warehouse(warehouse) as engine:
        ingest_with_spark(SalesSink(engine, source), ingest, spark, metrics, stop=stop)
