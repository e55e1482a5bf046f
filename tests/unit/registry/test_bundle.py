"""A bundle comes back bit for bit, and no change to it goes unseen."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from polars.testing import assert_frame_equal

from foretail.core.errors import MissingExtraError, RegistryError, UsageError
from foretail.models.families import make
from foretail.registry.bundle import Bundle, bundle_digest, load_model, read_bundle, read_info, save_model, write_bundle
from foretail.registry.info import FamilyTree

sys.path.insert(0, str(Path(__file__).parent))
import bundle_maker


@pytest.fixture(autouse=True)
def family(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(bundle_maker.FAMILIES, "last_week", bundle_maker.TINY)


@pytest.fixture
def bundle() -> Bundle:
    return bundle_maker.make_bundle()


@pytest.fixture
def folder(tmp_path: Path, bundle: Bundle) -> Path:
    write_bundle(tmp_path / "bundle", bundle)
    return tmp_path / "bundle"


def test_everything_comes_back(folder: Path, bundle: Bundle) -> None:
    read = read_bundle(folder)
    # NaN is not equal to itself: compare what JSON holds
    assert json.dumps(read.info.to_dict()) == json.dumps(bundle.info.to_dict())
    assert read.info.spec == bundle.info.spec and read.info.tree == bundle.info.tree
    assert read.calibration.keys() == {"scale", "step"}
    for name, values in bundle.calibration.items():
        np.testing.assert_array_equal(read.calibration[name], values)
    np.testing.assert_array_equal(read.panel.y, bundle.panel.y)
    assert_frame_equal(read.panel.series, bundle.panel.series)
    assert read.panel.dataset_version == "abc"


def test_a_loaded_model_forecasts_the_same_bit_for_bit(folder: Path, bundle: Bundle) -> None:
    before = bundle.model.predict(bundle.panel, 7).y_hat
    read = read_bundle(folder)
    np.testing.assert_array_equal(read.model.predict(read.panel, 7).y_hat, before)


def test_a_missing_package_is_told_and_not_taken_for_a_broken_bundle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_model(tmp_path / "model", "prophet", make("prophet", engine="stan"))
    assert vars(load_model(tmp_path / "model"))["options"].engine == "stan"
    monkeypatch.setitem(sys.modules, "prophet", None)  # as if it were not installed
    with pytest.raises(MissingExtraError, match=r"foretail\[prophet\]"):
        load_model(tmp_path / "model")


def test_a_family_of_the_table(tmp_path: Path, bundle: Bundle) -> None:
    model = make("seasonal_naive").fit(bundle.panel, 7)
    info = replace(bundle.info, model="seasonal_naive", tree=FamilyTree("seasonal_naive"))
    write_bundle(tmp_path / "bundle", replace(bundle, info=info, model=model))
    read = read_bundle(tmp_path / "bundle")
    np.testing.assert_array_equal(read.model.predict(read.panel, 7).y_hat, model.predict(bundle.panel, 7).y_hat)


def test_a_fresh_process_forecasts_the_same(folder: Path, bundle: Bundle) -> None:
    script = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import bundle_maker\n"
        "bundle_maker.FAMILIES['last_week'] = bundle_maker.TINY\n"
        "from pathlib import Path; from foretail.registry.bundle import read_bundle\n"
        "bundle = read_bundle(Path(sys.argv[1]))\n"
        "print(bundle.model.predict(bundle.panel, 7).y_hat.tobytes().hex())\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(folder)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == bundle.model.predict(bundle.panel, 7).y_hat.tobytes().hex()


def test_the_folder_is_laid_out_as_said(folder: Path) -> None:
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert {"bundle.json", "model/family.json", "model/params.json", "calibration/arrays.npz"} <= files
    assert any(name.startswith("panel/") for name in files)
    assert json.loads((folder / "model" / "family.json").read_text()) == {"family": "last_week"}
    assert not [name for name in files if name.endswith((".pkl", ".pickle", ".joblib"))]
    assert not [path for path in folder.parent.iterdir() if path != folder]


def test_the_description_alone_is_enough_for_the_gate(folder: Path) -> None:
    info = read_info(folder)
    contender = info.contender("version 1")
    assert contender.wape == {"2024-01-14+7": 0.2, "2024-01-21+7": 0.2}
    assert info.naive().wape == contender.naive == {"2024-01-14+7": 0.3, "2024-01-21+7": 0.3}
    assert contender.dataset == "sales: units by store, D" and contender.horizon == 7
    assert info.metrics["wape"] == 0.2


def test_writing_twice_gives_the_same_digest(folder: Path, bundle: Bundle, tmp_path: Path) -> None:
    write_bundle(tmp_path / "again", bundle)
    assert bundle_digest(tmp_path / "again") == bundle_digest(folder)


def test_a_bundle_is_never_overwritten(folder: Path, bundle: Bundle) -> None:
    digest = bundle_digest(folder)
    with pytest.raises(RegistryError, match="never overwritten"):
        write_bundle(folder, bundle)
    assert bundle_digest(folder) == digest


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "changed": (lambda folder: flip(folder / "model" / "factor.npz"), "changed model/factor.npz"),
    "truncated": (
        lambda folder: (folder / "calibration" / "arrays.npz").write_bytes(b""),
        "changed calibration/arrays",
    ),
    "missing": (lambda folder: (folder / "model" / "params.json").unlink(), "missing model/params.json"),
    "unknown": (lambda folder: (folder / "model" / "evil.pkl").write_bytes(b"x"), "unknown model/evil.pkl"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_named(folder: Path, damage: str) -> None:
    act, said = DAMAGES[damage]
    act(folder)
    with pytest.raises(RegistryError, match=said):
        read_bundle(folder)


def test_a_link_is_no_file(folder: Path) -> None:
    path = folder / "model" / "params.json"
    elsewhere = folder.parent / "params.json"
    path.rename(elsewhere)
    path.symlink_to(elsewhere)
    with pytest.raises(RegistryError, match=r"link model/params\.json"):
        read_bundle(folder)


@pytest.mark.parametrize("name", ["../outside", "/etc/passwd", "model/../../outside", "a\\..\\b", ""])
def test_a_name_that_leads_outside_is_refused(folder: Path, name: str) -> None:
    path = folder / "bundle.json"
    values = json.loads(path.read_text())
    values["files"][name] = "0" * 64
    path.write_text(json.dumps(values))
    with pytest.raises(RegistryError, match="outside itself"):
        read_bundle(folder)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "cannot be read"),
        ("[]", "not the description"),
        ('{"format": 1, "files": {}}', "not the description"),
        ('{"format": 99, "files": {}, "info": {}}', "format 99"),
        ('{"format": 1, "files": {}, "info": {"model": "x"}}', "description cannot be read"),
    ],
)
def test_a_description_that_is_none(folder: Path, text: str, said: str) -> None:
    (folder / "bundle.json").write_text(text)
    with pytest.raises(RegistryError, match=said):
        read_bundle(folder)


def test_no_bundle_at_all(tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match="not a bundle"):
        read_bundle(tmp_path / "nothing")


def test_arrays_of_objects_would_be_a_pickle(tmp_path: Path, bundle: Bundle) -> None:
    with pytest.raises(ValueError, match="pickle"):
        write_bundle(tmp_path / "bundle", replace(bundle, calibration={"x": np.array([{}])}))
    assert not list(tmp_path.iterdir())


def test_a_family_that_is_not_installed_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(bundle_maker.FAMILIES, "last_week")
    with pytest.raises(UsageError, match="'last_week'"):
        read_bundle(folder)


def test_an_ensemble_keeps_its_tree(tmp_path: Path, bundle: Bundle) -> None:
    members = (FamilyTree("boosting", {"leaves": 31}, 0.6, measured=0.5), FamilyTree("theta", {}, 0.4, measured=0.5))
    info = replace(bundle.info, tree=FamilyTree("last_week", {}, 1.0, members))
    write_bundle(tmp_path / "bundle", replace(bundle, info=info))
    assert read_info(tmp_path / "bundle").tree == info.tree


def test_a_version_is_compared_by_the_weights_that_were_measured() -> None:
    members = (FamilyTree("boosting", {}, 0.6, measured=0.5), FamilyTree("theta", {}, 0.4, measured=0.5))
    assert FamilyTree("ensemble", members=members).measured_weights == {"boosting": 0.5, "theta": 0.5}
    plain = tuple(FamilyTree(member.family, {}, member.weight) for member in members)
    assert FamilyTree("ensemble", members=plain).measured_weights == {"boosting": 0.6, "theta": 0.4}
    assert FamilyTree("theta").measured_weights == {"theta": 1.0}


def test_a_place_that_cannot_be_written(tmp_path: Path, bundle: Bundle) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(RegistryError, match="cannot be written"):
        write_bundle(tmp_path / "file" / "bundle", bundle)
