"""The gate of a fleet says of every series what the gate of one model says, and what it adds to it."""

from __future__ import annotations

import numpy as np
import pytest

from foretail.registry.fleet_gate import Evidence, judge
from foretail.registry.gate import Contender, decide


def evidence(n: int, **given) -> Evidence:
    none = np.empty(n, dtype=object)
    base = {
        "recipe": "prophet@120d",
        "model": np.full(n, 1.0),
        "naive": np.full(n, 2.0),
        "n_scored": np.full(n, 35.0),
        "wape": np.full(n, 0.1),
        "naive_wape": np.full(n, 0.2),
        "champion_recipe": none,
        "champion": np.full(n, np.nan),
        "gave_up": {},
        "failed": {},
        "stale": {},
        "skipped": {},
    }
    return Evidence(**{**base, **given})


def recipes(*names):
    values = np.empty(len(names), dtype=object)
    values[:] = names
    return values


def test_it_is_the_rule_of_the_gate_of_one_model():
    rng = np.random.default_rng(3)
    n = 300
    model, naive, champion = (rng.integers(1, 5, n).astype(float) for _ in range(3))
    held = recipes(*(None if i % 3 == 0 else "theta@120d" for i in range(n)))
    verdicts = judge(
        evidence(n, model=model, naive=naive, champion_recipe=held, champion=np.where(held == None, np.nan, champion))  # noqa: E711
    )
    for i in range(n):
        better = model[i] < naive[i]
        name = "prophet" if better else "seasonal_naive"
        own = Contender("new", name, "d", 7, {"w": min(model[i], naive[i])})
        old = None if held[i] is None else Contender("old", "theta", "d", 7, {"w": champion[i]})
        expected = decide(own, old, Contender("naive", "seasonal_naive", "d", 7, {"w": naive[i]}))
        assert bool(verdicts.is_champion[i]) == expected.allowed
        assert verdicts.status[i] == ("trained" if better else "fallback")


def test_a_version_of_the_champions_own_recipe_is_a_refresh():
    verdicts = judge(evidence(2, champion_recipe=recipes("prophet@120d", "theta@120d"), champion=np.array([1.0, 1.0])))
    assert verdicts.is_champion.tolist() == [True, False]
    assert verdicts.reason[0] is None and "no better than the champion (theta@120d)" in verdicts.reason[1]


def test_a_model_no_better_than_seasonal_naive_gives_way_to_it():
    verdicts = judge(evidence(2, model=np.array([2.0, 3.0])))
    assert verdicts.status.tolist() == ["fallback"] * 2 and verdicts.recipe.tolist() == ["seasonal_naive"] * 2
    assert verdicts.is_champion.all()
    assert verdicts.reason[0] == "no better than seasonal naive: WAPE 0.100, 0.200"


@pytest.mark.parametrize("held", [None, "prophet@120d", "seasonal_naive", "zero"])
def test_a_failed_version_is_never_champion(held):
    verdicts = judge(evidence(1, failed={0: "the worker died"}, champion_recipe=recipes(held)))
    assert verdicts.status[0] == "failed" and verdicts.reason[0] == "the worker died" and not verdicts.is_champion[0]


def test_what_ended_says_so_and_what_comes_back_is_answered():
    over = judge(evidence(1, stale={0: "nothing sold since May"}, champion_recipe=recipes("prophet@120d")))
    assert (over.status[0], over.recipe[0], bool(over.is_champion[0])) == ("stale", "zero", True)
    back = judge(evidence(1, champion_recipe=recipes("zero")))
    assert (back.status[0], bool(back.is_champion[0])) == ("trained", True)


def test_without_a_window_nothing_is_known():
    verdicts = judge(
        evidence(
            2, n_scored=np.zeros(2), model=np.zeros(2), naive=np.zeros(2), champion_recipe=recipes(None, "theta@120d")
        )
    )
    assert verdicts.status.tolist() == ["fallback", "fallback"]
    assert verdicts.is_champion.tolist() == [True, False]
    assert verdicts.reason[0] == "no window to measure it on"
