"""Broken requests by the hundred: none breaks the server; the ten thousand are in `benchmarks/serving_fuzz.py`."""

import httpx
import pytest
import schemathesis
from benchmarks.serving_fuzz import fuzz
from hypothesis import HealthCheck, Phase, given, settings
from served import NAME

RIGHT = {"store_id": 1, "dept_id": 1, "target_date": "2012-02-03", "horizon": 1}


def test_no_broken_request_breaks_the_server(server):
    done = fuzz(server.http, server.grpc, NAME, RIGHT, 600)
    assert done.failures == [], done.statuses
    assert sum(done.statuses.values()) == 600
    assert {key.split()[0] for key in done.statuses} == {"v1", "v2", "grpc"}
    for good in ("v1 200", "v2 200", "grpc OK", "v1 400", "v2 400", "grpc INVALID_ARGUMENT"):
        assert done.statuses[good] > 0
    assert server.predict(RIGHT)


@pytest.mark.filterwarnings("ignore")  # hypothesis and schemathesis tell of their strategies
def test_no_request_of_the_openapi_document_breaks_the_server(server):
    schema = schemathesis.openapi.from_url(f"{server.http}/openapi.json")
    paths = [_ask_for(result.ok(), server.http) for result in schema.get_all_operations()]
    assert len(set(paths)) >= 10
    assert httpx.get(f"{server.http}/v2/health/ready").status_code == 200


def _ask_for(operation, url):
    """Send what the document allows, and what it does not; gives the path."""

    @settings(
        max_examples=8,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(operation.as_strategy())
    def ask(case):
        case.path_parameters = {**(case.path_parameters or {}), "model_name": NAME}
        answer = case.call(base_url=url, timeout=20)
        assert answer.status_code < 500, answer.text

    ask()
    return operation.path
