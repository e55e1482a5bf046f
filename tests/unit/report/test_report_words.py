"""Sentences, numbers and the terminal's table."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from foretail.backtest.result import Leaderboard, LeaderboardRow, Scores
from foretail.report.data import ReportData
from foretail.report.story import trust, write_story
from foretail.report.text import leaderboard_text
from foretail.report.wording import amount, decimal, duration, memory, percent, plural, signed_percent

NAN = math.nan


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (amount(950.5), "950.5"),
        (amount(12345.4, "EUR"), "12,345 EUR"),
        (amount(47_230_000, "EUR"), "47.2 million EUR"),
        (amount(-2.5e9), "-2.5 billion"),
        (amount(0), "0"),
        (amount(None), "–"),
        (percent(0.0912), "9.1 %"),
        (percent(-0.0001), "0.0 %"),
        (percent(NAN), "–"),
        (signed_percent(0.0123), "+1.2 %"),
        (signed_percent(-0.0123), "−1.2 %"),
        (signed_percent(-0.00001), "0.0 %"),
        (decimal(-1234.5678, 2), "−1,234.57"),
        (duration(0.42), "0.4 s"),
        (duration(59.7), "1 min 00 s"),
        (duration(125), "2 min 05 s"),
        (memory(512), "512 MiB"),
        (memory(1434), "1.4 GiB"),
        (plural(1, "day"), "1 day"),
        (plural(1200, "day"), "1,200 days"),
        (plural(3, "series"), "3 series"),
    ],
)
def test_numbers_read_well(text: str, expected: str) -> None:
    assert text.replace("\u00a0", " ") == expected


def board() -> Leaderboard:
    def row(model: str, *values: float, **more: object) -> LeaderboardRow:
        return LeaderboardRow(model, Scores(*values), 0.1, **more)  # type: ignore[arg-type]

    return Leaderboard(
        (
            row("boosting", 0.091, -0.004, 0.71, 0.682, 0.0612, 0.79, 0.94, 0.301, 0.512, seconds=61.24, chosen=True),
            row(
                "theta",
                0.1104,
                0.02,
                0.8,
                0.75,
                0.08,
                0.7,
                0.9,
                0.15,
                0.7,
                seconds=9.0,
                failures={"short": 1200, "x": 1},
            ),
            row("seasonal_naive", 0.13, 0.0, 0.95, 1.0, NAN, NAN, NAN, 0.0, seconds=0.04),
        ),
        (),
    )


def test_the_leaderboard_is_an_aligned_table() -> None:
    assert leaderboard_text(board()).splitlines() == [
        "  model             WAPE    bias   MASE  RMSSE     WQL  cov 80  cov 95  IS 95    skill  seconds  failures",
        "  --------------  ------  ------  -----  -----  ------  ------  ------  -----  -------  -------  --------",
        "* boosting         9.1 %  -0.4 %  0.710  0.682  0.0612    79 %    94 %  0.512  +30.1 %     61.2         0",
        "  theta           11.0 %  +2.0 %  0.800  0.750  0.0800    70 %    90 %  0.700  +15.0 %      9.0     1,201",
        "  seasonal_naive  13.0 %   0.0 %  0.950  1.000       -       -       -      -    0.0 %      0.0         0",
    ]


def test_a_model_name_cannot_steer_the_terminal() -> None:
    rows = board().rows
    text = leaderboard_text(Leaderboard((replace(rows[0], model="a\x1b[31m\nb"),), ()))
    assert "\x1b" not in text
    assert len(text.splitlines()) == 3


@pytest.mark.parametrize(
    ("coverage", "n", "words"),
    [
        (0.8, 500, "about as often as promised"),
        (0.765, 500, "about as often as promised"),
        (0.7, 500, "less often than promised"),
        (0.93, 500, "more often than promised"),
        (NAN, 500, "no measured 80 % ranges"),
        (0.8, 12, "Only 12 outcomes"),
    ],
)
def test_trust_follows_what_was_measured(coverage: float, n: int, words: str) -> None:
    assert words in trust(coverage, 0.95, n).replace("\u00a0", " ")


def test_the_story_sets_the_model_against_seasonal_naive(run: ReportData) -> None:
    story = write_story(run, run.backtest.height)
    good = dict(story.answers)["How good is it?"].replace("\u00a0", " ")
    assert good.startswith("Tested on 3 past periods that the model had not seen, the forecasts missed by ")
    assert f"repeating the last season misses by {100 * run.baseline.scores.wape:.1f} %" in good  # type: ignore[union-attr]


def test_seasonal_naive_in_use_is_said_plainly(run: ReportData) -> None:
    rows = (replace(run.leaderboard.rows[0], chosen=False), replace(run.leaderboard.rows[1], chosen=True))
    story = write_story(replace(run, leaderboard=Leaderboard(rows, ()), summary={}), 500)
    answers = dict(story.answers)
    assert answers["Which model?"].startswith("Seasonal naive: nothing that was tried beat")
    assert "repeating the last season misses" not in answers["How good is it?"]
    assert story.facts[2].value.replace("\u00a0", " ") == "0.0 %"


def test_the_sign_of_the_bias_is_told_in_words(run: ReportData) -> None:
    scores = run.chosen.scores
    for bias, words in ((0.031, "ran 3.1 % too high"), (-0.031, "ran 3.1 % too low"), (0.001, "neither high nor low")):
        row = replace(run.chosen, scores=replace(scores, bias=bias))
        story = write_story(replace(run, leaderboard=Leaderboard((row,), ())), 500)
        assert words in dict(story.answers)["How good is it?"].replace("\u00a0", " ")
