"""The verbs of the feature store: what they refuse, with which message and exit code, and what they leave as it was."""

from __future__ import annotations

import datetime as dt
import fcntl
import json
import socket
import sys
from pathlib import Path

import polars as pl
import pytest
from click.testing import CliRunner
from polars.testing import assert_frame_equal

from foretail.cli.main import cli
from foretail.features.history import feature_rows
from foretail.features.repository import FeatureRepository
from foretail.panel.build import build_panel
from foretail.sources.open import open_table

WORLD = {"stores": 2, "departments": 3, "weeks": 40, "opening_share": 0.0, "closing_share": 0.0, "seed": 3}
KEYS = ["store_id", "dept_id"]
EVENT = "event_timestamp"


@pytest.fixture(autouse=True)
def quiet(monkeypatch):
    monkeypatch.setenv("FEAST_USAGE", "False")
    monkeypatch.setenv("FORETAIL_LOG_FORMAT", "text")


class Verbs:
    """`foretail features` on a home of its own."""

    def __init__(self, folder: Path):
        self.folder, self.home = folder, folder / "home"
        self.repo = self.home / "features" / "repo"
        self.registry = self.repo / "data" / "registry.db"
        self.world = folder / "world.json"
        self.world.write_text(json.dumps(WORLD))

    def __call__(self, verb, *words, code=0):
        said = CliRunner().invoke(cli, ["features", verb, *map(str, words), "--home", str(self.home)])
        assert said.exit_code == code, said.output
        return said

    def apply(self, *words, code=0):
        return self("apply", "synthetic", "--data", self.world, *words, code=code)

    def write(self, name, frame):
        frame.write_csv(self.folder / name)
        return self.folder / name


@pytest.fixture(scope="module")
def verbs(tmp_path_factory):
    """A home with a small world applied and materialised."""
    made = Verbs(tmp_path_factory.mktemp("verbs"))
    made.apply()
    made("materialize")
    return made


@pytest.fixture
def panel(verbs):
    return build_panel(open_table("synthetic", data=verbs.world)).panel


@pytest.fixture
def entities(panel):
    """Every key at the 30th and the 35th week."""
    days = pl.DataFrame({"date": [panel.dates()[i].item() for i in (30, 35)]})
    return panel.series.select(KEYS).join(days, how="cross")


def test_online_follows_offline_and_raw_from_date_to_date(tmp_path):
    verbs = Verbs(tmp_path)
    verbs.apply()
    panel = build_panel(open_table("synthetic", data=verbs.world)).panel
    declaration = FeatureRepository(verbs.repo).declaration()
    inputs = [name for _, name in declaration.service("inference_features").features]
    keys = verbs.write("keys.csv", panel.series.select(KEYS))
    for week, words in ((3, ("--to",)), (20, ("--incremental", "--to")), (39, ("--incremental", "--to"))):
        day = panel.dates()[week].item()
        verbs("materialize", *words, day)
        frames = feature_rows(panel, declaration, day)
        raw = frames["sales_features"].join(frames["store_features"].drop(EVENT, "created_timestamp"), on="store_id")
        online = pl.DataFrame(json.loads(verbs("get", "--keys", keys, "--json").stdout), infer_schema_length=None)
        typed = online.select(pl.col(name).cast(raw.schema[name]) for name in (*KEYS, *inputs))
        assert_frame_equal(typed, raw.select(*KEYS, *inputs), check_exact=True)


def test_join_keeps_rows_order_and_further_columns(verbs, entities, tmp_path):
    shuffled = entities.sample(fraction=1.0, shuffle=True, seed=1).with_row_index("mine", offset=70)
    out = tmp_path / "training.parquet"
    words = ("--out", out, "--split", "train=0.5,test=0.5")
    verbs("join", verbs.write("wanted.csv", shuffled), *words, "--allow-findings")
    joined = pl.read_parquet(out)
    assert joined["mine"].to_list() == shuffled["mine"].to_list()
    assert joined.select(KEYS).equals(shuffled.select(KEYS))
    assert joined["date"].dt.date().to_list() == shuffled["date"].to_list()
    assert joined.width == len(shuffled.columns) + 22


def test_join_adds_the_label_of_a_later_period(verbs, entities, panel, tmp_path):
    out = tmp_path / "training.parquet"
    words = ("--out", out, "--split", "train=0.5,test=0.5", "--label", "2", "--allow-findings")
    verbs("join", verbs.write("wanted.csv", entities), *words)
    joined = pl.read_parquet(out)
    rows = {key: i for i, key in enumerate(panel.series.select(KEYS).rows())}
    weeks = {panel.dates()[i].item(): i for i in range(panel.n_periods)}
    for row in joined.iter_rows(named=True):
        week = weeks[row["date"].date()] + 2
        assert row["label_time"] == panel.dates()[week].item()
        assert row["label"] == panel.y[rows[row["store_id"], row["dept_id"]], week]


