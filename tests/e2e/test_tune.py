"""`foretail tune` as a user runs it: its file, its next command, its studies on disk and in MLflow."""

from __future__ import annotations

import json
import shlex

import pytest
from shop import ROLES, Shop, fresh_home

from foretail.core.settings import Settings
from foretail.models.families import parse
from foretail.registry.tracking import connect, talking

WORDS = (*ROLES, "--name", "sales", "--workers", "1")


@pytest.fixture(scope="module")
def tuned(files, empty_home, tmp_path_factory):
    """A shop after `tune` with 5 trials of one family; its folder of results, what it said."""
    folder = tmp_path_factory.mktemp("tuned")
    shop = Shop(files, fresh_home(empty_home, folder))
    answer = shop("tune", "daily.csv", *WORDS, "--models", "profile", "--trials", 5, "--json", "--out", folder / "out")
    return shop, folder / "out", answer


def trials_of(document):
    return [
        (trial["name"], trial["state"], trial["windows"]) for item in document["families"] for trial in item["trials"]
    ]


def test_it_writes_what_it_prints(tuned):
    _, out, answer = tuned
    told = json.loads(answer.stdout)
    assert [path.name for path in out.iterdir()] == ["tuning.json"]
    assert json.loads((out / "tuning.json").read_text()) == told
    (family,) = told["families"]
    assert family["family"] == "profile"
    assert family["n_trials"] == len(family["trials"]) == 5
    assert family["trials"][0]["name"] == "profile"
    assert family["trials"][0]["wape"] == family["wape_default"]
    assert family["wape_best"] <= family["wape_default"]
    assert all(window["role"] == "inner" for window in family["windows"])
    assert f"result: {family['verdict']}" in answer.stderr


def test_the_next_command_works_and_has_what_was_recommended(tuned, tmp_path):
    shop, _, answer = tuned
    told = json.loads(answer.stdout)
    assert answer.stderr.splitlines()[-1] == f"next: {told['next']}"
    words = shlex.split(told["next"])
    assert words[:3] == ["foretail", "run", "daily.csv"]
    models = words[words.index("--models") + 1]
    assert models == ",".join(["profile", *told["recommended"]])
    # a name with parameters, whether it was recommended or not
    tried = next(trial["name"] for trial in told["families"][0]["trials"] if parse(trial["name"])[1])
    words[words.index("--models") + 1] = f"seasonal_naive,profile,{tried}"
    shop(*words[1:], "--workers", 1, "--out", tmp_path / "out")
    board = json.loads((tmp_path / "out" / "leaderboard.json").read_text())
    assert {"seasonal_naive", "profile", tried} <= {row["model"] for row in board["rows"]}


def test_the_same_question_goes_on_and_mlflow_has_a_run_per_trial(tuned, tmp_path):
    shop, _, answer = tuned
    again = shop("tune", "daily.csv", *WORDS, "--models", "profile", "--trials", 7, "--json", "--out", tmp_path / "out")
    before, after = json.loads(answer.stdout), json.loads(again.stdout)
    assert trials_of(after)[:5] == trials_of(before)
    assert [trial["is_new"] for trial in after["families"][0]["trials"]] == [False] * 5 + [True] * 2
    assert (shop.home / "studies.db").exists()

    settings = Settings(home=shop.home)
    client = connect(settings)
    with talking(settings, "read the runs"):
        experiment = client.get_experiment_by_name("sales")
        runs = client.search_runs([experiment.experiment_id])
    (parent,) = [run for run in runs if run.data.tags.get("foretail.study") == after["families"][0]["study"]]
    assert parent.info.status == "FINISHED"
    assert parent.data.params["cutoff"] == after["cutoff"]
    assert parent.data.metrics["n_trials"] == 7
    assert parent.data.metrics["wape_best"] == pytest.approx(after["families"][0]["wape_best"])
    children = {
        int(run.data.tags["foretail.trial"]): run
        for run in runs
        if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id
    }
    assert sorted(children) == list(range(7))
    for number, trial in enumerate(after["families"][0]["trials"]):
        data = children[number].data
        assert children[number].info.run_name == trial["name"]
        assert float(data.params["shift"]) == trial["params"]["shift"]
        assert data.metrics["inner_wape"] == pytest.approx(trial["wape"])
        assert data.metrics["window_wape"] == pytest.approx(trial["windows"][-1])
        assert data.metrics["seconds"] >= 0


def test_what_cannot_be_tuned_is_a_usage_error_before_anything_is_read(shop: Shop, tmp_path):
    answer = shop("tune", "nowhere.csv", "--models", "seasonal_naive", "--out", tmp_path / "out", code=2)
    assert "seasonal_naive has nothing to tune" in answer.stderr
    assert not (tmp_path / "out").exists()
