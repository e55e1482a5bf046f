"""What the server answers: rows of the contract, what-ifs, versions; and what it refuses, with what status."""

import json

import httpx
import pytest
from served import NAME

PREDICT = f"/v1/models/{NAME}:predict"
GOOD = {"store_id": 1, "dept_id": 1, "target_date": "2012-02-03"}


def post(server, path, body, **more):
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return httpx.post(f"{server.http}{path}", content=content, timeout=30, **more)


def tensor(name, datatype, *data, shape=None):
    return {"name": name, "datatype": datatype, "shape": [len(data)] if shape is None else shape, "data": list(data)}


def tensors(*dates, **changed):
    n = len(dates)
    inputs = {
        "store_id": tensor("store_id", "INT64", *[1] * n),
        "dept_id": tensor("dept_id", "INT64", *[1] * n),
        "target_date": tensor("target_date", "BYTES", *dates),
    }
    return {"inputs": [item for item in (inputs | changed).values() if item]}


def test_a_horizon_gives_one_row_a_step(server, world):
    rows = server.predict(GOOD | {"horizon": 4})
    expected = world.forecasts[1].head(4)
    assert [row["target_date"] for row in rows] == [str(date) for date in expected["date"]]
    assert [row["y_hat"] for row in rows] == expected["y_hat"].to_list()
    assert [row["step"] for row in rows] == [1, 2, 3, 4]


def test_versions_answer_side_by_side(server, world):
    other = server.predict(GOOD, path=f"/v1/models/{NAME}/versions/2:predict")[0]
    assert other["model"] == "seasonal_naive"
    assert other["y_hat"] == world.forecasts[2]["y_hat"][0]
    assert server.predict(GOOD)[0]["model"] == "profile"


def test_a_version_that_is_not_served_is_404_with_those_that_are(server):
    answer = post(server, f"/v2/models/{NAME}/versions/7/infer", tensors("2012-02-03"))
    assert answer.status_code == 404
    assert "champion" in answer.json()["problems"][0]["fix"]


def test_steps_ask_for_their_dates_in_v2(server):
    body = tensors("2012-02-03", horizon=tensor("horizon", "INT64", 2))
    outputs = {item["name"]: item["data"] for item in post(server, f"/v2/models/{NAME}/infer", body).json()["outputs"]}
    assert outputs["target_date"] == ["2012-02-03", "2012-02-10"]
    assert outputs["step"] == [1, 2]
    assert len(outputs["predictions"]) == len(outputs["q10"]) == 2


def test_an_override_is_taken_and_an_extreme_one_is_warned_of(server):
    answer = server.predict(GOOD | {"price": 1e6})[0]
    assert any("price" in warning for warning in answer["warnings"])


@pytest.mark.parametrize(
    ("instance", "status", "said"),
    [
        (GOOD | {"store_id": 999}, 404, "no such series"),
        (GOOD | {"target_date": "2031-01-03"}, 422, ""),
        (GOOD | {"target_date": "2012-01-27"}, 422, ""),
        (GOOD | {"target_date": "2012-02-04"}, 422, ""),
        (GOOD | {"horizon": 4000}, 422, ""),
        (GOOD | {"lag_17": 3.0}, 400, "lag_17"),
        (GOOD | {"store_id": "1"}, 400, "store_id is a text"),
        (GOOD | {"store_id": 1.0}, 400, "store_id is a fraction"),
        (GOOD | {"store_id": True}, 400, "store_id is true or false"),
        (GOOD | {"target_date": "tomorrow"}, 400, "no date"),
        (GOOD | {"target_date": 20120203}, 400, "no date"),
        (GOOD | {"horizon": 0}, 400, "horizon"),
        (GOOD | {"price": None}, 400, "price is null"),
        (GOOD | {"price": "dear"}, 400, "price"),
        (GOOD | {"price": {"a": 1}}, 400, "price is an object"),
        ({"store_id": 1, "dept_id": 1}, 400, "target_date is missing"),
        ({"dept_id": 1, "target_date": "2012-02-03"}, 400, "store_id is missing"),
        ([1, 1], 400, "not a list"),
    ],
    ids=lambda value: json.dumps(value) if isinstance(value, dict | list) else "",
)
def test_a_bad_instance_is_refused_by_number(server, instance, status, said):
    answer = post(server, PREDICT, {"instances": [GOOD, instance]})
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == status
    assert {item["instance"] for item in problem["problems"]} == {1}
    assert said in json.dumps(problem["problems"], ensure_ascii=False)
    assert all(item["what"] and item["where"] and item["fix"] for item in problem["problems"])


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b'{"instances": []}',
        b'{"instances": {}}',
        b'{"instances": [null]}',
        b'{"instances": [[1, 2], [3]]}',
        b'{"instances": [{"store_id": NaN}]}',
        b'{"Instances": []}',
        b"\xff\xfe",
        b'{"instances": ' + b"[" * 2000,
    ],
    ids=lambda body: body[:24].decode("latin-1"),
)
@pytest.mark.parametrize("verb", ["predict", "explain"])
def test_a_bad_v1_body_is_400(server, body, verb):
    answer = post(server, f"/v1/models/{NAME}:{verb}", body)
    assert answer.status_code == 400, answer.text
    assert answer.json()["problems"]


