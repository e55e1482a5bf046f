"""Explanations: the rule from logs to sales, the groups, the usual future, what a plan adds, who says nothing."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from itertools import permutations

import numpy as np
import pytest
from like_world import H, T, world

from foretail.core.errors import UsageError
from foretail.core.spec import DatasetSpec, PastCovariate
from foretail.features.asof import plan_features
from foretail.features.catalogue import catalogue
from foretail.features.groups import GROUPS, covariate_groups, groups_of
from foretail.features.space import Space
from foretail.forecasts.explain import Explainer, Explanation, _added, explain
from foretail.forecasts.policy import with_policies
from foretail.forecasts.usual import unusual, usual_future
from foretail.models.contract import Forecaster
from foretail.models.contributions import (
    Contributions,
    Term,
    answered_by_fallback,
    averaged,
    from_space,
    level_and_season,
    usual_sales,
)
from foretail.models.families import make
from foretail.panel.panel import Covariate, Panel

PROMOTION = GROUPS.index("promotion")


@cache
def shops() -> Panel:
    """Sales that exactly double on promotion."""
    return world()[0]


@cache
def model(family: str) -> Forecaster:
    few = {"rounds": 60, "bags": 1, "heads": "none"}
    if family == "ensemble":
        return make(family, weights={"boosting": 1.0, "prophet": 3.0}, params={"boosting": few}).fit(shops(), H)
    return make(family, **(few if family == "boosting" else {})).fit(shops(), H)


@cache
def everything(family: str) -> tuple[Explanation, np.ndarray, np.ndarray]:
    rows, steps = np.repeat(np.arange(16), H), np.tile(np.arange(1, H + 1), 16)
    return explain(model(family), shops(), rows, steps), rows, steps


# the rule from logs to sales

TERMS = tuple(Term(name, "other") for name in "abcd")


def from_logs_of(z: np.ndarray, base: np.ndarray, scale: np.ndarray, start: int = 0) -> Contributions:
    return from_space(Space("log"), scale, base, TERMS, z, start, floor=True)


def random_parts(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Parts of logs around the size of each row."""
    rng = np.random.default_rng(seed)
    base, scale = rng.uniform(5, 500, 20), rng.uniform(5, 500, 20)
    z = rng.normal(0, 0.4, (20, 4))
    z[:, 0] += np.log(base)
    return z, base, scale


def test_parts_add_up_to_the_forecast_in_sales() -> None:
    z, base, scale = random_parts()
    wanted = Space("log").inverse(z.sum(1), scale)
    np.testing.assert_allclose(from_logs_of(z, base, scale).y_hat, wanted, rtol=1e-12)


def test_a_part_is_its_integral_along_the_straight_path() -> None:
    z, base, scale = random_parts()
    found = from_logs_of(z, base, scale)
    space, usual = Space("log"), Space("log").forward(base, scale)
    n = 4000
    for row in range(3):
        parts = z[row].copy()
        parts[0] -= usual[row]
        offset = scale[row] * 0.01
        slopes = [np.exp(usual[row] + (i + 0.5) / n * parts.sum()) for i in range(n)]
        np.testing.assert_allclose(found.parts[row, :4], parts * np.mean(slopes), rtol=1e-6)
        assert space.inverse(usual[row : row + 1], scale[row : row + 1])[0] == pytest.approx(base[row])
        assert offset > 0


def test_the_order_of_the_parts_does_not_matter_and_opposites_cancel() -> None:
    z, base, scale = random_parts()
    found, turned = from_logs_of(z, base, scale).parts, from_logs_of(z[:, ::-1], base, scale, start=3).parts
    np.testing.assert_allclose(turned[:, 3::-1], found[:, :4], rtol=1e-9)
    z[:, 2] = -z[:, 1]
    found = from_logs_of(z, base, scale).parts
    np.testing.assert_allclose(found[:, 2], -found[:, 1], rtol=1e-12)


def test_parts_that_cancel_out_move_nothing() -> None:
    base = np.array([40.0])
    usual = Space("log").forward(base, base)
    found = from_logs_of(np.array([[usual[0], 0.5, -0.5, 0.0]]), base, base)
    np.testing.assert_allclose(found.y_hat, base)
    assert found.parts[0, 1] == pytest.approx(0.5 * 1.01 * 40)


def test_levels_are_parts_already_and_what_is_below_0_is_lifted_by_a_part_of_its_own() -> None:
    z, base = np.array([[3.0, -5.0, 1.0, 0.0]]), np.array([2.0])
    found = from_space(Space("level"), base, base, TERMS, z, 0, floor=True)
    np.testing.assert_allclose(found.parts, [[1.0, -5.0, 1.0, 0.0, 1.0]])
    assert found.terms[-1] == Term("not below 0", "other")
    assert from_space(Space("level"), base, base, TERMS, z, 0, floor=False).y_hat == pytest.approx(-1.0)


