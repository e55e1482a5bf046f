"""Versions, aliases, promotion and rollback on a real MLflow store in SQLite."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from foretail.core.errors import PromotionRefused, RegistryError, UsageError
from foretail.core.settings import Settings
from foretail.registry.bundle import read_bundle, read_info, write_bundle
from foretail.registry.tracking import shown
from foretail.registry.versions import Registry

sys.path.insert(0, str(Path(__file__).parents[2] / "unit" / "registry"))
import bundle_maker


@pytest.fixture(scope="module")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MLflow's tables, made once: that alone takes seconds."""
    home = tmp_path_factory.mktemp("store")
    assert Registry(Settings(home=home)).list_versions() == []
    return home / "mlflow.db"


@pytest.fixture
def settings(tmp_path: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setitem(bundle_maker.FAMILIES, "last_week", bundle_maker.TINY)
    (tmp_path / "home").mkdir()
    shutil.copy(empty_store, tmp_path / "home" / "mlflow.db")
    return Settings(home=tmp_path / "home")


@pytest.fixture
def registry(settings: Settings) -> Registry:
    return Registry(settings)


def log(registry: Registry, wape: float, name: str = "sales", **more: object) -> int:
    folder = registry.settings.home.parent / f"bundle-{len(list(registry.settings.home.parent.iterdir()))}"
    write_bundle(folder, bundle_maker.make_bundle(wape, **more))  # type: ignore[arg-type]
    return registry.log(folder, name).version


def aliases(registry: Registry) -> dict[int, tuple[str, ...]]:
    return {version.version: version.aliases for version in registry.list_versions("sales")}


def test_a_logged_bundle_is_the_candidate_and_comes_back(registry: Registry, tmp_path: Path) -> None:
    write_bundle(tmp_path / "bundle", bundle_maker.make_bundle(0.2))
    version = registry.log(tmp_path / "bundle", "sales", {"seconds": 1.5}, {"who": "me"}, {"team": "north"})
    assert (version.name, version.version, version.aliases) == ("sales", 1, ("candidate",))
    assert version.metrics["wape"] == 0.2 and version.metrics["seconds"] == 1.5
    assert "coverage_95" not in version.metrics  # not measured
    assert version.params["cutoff"] == "2024-01-28" and version.params["who"] == "me"
    assert version.tags["team"] == "north"

    shutil.rmtree(tmp_path / "bundle")
    folder = registry.fetch("sales", "candidate")
    assert folder == registry.fetch("sales", 1) == registry.fetch("sales", "1")
    assert folder.is_relative_to(registry.settings.home.absolute() / "artifacts")
    bundle = read_bundle(folder)
    assert bundle.model.predict(bundle.panel, 7).y_hat.shape == (4, 7)


def test_versions_are_listed_newest_first(registry: Registry) -> None:
    assert [log(registry, wape) for wape in (0.2, 0.1)] == [1, 2]
    log(registry, 0.2, name="other")
    assert [(item.name, item.version) for item in registry.list_versions()] == [
        ("other", 1),
        ("sales", 2),
        ("sales", 1),
    ]
    assert aliases(registry) == {1: (), 2: ("candidate",)}
    assert registry.champion("sales") is None and registry.champion("nobody") is None


def test_better_versions_become_champion_and_roll_back(registry: Registry) -> None:
    for wape in (0.25, 0.2, 0.15):
        decision = registry.promote("sales", log(registry, wape))
        assert decision.allowed
    assert aliases(registry) == {1: (), 2: (), 3: ("champion",)}
    assert registry.rollback("sales").version == 2
    assert registry.rollback("sales").version == 1
    with pytest.raises(RegistryError, match="no earlier champion"):
        registry.rollback("sales")
    assert aliases(registry)[1] == ("champion",)
    registry.promote("sales", 3)
    assert registry.rollback("sales").version == 1
    history = [(entry["action"], entry["version"], entry["before"]) for entry in registry.history("sales")]
    assert history == [
        ("promote", 1, None),
        ("promote", 2, 1),
        ("promote", 3, 2),
        ("rollback", 2, 3),
        ("rollback", 1, 2),
        ("promote", 3, 1),
        ("rollback", 1, 3),
    ]


def test_the_gate_refuses_with_its_table(registry: Registry) -> None:
    registry.promote("sales", log(registry, 0.1))
    worse = log(registry, 0.2)
    with pytest.raises(PromotionRefused) as caught:
        registry.promote("sales", worse)
    assert caught.value.exit_code == 4
    text = str(caught.value)
    assert "no better than the champion" in text and "--force" in text
    assert re.search(r"champion +version 1 \(last_week\) +2 +0\.2000 +0\.1000 +no", text)
    assert aliases(registry) == {1: ("champion",), 2: ("candidate", "challenger")}

    below_naive = log(registry, 0.4)
    with pytest.raises(PromotionRefused, match="seasonal naive"):
        registry.promote("sales", below_naive)
    assert aliases(registry) == {1: ("champion",), 2: ("challenger",), 3: ("candidate",)}


def test_force_promotes_and_is_remembered(registry: Registry) -> None:
    registry.promote("sales", log(registry, 0.1))
    decision = registry.promote("sales", log(registry, 0.2), force=True)
    assert not decision.allowed
    version = registry.show("sales", "champion")
    assert version.version == 2 and version.tags["foretail.promotion_forced"] == "true"
    assert registry.show("sales", 1).tags["foretail.promotion_forced"] == "false"
    assert [entry["forced"] for entry in registry.history("sales")] == [False, True]


def test_promoting_the_champion_again_changes_nothing(registry: Registry) -> None:
    registry.promote("sales", log(registry, 0.1))
    assert registry.promote("sales", "champion").allowed
    assert len(registry.history("sales")) == 1


def test_other_windows_need_a_champion_scored_anew(registry: Registry) -> None:
    registry.promote("sales", log(registry, 0.2))
    newer = log(registry, 0.1, cutoffs=("2024-01-15", "2024-01-22"))
    with pytest.raises(PromotionRefused, match="score the champion on the candidate's windows"):
        registry.promote("sales", newer)
    windows = read_info(registry.fetch("sales", newer)).contender().wape
    champion = read_info(registry.fetch("sales", "champion")).contender()
    rescored = replace(champion, wape=dict.fromkeys(windows, 0.15), naive={})
    assert registry.promote("sales", newer, rescored=rescored).allowed


def test_what_is_not_there_is_said(registry: Registry) -> None:
    with pytest.raises(RegistryError, match=r"no model 'sales'"):
        registry.list_versions("sales")
    log(registry, 0.2)
    with pytest.raises(RegistryError, match=r"no version 7"):
        registry.show("sales", 7)
    with pytest.raises(RegistryError, match="no version 'champion'"):
        registry.fetch("sales")
    with pytest.raises(RegistryError, match="did you mean 'sales'"):
        registry.show("sale", 1)
    with pytest.raises(UsageError, match="not a name"):
        registry.list_versions("../sales")


def test_a_bundle_that_was_changed_or_lost_is_refused(registry: Registry) -> None:
    log(registry, 0.2)
    folder = registry.fetch("sales", 1)
    with (folder / "bundle.json").open("a") as file:
        file.write(" ")
    with pytest.raises(RegistryError, match="not the one that was logged"):
        registry.fetch("sales", 1)
    shutil.rmtree(folder)
    with pytest.raises(RegistryError, match="is gone"):
        registry.fetch("sales", 1)


def test_an_unreachable_server_leaves_the_bundle_and_says_how_to_go_on(settings: Settings, tmp_path: Path) -> None:
    write_bundle(tmp_path / "bundle", bundle_maker.make_bundle(0.2))
    away = Registry(replace(settings, tracking_uri="http://user:secret@127.0.0.1:9"))
    with pytest.raises(RegistryError) as caught:
        away.log(tmp_path / "bundle", "sales")
    text = str(caught.value)
    assert f"the bundle is on disk at {tmp_path / 'bundle'}" in text
    assert f"Registry(Settings.load()).log('{tmp_path / 'bundle'}', 'sales')" in text
    assert "secret" not in text and "http://user:***@127.0.0.1:9" in text
    Registry(settings).log(tmp_path / "bundle", "sales")


@pytest.mark.parametrize("uri", ["foo://x", "postgresql://me:secret@127.0.0.1:9/x", "sqlite:////proc/nowhere/x.db"])
def test_an_address_that_cannot_be_used(settings: Settings, uri: str) -> None:
    with pytest.raises(RegistryError) as caught:
        Registry(replace(settings, tracking_uri=uri)).list_versions()
    assert shown(uri) in str(caught.value) and "secret" not in str(caught.value)


def test_logging_says_nothing_on_the_terminal(tmp_path: Path) -> None:
    """A new store, in a process of its own: no migration chatter, no progress bar, no warning."""
    script = (
        f"import sys; sys.path.insert(0, {bundle_maker.__file__.rpartition('/')[0]!r}); import bundle_maker\n"
        "bundle_maker.FAMILIES['last_week'] = bundle_maker.TINY\n"
        "from pathlib import Path; from foretail.core.settings import Settings\n"
        "from foretail.registry.bundle import write_bundle; from foretail.registry.versions import Registry\n"
        "write_bundle(Path('bundle'), bundle_maker.make_bundle(0.2))\n"
        "registry = Registry(Settings(home=Path('home')))\n"
        "registry.promote('sales', registry.log(Path('bundle'), 'sales').version)\n"
        "registry.fetch('sales')\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert (done.stdout, done.stderr) == ("", "")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bundle", "home"]


def test_mlflow_is_imported_only_when_it_is_asked() -> None:
    script = (
        "import sys; from foretail.registry.versions import Registry; from foretail.core.settings import Settings\n"
        "Registry(Settings()); print([name for name in ('mlflow', 'sqlalchemy', 'pandas') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