@pytest.mark.parametrize(
    "changed",
    [
        {"store_id": None},
        {"store_id": tensor("store_id", "INT64", 1, shape=[3])},
        {"store_id": tensor("store_id", "INT64", 1, shape=[-1])},
        {"store_id": tensor("store_id", "INT64", 1, shape=[])},
        {"store_id": tensor("store_id", "INT64", 1, shape=[1, 1, 1])},
        {"store_id": tensor("store_id", "INT64", 1, 2)},
        {"store_id": tensor("store_id", "INT64", "1")},
        {"store_id": tensor("store_id", "INT64", 2**63)},
        {"store_id": tensor("store_id", "FP64", 1.5)},
        {"store_id": tensor("store_id", "INT65", 1)},
        {"store_id": tensor("dept_id", "INT64", 1)},
        {"target_date": tensor("target_date", "BYTES", "soon")},
        {"target_date": tensor("target_date", "INT64", 20120203)},
        {"horizon": tensor("horizon", "FP64", 1.5)},
        {"foo": tensor("foo", "FP64", 1.5)},
        {"store_id": {"name": "store_id", "datatype": "INT64", "shape": [1]}},
        {"store_id": {"name": "store_id", "shape": [1], "data": [1]}},
    ],
    ids=str,
)
def test_a_bad_tensor_is_400(server, changed):
    answer = post(server, f"/v2/models/{NAME}/infer", tensors("2012-02-03", **changed))
    assert answer.status_code == 400, answer.text
    assert answer.json()["problems"]


@pytest.mark.parametrize("length", ["-1", "abc", "99999999", "3", "1e3"])
def test_a_wrong_length_of_the_json_is_400(server, length):
    answer = post(
        server,
        f"/v2/models/{NAME}/infer",
        tensors("2012-02-03"),
        headers={"inference-header-content-length": length},
    )
    assert answer.status_code == 400, answer.text


def test_too_much_is_413(server):
    many = post(server, PREDICT, {"instances": [GOOD] * 5001})
    assert many.status_code == 413
    steps = post(server, PREDICT, {"instances": [GOOD | {"horizon": 4}] * 2000})
    assert steps.status_code == 413
    long = post(server, PREDICT, b" " * (9 * 2**20))
    assert long.status_code == 413


def test_a_body_without_a_length_is_bounded(server):
    def parts():
        for _ in range(20):
            yield b" " * 2**20

    assert httpx.post(f"{server.http}{PREDICT}", content=parts(), timeout=30).status_code == 413


def test_unknown_paths_and_models_are_problem_details(server):
    for path in ("/v1/models/other:predict", "/v2/models/other/infer", "/v2/models/other/versions/1/infer", "/nowhere"):
        answer = post(server, path, {"instances": [GOOD]})
        assert answer.status_code == 404, path
        assert answer.headers["content-type"] == "application/problem+json"
    assert httpx.delete(f"{server.http}{PREDICT}").status_code == 405


def test_a_model_is_not_unloaded_by_request(server):
    assert post(server, f"/v2/repository/models/{NAME}/unload", b"").status_code == 422
    assert post(server, f"/v2/repository/models/{NAME}/load", b"").status_code == 200
    assert server.predict(GOOD)


def test_the_model_says_what_it_can_be_asked(server):
    told = httpx.get(f"{server.http}/v1/models/{NAME}").json()
    assert told["ready"] is True
    assert told["keys"] == {"store_id": "INT64", "dept_id": "INT64"}
    assert told["cutoff"] == "2012-01-27"
    assert told["quantiles"] == ["q2_5", "q10", "q50", "q90", "q97_5"]
    assert [item["version"] for item in told["versions"]] == ["1", "2"]


def test_every_request_is_in_the_log_and_the_metrics(server):
    before = server.metric(f'foretail_requests_total{{model_name="{NAME}",model_version="1",protocol="v1"}}')
    post(server, PREDICT, {"instances": [GOOD, GOOD]}, headers={"x-request-id": "abc-1"})
    after = server.metric(f'foretail_requests_total{{model_name="{NAME}",model_version="1",protocol="v1"}}')
    assert after == before + 1
    path = server.log.parent / "requests.jsonl"
    lines = wait_for(lambda: [line for line in map(json.loads, path.read_text().splitlines()) if line["request_id"]])
    line = next(line for line in lines if line["request_id"] == "abc-1")
    assert (line["model"], line["version"], line["status"], line["instances"]) == (NAME, "1", 200, 2)


def test_the_openapi_document_tells_of_the_bodies(server):
    document = httpx.get(f"{server.http}/openapi.json").json()
    predict = document["paths"]["/v1/models/{model_name}:predict"]["post"]
    schema = predict["requestBody"]["content"]["application/json"]["schema"]
    assert schema["required"] == ["instances"]


def wait_for(find, seconds=20):
    """What ``find`` gives as soon as it gives something."""
    import time

    end = time.monotonic() + seconds
    while not (found := find()):
        assert time.monotonic() < end, "it never came"
        time.sleep(0.05)
    return found
