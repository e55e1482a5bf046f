"""A scenario: which series, dates and values a planner's rows mean, what is wrong with them, and what they change."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import polars as pl
import pytest
from whatif_world import LEVELS, H, calibrated_on, fitted, make_panel

from foretail.core.errors import DataError
from foretail.forecasts.known_values import known_covariates
from foretail.forecasts.policy import calibrated
from foretail.forecasts.range_seen import beyond_the_range, opened_anew
from foretail.forecasts.scenario import Told, lay_scenario
from foretail.forecasts.whatif import WhatIf
from foretail.models.families import FAMILIES
from foretail.panel.panel import Panel

FAMILIES_SMALL = ("boosting", "xgboost", "neural", "profile", "prophet", "ensemble", "ensemble-c", "theta")


@cache
def panel() -> Panel:
    return make_panel(open_column="open")


def ahead(of: Panel) -> dict[str, np.ndarray]:
    return {item.name: item.values[:, of.n_periods :] for item in of.known}


def lay(rows: list[dict[str, object]] | pl.DataFrame, of: Panel | None = None) -> Told:
    of = of or panel()
    frame = rows if isinstance(rows, pl.DataFrame) else pl.DataFrame(rows, infer_schema_length=None)
    return lay_scenario(frame, of, of.series, ahead(of), known_covariates(of), "plan.csv")


def dates() -> list[str]:
    return [str(day) for day in panel().future_dates(H).astype("datetime64[D]")]


# what rows mean


def test_a_row_changes_one_series_on_one_date() -> None:
    told = lay([{"store": 1, "item": "a", "day": dates()[3], "price": 1.5}])
    assert list(told.ahead) == ["price"]
    assert np.argwhere(told.touched).tolist() == [[2, 3]]
    wanted = ahead(panel())["price"].copy()
    wanted[2, 3] = 1.5
    np.testing.assert_array_equal(told.ahead["price"], wanted)


def test_empty_keys_and_empty_dates_mean_all() -> None:
    rows = [
        {"store": None, "item": "b", "from": dates()[1], "to": dates()[2], "promo": 1.0, "price": None},
        {"store": 0, "item": None, "from": None, "to": None, "promo": None, "price": 2.0},
    ]
    told = lay(rows)
    promo, price = np.zeros((8, H), dtype=bool), np.zeros((8, H), dtype=bool)
    promo[1::2, 1:3] = True
    price[:2] = True
    np.testing.assert_array_equal(told.touched, promo | price)
    assert (told.ahead["promo"][promo] == 1).all() and (told.ahead["price"][price] == 2).all()
    np.testing.assert_array_equal(told.ahead["price"][~price], ahead(panel())["price"][~price])
    everything = lay([{"promo": 0.0}])
    assert everything.touched.all() and not everything.ahead["promo"].any()


def test_the_later_row_counts_whatever_its_pattern() -> None:
    rows = [
        {"store": 2, "item": "a", "day": dates()[0], "price": 1.0},
        {"store": None, "item": None, "day": dates()[0], "price": 1.1},
        {"store": 2, "item": None, "day": dates()[0], "price": 1.2},
    ]
    found = lay(rows).ahead["price"][:, 0]
    np.testing.assert_allclose(found, [1.1, 1.1, 1.1, 1.1, 1.2, 1.2, 1.1, 1.1], rtol=1e-6)


@pytest.mark.parametrize("seed", range(4))
def test_many_rows_are_laid_as_one_after_the_other(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows, wanted = [], {name: ahead(panel())[name].copy() for name in ("promo", "price")}
    touched = np.zeros((8, H), dtype=bool)
    for _ in range(30):
        store = int(rng.integers(0, 4)) if rng.random() < 0.6 else None
        item = str(rng.choice(["a", "b"])) if rng.random() < 0.6 else None
        first, last = np.sort(rng.integers(0, H, 2)).tolist()
        promo = float(rng.integers(0, 2)) if rng.random() < 0.5 else None
        price = round(rng.uniform(1, 3), 2) if promo is None or rng.random() < 0.5 else None
        rows.append(
            {"store": store, "item": item, "from": dates()[first], "to": dates()[last], "promo": promo, "price": price}
        )
        for row in range(8):
            if store in (None, row // 2) and item in (None, "ab"[row % 2]):
                touched[row, first : last + 1] = True
                for name, value in (("promo", promo), ("price", price)):
                    if value is not None:
                        wanted[name][row, first : last + 1] = value
    told = lay(rows)
    np.testing.assert_array_equal(told.touched, touched)
    for name, values in wanted.items():
        np.testing.assert_array_equal(told.ahead[name], values)


def test_shares_texts_and_truth_are_read() -> None:
    rows = [{"price": "-10%", "kind": "b", "promo": "true"}, {"price": "2.5", "kind": None, "promo": None}]
    frame = pl.DataFrame(rows).with_columns(pl.Series("store", [1, 2]))
    told = lay(frame)
    before = ahead(panel())["price"]
    np.testing.assert_allclose(told.ahead["price"][2:4], before[2:4] * 0.9, rtol=1e-6)
    assert (told.ahead["price"][4:6] == 2.5).all()
    assert (told.ahead["kind"][2:4] == 1).all() and (told.ahead["promo"][2:4] == 1).all()
    np.testing.assert_array_equal(told.ahead["kind"][4:], ahead(panel())["kind"][4:])


def test_a_range_beyond_the_horizon_is_cut_and_said() -> None:
    told = lay([{"from": dates()[-2], "to": "2099-01-01", "promo": 1.0}])
    assert told.touched.sum(0).tolist() == [0, 0, 0, 0, 0, 8, 8]
    assert "reach beyond the horizon" in told.notes[0]


# what is wrong with them


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ({"store": 9, "price": 1.5}, "series that are not forecast"),
        ({"store": 1, "item": "c", "price": 1.5}, "series that are not forecast"),
        ({"day": "2020-01-01", "price": 1.5}, "dates that are past"),
        ({"from": "2020-01-01", "to": "2099-01-01", "price": 1.5}, "dates that are past"),
        ({"day": "2099-01-01", "price": 1.5}, "beyond the horizon"),
        ({"from": "@6", "to": "@1", "price": 1.5}, "end before they begin"),
        ({"day": "soon", "price": 1.5}, "day"),
        ({"day": "@1", "from": "@1", "price": 1.5}, "has both"),
        ({"weather": 3.0, "price": 1.5}, "'weather' is unknown"),
        ({"store": 1}, "changes no column"),
        ({"price": "cheap"}, "price is 'cheap', not a number"),
        ({"price": float("inf")}, "price is inf, larger"),
        ({"kind": "z"}, "kind is 'z', which was never seen"),
        ({"store": 1, "price": None, "promo": None}, "change nothing"),
    ],
)
def test_what_cannot_be_laid_says_what_where_and_what_to_do(row: dict[str, object], told: str) -> None:
    given = {k: dates()[int(v[1:])] if isinstance(v, str) and v.startswith("@") else v for k, v in row.items()}
    with pytest.raises(DataError, match=told) as caught:
        lay([given])
    assert all(problem.where and problem.fix for problem in caught.value.problems)


def test_all_problems_are_told_at_once() -> None:
    rows = [
        {"store": 9, "day": dates()[0], "price": 1.0, "kind": "a"},
        {"store": 1, "day": "2020-01-01", "price": 1.0, "kind": "z"},
    ]
    with pytest.raises(DataError) as caught:
        lay(rows)
    text = str(caught.value)
    assert "change nothing" not in text  # what cannot be read is told once
    assert all(word in text for word in ("line 2", "line 3", "not forecast", "past", "'z'"))


def test_a_version_that_knows_nothing_in_advance_has_no_scenario() -> None:
    bare = replace(panel(), spec=panel().spec.but(known=(), open=None), known=())
    with pytest.raises(DataError, match="knows no column in advance"):
        lay_scenario(pl.DataFrame({"price": [1.0]}), bare, bare.series, {}, {}, "plan.csv")


def test_a_share_of_what_is_not_known_is_refused() -> None:
    price = panel().covariate("price").values.copy()
    price[3, -2] = np.nan
    known = tuple(replace(i, values=price) if i.name == "price" else i for i in panel().known)
    with pytest.raises(DataError, match="is not known for some of the dates"):
        lay([{"price": "+5%"}], replace(panel(), known=known))


# the range seen


def warned(rows: list[dict[str, object]], of: Panel | None = None) -> list[str]:
    of = of or panel()
    return beyond_the_range(of, lay(rows, of), known_covariates(of), of.unique_ids)


def test_a_price_beyond_what_its_series_saw_is_warned() -> None:
    assert warned([{"price": "+1%", "day": dates()[0], "store": 1}, {"promo": 1.0}]) == []
    (text,) = warned([{"store": 1, "item": "a", "price": 9.0}])
    assert "price leaves the range seen: 9 for 1/a" in text and "(7 cells of 1 series)" in text
    price = panel().covariate("price").values.copy()
    price[2] += 20  # other series saw 9, but this one did not
    known = tuple(replace(i, values=price) if i.name == "price" else i for i in panel().known)
    shifted = replace(panel(), known=known)
    assert "2.5 for 1/a" in warned([{"store": 1, "item": "a", "price": 2.5}], shifted)[0]


def test_a_value_that_a_flag_never_had_is_warned() -> None:
    (text,) = warned([{"promo": 0.5, "store": 1}])
    assert "promo = 0.5 was never seen, only 0, 1 (14 cells of 2 series)" in text
    promo = panel().covariate("promo").values.copy()
    promo[4, : panel().n_periods] = 0.0
    known = tuple(replace(i, values=promo) if i.name == "promo" else i for i in panel().known)
    (text,) = warned([{"promo": 1.0}], replace(panel(), known=known))
    assert "promo = 1 was never seen by 1 series, such as 2/a" in text


def test_a_weekday_that_was_never_open_is_warned_when_it_opens() -> None:
    before = panel().closed[:, panel().n_periods :]
    assert before.any()
    after = before.copy()
    after[2] = False
    assert "opens 1 series on Sundays" in opened_anew(panel(), before, after)[0]
    assert opened_anew(panel(), before, before) == []


# what they change


@cache
def asked(name: str) -> tuple[object, object, WhatIf]:
    of = panel()
    model = fitted(name, of)
    intervals = calibrated_on(of, model)
    return model, intervals, WhatIf(of, model, H, intervals, LEVELS)


@pytest.mark.parametrize("name", FAMILIES_SMALL)
def test_changes_of_many_series_together_are_the_forecast_of_the_panel_with_all_of_them(name: str) -> None:
    assert name in FAMILIES
    model, intervals, whatif = asked(name)
    told = lay([{"promo": 1.0}, {"store": 1, "price": "-20%"}, {"store": 2, "day": dates()[2], "open": 0.0}])
    rows = np.flatnonzero(told.touched.any(1))
    found_panel, found = whatif.together(whatif.change_to(rows, {k: v[rows] for k, v in told.ahead.items()}))
    of, t = panel(), panel().n_periods
    known = []
    for item in of.known:
        values = item.values.copy()
        values[:, t:] = told.ahead.get(item.name, values[:, t:])
        known.append(replace(item, values=values))
    closed = of.closed.copy()
    closed[4:6, t + 2] = True
    wanted_panel = replace(of, known=tuple(known), closed=closed)
    wanted = calibrated(wanted_panel, model.predict(wanted_panel, H), intervals, LEVELS)
    np.testing.assert_array_equal(found_panel.closed, closed)
    np.testing.assert_allclose(found.y_hat, wanted.y_hat, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(found.quantiles, wanted.quantiles, rtol=1e-6, atol=1e-9)
    assert found.reasons == wanted.reasons
