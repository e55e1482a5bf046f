"""The gate for a fleet: every series' new version against its own champion and seasonal naive, all series at once.

The rule of `foretail.registry.gate`, with one addition: a version of the champion's own recipe is a refresh. It errs
as the champion does on every common window, by construction, and knows newer sales; so it need not be better, only
still better than seasonal naive. A champion of another recipe is scored anew on the windows of the candidate.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from foretail.backtest.result import NAIVE
from foretail.warehouse.versions import STATUSES

__all__ = [
    "FAILED",
    "FALLBACK",
    "NAIVE_RECIPE",
    "SKIPPED",
    "STALE",
    "TRAINED",
    "ZERO_RECIPE",
    "Evidence",
    "Verdicts",
    "judge",
]

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
ObjectArray = npt.NDArray[np.object_]

TRAINED, FALLBACK, FAILED, STALE, SKIPPED = STATUSES
NAIVE_RECIPE, ZERO_RECIPE = NAIVE, "zero"


@dataclass(frozen=True)
class Evidence:
    """What is known of N series.

    Attributes
    ----------
    recipe : that all of them were given.
    model, naive : ``[N]`` sums of absolute errors over the same cells. n_scored : ``[N]`` cells.
    wape, naive_wape : ``[N]`` the same as shares, for the words.
    champion_recipe : ``[N]`` of the version that answers now; None where there is none.
    champion : ``[N]`` sum of absolute errors of that recipe over the same cells; NaN where it is not known.
    gave_up : ``{row: why}`` the family left the series to a fallback. failed : ``{row: why}``.
    stale, skipped : ``{row: why}`` no model was wanted.
    """

    recipe: str
    model: FloatArray
    naive: FloatArray
    n_scored: FloatArray
    wape: FloatArray
    naive_wape: FloatArray
    champion_recipe: ObjectArray
    champion: FloatArray
    gave_up: Mapping[int, str]
    failed: Mapping[int, str]
    stale: Mapping[int, str]
    skipped: Mapping[int, str]


@dataclass(frozen=True)
class Verdicts:
    """What became of N series.

    Attributes
    ----------
    status : ``[N]`` of `foretail.warehouse.versions.STATUSES`.
    reason : ``[N]`` why it is not trained or not champion; None for nothing to say.
    recipe : ``[N]`` what the new version answers with: the recipe, ``seasonal_naive`` or ``zero``.
    is_champion : bool ``[N]`` the new version is the one that answers.
    """

    status: ObjectArray
    reason: ObjectArray
    recipe: ObjectArray
    is_champion: BoolArray


def judge(evidence: Evidence) -> Verdicts:
    """Status, reason and title of every series' new version.

    A model that is no better than seasonal naive on its windows, or has none, gives way to it: a fallback. A failed
    version never becomes champion; one that says that a series has ended always does.
    """
    n = len(evidence.model)
    status, reason, recipe = _filled(n, TRAINED), _filled(n, None), _filled(n, evidence.recipe)
    unmeasured = evidence.n_scored == 0
    worse = ~unmeasured & ~(evidence.model < evidence.naive)
    status[unmeasured | worse], recipe[unmeasured | worse] = FALLBACK, NAIVE_RECIPE
    reason[unmeasured] = "no window to measure it on"
    reason[worse] = [_no_better(evidence, row) for row in np.flatnonzero(worse).tolist()]
    for found, name, answer in (
        (evidence.gave_up, FALLBACK, NAIVE_RECIPE),
        (evidence.failed, FAILED, NAIVE_RECIPE),
        (evidence.stale, STALE, ZERO_RECIPE),
        (evidence.skipped, SKIPPED, ZERO_RECIPE),
    ):
        rows = np.fromiter(found, dtype=np.int64, count=len(found))
        status[rows], recipe[rows], reason[rows] = name, answer, list(found.values())
    return _crowned(evidence, status, reason, recipe)


def _crowned(evidence: Evidence, status: ObjectArray, reason: ObjectArray, recipe: ObjectArray) -> Verdicts:
    has_champion = np.array([name is not None for name in evidence.champion_recipe], dtype=np.bool_)
    is_refresh = np.equal(evidence.champion_recipe, recipe).astype(np.bool_)
    own = np.where(np.equal(recipe, NAIVE_RECIPE), evidence.naive, evidence.model)
    is_better = (evidence.n_scored > 0) & (own < evidence.champion)
    is_fact = np.equal(recipe, ZERO_RECIPE).astype(np.bool_)
    # where the champion says that the series has ended and it has not, any answer is better
    was_over = np.equal(evidence.champion_recipe, ZERO_RECIPE).astype(np.bool_)
    is_champion = ~has_champion | is_refresh | is_better | is_fact | was_over
    is_champion &= ~np.equal(status, FAILED).astype(np.bool_)
    refused = ~is_champion & ~np.equal(status, FAILED).astype(np.bool_)
    reason[refused] = [_refused(evidence, row, reason[row]) for row in np.flatnonzero(refused).tolist()]
    return Verdicts(status, reason, recipe, is_champion)


def _no_better(evidence: Evidence, row: int) -> str:
    ours, theirs = evidence.wape[row], evidence.naive_wape[row]
    figures = f": WAPE {ours:.3f}, {theirs:.3f}" if np.isfinite(ours) and np.isfinite(theirs) else ""
    return f"no better than seasonal naive{figures}"


def _refused(evidence: Evidence, row: int, before: object) -> str:
    said = f"no better than the champion ({evidence.champion_recipe[row]})"
    return f"{before}; {said}" if before else said


def _filled(n: int, value: object) -> ObjectArray:
    filled = np.empty(n, dtype=np.object_)
    filled[:] = value
    return filled
