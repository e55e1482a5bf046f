"""models list, show, promote, rollback on a real registry of three versions."""

import datetime as dt
import json
import warnings

import polars as pl
import pytest

from foretail.backtest.result import Leaderboard, LeaderboardRow, Scores, Window
from foretail.core.settings import Settings
from foretail.core.spec import DatasetSpec
from foretail.models.families import make
from foretail.panel.build import build_panel
from foretail.registry.bundle import Bundle, write_bundle
from foretail.registry.info import BundleInfo, FamilyTree
from foretail.registry.versions import Registry
from foretail.sources.table import Table

CUTOFF = "2024-02-22"
WAPES = (0.25, 0.20, 0.22)  # versions 1, 2, 3; seasonal naive has 0.30


def scores(wape):
    return Scores(wape, 0.0, 1.0, 1.0, 0.1, 0.8, 0.95, 1 - wape / 0.30)


def board(wape):
    rows = [
        LeaderboardRow(name, scores(value), value, {CUTOFF: scores(value)}, chosen=name == "drift")
        for name, value in (("drift", wape), ("seasonal_naive", 0.30))
    ]
    return Leaderboard(tuple(rows), (Window(53, 7, "outer", CUTOFF),))


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A registry with three versions of `sales`."""
    folder = tmp_path_factory.mktemp("registry")
    days = [dt.date(2024, 1, 1) + dt.timedelta(days=day) for day in range(60)]
    spec = DatasetSpec(keys=(), time="date", target="units", freq="D", horizon=7)
    panel = build_panel(Table(pl.DataFrame({"date": days, "units": range(60)}), spec)).panel
    model = make("drift").fit(panel, 7)
    registry = Registry(Settings(home=folder / "home"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of MLflow's own making
        for number, wape in enumerate(WAPES, start=1):
            info = BundleInfo(
                "drift", FamilyTree("drift"), spec, "d1", "0.1.0", (), 7, str(panel.cutoff), 7, (0.1, 0.9), board(wape)
            )
            write_bundle(folder / f"b{number}", Bundle(info, model, panel))
            registry.log(folder / f"b{number}", "sales")
    return folder / "home"


def champion(foretail, home):
    listed = json.loads(foretail("models", "list", "--json", "--home", home).stdout)
    return [item["version"] for item in listed if "champion" in item["aliases"]]


@pytest.mark.filterwarnings("ignore")
def test_versions_are_listed_shown_promoted_refused_and_rolled_back(foretail, home):
    listed = foretail("models", "list", "sales", "--home", home)
    assert listed.exit_code == 0, listed.stderr
    assert [line.split()[:2] for line in listed.stdout.splitlines()[1:]] == [
        ["sales", "3"],
        ["sales", "2"],
        ["sales", "1"],
    ]
    assert "candidate" in listed.stdout.splitlines()[1]
    assert champion(foretail, home) == []

    assert foretail("models", "promote", "sales", "1", "--home", home).exit_code == 0
    promoted = foretail("models", "promote", "sales/2", "--home", home, "--json")
    assert json.loads(promoted.stdout)["allowed"] is True
    assert champion(foretail, home) == [2]

    refused = foretail("models", "promote", "sales", "--home", home)
    assert refused.exit_code == 4
    assert refused.stdout == ""
    assert "0.2200" in refused.stderr
    assert "0.2000" in refused.stderr
    assert champion(foretail, home) == [2]

    shown = foretail("models", "show", "sales@champion", "--home", home)
    assert ["version", "2"] in [line.split() for line in shown.stdout.splitlines()]
    as_json = json.loads(foretail("models", "show", "sales", "--home", home, "--json").stdout)
    assert as_json["metrics"]["wape"] == pytest.approx(0.20)

    back = foretail("models", "rollback", "sales", "--home", home)
    assert back.stdout == "sales version 1 is the champion again\n"
    assert champion(foretail, home) == [1]

    forced = foretail("models", "promote", "sales@challenger", "--force", "--home", home)
    assert forced.exit_code == 0
    assert champion(foretail, home) == [3]


@pytest.mark.filterwarnings("ignore")
def test_unknown_models_and_versions_are_told(foretail, home):
    unknown = foretail("models", "show", "sale", "--home", home, "--json")
    assert unknown.exit_code == 1
    assert "did you mean 'sales'" in unknown.stderr
    assert json.loads(unknown.stdout)["title"] == "RegistryError"
    assert foretail("models", "show", "sales/9", "--home", home).exit_code == 1


def test_two_versions_at_once_are_refused(foretail, elsewhere):
    result = foretail("models", "promote", "sales/1", "2")
    assert result.exit_code == 2
    assert "two versions are named" in result.stderr
    assert not any(elsewhere.iterdir())
