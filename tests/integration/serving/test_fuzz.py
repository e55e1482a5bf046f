"""Broken requests by the hundred: none breaks the server; the ten thousand are in `benchmarks/serving_fuzz.py`."""

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from served import NAME

from benchmarks.serving_fuzz import fuzz

RIGHT = {"store_id": 1, "dept_id": 1, "target_date": "2012-02-03", "horizon": 1}


def test_no_broken_request_breaks_the_server(server):
    done = fuzz(server.http, server.grpc, NAME, RIGHT, 600)
    assert done.failures == []
    assert sum(done.statuses.values()) == 600
    assert {key.split()[0] for key in done.statuses} == {"v1", "v2", "grpc"}
    for good in ("v1 200", "v2 200", "grpc OK", "v1 400", "v2 400", "grpc INVALID_ARGUMENT"):
        assert done.statuses[good] > 0
    assert server.predict(RIGHT)


@pytest.mark.filterwarnings("ignore")  # hypothesis and schemathesis tell of their strategies
def test_no_request_of_the_openapi_document_breaks_the_server(server):
    schema = schemathesis.openapi.from_url(f"{server.http}/openapi.json")
    seen = []
    for result in schema.get_all_operations():
        operation = result.ok()

        @settings(
            max_examples=15,
            deadline=None,
            derandomize=True,
            database=None,
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        def ask(case):
            case.path_parameters = {**(case.path_parameters or {}), "model_name": NAME}
            answer = case.call(base_url=server.http, timeout=20)
            seen.append((operation.path, answer.status_code))
            assert answer.status_code < 500, answer.text

        _run(operation, ask)
    assert len({path for path, _ in seen}) >= 10
    assert httpx.get(f"{server.http}/v2/health/ready").status_code == 200


def _run(operation, ask):
    from hypothesis import given

    given(operation.as_strategy())(ask)()
