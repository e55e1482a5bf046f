"""foretail explain: a sentence, a waterfall that adds up, all of it as JSON, and what it refuses."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from foretail.core.spec import DatasetSpec
from foretail.models.families import make
from foretail.panel.panel import Covariate, Panel
from foretail.registry.bundle import write_bundle
from version_maker import version_of

H, T = 7, 120


def panel():
    """Two shops whose sales double on promotion; the second day of the horizon is promoted, the third is closed."""
    rng = np.random.default_rng(0)
    promo = (rng.random((2, T + H)) < 0.3).astype(np.float32)
    promo[:, T:] = 0.0
    promo[:, T + 1] = 1.0
    closed = np.zeros((2, T + H), dtype=bool)
    closed[:, T + 2] = True
    spec = DatasetSpec(("shop", "item"), "day", "units", "D", H, unit="pieces", known=("promo",))
    series = pl.DataFrame({"unique_id": ["1/a", "2/a"], "shop": [1, 2], "item": ["a", "a"]})
    y = np.array([[40.0], [90.0]]) * (1 + promo[:, :T]) * rng.lognormal(0, 0.02, (2, T))
    start = int(spec.frequency.to_index(np.array("2024-01-01", dtype="datetime64[D]")))
    return Panel(spec, series, start, y, closed, (Covariate("promo", promo),))


def bundle_of(folder, sales):
    """A version of Prophet on these sales."""
    write_bundle(folder, version_of(sales, "prophet", make("prophet").fit(sales, H), H, (0.1, 0.9)))
    return folder


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return bundle_of(tmp_path_factory.mktemp("version") / "sales-1", panel())


def test_a_promoted_day_in_words_and_numbers(foretail, bundle):
    answer = foretail("explain", bundle, "--shop", "1", "--item=a", "--date", "2024-05-01")
    assert answer.exit_code == 0, answer.stderr
    sentence, _, *table = answer.stdout.splitlines()
    assert sentence.startswith("shop 1, item a on 2024-05-01: ")
    assert "pieces forecast" in sentence and "promotion +" in sentence
    rows = [line.rsplit(maxsplit=2) for line in table[1 : table.index("")]]
    assert rows[0][0] == "usual sales" and rows[-1][0] == "forecast"
    parts = np.array([float(part) for _, part, _ in rows])
    totals = np.array([float(total) for _, _, total in rows])
    np.testing.assert_allclose(np.cumsum(parts[:-1]), totals[:-1], atol=1e-3)
    assert totals[-2] == pytest.approx(totals[-1], abs=1e-3)
    assert answer.stderr.splitlines()[-1].startswith("next: ")


def test_json_holds_all_of_it(foretail, bundle):
    told = json.loads(foretail("explain", bundle, "--shop", 2, "--item", "a", "--date", "2024-05-01", "--json").stdout)
    assert told["keys"] == {"shop": 2, "item": "a"}
    assert (told["ds"], told["step"], told["cutoff"], told["source"]) == ("2024-05-01", 2, "2024-04-29", "model")
    assert told["base"] + sum(told["parts"].values()) == pytest.approx(told["y_hat"], rel=1e-6)
    assert sum(item["part"] for item in told["features"]) == pytest.approx(told["y_hat"] - told["base"], rel=1e-6)
    assert told["parts"]["promotion"] == pytest.approx(told["y_hat"] / 2, rel=0.05)
    assert told["sentence"].endswith(".")


def test_the_first_date_is_explained_when_none_is_given_and_a_closed_one_is_closed(foretail, bundle):
    first = json.loads(foretail("explain", bundle, "--shop", 1, "--item", "a", "--json").stdout)
    assert (first["ds"], first["step"], first["parts"]["promotion"]) == ("2024-04-30", 1, 0.0)
    closed = foretail("explain", bundle, "--shop", 1, "--item", "a", "--date", "2024-05-02")
    assert "it is closed" in closed.stdout.splitlines()[0]


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (("--shop", "1"), 2, "item is not given"),
        (("--shop", "1", "--item", "a", "--colour", "red"), 2, "'colour' is no key column"),
        (("--shop", "9", "--item", "a"), 3, "no series with these keys"),
        (("--shop", "1", "--item", "a", "--date", "2024-04-29"), 2, "from 2024-04-30 to 2024-05-06"),
        (("--shop",), 2, "not a key with its value"),
    ],
)
def test_what_cannot_be_explained_says_what_to_do(foretail, bundle, words, code, told):
    answer = foretail("explain", bundle, *words)
    assert answer.exit_code == code
    assert told in answer.stderr
    assert "fix:" in answer.stderr


def test_a_fallback_is_told_and_not_explained_away(foretail, tmp_path):
    sales = panel()
    y = sales.y.copy()
    y[1, : T - 5] = np.nan  # five days old
    folder = bundle_of(tmp_path / "sales-2", replace(sales, y=y))
    answer = foretail("explain", folder, "--shop", 2, "--item", "a", "--json")
    assert answer.exit_code == 0, answer.stderr
    told = json.loads(answer.stdout)
    assert told["source"] == "fallback:too short for prophet"
    assert "no explanation, as too short for prophet made a fallback answer" in told["sentence"]
    assert {name for name, part in told["parts"].items() if part} == {"fallback"}
