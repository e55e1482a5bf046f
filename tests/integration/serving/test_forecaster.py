"""The forecaster over HTTP: what is stored, what the models make beside it, every request that cannot be answered."""

from __future__ import annotations

import datetime as dt
import json
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from scripts.services.own import Own
from shop_fleet import FLEET, FleetWorld
from sqlalchemy import event

from foretail.serving.api_ids import Pair
from foretail.serving.forecast_store import Ask, ForecastStore
from foretail.warehouse.database import open_warehouse
from foretail.warehouse.forecasts import read_forecasts

PAIR = {"store_id": "1", "product_name": "product_A"}
HOSTILE = (
    "1; DROP TABLE jobs",
    "1' OR '1'='1",
    "$(reboot)",
    "`id`",
    "../../etc/passwd",
    "",
    " ",
    "1\n2",
    "x" * 65,
    "１",
)


def ask(api: Own, *items: Any, **headers: str) -> httpx.Response:
    return httpx.post(f"{api.url}/forecast", json=list(items), headers=headers, timeout=60)


def answers(api: Own, *items: Any) -> list[dict[str, Any]]:
    answer = ask(api, *items)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()
    return found


def days(answer: dict[str, Any]) -> list[str]:
    return [row["timestamp"] for row in answer["forecast"]]


def test_a_pair_without_dates_gets_the_seven_days_after_the_cutoff_as_they_are_stored(
    api: Own, fleet: FleetWorld
) -> None:
    (answer,) = answers(api, {"store_id": "2", "product_name": "product_B"})
    stored = read_forecasts(
        open_warehouse(fleet.settings.warehouse),
        FLEET,
        unique_ids=["2/product_B"],
        model_version=answer["api"]["model_version"],
    )
    assert answer["request"] == {"store_id": "2", "product_name": "product_B"}
    assert days(answer) == [f"2024-07-0{day}" for day in range(1, 8)]
    assert [row["value"] for row in answer["forecast"]] == stored["y_hat"].to_list()
    assert [row["lower_ci"] for row in answer["forecast"]] == stored["q2_5"].to_list()
    assert [row["upper_ci"] for row in answer["forecast"]] == stored["q97_5"].to_list()
    api_told = answer["api"]
    assert api_told["model_name"] == "prophet-retail-forecaster-store-2-product_B"
    assert (api_told["cutoff"], api_told["stored"]) == ("2024-06-30", True)


def test_both_dates_count_and_a_store_may_be_a_number(api: Own) -> None:
    (answer,) = answers(api, {"store_id": 2, "product_name": "product_C", "begin_date": "2024-07-02T00:00:00Z",
                              "end_date": "2024-07-04"})  # fmt: skip
    assert days(answer) == ["2024-07-02", "2024-07-03", "2024-07-04"]
    (answer,) = answers(api, {**PAIR, "end_date": "2024-07-01"})
    assert days(answer) == ["2024-07-01"]


def test_other_days_are_made_by_the_model_and_not_stored(api: Own, fleet: FleetWorld) -> None:
    engine = open_warehouse(fleet.settings.warehouse)
    before = read_forecasts(engine, FLEET).height
    item = {"store_id": "2", "product_name": "product_C", "begin_date": "2024-07-05", "end_date": "2024-09-30"}
    answer, stored = answers(api, item, {"store_id": "2", "product_name": "product_C"})
    assert len(days(answer)) == 88
    assert not answer["api"]["stored"]
    assert answer["forecast"][:3] == stored["forecast"][4:]
    by_day = {row["timestamp"]: row for row in answer["forecast"]}
    for sunday in ("2024-07-14", "2024-08-18", "2024-09-29"):  # shut as ever, also beyond what the table says
        assert (by_day[sunday]["value"], by_day[sunday]["upper_ci"]) == (0.0, 0.0)
    assert all(row["lower_ci"] < row["value"] < row["upper_ci"] for row in answer["forecast"] if row["value"])
    assert any("promo, open after 2024-07-07" in text for text in answer["api"]["warnings"])
    assert read_forecasts(engine, FLEET).height == before


