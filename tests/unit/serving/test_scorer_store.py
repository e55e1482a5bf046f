"""A version that reads feature rows: looked up, overridden, given whole; what is stale or lacking is refused."""

from __future__ import annotations

import datetime as dt
from typing import ClassVar, Self

import numpy as np
import pytest

from foretail.core.errors import ForecastError
from foretail.core.quantiles import DEFAULT_QUANTILES
from foretail.models.contract import Forecast, Forecaster, Tags
from foretail.panel.build import build_panel
from foretail.serving.errors import RequestError
from foretail.serving.scorer import Ask, StoreScorer
from foretail.sources.synthetic import synthetic_table
from version_maker import last_errors, version_of

H, LEVELS = 4, (0.1, 0.5, 0.9)
SPREAD = np.linspace(-0.5, 0.5, len(DEFAULT_QUANTILES))


class Carried(Forecaster):
    """The last two sales carried on and damped by the step: a family of feature rows, as small as one can be."""

    tags: ClassVar[Tags] = Tags(local=False)
    features = "store"

    def fit(self, panel, h) -> Self:
        return self

    def predict(self, panel, h) -> Forecast:
        n = panel.n_series
        columns = {"lag_1": np.repeat(panel.y[:, -1], h), "lag_2": np.repeat(panel.y[:, -2], h)}
        as_of = np.full(n * h, np.datetime64(panel.cutoff))
        y_hat, quantiles = self.predict_rows(columns, as_of, np.tile(np.arange(1, h + 1), n))
        return Forecast(y_hat.reshape(n, h), DEFAULT_QUANTILES, quantiles.reshape(n, h, -1))

    def predict_rows(self, features, as_of, step):
        y_hat = (0.7 * features["lag_1"] + 0.3 * features["lag_2"]) * 0.99**step
        return y_hat, y_hat[:, None] * (1 + SPREAD)

    def save(self, folder) -> None: ...

    @classmethod
    def load(cls, folder) -> Self:
        return cls()


@pytest.fixture(scope="module")
def scorer():
    table = synthetic_table({"stores": 2, "departments": 2, "weeks": 80, "horizon": H})
    panel = build_panel(table, horizon=H).panel
    calibration = last_errors(panel, Carried(), H, LEVELS).to_arrays()
    return StoreScorer(version_of(panel, "carried", Carried(), H, LEVELS, calibration), "sales/2")


def keys_of(scorer):
    return list(scorer._own_rows)


def test_rows_looked_up_give_the_forecast_of_the_panel(scorer):
    scorer.check()
    asks = [Ask(keys, scorer.info.first, {}, H) for keys in keys_of(scorer)]
    found = np.array([[item.y_hat, *item.quantiles.values()] for item in scorer.score(asks)])
    np.testing.assert_allclose(found, scorer._values.reshape(-1, 1 + len(LEVELS)), rtol=1e-9)
    assert scorer.info.reads_store and scorer.info.features["lag_1"] == "FP64"


def test_a_family_whose_rows_say_something_else_is_refused(scorer):
    held, scorer._own_rows = scorer._own_rows, {keys: row | {"lag_1": 5.0} for keys, row in scorer._own_rows.items()}
    try:
        with pytest.raises(ForecastError, match="another forecast than the sales"):
            scorer.check()
    finally:
        scorer._own_rows = held


def test_any_feature_of_a_row_can_be_overridden(scorer):
    keys, date = keys_of(scorer)[1], scorer.info.first
    row = scorer._own_rows[keys]
    item = scorer.score([Ask(keys, date, {"lag_1": 1000.0})])[0]
    assert item.y_hat == pytest.approx((700.0 + 0.3 * row["lag_2"]) * 0.99, rel=1e-12)
    assert item.cutoff == scorer.info.cutoff and item.step == 1


def test_a_row_given_whole_needs_no_look_up(scorer):
    keys, date = keys_of(scorer)[0], scorer.info.last
    features = {"BYTES": "A", "FP64": 7.0, "INT64": 7, "BOOL": True}
    whole = {name: features[kind] for name, kind in scorer.info.features.items()}
    held, scorer._own_rows = scorer._own_rows, {}
    try:
        item = scorer.score([Ask(keys, date, whole)])[0]
    finally:
        scorer._own_rows = held
    assert item.y_hat == pytest.approx(7.0 * 0.99**H) and item.step == H


def test_a_newer_row_moves_the_cutoff(scorer):
    keys, week = keys_of(scorer)[0], dt.timedelta(weeks=1)
    held = scorer._own_rows
    scorer._own_rows = {**held, keys: {**held[keys], "as_of": scorer.info.cutoff + week, "lag_1": 5.0, "lag_2": 5.0}}
    try:
        item = scorer.score([Ask(keys, scorer.info.first + week)])[0]
        assert (item.step, item.cutoff) == (1, scorer.info.first) and item.y_hat == pytest.approx(5 * 0.99)
        with pytest.raises(RequestError, match="outside the horizon"):
            scorer.score([Ask(keys, scorer.info.first)])
    finally:
        scorer._own_rows = held


@pytest.mark.parametrize(
    ("as_of", "words"), [(dt.date(2000, 1, 7), "the feature row is stale"), (None, "has no feature row")]
)
def test_rows_that_cannot_answer_are_refused(scorer, as_of, words):
    keys, held = keys_of(scorer)[0], scorer._own_rows
    scorer._own_rows = {**held, keys: {**held[keys], "as_of": as_of}}
    try:
        with pytest.raises(RequestError, match=words) as caught:
            scorer.score([Ask(keys_of(scorer)[1], scorer.info.first), Ask(keys, scorer.info.first)])
    finally:
        scorer._own_rows = held
    assert [(problem.instance, problem.status) for problem in caught.value.problems] == [(1, 422)]


@pytest.mark.parametrize(
    ("ask", "status"),
    [
        (lambda keys, date: Ask((9, 9), date), 404),
        (lambda keys, date: Ask(keys, date, {"lag_9": 1.0}), 400),
        (lambda keys, date: Ask(keys, date, {"lag_1": float("nan")}), 400),
        (lambda keys, date: Ask(keys, date, {"lag_1": "x"}), 400),
        (lambda keys, date: Ask(keys, date, {}, H + 1), 422),
        (lambda keys, date: Ask(keys, date + dt.timedelta(days=1)), 422),
        (lambda keys, date: Ask(keys, date + dt.timedelta(weeks=H)), 422),
        (lambda keys, date: Ask(keys, None), 400),
    ],
)
def test_bad_instances_are_refused(scorer, ask, status):
    with pytest.raises(RequestError) as caught:
        scorer.score([ask(keys_of(scorer)[0], scorer.info.first)])
    assert [problem.status for problem in caught.value.problems] == [status]
