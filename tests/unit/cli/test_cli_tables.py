"""init and check on small tables, through the command line."""

import datetime as dt
import json
import subprocess
import sys

import polars as pl
import pytest

from foretail.core.spec import DatasetSpec

DAYS = [dt.date(2024, 1, 1) + dt.timedelta(days=day) for day in range(60)]


@pytest.fixture
def sales(elsewhere):
    """Two shops over sixty days; the second has no row on one of them."""
    rows = [
        {"date": day, "shop": shop, "units": 10 * shop + day.weekday()}
        for shop in (1, 2)
        for day in DAYS
        if (shop, day) != (2, DAYS[30])
    ]
    path = elsewhere / "sales.csv"
    pl.DataFrame(rows).write_csv(path)
    return path


def test_init_prints_a_spec_that_reads_back(foretail, sales, elsewhere):
    result = foretail("init", sales, "--horizon", "7")
    assert result.exit_code == 0, result.stderr
    (elsewhere / "spec.toml").write_text(result.stdout)
    spec = DatasetSpec.from_toml(elsewhere / "spec.toml")
    assert (spec.keys, spec.time, spec.target, spec.freq, spec.horizon) == (("shop",), "date", "units", "D", 7)
    assert "next: " in result.stderr.splitlines()[-1]


def test_init_tells_its_guesses_above_the_spec(foretail, sales):
    guessed = foretail("init", sales).stdout
    given = foretail("init", sales, "--keys", "shop", "--time", "date", "--target", "units", "--horizon", "7").stdout
    comments = [line for line in guessed.splitlines() if line.startswith("# ")]
    assert any("units" in line for line in comments)
    assert len(given) < len(guessed)


def test_init_writes_a_file_once_and_check_takes_it(foretail, sales, elsewhere):
    assert foretail("init", sales, "--horizon", "7", "--out", "spec.toml").exit_code == 0
    before = (elsewhere / "spec.toml").read_text()
    refused = foretail("init", sales, "--horizon", "9", "--out", "spec.toml")
    assert refused.exit_code == 2
    assert "--force" in refused.stderr
    assert (elsewhere / "spec.toml").read_text() == before
    assert foretail("init", sales, "--horizon", "9", "--out", "spec.toml", "--force").exit_code == 0
    assert "horizon = 9" in (elsewhere / "spec.toml").read_text()
    assert foretail("check", sales, "--spec", "spec.toml").exit_code == 0


def test_check_reports_size_and_findings_and_writes_nothing(foretail, sales, elsewhere):
    before = sorted(elsewhere.iterdir())
    result = foretail("check", sales, "--horizon", "7", "--json")
    assert result.exit_code == 0, result.stderr
    report = json.loads(result.stdout)
    assert (report["n_rows"], report["n_series"], report["n_periods"]) == (119, 2, 60)
    assert (report["first"], report["last"]) == ("2024-01-01", "2024-02-29")
    assert "gaps" in {finding["name"] for finding in report["findings"]}
    assert sorted(elsewhere.iterdir()) == before
    shown = foretail("check", sales, "--horizon", "7")
    assert "2 series x 60 periods" in shown.stdout
    assert shown.stderr.splitlines()[-1].startswith("next: foretail run")


def test_check_forgets_what_is_after_the_cutoff(foretail, sales):
    result = foretail("check", sales, "--horizon", "7", "--cutoff", "2024-01-20", "--json")
    report = json.loads(result.stdout)
    assert (report["n_periods"], report["last"]) == (20, "2024-01-20")


def test_a_column_that_is_not_there_is_a_data_error(foretail, sales):
    result = foretail("check", sales, "--target", "unit", "--json")
    assert result.exit_code == 3
    assert "unit" in result.stderr
    assert json.loads(result.stdout)["exit_code"] == 3


def test_a_file_that_is_not_there_is_told(foretail):
    result = foretail("check", "none.csv")
    assert result.exit_code in (2, 3)
    assert "none.csv" in result.stderr
    assert "unexpected" not in result.stderr


def test_the_real_command_keeps_data_and_talk_apart(sales, elsewhere):
    command = [sys.executable, "-m", "foretail.cli.main", "check", "sales.csv", "--horizon", "7", "--json"]
    done = subprocess.run(command, cwd=elsewhere, capture_output=True, text=True)
    assert done.returncode == 0
    assert json.loads(done.stdout)["n_series"] == 2
    assert done.stderr.splitlines()[-1].startswith("next: ")
    broken = subprocess.run([*command[:-1], "--keys", "store"], cwd=elsewhere, capture_output=True, text=True)
    assert broken.returncode == 3
    assert broken.stdout == ""
    assert "store" in broken.stderr