def test_a_bad_item_gets_its_own_error_and_the_others_their_answer(api: Own) -> None:
    found = answers(
        api,
        {"store_id": "99999", "product_name": "product_A"},
        PAIR,
        "no object",
        {**PAIR, "begin_date": "2024-07-05", "end_date": "2024-07-01"},
        {**PAIR, "begin_date": "next week"},
        {**PAIR, "begin_date": "2024-01-01", "end_date": "2024-01-02"},
        {**PAIR, "begin_date": "2024-07-01", "end_date": "2029-07-01"},
        {**PAIR, "horizon": 3},
        {"store_id": "1"},
        {**PAIR, "begin_date": "2030-07-01"},
    )
    statuses = [item.get("error", {}).get("status", 200) for item in found]
    assert statuses == [404, 200, 400, 422, 400, 422, 422, 400, 400, 422]
    assert found[3]["error"]["what"] == "the end 2024-07-01 is before the begin 2024-07-05"
    assert all(item["error"]["fix"] for item in found if "error" in item)
    assert found[0]["request"] == {"store_id": "99999", "product_name": "product_A"}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_are_refused_wherever_they_stand(api: Own, name: str) -> None:
    for item in ({**PAIR, "store_id": name}, {**PAIR, "product_name": name}):
        assert answers(api, item, PAIR)[0]["error"]["status"] == 400
    if name and "/" not in name:
        one = httpx.get(f"{api.url}/forecast/{quote(name)}/product_A", timeout=30)
        assert one.status_code == 400, one.text
        assert one.headers["content-type"] == "application/problem+json"
    assert answers(api, PAIR)[0]["forecast"]


@pytest.mark.parametrize(
    "body", [b"", b"{", b"{}", b"[]", b"null", b'{"store_id": "1"}', b"[1e999]", b"[NaN]", b"\xff"]
)
def test_what_is_no_list_of_pairs_is_refused(api: Own, body: bytes) -> None:
    answer = httpx.post(f"{api.url}/forecast", content=body, timeout=30)
    assert answer.status_code == 400
    assert answer.json()["problems"][0]["fix"].startswith("send [{")


def test_a_million_pairs_are_refused_with_the_limit(api: Own) -> None:
    body = b"[" + b",".join([json.dumps(PAIR).encode()] * 1_000_000) + b"]"
    answer = httpx.post(f"{api.url}/forecast", content=body, timeout=60)
    assert answer.status_code == 413
    assert "10000 pairs a request" in answer.json()["detail"]
    parts = (body[i : i + 65_536] for i in range(0, len(body), 65_536))  # without a length
    assert httpx.post(f"{api.url}/forecast", content=parts, timeout=60).status_code == 413


def test_pairs_and_days_have_limits_of_their_own(api: Own) -> None:
    answer = ask(api, *[PAIR] * 10_001)
    assert (answer.status_code, answer.json()["detail"]) == (413, "10001 pairs; the limit is 10000 a request")
    year = {**PAIR, "begin_date": "2024-07-01", "end_date": "2025-06-30"}
    assert "the limit is 200000 a request" in ask(api, *[year] * 600).json()["detail"]


def test_many_pairs_are_one_query(fleet: FleetWorld) -> None:
    engine = open_warehouse(fleet.settings.warehouse)
    store = ForecastStore(engine, FLEET)
    statements: list[str] = []
    event.listen(engine, "before_cursor_execute", lambda *told: statements.append(told[2]))
    pairs = [Pair(str(1 + i % 2), f"product_{'ABC'[i % 3]}") for i in range(1_115)]
    found = store.read([Ask(pair) for pair in pairs])
    assert len(statements) == 1
    assert all(item is not None and len(item.rows) == 7 for item in found)
    week = dt.date(2024, 7, 1), dt.date(2024, 7, 2)
    found = store.read([Ask(pair, *week) for pair in pairs] + [Ask(Pair("9", "product_A"), *week)])
    assert len(statements) == 2
    assert [len(item.rows) for item in found if item] == [2] * 1_115
    assert found[-1] is None


