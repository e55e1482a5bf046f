"""How the texts of options are read, and which options the main job has."""

import datetime as dt

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foretail.cli.main import cli
from foretail.cli.options import age, comma_list, day, duration, named_list, quantile_levels, request_from


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 90),
        ("10m", 600),
        ("1h", 3600),
        ("1h30m", 5400),
        ("45", 45),
        ("0.5h", 1800),
        ("1H2M3S", 3723),
        (" 5m ", 300),
    ],
)
def test_durations(text, seconds):
    assert duration(text) == seconds


@pytest.mark.parametrize("text", ["", "0", "0s", "ten", "10x", "-5m", "m", "10 m 5"])
def test_what_is_no_duration_is_refused_with_an_example(text):
    with pytest.raises(click.BadParameter, match="1h30m"):
        duration(text)


@given(st.integers(0, 99), st.integers(0, 99), st.integers(1, 99))
def test_parts_of_a_duration_add_up(hours, minutes, seconds):
    assert duration(f"{hours}h{minutes}m{seconds}s") == 3600 * hours + 60 * minutes + seconds


@pytest.mark.parametrize(("text", "hours"), [("8d", 192), ("36h", 36), ("1d12h", 36), ("2", 48), (" 0.5D ", 12)])
def test_ages(text, hours):
    assert age(text) == dt.timedelta(hours=hours)


@pytest.mark.parametrize("text", ["", "old", "8w", "-1d", "12h1d"])
def test_what_is_no_age_is_refused_with_an_example(text):
    with pytest.raises(click.BadParameter, match="1d12h"):
        age(text)


def test_named_values_are_read_in_their_order():
    assert list(named_list("train=0.7, test = 0.3").items()) == [("train", "0.7"), ("test", "0.3")]


@pytest.mark.parametrize("text", ["", "train", "train=", "=0.7", "train=0.7,train=0.3"])
def test_what_is_no_list_of_named_values_is_refused_with_an_example(text):
    with pytest.raises(click.BadParameter, match=r"train=0\.7,validation=0\.3"):
        named_list(text)


def test_lists_are_split_and_stripped():
    assert comma_list("store_id, dept_id,") == ("store_id", "dept_id")
    assert comma_list("") == ()


def test_quantiles_are_sorted_and_checked(foretail):
    assert quantile_levels("0.9, 0.1,0.5") == (0.1, 0.5, 0.9)
    for text, told in (("0.5,1.5", "strictly between 0 and 1"), ("a,b", "no list of numbers")):
        result = foretail("run", "x.csv", "--quantiles", text)
        assert result.exit_code == 2
        assert told in result.stderr


def test_days_are_iso_dates(foretail):
    assert day("2012-10-26") == dt.date(2012, 10, 26)
    result = foretail("run", "x.csv", "--cutoff", "26.10.2012")
    assert result.exit_code == 2
    assert "'26.10.2012' is no date" in result.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("run",),
        ("run", "x.csv", "--horizon", "0"),
        ("run", "x.csv", "--horizon", "many"),
        ("run", "x.csv", "--workers", "-1"),
        ("run", "x.csv", "--seed", "x"),
        ("run", "x.csv", "--budget", "soon"),
        ("check", "x.csv", "y.csv"),
        ("models", "promote"),
    ],
)
def test_bad_usage_is_exit_2_with_nothing_on_stdout(foretail, elsewhere, arguments):
    result = foretail(*arguments)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert "Error" in result.stderr
    assert not any(elsewhere.iterdir())


def test_out_that_is_a_file_is_refused(foretail, elsewhere):
    (elsewhere / "taken").write_text("")
    result = foretail("run", "x.csv", "--out", "taken")
    assert result.exit_code == 2
    assert "'taken' is a file" in result.stderr


def test_run_has_exactly_these_options():
    run = cli.get_command(click.Context(cli), "run")
    assert {option for item in run.params for option in item.opts} == {
        "table", "--keys", "--time", "--target", "--horizon", "--freq", "--known", "--future", "--past", "--static",
        "--spec", "--cutoff", "--quantiles", "--models", "--budget", "--seed", "--out", "--json", "--data", "--home",
        "--workers", "--name", "--country", "--execution", "--stockout", "--hierarchy",
    }  # fmt: skip


def test_verbs_stand_in_reading_order(foretail):
    result = foretail("--help")
    assert result.exit_code == 0
    assert result.stderr == ""
    listed = [line.split()[0] for line in result.stdout.split("Commands:")[1].splitlines() if line.strip()]
    assert listed[:17] == [
        "run", "init", "check", "backtest", "tune", "train", "forecast", "explain", "anomalies", "leaderboard",
        "models", "features", "fleet", "warehouse", "stream", "serve", "doctor",
    ]  # fmt: skip
    assert "..." not in result.stdout.split("Commands:")[1]


def test_options_become_the_request():
    command = cli.get_command(click.Context(cli), "run")
    arguments = [
        "x.csv", "--keys", "a,b", "--time", "t", "--target", "y", "--freq", "D", "--horizon", "7", "--known", "p",
        "--future", "f.csv", "--past", "c:1", "--static", "s", "--spec", "s.toml", "--cutoff", "2024-01-31",
        "--name", "n", "--data", "d", "--quantiles", "0.5", "--models", "zero", "--budget", "2m", "--seed", "3",
    ]  # fmt: skip
    request = request_from(command.make_context("run", arguments).params)
    assert (request.table, request.keys, request.time, request.target) == ("x.csv", ("a", "b"), "t", "y")
    assert (request.freq, request.horizon, request.known, request.future) == ("D", 7, ("p",), "f.csv")
    assert (request.past, request.static, request.spec, request.name) == (("c:1",), ("s",), "s.toml", "n")
    assert (request.cutoff, str(request.data), request.quantiles) == (dt.date(2024, 1, 31), "d", (0.5,))
    assert (request.models, request.budget_s, request.seed) == (("zero",), 120.0, 3)


def test_what_is_left_out_is_open_in_the_request():
    command = cli.get_command(click.Context(cli), "run")
    request = request_from(command.make_context("run", ["x.csv"]).params)
    assert (request.keys, request.time, request.horizon, request.budget_s) == ((), None, None, None)
    assert (request.models, request.seed, len(request.quantiles)) == (("auto",), 7, 11)
