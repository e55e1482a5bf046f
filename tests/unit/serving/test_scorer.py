"""A scorer answers what `foretail forecast` writes, what-ifs besides, and says what is wrong with each bad instance."""

from __future__ import annotations

import datetime as dt
import threading
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from foretail.core.columns import UNIQUE_ID
from foretail.core.spec import DatasetSpec
from foretail.models.families import make
from foretail.models.intervals import Conformal
from foretail.panel.build import build_panel
from foretail.panel.panel import Panel
from foretail.pipelines.answer import answer
from foretail.pipelines.forecast import stored
from foretail.registry.bundle import read_bundle, write_bundle
from foretail.serving.errors import RequestError
from foretail.serving.places import Places
from foretail.serving.scorer import Ask, Scorer
from foretail.sources.synthetic import synthetic_table
from version_maker import last_errors, version_of

H, LEVELS = 6, (0.025, 0.1, 0.5, 0.9, 0.975)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A bundle of boosting on a small weekly world."""
    table = synthetic_table({"stores": 3, "departments": 3, "weeks": 110, "horizon": H})
    panel = build_panel(table, horizon=H).panel
    model = make("boosting", rounds=15, leaves=7, bags=1, n_threads=1).fit(panel, H)
    target = tmp_path_factory.mktemp("bundles") / "one"
    calibration = last_errors(panel, model, H, LEVELS).to_arrays()
    write_bundle(target, version_of(panel, "boosting", model, H, LEVELS, calibration))
    return target


@pytest.fixture(scope="module")
def scorer(folder):
    return Scorer.load(folder, "sales/1", online=None)


@pytest.fixture(scope="module")
def table(folder):
    """What `foretail forecast` makes of the bundle: the forecast table by key and date."""
    bundle = read_bundle(folder)
    panel = replace(bundle.panel, spec=bundle.info.spec)
    frame = answer(
        stored(panel, H),
        bundle.model,
        Conformal.from_arrays(bundle.calibration),
        label="boosting",
        model_version="sales/1",
        levels=LEVELS,
    )
    frame = frame.join(panel.series.select(UNIQUE_ID, *panel.spec.keys), on=UNIQUE_ID)
    return {(tuple(row[key] for key in panel.spec.keys), row["ds"]): row for row in frame.to_dicts()}


def keys_of(table):
    return sorted({keys for keys, _ in table})


def refused(scorer, *asks):
    """The problems that a request is refused for."""
    with pytest.raises(RequestError) as caught:
        scorer.score(asks)
    assert all(problem.what and problem.where and problem.fix for problem in caught.value.problems)
    return caught.value.problems


def test_every_answer_is_the_row_of_the_forecast_table(scorer, table):
    places = list(table)
    answered = scorer.score([Ask(keys, date) for keys, date in places])
    assert len(answered) == len(places) == 9 * H
    for place, item in zip(places, answered, strict=True):
        row = table[place]
        assert (item.keys, item.ds, item.step, item.cutoff) == (*place, row["step"], row["cutoff"])
        assert item.y_hat == pytest.approx(row["y_hat"], rel=1e-9)
        assert item.quantiles == pytest.approx({name: row[name] for name in ("q2_5", "q10", "q50", "q90", "q97_5")})
        assert (item.model, item.model_version, item.source) == (row["model"], row["model_version"], row["source"])
        assert item.dataset_version == "made" and item.warnings == ()


def test_a_horizon_answers_the_steps_after_the_date(scorer, table):
    keys = keys_of(table)[4]
    answered = scorer.score([Ask(keys, scorer.info.first, {}, H), Ask(keys, scorer.info.last)])
    assert [item.step for item in answered] == [*range(1, H + 1), H]
    assert answered[H - 1] == answered[H]


def test_the_version_says_what_it_can_be_asked(scorer):
    info = scorer.info
    assert dict(info.keys) == dict.fromkeys(info.keys, "INT64") and len(info.keys) == 2
    assert (info.name, info.version, info.horizon, info.n_series) == ("boosting", "sales/1", H, 9)
    assert info.features["promo"] == "FP64" and "lag_1" not in info.features
    assert info.first == info.cutoff + dt.timedelta(weeks=1) and info.last == info.cutoff + dt.timedelta(weeks=H)


def test_the_golden_request_is_answered_by_every_way(scorer, table):
    ask, answered = scorer.golden
    assert scorer.score([ask]) == [answered]
    assert answered.y_hat == pytest.approx(table[ask.keys, ask.target_date]["y_hat"], rel=1e-9)
    scorer.check()


def test_an_override_is_the_forecast_of_the_changed_panel(scorer, folder, table):
    keys, bundle = keys_of(table)[2], read_bundle(folder)
    panel = replace(bundle.panel, spec=bundle.info.spec)
    row = panel.series.select(panel.spec.keys).rows().index(keys)
    price = panel.covariate("price")
    values = price.values.copy()
    values[row, panel.n_periods + 1] = 0.7 * values[row, panel.n_periods + 1]
    known = tuple(replace(item, values=values) if item.name == "price" else item for item in panel.known)
    wanted = answer(
        stored(replace(panel, known=known), H),
        bundle.model,
        Conformal.from_arrays(bundle.calibration),
        label="boosting",
        model_version="sales/1",
        levels=LEVELS,
    ).filter(pl.col(UNIQUE_ID) == panel.unique_ids[row])
    date = scorer.info.first + dt.timedelta(weeks=1)
    told = float(values[row, panel.n_periods + 1])
    found = scorer.score([Ask(keys, date, {"price": told})])[0]
    assert found.y_hat == pytest.approx(wanted["y_hat"][1], rel=1e-9)
    assert list(found.quantiles.values()) == pytest.approx(wanted.select("^q.*$").row(1), rel=1e-9)


def test_what_is_known_already_moves_nothing(scorer, folder, table):
    panel = read_bundle(folder).panel
    asks, plain = [], []
    for row, keys in enumerate(panel.series.select(panel.spec.keys).rows()):
        values = panel.covariate("promo").values[row, panel.n_periods : panel.n_periods + H].tolist()
        asks.append(Ask(keys, scorer.info.first, {"promo": values}, H))
        plain.append(Ask(keys, scorer.info.first, {}, H))
    for mine, theirs in zip(scorer.score(asks), scorer.score(plain), strict=True):
        assert mine.y_hat == pytest.approx(theirs.y_hat, rel=1e-9)


def test_what_ifs_and_look_ups_come_back_in_the_order_asked(scorer, table):
    first, second = keys_of(table)[:2]
    date = scorer.info.first
    asks = [Ask(first, date), Ask(second, date, {"promo": 1}), Ask(second, date), Ask(first, date, {"promo": 1.0})]
    alone = [scorer.score([ask])[0] for ask in asks]
    together = scorer.score(asks)
    assert [item.keys for item in together] == [ask.keys for ask in asks]
    for mine, theirs in zip(together, alone, strict=True):
        assert mine.y_hat == pytest.approx(theirs.y_hat, rel=1e-9)


def test_a_value_beyond_what_was_seen_is_answered_with_a_warning(scorer, table):
    keys, date = keys_of(table)[0], scorer.info.first
    far, near = scorer.score([Ask(keys, date, {"price": 1e6}), Ask(keys, date, {"promo": 1})])
    assert len(far.warnings) == 1 and "price = 1e+06 is beyond what was seen" in far.warnings[0]
    assert near.warnings == ()
    between = scorer.score([Ask(keys, date, {"promo": 0.5})])[0]
    assert "promo = 0.5 was never seen, only 0, 1" in between.warnings


@pytest.mark.parametrize(
    ("keys", "status", "words"),
    [
        ((99, 1), 404, "no series has"),
        (("1", 1), 400, "a whole number"),
        ((True, 1), 400, "True"),
        ((1.0, 1), 400, "1.0"),
        ((1,), 400, "a value of each"),
        (([1], 1), 400, "[1]"),
        ((None, 1), 400, "None"),
    ],
)
def test_keys_that_are_no_series(scorer, keys, status, words):
    problems = refused(scorer, Ask(keys, scorer.info.first))
    assert problems[0].status == status and problems[0].instance == 0
    assert words in f"{problems[0].what} {problems[0].where} {problems[0].fix}"


def test_dates_that_are_not_answered(scorer, table):
    keys, info = keys_of(table)[0], scorer.info
    week = dt.timedelta(weeks=1)
    late, early, off = info.last + week, info.cutoff, info.first + dt.timedelta(days=1)
    problems = refused(scorer, Ask(keys, late), Ask(keys, early), Ask(keys, off), Ask(keys, "soon"))
    assert [problem.instance for problem in problems] == [0, 1, 2, 3]
    assert [problem.status for problem in problems] == [422, 422, 422, 400]
    assert "beyond the horizon" in problems[0].what and str(info.first) in problems[0].fix
    assert "not after the cutoff" in problems[1].what
    assert f"that it lies in is {off + dt.timedelta(days=6)}" in problems[2].what
    assert "'soon'" in problems[3].what


@pytest.mark.parametrize(("horizon", "status"), [(0, 400), (-1, 400), (2.0, 400), (True, 400), (H, 422), (10**9, 422)])
def test_horizons_that_are_not_answered(scorer, table, horizon, status):
    date = scorer.info.first + dt.timedelta(weeks=1)
    assert [problem.status for problem in refused(scorer, Ask(keys_of(table)[0], date, {}, horizon))] == [status]


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({"promp": 1}, "did you mean 'promo'"),
        ({"lag_1": 4.0}, "no feature that can be overridden"),
        ({"price": float("nan")}, "not a finite number"),
        ({"price": float("inf")}, "larger than can be computed"),
        ({"price": 10**400}, "larger than can be computed"),
        ({"price": 1e39}, "larger than can be computed"),
        ({"price": None}, "null"),
        ({"price": "cheap"}, "'cheap', not a number"),
        ({"price": True}, "true, not a number"),
        ({"price": {"a": 1}}, "not a number"),
        ({"price": [1.0, 2.0]}, "2 values for 1 steps"),
        ({3: 1.0}, "'3' is no feature"),
    ],
)
def test_overrides_that_cannot_be_taken(scorer, table, overrides, words):
    problems = refused(scorer, Ask(keys_of(table)[0], scorer.info.first, overrides))
    assert [problem.status for problem in problems] == [400]
    assert words in f"{problems[0].what} {problems[0].where} {problems[0].fix}"


def test_every_bad_instance_is_told_at_once(scorer, table):
    keys, date = keys_of(table)[0], scorer.info.first
    good, bad = Ask(keys, date), Ask((7, 7), date + dt.timedelta(days=1), {"promp": 1})
    problems = refused(scorer, good, bad, good, Ask(keys, date, {"price": None}))
    assert [(problem.instance, problem.status) for problem in problems] == [(1, 404), (1, 422), (1, 400), (3, 400)]


def test_threads_get_the_answers_that_one_gets(scorer, table):
    date = scorer.info.first
    asks = [Ask(keys, date, {"promo": i % 2}) for i, keys in enumerate(keys_of(table))]
    wanted = scorer.score(asks)
    found: list[object] = []
    threads = [threading.Thread(target=lambda: found.append(scorer.score(asks) == wanted)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [True] * 4


def test_an_explanation_adds_up_to_the_answer(scorer, table):
    keys, date = keys_of(table)[3], scorer.info.first
    asks = [Ask(keys, date, {}, 2), Ask(keys, date, {"promo": 1.0})]
    for explained, answered in zip(scorer.explain(asks), scorer.score(asks), strict=True):
        assert explained.answered == answered
        assert explained.base + sum(explained.parts.values()) == pytest.approx(answered.y_hat, rel=1e-6)


def test_a_series_without_keys_is_asked_for_by_nothing():
    """A table of one series has no key column."""
    spec = DatasetSpec(keys=(), time="day", target="units", freq="D", horizon=3)
    panel = Panel(spec, pl.DataFrame({UNIQUE_ID: ["sales"]}), 0, np.ones((1, 5)), np.zeros((1, 8), dtype=bool))
    places = Places(panel, 3)
    assert places.find(Ask((), places.dates[1])) == (0, 1)
