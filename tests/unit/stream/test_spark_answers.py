"""What Spark says, in our words; no Java is started."""

import json
import socket

import pytest
from pyspark.errors import PySparkException

from foretail.core.errors import DataError, ForetailError, ServiceError, UsageError
from foretail.stream.options import Ingest
from foretail.stream.spark_engine import _check_answers, _jars, _lag, _told

INGEST = Ingest("broker:9092", "sales")
LOST = """[STREAM_FAILED] Query terminated with exception: Some data may have been lost because they are not available.
Reason: Could not read records in offset [4996, 9992) for topic partition sales-0
"""


@pytest.mark.parametrize(
    ("text", "kind", "said"),
    [
        (LOST, DataError, "offset [4996, 9992) for topic partition sales-0"),
        ("org.apache.kafka.common.errors.UnknownTopicOrPartitionException: x", DataError, "there is no topic 'sales'"),
        ("org.apache.kafka.common.errors.TimeoutException: x", ServiceError, "broker:9092"),
        ("java.lang.OutOfMemoryError: x", ForetailError, "OutOfMemoryError"),
    ],
)
def test_errors(text, kind, said):
    error = _told(PySparkException(text), INGEST)
    assert type(error) is kind
    assert said in str(error)


def test_an_error_of_ours_stays_what_it_is():
    error = ServiceError("the warehouse is away")
    assert _told(error, INGEST) is error


def test_lag():
    source = {
        "endOffset": json.dumps({"sales": {"0": 5, "1": 7}}),
        "latestOffset": json.dumps({"sales": {"0": 9, "1": 7}}),
    }
    assert _lag({"sources": [source]}) == {0: 4, 1: 0}
    assert _lag(None) == {}
    assert _lag({"sources": [{"endOffset": None, "latestOffset": "null"}]}) == {}


def test_spark_needs_its_connector(tmp_path):
    (tmp_path / "other.jar").touch()
    with pytest.raises(UsageError, match="--jars DIR"):
        _jars(tmp_path)
    (tmp_path / "spark-sql-kafka-0-10_2.13-4.2.0.jar").touch()
    assert len(_jars(tmp_path)) == 2


def test_one_address_that_answers_is_enough():
    with socket.socket() as server, socket.socket() as closed:
        server.bind(("127.0.0.1", 0))
        server.listen()
        closed.bind(("127.0.0.1", 0))
        there, gone = (f"127.0.0.1:{item.getsockname()[1]}" for item in (server, closed))
        _check_answers(f"{gone}, {there}")
        with pytest.raises(ServiceError, match=gone):
            _check_answers(gone)