def test_logs_that_end_below_the_offset_are_lifted_to_0() -> None:
    base = np.array([40.0])
    found = from_logs_of(np.array([[-9.0, 0.0, 0.0, 0.0]]), base, base)
    assert found.y_hat[0] == pytest.approx(0.0, abs=1e-12)


def test_mixed_contributions_are_the_mixture_of_forecasts() -> None:
    base = np.array([10.0, 10.0, 10.0])
    first = level_and_season(base, np.array([8.0, 9.0, 12.0]), np.array([7.0, 9.5, 20.0]))
    second = answered_by_fallback(base, np.array([30.0, np.inf, 40.0]))
    weight = np.array([0.5, 1.0, 0.0])
    found = averaged([(first, weight), (second, 1 - weight)])
    np.testing.assert_allclose(found.y_hat, [0.5 * 7 + 0.5 * 30, 9.5, 40.0])
    assert found.fallback.tolist() == [False, False, True]


# the base


def test_usual_sales_are_the_open_mean_of_the_last_year() -> None:
    panel = shops()
    y = np.full((16, 500), 7.0)
    y[:, 200:] = 3.0
    closed = np.zeros((16, 500 + H), dtype=bool)
    closed[:, 499], y[:, 499] = True, 100.0
    y[1, 200:] = np.nan
    y[2] = np.nan
    longer = replace(panel, y=y, closed=closed, known=())
    assert usual_sales(longer, np.array([0, 1, 2])).tolist() == [pytest.approx((64 * 7 + 299 * 3) / 363), 7.0, 0.0]


# groups


def plan_panel(**known: np.ndarray) -> Panel:
    """Two series with these known covariates, one past and one static column, opened as the column ``doors`` says."""
    spec = DatasetSpec(
        keys=("store",),
        time="date",
        target="sales",
        freq="D",
        horizon=7,
        static=("kind",),
        known=(*known,),
        past=(PastCovariate("temperature"),),
        open="doors" if "doors" in known else None,
    )
    y = np.random.default_rng(0).gamma(4, 5, (4, 400))
    series = shops().series[:4].rename({"item": "kind"})
    items = tuple(Covariate(name, values.astype(np.float32)) for name, values in known.items())
    past = Covariate("temperature", np.random.default_rng(1).random((4, 400)).astype(np.float32))
    return Panel(spec, series, 19000, y, np.zeros((4, 407), dtype=bool), items, (past,))


def alike(rng: np.random.Generator) -> np.ndarray:
    return np.repeat(rng.integers(0, 2, (1, 407)), 4, axis=0)


def test_known_columns_are_grouped_by_role_name_and_shape() -> None:
    rng = np.random.default_rng(0)
    apart = rng.integers(0, 2, (4, 407))
    names = {"doors": apart, "Promo2": alike(rng), "MarkDown4": apart, "unit_price": apart, "SchoolHoliday": apart}
    panel = plan_panel(**names, moon=alike(rng), staff=apart)
    assert covariate_groups(panel) == {
        "temperature": "weather/economy",
        "doors": "calendar",
        "Promo2": "promotion",
        "MarkDown4": "promotion",
        "unit_price": "price",
        "SchoolHoliday": "calendar",
        "moon": "calendar",
        "staff": "other",
    }


def test_features_are_grouped_as_they_are_declared() -> None:
    panel = plan_panel(promo=np.random.default_rng(0).integers(0, 2, (4, 407)))
    features = catalogue(panel, plan_features(panel, Space("log")))
    found = dict(zip([item.name for item in features], groups_of(features, panel), strict=True))
    assert set(found.values()) <= set(GROUPS) - {"closed", "fallback", "other"}
    of_promo = {name for name, group in found.items() if group == "promotion"}
    assert of_promo == {item.name for item in features if item.source == "promo"} != set()
    wanted = {
        "recent_28": "level",
        "zero_share": "level",
        "growth_own_91": "level",
        "weekday": "calendar",
        "year_own_0": "season",
        "cycle_7_1": "season",
        "static_kind": "store/series",
        "past_temperature": "weather/economy",
    }
    assert {name: found.get(name) for name in wanted} == wanted


# the usual future


def test_usual_is_the_most_frequent_flag_and_the_median_quantity_of_open_days() -> None:
    promo, price = np.zeros((4, 407)), np.full((4, 407), 5.0)
    promo[:, 300:] = 1.0  # 100 of the last 364 days
    promo[1] = 1.0
    price[:, ::9] = np.arange(407)[::9]
    promo[2, 400:] = np.nan
    panel = plan_panel(promo=promo, price=price)
    flags, prices = (item.values for item in usual_future(panel, np.arange(4), ["promo", "price"]))
    np.testing.assert_array_equal(flags[[0, 1, 3]], np.repeat([[0], [1], [0]], 7, axis=1))
    assert np.isnan(flags[2]).all()  # what is not known of the future stays unknown
    np.testing.assert_array_equal(prices, np.full((4, 7), 5.0))
    assert unusual(panel, np.array([1, 2])) == {"price": ("price",)}
    assert unusual(panel, np.array([0])) == {"promotion": ("promo",), "price": ("price",)}
    closed = panel.closed.copy()
    closed[0, :300] = True
    only_promoted = replace(panel, closed=closed)
    assert (usual_future(only_promoted, np.array([0]), ["promo"])[0].values == 1).all()


