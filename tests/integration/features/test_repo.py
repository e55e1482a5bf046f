"""The feature repository as Feast's users know it: its commands on a copy, its objects against what was declared."""

from __future__ import annotations

import datetime as dt
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml
from feast import FeatureService, FeatureStore, FeatureView, OnDemandFeatureView
from feast.data_source import DataSource
from feast.infra.offline_stores.contrib.postgres_offline_store.postgres_source import PostgreSQLSource

from foretail.core.errors import UsageError
from foretail.core.spec import DatasetSpec
from foretail.features.declaration import Declaration, declare
from foretail.features.feast_objects import feast_objects
from foretail.features.history import feature_rows, known_ahead, store_frames, write_store
from foretail.features.table import weekly_declaration
from foretail.panel.build import build_panel
from foretail.panel.panel import Panel
from foretail.sources.synthetic import synthetic_table

pytestmark = pytest.mark.filterwarnings("ignore:On demand feature view is an experimental feature:RuntimeWarning")
ROOT = Path(__file__).parents[3]
KEYS = ["store_id", "dept_id", "event_timestamp"]


def feast(folder: Path, *arguments: str) -> str:
    """What one of Feast's commands says in a repository."""
    environment = {**os.environ, "FEAST_USAGE": "False"}
    command = [str(Path(sys.executable).with_name("feast")), *arguments]
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def kinds(objects: Sequence[Any]) -> dict[str, Any]:
    return {item.name: item for item in objects}


@pytest.fixture(scope="module")
def world() -> tuple[Panel, Declaration]:
    panel = build_panel(synthetic_table({"preset": "weekly-5k", "stores": 3, "departments": 2, "weeks": 40})).panel
    return panel, declare(panel.spec, panel)


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory, world: tuple[Panel, Declaration]) -> Path:
    """A copy of the repository, registered without data, then given rows and materialised."""
    folder = tmp_path_factory.mktemp("clone") / "feature_repo"
    shutil.copytree(ROOT / "feature_repo", folder, ignore=shutil.ignore_patterns("data", "__pycache__"))
    said = feast(folder, "apply")
    for name in ("sales_features", "store_features"):
        assert f"Deploying infrastructure for {name}" in said
    write_store(store_frames(*world), folder / "data" / "features")
    feast(folder, "materialize", "2010-01-01T00:00:00", "2010-10-01T00:00:00")
    feast(folder, "materialize-incremental", "2012-01-01T00:00:00")
    return folder