def test_join_can_ask_for_what_is_known_ahead(verbs, tmp_path):
    out = tmp_path / "training.parquet"
    verbs("join", "--from-table", "--service", "training_features_ahead", "--out", out, "--allow-findings")
    assert {"total_markdown", "holiday_x_markdown", "momentum"} <= set(pl.read_parquet(out).columns)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda frame: frame.drop("dept_id"), "the column 'dept_id' is missing"),
        (
            lambda frame: frame.with_columns(dept_id=pl.lit("toys")),
            "column 'dept_id' holds 12 values that are no Int64",
        ),
        (lambda frame: frame.with_columns(date=pl.lit("someday")), "date"),
        (lambda frame: frame.with_columns(lag_1=pl.lit(1.0)), "column 'lag_1' has the name of a feature"),
        (lambda frame: frame.clear(), "a header and no rows"),
    ],
)
def test_bad_entity_rows_are_named(verbs, entities, tmp_path, change, said):
    out = tmp_path / "training.parquet"
    answer = verbs("join", verbs.write("bad.csv", change(entities)), "--out", out, code=3)
    assert said in answer.stderr
    assert "fix:" in answer.stderr
    assert not out.exists()


def test_a_file_without_dates_is_told_what_to_name(verbs, entities):
    answer = verbs("join", verbs.write("undated.csv", entities.drop("date")), code=2)
    assert "--time" in answer.stderr


def test_guards_refuse_and_nothing_is_written(verbs, tmp_path):
    limits, out = tmp_path / "limits.toml", tmp_path / "training.parquet"
    limits.write_text("[lag_8]\nnull_share = 0.0\n")
    answer = verbs("join", "--from-table", "--limits", limits, "--out", out, "--json", code=3)
    problem = json.loads(answer.stdout)["problems"][0]
    assert "lag_8" in problem["what"]
    assert "train" in problem["where"]
    assert not list(tmp_path.glob("training*"))
    verbs("join", "--from-table", "--limits", limits, "--out", out, "--allow-findings")
    assert pl.read_csv(tmp_path / "training.findings.csv").filter(feature="lag_8", is_error=True).height == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--from-table", "--service", "trainig_features"), "did you mean 'training_features'"),
        (("--from-table", "--split", "train=x"), "--split train=x"),
        (("--from-table", "wanted.csv"), "both ENTITIES and --from-table"),
        ((), "neither ENTITIES nor --from-table"),
    ],
)
def test_what_join_cannot_do_is_a_usage_error(verbs, words, said):
    assert said in verbs("join", *words, code=2).stderr


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--store_id", "1", "--dept", "1"), 2, "did you mean 'dept_id'"),
        (("--store_id", "1"), 3, "the column 'dept_id' is missing"),
        (("--store_id", "1", "--dept_id", "toys"), 3, "column 'dept_id' holds 1 values that are no Int64"),
        (("--store_id", "1", "--dept_id"), 2, "not a key with its value: '--dept_id'"),
        (("--store_id", "1", "--dept_id", "1", "--max-age", "8d"), 3, "older than 8 days"),
        (("--store_id", "99", "--dept_id", "1", "--max-age", "36500d"), 3, "no feature row"),
    ],
)
def test_what_get_refuses(verbs, words, code, said):
    assert said in verbs("get", *words, code=code).stderr


def test_a_key_that_is_not_there_is_null_and_not_zero(verbs):
    row = json.loads(verbs("get", "--store_id=99", "--dept_id=1", "--json").stdout)[0]
    assert row["as_of"] is None
    assert row["lag_1"] is None


def test_get_takes_what_the_service_asks_of_the_request(verbs):
    words = ("--store_id", "1", "--dept_id", "2", "--service", "inference_features_ahead")
    assert "the column 'total_markdown' is missing" in verbs("get", *words, code=3).stderr
    row = json.loads(verbs("get", *words, "--total_markdown", "12.5", "--json").stdout)[0]
    assert row["holiday_x_markdown"] == row["is_holiday"] * 12.5