def test_a_column_without_a_past_is_usual_as_it_is_told() -> None:
    promo = np.full((4, 407), np.nan)
    promo[:, 400:] = 1.0
    assert unusual(plan_panel(promo=promo), np.arange(4)) == {}


# what a plan adds


def test_two_groups_get_their_shapley_values_and_three_add_up() -> None:
    rng = np.random.default_rng(0)
    for n in (1, 2, 3):
        order = tuple("abc"[:n])
        values = {}
        for mask in range(2**n):
            values[frozenset(name for i, name in enumerate(order) if mask >> i & 1)] = rng.uniform(1, 9, 5)
        found = _added(order, values[frozenset(order)], values[frozenset()], values.__getitem__)
        np.testing.assert_allclose(sum(found.values()), values[frozenset(order)] - values[frozenset()])
        if n == 2:
            ways = list(permutations(order))
            for name in order:
                gains = [
                    values[frozenset(way[: way.index(name) + 1])] - values[frozenset(way[: way.index(name)])]
                    for way in ways
                ]
                np.testing.assert_allclose(found[name], np.mean(gains, axis=0))


@pytest.mark.parametrize(("family", "error"), [("prophet", 0.02), ("boosting", 0.2), ("ensemble", 0.2)])
def test_a_promotion_that_doubles_sales_is_half_of_a_forecast(family: str, error: float) -> None:
    found, rows, steps = everything(family)
    promo = shops().known[0].values[rows, T - 1 + steps] == 1
    answered = found.y_hat > 1.0
    share = found.parts[:, PROMOTION] / np.where(answered, found.y_hat, 1.0)
    assert np.median(np.abs(share[promo & answered] - 0.5)) <= 0.5 * error
    assert np.median(np.abs(share[~promo & answered])) <= 0.05


def test_the_part_of_a_plan_is_the_difference_to_a_forecast_without_it() -> None:
    found, rows, steps = everything("boosting")
    panel = shops()
    values = panel.known[0].values.copy()
    values[:, T:] = 0.0  # off on most days of every series
    without = replace(panel, known=(replace(panel.known[0], values=values),))
    off = with_policies(without, model("boosting").predict(without, H)).y_hat[rows, steps - 1]
    np.testing.assert_allclose(found.y_hat - found.parts[:, PROMOTION], off, rtol=1e-9, atol=1e-9)
    assert "promo" in found.features.filter(group="promotion")["feature"].to_list()


# who says nothing, and what is refused


def test_an_explainer_answers_one_by_one_as_all_at_once() -> None:
    found, rows, steps = everything("prophet")
    explainer = Explainer(model("prophet"), shops())
    for i in (3, 40, 40):
        alone = explainer.explain(rows[i : i + 1], steps[i : i + 1])
        np.testing.assert_allclose(alone.parts[0], found.parts[i], rtol=1e-9, atol=1e-9)
        of_all = found.features.filter(row=i)
        assert alone.features["feature"].to_list() == of_all["feature"].to_list()
        sizes = np.abs(of_all["part"].to_numpy())
        assert (np.diff(sizes) <= 0).all()


def test_a_policy_is_a_fallback_and_a_closed_day_is_closed() -> None:
    y = shops().y.copy()
    y[0, :-4] = np.nan  # four days old
    y[1, -80:] = np.nan  # ended
    closed = shops().closed.copy()
    closed[2, T] = True
    panel = replace(shops(), y=y, closed=closed)
    found = explain(make("seasonal_naive").fit(panel, H), panel, np.array([0, 1, 2, 2]), np.array([1, 1, 1, 2]))
    assert found.reasons == ("fallback:short history", "fallback:ended", "closed", "")
    for i, group in enumerate(("fallback", "fallback", "closed")):
        assert found.parts[i, GROUPS.index(group)] == pytest.approx(found.y_hat[i] - found.base[i])
        assert found.features.filter(row=i)["group"].to_list() == [group]
    assert found.y_hat[1] == found.y_hat[2] == 0.0
    assert not found.parts[3, [GROUPS.index("closed"), GROUPS.index("fallback")]].any()


def test_nothing_asked_is_nothing_answered() -> None:
    found = explain(model("prophet"), shops(), np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64))
    assert found.parts.shape == (0, len(GROUPS)) and found.features.is_empty() and found.reasons == ()


@pytest.mark.parametrize(
    ("rows", "steps", "told"),
    [
        ([16], [1], "0 to 15"),
        ([-1], [1], "0 to 15"),
        ([0], [H + 1], "1 to 14"),
        ([0], [0], "1 to 14"),
        ([0, 1], [1], "same length"),
    ],
)
def test_what_cannot_be_explained_is_refused(rows: list[int], steps: list[int], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        explain(model("prophet"), shops(), np.array(rows), np.array(steps))