def test_feasts_page_comes_up_and_knows_the_project(clone: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [str(Path(sys.executable).with_name("feast")), "ui", "--host", "127.0.0.1", "--port", str(port)]
    environment = {**os.environ, "FEAST_USAGE": "False"}
    page = subprocess.Popen(command, cwd=clone, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        assert "<title>" in read_when_up(f"http://127.0.0.1:{port}/", page)
        assert '"foretail"' in read_when_up(f"http://127.0.0.1:{port}/projects-list.json", page)
    finally:
        page.terminate()
        page.wait(30)


def read_when_up(url: str, process: subprocess.Popen[bytes]) -> str:
    for _ in range(1200):
        assert process.poll() is None, "the process ended"
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                return str(answer.read().decode())
        except urllib.error.URLError:
            time.sleep(0.1)
    raise AssertionError("the page did not come up")


def test_what_feast_holds_is_what_was_declared(clone: Path) -> None:
    store, declaration = FeatureStore(repo_path=str(clone)), weekly_declaration()
    assert store.project == "foretail"
    entities = {item.name: item.value_type.name for item in store.list_entities() if item.name != "__dummy"}
    assert entities == {"store_id": "INT64", "dept_id": "INT64"}
    views = kinds(store.list_feature_views())
    assert {name: len(view.features) for name, view in views.items()} == {"sales_features": 19, "store_features": 3}
    for view in declaration.stored:
        fields = {item.name: item for item in views[view.name].features}
        assert [(item.name, item.dtype) for item in view.features] == [
            (name, str(fields[name].dtype)) for name in view.names
        ]
        assert not views[view.name].ttl
        assert {item.name for item in views[view.name].entity_columns} == set(view.keys)
        for item in view.features:
            assert (fields[item.name].description, fields[item.name].tags["role"]) == (item.about, item.role)
        source = views[view.name].batch_source
        assert (source.timestamp_field, source.created_timestamp_column) == ("event_timestamp", "created_timestamp")
    made = kinds(store.list_on_demand_feature_views())
    assert {name: view.mode for name, view in made.items()} == dict.fromkeys(
        ("derived_features", "derived_ahead_features"), "python"
    )
    services = kinds(store.list_feature_services())
    assert set(services) == {item.name for item in declaration.services}
    for service in declaration.services:
        parts = services[service.name].feature_view_projections
        assert {(part.name, item.name) for part in parts for item in part.features} == set(service.features)


def test_planning_again_changes_nothing_that_is_kept(clone: Path) -> None:
    said = feast(clone, "plan")
    assert "No changes to infrastructure" in said
    assert "Created" not in said
    assert "Deleted" not in said
    # Feast stamps sources with the time of registration; beside that everything is as it was
    changed = {line for line in said.splitlines() if line.startswith("Updated")}
    assert changed <= {"Updated feature view sales_features", "Updated feature view store_features"}


def test_offline_online_and_recomputed_are_one(clone: Path, world: tuple[Panel, Declaration]) -> None:
    """To the bit, on-demand features and request data included."""
    panel, declaration = world
    store = FeatureStore(repo_path=str(clone))
    service = store.get_feature_service("inference_features_ahead")
    asked = known_ahead(panel, declaration).filter(event_timestamp=dt.datetime.combine(panel.cutoff, dt.time(), dt.UTC))
    joined = pl.DataFrame(store.get_historical_features(asked.to_arrow(), service).to_arrow())
    rows = asked.drop("event_timestamp").to_dicts()
    online = pl.DataFrame(store.get_online_features(service, rows).to_dict())
    alone = feature_rows(panel, declaration, panel.cutoff)
    wanted = asked.join(alone["sales_features"], on=KEYS).join(
        alone["store_features"].drop("event_timestamp", "created_timestamp"), on="store_id"
    )
    made = {item.name: item.compute for view in declaration.views if view.on_demand for item in view.features}
    columns = wanted.to_dict(as_series=False)
    wanted = wanted.with_columns(pl.Series(name, how(columns), pl.Float64) for name, how in made.items())
    names = [item.name for item in declaration.features_of("inference_features_ahead")]
    first, second, third = (frame.sort("store_id", "dept_id").select(names) for frame in (wanted, joined, online))
    assert first.height == 6
    assert first.null_count().sum_horizontal().item() == 0
    assert second.equals(first)
    assert third.cast(first.schema).equals(first)


def test_rows_are_looked_for_where_the_environment_says(tmp_path: Path) -> None:
    code = "import features; print(features.FeatureView_sales_features.batch_source.path)"
    environment = {**os.environ, "FORETAIL_FEATURES": "s3://bucket/rows", "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-c", code]
    done = subprocess.run(
        command, cwd=ROOT / "feature_repo", env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "s3://bucket/rows/sales_features"


def test_both_settings_differ_in_where_things_are_kept() -> None:
    embedded, stack = (
        yaml.safe_load((ROOT / "feature_repo" / name).read_text())
        for name in ("feature_store.yaml", "feature_store_stack.yaml")
    )
    assert embedded.keys() == stack.keys()
    alike = {"project", "provider", "batch_engine", "entity_key_serialization_version"}
    assert {key: embedded[key] for key in alike} == {key: stack[key] for key in alike}
    assert embedded["offline_store"]["type"] == stack["offline_store"]["type"]
    assert (stack["registry"]["path"], stack["online_store"]["url"]) == (
        "${FORETAIL_REGISTRY_URL}",
        "${FORETAIL_ONLINE_URL}",
    )


# objects


def test_an_on_demand_view_comes_back_from_the_registry() -> None:
    """Feast keeps the text of its function: what it makes of it is the declared function, on the declared inputs."""
    declaration = weekly_declaration()
    for name in ("derived_features", "derived_ahead_features"):
        view = kinds(feast_objects(declaration, "rows"))[name]
        again = OnDemandFeatureView.from_proto(view.to_proto())
        declared = declaration.view(name)
        row = {feature: [2.0, None] for feature in (*(feature for _, feature in declared.inputs), "total_markdown")}
        wanted = {item.name: item.compute(row) for item in declared.features}
        made = again.transform_dict(row)
        assert {feature: made[feature] for feature in wanted} == wanted
        projections = again.source_feature_view_projections.values()
        assert {(part.name, item.name) for part in projections for item in part.features} == set(declared.inputs)
        assert again == view


def test_tables_of_a_database_as_sources() -> None:
    objects = feast_objects(weekly_declaration(), "features", source="postgres")
    sources = [item for item in objects if isinstance(item, PostgreSQLSource)]
    assert [item.get_table_query_string() for item in sources] == ["features.sales_features", "features.store_features"]
    bare = [item for item in feast_objects(weekly_declaration(), "", source="postgres") if isinstance(item, DataSource)]
    assert [item.get_table_query_string() for item in bare] == ["sales_features", "store_features"]
    with pytest.raises(UsageError, match="did you mean 'postgres'"):
        feast_objects(weekly_declaration(), "features", source="postgress")


@pytest.mark.parametrize(
    "spec",
    [
        DatasetSpec(("Store",), "Date", "Sales", "D", 42, static=("Assortment",), country="DE"),
        DatasetSpec((), "month", "passengers", "MS", 12),
    ],
)
def test_other_tables_register_too(spec: DatasetSpec, tmp_path: Path) -> None:
    settings = {
        "project": "other",
        "provider": "local",
        "registry": str(tmp_path / "registry.db"),
        "online_store": {"type": "sqlite", "path": str(tmp_path / "online.db")},
        "entity_key_serialization_version": 3,
    }
    (tmp_path / "feature_store.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    store = FeatureStore(repo_path=str(tmp_path))
    objects = feast_objects(declare(spec), str(tmp_path / "rows"))
    store.apply(objects)
    views = {item.name for item in objects if isinstance(item, FeatureView)}
    assert {item.name for item in store.list_feature_views()} == views
    names = {item.name for item in objects if isinstance(item, FeatureService)}
    assert {item.name for item in store.list_feature_services()} == names
