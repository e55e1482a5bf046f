"""What trees are shown: not the year before, while only the newest dates know it."""

from __future__ import annotations

import numpy as np
import pytest

from foretail.core.frequency import Frequency
from foretail.features.catalogue import Feature
from foretail.features.frame import Rows
from foretail.models.sample import row_weights, with_base, young_features

NAMES = ("aligned", "year_own_0", "distance", "recent_7")
DAYS, WEEKS = Frequency("D"), Frequency("W-SUN")


def rows_of(known_from: int, n: int = 1000) -> Rows:
    """One row a day, of which the last know the year before; every third row has no distance."""
    x = np.random.default_rng(0).normal(0, 1, (n, 4)).astype(np.float32)
    x[:known_from, :2] = np.nan
    x[::3, 2] = np.nan
    features = tuple(Feature(name, "as_of", name, lambda asof: asof.unit) for name in NAMES)
    zeros, ones = np.zeros(n, dtype=np.int64), np.ones(n)
    return Rows(features, x, zeros, zeros + 1, np.arange(n) // 100, 0 * ones, ones, ones, x[:, 3].astype(np.float64))


@pytest.mark.parametrize(("known_from", "hidden"), [(900, NAMES[:2]), (700, NAMES[:2]), (600, ()), (0, ())])
def test_what_only_the_newest_dates_know_is_hidden(known_from: int, hidden: tuple[str, ...]) -> None:
    rows = rows_of(known_from)
    assert young_features(rows, DAYS) == hidden
    assert young_features(rows, WEEKS) == ()
    x = with_base(rows, np.zeros(len(rows)), hidden)
    assert np.isnan(x[:, [NAMES.index(name) for name in hidden]]).all()
    np.testing.assert_array_equal(x[:, 2:4], rows.x[:, 2:])


def test_rows_that_know_the_year_count_more_unless_it_is_hidden() -> None:
    rows = rows_of(900)
    weight = row_weights(rows, 1001, np.inf)
    assert weight[950] == pytest.approx(5 * weight[10])
    assert row_weights(rows, 1001, np.inf, ("aligned",)) == pytest.approx(np.ones(1000))
