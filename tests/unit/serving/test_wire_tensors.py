"""V2: tensors in JSON, binary and protobuf's lists, of every kind a key can have."""

import datetime as dt
import struct

import numpy as np
import pytest

from foretail.serving.asks import Answered, Ask
from foretail.serving.errors import RequestError
from foretail.serving.tensors import Question, Tensor, answer_parameters, answer_tensors, has_steps, read_tensors
from foretail.serving.wire import Inputs

INPUTS = Inputs({"store": "INT64", "item": "BYTES"})
DATE = dt.date(2024, 1, 5)


def texts(*values):
    return b"".join(struct.pack("<I", len(value)) + value for value in values)


def good(n=1, **changed):
    tensors = {
        "store": Tensor("store", "INT64", (n,), data=[1] * n),
        "item": Tensor("item", "BYTES", (n,), data=["A"] * n),
        "target_date": Tensor("target_date", "BYTES", (n,), data=["2024-01-05"] * n),
    }
    return Question(tuple(item for item in (tensors | changed).values() if item))


def row(step, **changed):
    values: dict = dict(  # noqa: C408
        keys=(1, "A"), ds=DATE, step=step, cutoff=DATE, y_hat=float(step), quantiles={"q10": 0.5 * step}, model="m",
        model_version="m/1", dataset_version="d", source="model",
    )  # fmt: skip
    return Answered(**values | changed)


def test_json_and_binary_say_the_same():
    raw = good(
        2,
        store=Tensor("store", "INT64", (2,), raw=np.array([1, 1], dtype="<i8").tobytes()),
        item=Tensor("item", "BYTES", (2, 1), raw=texts(b"A", b"A")),
        target_date=Tensor("target_date", "BYTES", (2,), raw=texts(b"2024-01-05", b"2024-01-05")),
    )
    assert read_tensors(raw, INPUTS) == read_tensors(good(2), INPUTS) == [Ask((1, "A"), DATE)] * 2


def test_shape_n_by_1_may_be_nested():
    question = good(store=Tensor("store", "INT32", (1, 1), data=[[1]]))
    assert read_tensors(question, INPUTS) == [Ask((1, "A"), DATE)]


def test_horizon_and_features_are_tensors_too():
    asks = read_tensors(
        good(2, h=Tensor("horizon", "INT64", (2,), data=[1, 3]), p=Tensor("price", "FP64", (2,), data=[1.5, 2])), INPUTS
    )
    assert asks == [Ask((1, "A"), DATE, {"price": 1.5}), Ask((1, "A"), DATE, {"price": 2.0}, 3)]
    assert has_steps(asks)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"store": None}, "no input 'store'"),
        ({"more": Tensor("store", "INT64", (1,), data=[1])}, "twice"),
        ({"store": Tensor("store", "INT64", (2,), data=[1, 1])}, "differ in length"),
        ({"store": Tensor("store", "INT64", (1,), data=[])}, "0 values for the shape [1]"),
        ({"store": Tensor("store", "INT64", (2**60,), data=[])}, "differ in length"),
        ({"store": Tensor("store", "INT64", (), data=[1])}, "the shape is []"),
        ({"store": Tensor("store", "INT64", (-1,), data=[1])}, "the shape is [-1]"),
        ({"store": Tensor("store", "INT64", (1,), data=[True])}, "not INT64"),
        ({"store": Tensor("store", "UINT8", (1,), data=[256])}, "not UINT8"),
        ({"store": Tensor("store", "INT64", (1,), raw=b"1234567")}, "7 bytes"),
        ({"store": Tensor("store", "FP64", (1,), data=[1.0])}, "not INT64"),
        ({"store": Tensor("store", "BYTES", (1,), data=["1"])}, "not INT64"),
        ({"store": Tensor("store", "INT65", (1,), data=[1])}, "unknown datatype"),
        ({"item": Tensor("item", "BYTES", (1,), raw=b"\x09\x00\x00\x00A")}, "end within a text"),
        ({"item": Tensor("item", "BYTES", (1,), raw=b"\x09\x00")}, "end within a text"),
        ({"item": Tensor("item", "BYTES", (1,), raw=texts(b"\xff"))}, "not UTF-8"),
        ({"target_date": Tensor("target_date", "INT64", (1,), data=[20240105])}, "no date"),
        ({"horizon": Tensor("horizon", "INT64", (1,), data=[0])}, "horizon is 0"),
        ({"price": Tensor("price", "FP32", (1,), raw=np.array([np.nan], dtype="<f4").tobytes())}, "not a finite"),
    ],
)
def test_a_bad_tensor_is_named(changed, said):
    with pytest.raises(RequestError) as error:
        read_tensors(good(**changed), INPUTS)
    assert error.value.status == 400
    assert said in str(error.value)


def test_nothing_asked_is_refused():
    with pytest.raises(RequestError, match="no instance"):
        read_tensors(good(0), INPUTS)


def test_too_many_are_413():
    with pytest.raises(RequestError) as error:
        read_tensors(good(3), INPUTS, max_instances=2)
    assert error.value.status == 413


def test_outputs_are_the_protocols_or_those_asked_for():
    rows = [row(1), row(2)]
    assert [output.name for output in answer_tensors(rows, [], has_steps=False)] == ["predictions", "q10"]
    every = {output.name: output for output in answer_tensors(rows, [], has_steps=True)}
    assert every["predictions"].plain == [1.0, 2.0]
    assert every["q10"].plain == [0.5, 1.0]
    assert every["step"].plain == [1, 2]
    assert every["target_date"].plain == ["2024-01-05"] * 2
    assert every["target_date"].raw == texts(b"2024-01-05", b"2024-01-05")
    assert np.frombuffer(every["predictions"].raw, "<f8").tolist() == [1.0, 2.0]
    assert [output.name for output in answer_tensors(rows, ["source"], has_steps=False)] == ["source"]


def test_an_output_that_is_not_there_is_named():
    with pytest.raises(RequestError, match="no output 'q11'"):
        answer_tensors([row(1)], ["q11"], has_steps=False)


def test_parameters_hold_every_value_that_differs():
    told = answer_parameters([row(1), row(2, source="fallback:closed", warnings=("a", "b")), row(3, warnings=("a",))])
    assert told["source"] == "model; fallback:closed"
    assert told["warnings"] == "a; b"
    assert told["model_version"] == "m/1"
