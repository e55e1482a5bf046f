"""The stability index against a plain loop, and what chance does to it."""

from __future__ import annotations

import math

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foretail.features.guards.drift import bin_counts, chance, psi

VALUES = st.lists(st.integers(-3, 12).map(lambda value: value / 2), min_size=1, max_size=80)


def tenth_edges(first: list[float]) -> list[float]:
    """The upper edges, by sorting and counting."""
    ordered = sorted(first)
    tenths = {ordered[(len(ordered) - 1) * i // 10] for i in range(1, 10)}
    return sorted(edge for edge in tenths if edge < max(ordered))


def slow_psi(first: list[float], other: list[float]) -> float:
    edges = tenth_edges(first)
    total = 0.0
    for i in range(len(edges) + 1):
        low = edges[i - 1] if i else -math.inf
        high = edges[i] if i < len(edges) else math.inf
        p, q = (
            (sum(low < value <= high for value in values) + 0.5) / (len(values) + 0.5 * (len(edges) + 1))
            for values in (first, other)
        )
        total += (q - p) * math.log(q / p)
    return total


@given(VALUES, VALUES)
def test_the_index_is_that_of_the_loop(first: list[float], other: list[float]) -> None:
    assert psi(pl.Series(first), pl.Series(other)) == pytest.approx(slow_psi(first, other), abs=1e-12)


@given(VALUES)
def test_a_sample_does_not_drift_from_itself_nor_from_itself_in_another_order(values: list[float]) -> None:
    assert psi(pl.Series(values), pl.Series(values[::-1])) == 0.0


def test_text_and_truth_are_bins_of_their_own() -> None:
    first, other = pl.Series(["a"] * 6 + ["b"] * 4), pl.Series(["a"] * 2 + ["c"] * 8)
    p, q = np.array([6.5, 4.5, 0.5]) / 11.5, np.array([2.5, 0.5, 8.5]) / 11.5
    assert psi(first, other) == pytest.approx(float(np.sum((q - p) * np.log(q / p))))
    assert psi(pl.Series([True, False] * 5), pl.Series([True] * 9 + [False])) > 0.25


def test_without_values_there_is_no_index() -> None:
    assert math.isnan(psi(pl.Series([], dtype=pl.Float64), pl.Series([1.0])))
    assert math.isnan(psi(pl.Series([1.0]), pl.Series([], dtype=pl.Float64)))


def test_chance_is_exceeded_about_once_in_a_thousand() -> None:
    rng = np.random.default_rng(3)
    n, m, rounds = 400, 150, 1000
    limit = chance(n, m, 10)
    beyond = sum(psi(pl.Series(rng.normal(size=n)), pl.Series(rng.normal(size=m))) > limit for _ in range(rounds))
    assert beyond <= 5
    moved = psi(pl.Series(rng.normal(size=n)), pl.Series(rng.normal(1.0, size=m)))
    assert moved > limit


def test_large_first_samples_give_the_same_edges_each_time() -> None:
    values = pl.Series(np.random.default_rng(1).normal(size=300_000))
    first, second = bin_counts(values, values), bin_counts(values, values)
    assert (first[0] == second[0]).all()
    assert first[0].sum() == 300_000
    assert (np.abs(first[0] / 300_000 - 0.1) < 0.01).all()
