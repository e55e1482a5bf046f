"""What one client may ask: a bucket of requests, names of a strict form, bodies that say what is wrong with them."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foretail.serving.api_app import Health, make_app
from foretail.serving.api_guard import Guard
from foretail.serving.api_ids import read_pair, read_request_id
from foretail.serving.api_items import read_items
from foretail.serving.api_limits import RateLimit
from foretail.serving.api_metrics import ApiMetrics, Standing
from foretail.serving.errors import RequestError


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_bucket_is_emptied_and_fills_again() -> None:
    clock = Clock()
    limit = RateLimit(2.0, burst=3, clock=clock)
    assert [limit.wait_s("a") for _ in range(3)] == [0, 0, 0]
    assert limit.wait_s("a") == 0.5
    assert limit.wait_s("b") == 0
    clock.now += 0.5
    assert limit.wait_s("a") == 0
    assert limit.wait_s("a") > 0
    clock.now += 3600
    assert [limit.wait_s("a") > 0 for _ in range(4)] == [False, False, False, True]


def test_over_long_times_the_rate_is_kept() -> None:
    clock = Clock()
    limit = RateLimit(5.0, clock=clock)
    granted = 0
    for _ in range(10_000):
        clock.now += 0.01
        granted += limit.wait_s("a") == 0
    assert granted == pytest.approx(100 * 5 + limit.burst, abs=2)


def test_addresses_are_forgotten_before_they_fill_the_memory() -> None:
    limit = RateLimit(1.0, clock=Clock())
    for i in range(20_000):
        limit.wait_s(str(i))
    assert len(limit._buckets) == 10_000
    assert not RateLimit(0.0).wait_s("a")


@given(st.text())
def test_a_name_passes_only_if_it_is_harmless(text: str) -> None:
    try:
        pair = read_pair("1", text)
    except RequestError as error:
        assert error.status == 400
    else:
        assert pair.product == text
        assert len(text) <= 64
        assert text.isascii()
        assert not set(text) & set("'\"`;$&|<>(){}[]/\\%\n\r\t\0*?!#=:,")


@given(st.text())
def test_a_request_id_never_breaks_a_line(text: str) -> None:
    name = read_request_id(text)
    assert name.isascii()
    assert name.isprintable()
    assert 1 <= len(name) <= 64


def test_a_store_is_the_same_as_text_and_as_number() -> None:
    assert read_pair(7, "a") == read_pair("7", "a") == read_pair("007", "a")
    for store in (None, True, 1.0, -1, [], {}):
        with pytest.raises(RequestError, match="store_id"):
            read_pair(store, "a")


_NAMES = st.sampled_from(["store_id", "product_name", "begin_date", "end_date", "other"])
_NUMBERS = st.integers(-(2**63), 2**63) | st.floats(allow_nan=False, allow_infinity=False)
_JSON = st.recursive(
    st.none() | st.booleans() | _NUMBERS | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_NAMES, inner, max_size=5),
    max_leaves=12,
)


@given(_JSON)
def test_any_json_is_read_or_refused(body: Any) -> None:
    try:
        items = read_items(orjson.dumps(body), 100)
    except RequestError as error:
        assert error.status == 400
    else:
        assert [item.request for item in items] == body
        assert all((item.problem is None) == (item.pair is not None) for item in items)


def test_over_the_limit_is_429_with_the_time_to_wait_and_health_is_never_refused() -> None:
    metrics = ApiMetrics(lambda: Standing({"PENDING": 2}, {"trained": 3}, 5.0, None))
    app = make_app([], lambda: Health("OK", "OK", {"jobsPending": 2}), metrics)
    guard = Guard(app, RateLimit(0.5, burst=1), metrics, None, "run")

    async def talk() -> list[httpx.Response]:
        transport: Any = httpx.ASGITransport(app=guard)  # type: ignore[arg-type]
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            paths = ("/nowhere", "/nowhere", "/health", "/health", "/metrics")
            return [await client.get(path) for path in paths]

    first, second, *healths, shown = asyncio.run(talk())
    assert (first.status_code, second.status_code) == (404, 429)
    assert second.headers["retry-after"] == "2"
    assert second.headers["content-type"] == "application/problem+json"
    assert second.headers["x-request-id"]
    assert [item.status_code for item in healths] == [200, 200]
    assert "foretail_api_rate_limited_total 1.0" in shown.text
    assert 'foretail_jobs{status="PENDING"} 2.0' in shown.text
    assert "foretail_forecast_cutoff_age_seconds" not in shown.text
