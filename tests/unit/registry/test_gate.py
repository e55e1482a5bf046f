"""The gate lets nothing pass that is not better on the same windows."""

from __future__ import annotations

import math
import re

from hypothesis import given
from hypothesis import strategies as st

from foretail.registry.gate import Contender, decide

SALES = "sales: units by store, daily"


def contender(
    model: str, *wapes: float, first: int = 0, naive: float | None = None, dataset: str = SALES, horizon: int = 7
):
    windows = {f"2024-01-{first + i + 1:02d}+7": wape for i, wape in enumerate(wapes)}
    return Contender(model, model, dataset, horizon, windows, {} if naive is None else dict.fromkeys(windows, naive))


NAIVE = contender("seasonal_naive", 0.3, 0.3)


def test_a_first_version_must_beat_seasonal_naive() -> None:
    assert decide(contender("boosting", 0.2, 0.3), None, NAIVE).allowed
    decision = decide(contender("boosting", 0.2, 0.4), None, NAIVE)
    assert not decision.allowed and "seasonal naive" in decision.reason
    assert decision.table[0].n_windows == 2 and not decision.table[0].is_better


def test_better_than_champion_but_not_than_naive_is_refused() -> None:
    assert not decide(contender("boosting", 0.35, 0.35), contender("drift", 0.5, 0.5), NAIVE).allowed


def test_better_than_naive_but_not_than_champion_is_refused() -> None:
    decision = decide(contender("boosting", 0.2, 0.2), contender("theta", 0.1, 0.1), NAIVE)
    assert not decision.allowed and "champion" in decision.reason
    assert [row.against for row in decision.table] == ["seasonal naive", "champion"]


def test_the_same_scores_again_are_no_better() -> None:
    same = contender("boosting", 0.2, 0.2)
    assert not decide(same, same, NAIVE).allowed


def test_only_common_windows_count() -> None:
    """Over all its windows the champion looks better; on the one they share it is not."""
    champion = contender("theta", 0.25, 0.01, 0.01, first=1)
    decision = decide(contender("boosting", 0.29, 0.2), champion, NAIVE)
    assert decision.allowed
    assert (decision.table[1].n_windows, decision.table[1].candidate, decision.table[1].other) == (1, 0.2, 0.25)


def test_no_common_window_asks_for_a_new_score() -> None:
    champion = contender("theta", 0.9, 0.9, first=10)
    decision = decide(contender("boosting", 0.2, 0.2), champion, NAIVE)
    assert not decision.allowed and "score the champion" in decision.reason
    assert decision.table[1].n_windows == 0
    rescored = contender("theta", 0.25, 0.25)
    assert decide(contender("boosting", 0.2, 0.2), rescored, NAIVE).allowed


def test_the_same_dates_on_other_data_are_no_common_window() -> None:
    """Seasonal naive scored otherwise in the champion's run: fewer series, or restated sales."""
    candidate = contender("boosting", 0.2, 0.2, naive=0.3)
    assert decide(candidate, contender("theta", 0.25, 0.25, naive=0.3), NAIVE).allowed
    assert not decide(candidate, contender("theta", 0.25, 0.25, naive=0.7), NAIVE).allowed


def test_a_champion_of_another_question_is_replaced_with_a_reason() -> None:
    candidate = contender("boosting", 0.2, 0.2)
    longer = decide(candidate, contender("theta", 0.1, 0.1, horizon=28), NAIVE)
    assert longer.allowed and "28 steps, not 7" in longer.reason
    other = decide(candidate, contender("theta", 0.1, 0.1, dataset="others"), NAIVE)
    assert other.allowed and "others" in other.reason
    assert not decide(contender("boosting", 0.4, 0.4), contender("theta", 0.1, horizon=28), NAIVE).allowed


def test_seasonal_naive_itself_may_be_the_first_champion_but_not_replace_a_better_one() -> None:
    first = decide(NAIVE, None, NAIVE)
    assert first.allowed and "nothing beat seasonal naive" in first.reason
    assert not decide(NAIVE, contender("boosting", 0.2, 0.2), NAIVE).allowed
    assert decide(NAIVE, contender("boosting", 0.4, 0.4), NAIVE).allowed
    assert not decide(NAIVE, NAIVE, NAIVE).allowed


def test_windows_without_a_score_do_not_count() -> None:
    decision = decide(contender("boosting", 0.2, math.nan), None, NAIVE)
    assert decision.allowed and decision.table[0].n_windows == 1
    assert not decide(contender("boosting", math.nan, math.nan), None, NAIVE).allowed
    assert not decide(contender("boosting"), None, NAIVE).allowed


def test_the_table_reads_well() -> None:
    text = decide(contender("boosting", 0.2, 0.2), contender("theta", 0.1, 0.1), NAIVE).to_text()
    assert text.startswith("refused: the candidate is no better than the champion\n")
    lines = text.splitlines()[1:]
    assert len(lines) == 3
    assert re.fullmatch(r"champion +theta +2 +0\.2000 +0\.1000 +no", lines[2])
    assert len({line.index(word) for line, word in zip(lines[1:], ["yes", " no"], strict=True)}) == 1


scores = st.dictionaries(st.integers(1, 5), st.one_of(st.floats(0, 2), st.just(math.nan)), max_size=5)


@given(scores, st.none() | scores, scores)
def test_allowed_means_better_on_shared_windows(mine: dict, theirs: dict | None, naive: dict) -> None:
    def made(model: str, wape: dict) -> Contender:
        return Contender(model, model, SALES, 7, {str(key): value for key, value in wape.items()})

    decision = decide(made("a", mine), None if theirs is None else made("b", theirs), made("seasonal_naive", naive))

    def is_better(other: dict) -> bool:
        shared = [key for key in mine if math.isfinite(mine[key]) and math.isfinite(other.get(key, math.nan))]
        ours, others = (math.fsum(wape[key] for key in shared) / max(1, len(shared)) for wape in (mine, other))
        return bool(shared) and ours < others

    assert decision.allowed == (is_better(naive) and (theirs is None or is_better(theirs)))
    assert decision.reason and decision.to_text()
