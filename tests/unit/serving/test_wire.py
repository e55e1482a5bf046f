"""V1: what an instance may hold, and how a prediction looks."""

import datetime as dt
import json

import pytest

from foretail.serving.asks import Answered, Ask, Explained
from foretail.serving.errors import RequestError, RequestProblem, problem_details
from foretail.serving.wire import Inputs, dump_json, explanation, load_json, parse_date, prediction, read_instances

INPUTS = Inputs({"store": "INT64", "item": "BYTES"}, "2024-01-05")
GOOD = {"store": 1, "item": "A", "target_date": "2024-01-05"}
ROW = Answered(
    (1, "A"),
    dt.date(2024, 1, 5),
    2,
    dt.date(2024, 1, 3),
    3.25,
    {"q10": 1.0, "q90": 7.5},
    "m",
    "m/1",
    "d",
    "model",
    ("w",),
)


def refused(body, **more):
    with pytest.raises(RequestError) as error:
        read_instances(body, INPUTS, **more)
    return error.value


def test_instances_become_asks():
    asks = read_instances({"instances": [GOOD, GOOD | {"horizon": 3, "price": [1, 2.5, 3], "kind": "x"}]}, INPUTS)
    date = dt.date(2024, 1, 5)
    assert asks == [Ask((1, "A"), date), Ask((1, "A"), date, {"price": [1, 2.5, 3], "kind": "x"}, 3)]


def test_every_bad_instance_is_told_at_once():
    error = refused({"instances": [GOOD | {"store": "1"}, GOOD, 5, {"target_date": "x"}]})
    assert [problem.instance for problem in error.problems] == [0, 2, 3, 3, 3]
    assert error.status == 400


@pytest.mark.parametrize("value", [None, {}, float("nan"), float("inf"), [1, None], [[1]]])
def test_a_feature_is_a_finite_number_or_a_text(value):
    problem = refused({"instances": [GOOD | {"price": value}]}).problems[0]
    assert "price" in problem.what


@pytest.mark.parametrize(
    "body", [None, [], "x", {}, {"instances": []}, {"instances": None}, {"instances": [GOOD], "horizon": 3}]
)
def test_a_body_of_another_form_is_refused_with_an_example(body):
    problem = refused(body).problems[0]
    assert '"store": 1' in problem.fix
    assert problem.instance is None


def test_too_many_instances_are_413():
    assert refused({"instances": [GOOD] * 3}, max_instances=2).status == 413


def test_a_client_of_the_older_protocol_may_name_its_signature():
    assert read_instances({"instances": [GOOD], "signature_name": "x"}, INPUTS)


@pytest.mark.parametrize(
    ("text", "date"),
    [
        ("2024-02-29", dt.date(2024, 2, 29)),
        ("2023-02-29", None),
        ("20240229", None),
        ("2024-W01-1", None),
        ("2024-1-1", None),
        ("", None),
    ],
)
def test_dates_are_iso(text, date):
    assert parse_date(text) == date


def test_json_knows_no_nan():
    with pytest.raises(RequestError) as error:
        load_json(b'{"a": NaN}')
    assert error.value.status == 400


def test_a_prediction_is_a_row_of_the_contract():
    shown = json.loads(dump_json(prediction(ROW, ["store", "item"])))
    assert list(shown) == [
        "store", "item", "target_date", "step", "cutoff", "y_hat", "q10", "q90", "model", "model_version",
        "dataset_version", "source", "warnings",
    ]  # fmt: skip
    assert shown["target_date"] == "2024-01-05"
    assert shown["y_hat"] == 3.25
    assert shown["warnings"] == ["w"]


def test_a_key_named_like_ours_keeps_its_name():
    shown = prediction(ROW, ["model", "item"])
    assert shown["model"] == 1
    assert shown["forecast_model"] == "m"


def test_an_explanation_is_the_row_and_its_parts():
    shown = explanation(Explained(ROW, 2.0, {"level": 1.25}, ({"feature": "a", "part": 1.25},)), ["store", "item"])
    assert shown["base"] + sum(shown["parts"].values()) == shown["y_hat"]
    assert shown["features"] == [{"feature": "a", "part": 1.25}]


@pytest.mark.parametrize(
    ("statuses", "status"), [((404, 404), 404), ((404, 422), 422), ((404, 400), 400), ((503, 400), 503)]
)
def test_problems_of_several_kinds_have_one_status(statuses, status):
    error = RequestError([RequestProblem(code, "a", "b", "c", i) for i, code in enumerate(statuses)])
    details = problem_details(error)
    assert (error.status, details["status"], details["n_problems"]) == (status, status, 2)
    assert details["problems"][1] == {"instance": 1, "what": "a", "where": "b", "fix": "c"}
    assert details["detail"] == "a (and 1 more)"
