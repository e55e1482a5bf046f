"""Counts as text for Prometheus, and the small server that answers it."""

import datetime as dt
import socket
import urllib.error
import urllib.request

import pytest

from foretail.core.errors import ServiceError
from foretail.stream.metrics import BatchReport, Metrics, metrics_server


def counted():
    metrics = Metrics('sa"les')
    metrics.add(BatchReport(0, 100, 5, 90, 10, 3, 0.5, {0: 60, 1: 45}))
    metrics.add(BatchReport(1, 10, 0, 10, 0, 0, 0.1, {0: 70}))
    metrics.lag = {0: 7, 1: 0}
    metrics.watermark = dt.datetime(2024, 3, 18)
    return metrics


def test_sums():
    assert counted().to_dict() == {
        "topic": 'sa"les',
        "batches": 2,
        "events": 110,
        "changed": 100,
        "duplicates": 10,
        "late": 3,
        "dead": 5,
        "seconds": 0.6,
        "rows_per_s": 191.7,
        "watermark": "2024-03-18T00:00:00",
        "offsets": {"0": 70, "1": 45},
        "lag": 7,
    }


def test_prometheus_text():
    lines = counted().to_prometheus().splitlines()
    assert 'foretail_stream_events_total{topic="sa\\"les"} 110' in lines
    assert "# TYPE foretail_stream_events_total counter" in lines
    assert 'foretail_stream_rows_per_second{topic="sa\\"les"} 100' in lines
    assert 'foretail_stream_lag{topic="sa\\"les",partition="0"} 7' in lines
    assert 'foretail_stream_offset{topic="sa\\"les",partition="1"} 45' in lines


def test_it_is_answered_on_loopback_only_while_asked_for():
    with metrics_server(counted(), 0) as url:
        with urllib.request.urlopen(url, timeout=10) as answer:
            assert b"foretail_stream_dead_total" in answer.read()
        with pytest.raises(urllib.error.HTTPError, match="404") as found:
            urllib.request.urlopen(url.replace("/metrics", "/"), timeout=10)
        found.value.close()
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(url, timeout=10)


def test_without_a_port_nothing_listens():
    with metrics_server(counted(), None) as url:
        assert url == ""


def test_a_port_that_is_taken():
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with (
            pytest.raises(ServiceError, match="another --metrics-port"),
            metrics_server(counted(), other.getsockname()[1]),
        ):
            pass
