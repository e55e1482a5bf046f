"""Tables and JSON on stdout."""

import json
import math
from dataclasses import replace
from datetime import date

import pytest

from foretail.backtest.result import Leaderboard, LeaderboardRow, Scores, Window
from foretail.cli.show import show_json, text_table
from foretail.report.text import leaderboard_text

NAN = float("nan")
GOOD = Scores(0.1, -0.01, 0.8, 0.9, 0.07, 0.81, 0.94, 0.25)
POINT = Scores(0.2, 0.05, 1.1, 1.2, NAN, NAN, NAN, 0.0)
BOARD = Leaderboard(
    (
        LeaderboardRow("boosting", GOOD, 0.11, {"2024-01-31": GOOD}, 12.34, {"too short": 3}, chosen=True),
        LeaderboardRow("seasonal_naive", POINT, 0.2, {"2024-01-31": POINT}, 0.05),
    ),
    (Window(100, 28, "outer", "2024-01-31"),),
)


def test_columns_are_aligned_numbers_to_the_right():
    assert text_table(("name", "n"), [("a", 5), ("bcdef", 1234)]) == "name      n\na         5\nbcdef  1234"


def test_missing_numbers_are_dashes():
    assert text_table(("x",), [(None,), (NAN,), (0.5,)]).split("\n")[1:] == ["     -", "     -", "0.5000"]


def test_a_model_that_exploded_does_not_widen_its_column():
    assert text_table(("x",), [(4.3617e132,), (-2e19,), (1430.0,)]).split("\n")[1:] == [
        "4.362e+132",
        "    -2e+19",
        " 1430.0000",
    ]


def test_a_table_without_rows_is_its_header():
    assert text_table(("a", "b"), []) == "a  b"


def test_json_has_no_nan(capsys):
    show_json({"a": math.inf, "b": [NAN, 1.5], "c": date(2024, 1, 31), 4: ("é",)})
    out = capsys.readouterr().out
    assert json.loads(out) == {"a": None, "b": [None, 1.5], "c": "2024-01-31", "4": ["é"]}
    assert "é" in out


def test_the_leaderboard_verb_reads_what_a_run_wrote(foretail, elsewhere):
    folder = elsewhere / "out"
    folder.mkdir()
    (folder / "leaderboard.json").write_text(json.dumps(BOARD.to_dict()))
    shown = foretail("leaderboard", folder)
    assert shown.exit_code == 0
    assert shown.stdout == leaderboard_text(BOARD) + "\n"
    assert shown.stderr.startswith("next: ")
    as_json = foretail("leaderboard", folder / "leaderboard.json", "--json")
    assert json.loads(as_json.stdout) == json.loads(json.dumps(BOARD.to_dict()))


@pytest.mark.parametrize(
    ("model", "asked"),
    [("boosting", "--models boosting to"), ("tsb[alpha_demand=0.2]", "--models 'tsb[alpha_demand=0.2]' to")],
)
def test_the_next_command_asks_for_the_best_family_and_never_for_ensemble(foretail, elsewhere, model, asked):
    rows = (replace(BOARD.rows[0], model="ensemble"), replace(BOARD.rows[1], model=model), BOARD.rows[1])
    (elsewhere / "leaderboard.json").write_text(json.dumps(replace(BOARD, rows=rows).to_dict()))
    shown = foretail("leaderboard", ".")
    assert shown.exit_code == 0
    assert asked in shown.stderr


def test_an_ensemble_of_nothing_is_refused_before_the_table_is_read(foretail, elsewhere):
    refused = foretail("run", "nowhere.csv", "--models", "ensemble")
    assert refused.exit_code == 2
    assert "mixed from other families, and none is named" in refused.stderr
    assert "fix:   --models auto" in refused.stderr


def test_no_leaderboard_and_a_broken_one_are_told(foretail, elsewhere):
    missing = foretail("leaderboard")
    assert missing.exit_code == 2
    assert "there is no leaderboard" in missing.stderr
    (elsewhere / "leaderboard.json").write_text('{"rows": [')
    broken = foretail("leaderboard", ".")
    assert broken.exit_code == 2
    assert "not a leaderboard" in broken.stderr
    (elsewhere / "leaderboard.json").write_text('{"rows": [{}], "windows": []}')
    assert "not a leaderboard" in foretail("leaderboard", ".").stderr