def test_1115_pairs_in_one_request(api: Own) -> None:
    items = [{"store_id": str(1 + i % 2), "product_name": f"product_{'ABC'[i % 3]}"} for i in range(1_115)]
    found = answers(api, *items)
    assert [item["request"] for item in found] == items
    assert all(len(item["forecast"]) == 7 for item in found)


def test_the_etag_names_the_version(api: Own) -> None:
    for kind in ("post", "get"):
        first = ask(api, PAIR) if kind == "post" else httpx.get(f"{api.url}/forecast/1/product_A", timeout=30)
        tag = first.headers["etag"]
        known = {"if-none-match": f'"other", {tag}'}
        if kind == "post":
            again = ask(api, PAIR, **known)
            assert ask(api, {**PAIR, "store_id": "2"}).headers["etag"] != tag
        else:
            again = httpx.get(f"{api.url}/forecast/1/product_A", headers=known, timeout=30)
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)


def test_one_pair_by_its_address(api: Own) -> None:
    found = httpx.get(f"{api.url}/forecast/1/product_A?begin_date=2024-07-03&end_date=2024-07-03", timeout=30)
    assert days(found.json()) == ["2024-07-03"]
    for path, status in (("9/product_A", 404), ("1/product_A?begin_date=soon", 400), ("1/product_Z", 404)):
        refused = httpx.get(f"{api.url}/forecast/{path}", timeout=30)
        assert refused.status_code == status
        assert refused.json()["problems"][0]["what"]


def test_health_metrics_and_the_request_log(api: Own) -> None:
    health = httpx.get(f"{api.url}/health", timeout=30)
    told = health.json()
    assert (health.status_code, told["serviceStatus"], told["modelTrackingHealth"]) == (200, "OK", "OK")
    ask(api, PAIR, **{"x-request-id": "the-request"})
    text = httpx.get(f"{api.url}/metrics", timeout=30).text
    lines = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    assert float(lines['foretail_api_requests_total{method="POST",route="/forecast",status="200"}']) >= 1
    assert float(lines['foretail_fleet_series{status="trained"}']) == 6
    assert 0 <= float(lines["foretail_forecast_age_seconds"]) < 3600
    assert float(lines["foretail_warehouse_up"]) == 1
    log = api.log.parent / "requests.jsonl"
    line = _wait_for_line(log, "the-request")
    assert (line["method"], line["path"], line["status"], line["client"]) == ("POST", "/forecast", 200, "127.0.0.1")
    assert line["run_id"]
    assert line["ms"] > 0


def test_what_is_not_there_is_problem_details(api: Own) -> None:
    for method, path, status in (("GET", "/nowhere", 404), ("PUT", "/forecast", 405)):
        answer = httpx.request(method, f"{api.url}{path}", timeout=30)
        assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
        assert answer.json()["status"] == status


def test_the_examples_of_openapi_are_answered(api: Own) -> None:
    schema = httpx.get(f"{api.url}/openapi.json", timeout=30).json()
    body = schema["paths"]["/forecast"]["post"]["requestBody"]["content"]["application/json"]
    found = answers(api, *body["example"])
    assert len(found) == len(body["example"])
    documented = schema["paths"]["/forecast"]["post"]["responses"]["200"]["content"]["application/json"]["example"]
    (answer,) = answers(api, PAIR)
    assert set(documented[0]) == set(answer)
    assert set(documented[0]["api"]) == set(answer["api"])
    assert set(documented[1]["error"]) == set(
        found[0].get("error", answers(api, {**PAIR, "store_id": "77"})[0]["error"])
    )


def _wait_for_line(log: Path, name: str) -> dict[str, Any]:
    end = time.monotonic() + 20
    while time.monotonic() < end:
        for text in log.read_text().splitlines():
            line: dict[str, Any] = json.loads(text)
            if line["request_id"] == name:
                return line
        time.sleep(0.1)
    raise AssertionError(log.read_text())