def test_a_single_series_has_no_key_to_ask_with(tmp_path):
    verbs = Verbs(tmp_path)
    days = pl.date_range(dt.date(2023, 1, 1), dt.date(2023, 6, 30), eager=True)
    table = pl.DataFrame({"date": days, "sales": [float(day.day) for day in days]})
    verbs("apply", verbs.write("single.csv", table), "--country", "none")
    verbs("materialize")
    row = json.loads(verbs("get", "--json").stdout)[0]
    assert (row["as_of"], row["lag_1"], row["lag_2"]) == ("2023-06-30 00:00:00+00:00", 30.0, 29.0)


@pytest.mark.parametrize("words", [(), ("--incremental",)])
def test_a_corrected_table_is_served_after_it_was_applied_again(tmp_path, words):
    verbs = Verbs(tmp_path)
    days = pl.date_range(dt.date(2023, 1, 1), dt.date(2023, 6, 30), eager=True)
    for last in (30.0, 31.0):
        sales = [float(day.day) for day in days[:-1]] + [last]
        table = verbs.write("single.csv", pl.DataFrame({"date": days, "sales": sales}))
        verbs("apply", table, "--country", "none")
        verbs("materialize", *words)
        assert json.loads(verbs("get", "--json").stdout)[0]["lag_1"] == last


def test_before_apply_every_verb_says_what_to_do_first(tmp_path):
    fresh = Verbs(tmp_path)
    for verb, words in (("materialize", ()), ("join", ("--from-table",)), ("get", ("--store_id", "1")), ("serve", ())):
        assert "foretail features apply TABLE first" in fresh(verb, *words, code=2).stderr


def test_a_date_before_all_rows_cannot_be_materialised(verbs):
    assert "no features are that old" in verbs("materialize", "--to", "1999-01-01", code=2).stderr


def test_two_changes_at_once_are_told_apart(verbs):
    with (verbs.repo / ".foretail.lock").open("a+") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        for verb, words in (("apply", ("synthetic", "--data", verbs.world)), ("materialize", ())):
            answer = verbs(verb, *words, code=1)
            assert "another process is changing this repository" in answer.stderr
            assert "wait until it has ended" in answer.stderr


def test_another_dataset_needs_another_folder_or_replace(verbs, tmp_path):
    before = verbs.registry.read_bytes()
    answer = verbs.apply("--name", "other", code=2)
    assert "holds the features of 'synthetic', not of 'other'" in answer.stderr
    assert verbs.registry.read_bytes() == before
    own = tmp_path / "mine"
    verbs.apply("--name", "other", "--repo", own)
    assert FeatureRepository(own).contents().dataset == "other"
    assert FeatureRepository(verbs.repo).contents().dataset == "synthetic"


def test_what_is_no_longer_declared_goes_with_replace(tmp_path):
    verbs = Verbs(tmp_path)
    verbs.apply()
    table = open_table("synthetic", data=verbs.world)
    plain = verbs.write("plain.csv", table.frame.select(*KEYS, "date", "weekly_sales"))
    words = ("--keys", ",".join(KEYS), "--time", "date", "--target", "weekly_sales", "--name", "plain")
    verbs("apply", plain, *words, "--replace")
    store = FeatureRepository(verbs.repo).open()
    assert {view.name for view in store.list_batch_feature_views()} == {"sales_features"}
    assert "training_features_ahead" not in {service.name for service in store.list_feature_services()}


def test_a_failed_apply_leaves_everything_as_it_was(tmp_path):
    verbs = Verbs(tmp_path)
    verbs.apply()
    kept = [verbs.registry, *(verbs.repo / name for name in ("spec.toml", "foretail.json", "foretail_features.py"))]
    before = [path.read_bytes() for path in kept]
    settings = verbs.repo / "feature_store.yaml"
    settings.write_text(settings.read_text().replace("path: data/online.db", "path: feature_store.yaml"))
    verbs.world.write_text(json.dumps({**WORLD, "seed": 4}))
    answer = verbs.apply(code=1)
    assert "feature_store.yaml" in answer.stderr
    assert "fix:" in answer.stderr
    assert [path.read_bytes() for path in kept] == before
    assert not [path for path in verbs.repo.rglob(".*") if path.name != ".foretail.lock"]


def test_settings_that_feast_refuses_are_named(tmp_path):
    verbs = Verbs(tmp_path)
    verbs.repo.mkdir(parents=True)
    (verbs.repo / "feature_store.yaml").write_text("project: [\n")
    assert "feature_store.yaml" in verbs.apply(code=2).stderr


def test_without_feast_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "feast", None)
    answer = Verbs(tmp_path).apply(code=1)
    assert "pip install 'foretail[features]'" in answer.stderr


def test_a_taken_port_is_a_usage_error(verbs):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        assert "another --port" in verbs("serve", "--port", taken.getsockname()[1], code=2).stderr
