"""`--refit`: what it takes, and the table it prints."""

import click
import pytest

from foretail.backtest.aging import Aging, AgingWindow
from foretail.cli.aging import aging_lines, refit_every


@pytest.mark.parametrize(
    ("text", "every"), [("never", 0), ("Never", 0), ("4", 4), ("every 4", 4), ("every:4", 4), ("every=12", 12)]
)
def test_a_way_to_refit_is_read(text, every):
    assert refit_every(text) == every


@pytest.mark.parametrize("text", ["", "always", "0", "every", "every 0", "-3", "2.5", "every 4 windows"])
def test_what_is_none_is_refused_with_an_example(text):
    with pytest.raises(click.BadParameter, match=r"no way to refit, e\.g\. never, 4"):
        refit_every(text)


def test_the_table_has_a_row_per_age_and_one_for_all():
    windows = tuple(AgingWindow(f"2024-01-0{k}", "2024-01-01", 7 * (k - 1), 10.0 + k, 100.0, 11.0) for k in (1, 2, 3))
    fresh = tuple(AgingWindow(item.cutoff, item.cutoff, 0, 11.0, 100.0, 11.0) for item in windows)
    lines = aging_lines(Aging("boosting", "day", 7, 7, {"never": windows, "every window": fresh})).splitlines()
    assert [line.split()[:3] for line in lines[1:]] == [
        ["never", "0", "days"],
        ["never", "7", "days"],
        ["never", "14", "days"],
        ["never", "all", "3"],
    ]
    assert lines[3].split()[-1] == "+18.2%"
    assert lines[4].split()[-1] == "+9.1%"
