"""Settings: file, then environment, then flags; unknown keys refused."""

import os
from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest

from foretail.core.errors import UsageError
from foretail.core.settings import Settings


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "foretail.toml"
    path.write_text('home = "from-file"\nworkers = 3\nlog_format = "json"\n')
    return path


def test_defaults_need_no_server(tmp_path):
    settings = Settings.load(tmp_path / "none.toml", environ={})
    assert settings.home == Path(".foretail")
    assert settings.tracking_uri == f"sqlite:///{Path('.foretail/mlflow.db').absolute()}"
    assert settings.warehouse == f"sqlite:///{Path('.foretail/warehouse.db').absolute()}"
    assert settings.data is None
    assert settings.n_workers == os.cpu_count()
    assert settings.execution == "processes"


def test_the_file_is_read(file):
    settings = Settings.load(file, environ={})
    assert (settings.home, settings.workers, settings.log_format) == (Path("from-file"), 3, "json")


def test_the_environment_beats_the_file(file):
    settings = Settings.load(file, environ={"FORETAIL_HOME": "from-env", "FORETAIL_WORKERS": "2"})
    assert (settings.home, settings.n_workers, settings.log_format) == (Path("from-env"), 2, "json")


def test_a_flag_beats_the_environment_and_none_is_no_flag(file):
    environ = {"FORETAIL_HOME": "from-env", "FORETAIL_DATA": "data-env"}
    settings = Settings.load(file, environ=environ, home=Path("from-flag"), data=None)
    assert (settings.home, settings.data) == (Path("from-flag"), Path("data-env"))


def test_the_environment_says_where_fits_run(tmp_path):
    environ = {"FORETAIL_EXECUTION": "ray://head:10001"}
    assert Settings.load(tmp_path / "none.toml", environ=environ).execution == "ray://head:10001"
    assert Settings.load(tmp_path / "none.toml", environ=environ, execution="processes").execution == "processes"


def test_the_stores_follow_the_home(tmp_path):
    settings = Settings(home=tmp_path)
    assert settings.tracking_uri == f"sqlite:///{tmp_path}/mlflow.db"
    assert Settings(home=tmp_path, warehouse="postgresql://db/x").warehouse == "postgresql://db/x"


def test_other_environment_variables_are_left_alone(tmp_path):
    environ = {"FORETAIL_SOMETHING_ELSE": "1", "HOME": "/nowhere"}
    assert Settings.load(tmp_path / "none.toml", environ=environ) == Settings()


def test_an_unknown_key_is_refused_and_the_nearest_named(tmp_path):
    path = tmp_path / "foretail.toml"
    path.write_text("worker = 2\n")
    with pytest.raises(UsageError, match="did you mean 'workers'") as caught:
        Settings.load(path, environ={})
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("content", [b"home = [", b"\xff\xfe"])
def test_a_file_that_is_not_toml_is_refused(tmp_path, content):
    path = tmp_path / "foretail.toml"
    path.write_bytes(content)
    with pytest.raises(UsageError, match="cannot read the settings"):
        Settings.load(path, environ={})


def test_workers_must_be_a_number(tmp_path):
    with pytest.raises(UsageError, match="whole number"):
        Settings.load(tmp_path / "none.toml", environ={"FORETAIL_WORKERS": "many"})


def test_an_unknown_log_format_is_refused():
    with pytest.raises(UsageError, match="log_format"):
        Settings(log_format="xml")


def test_settings_are_frozen():
    with pytest.raises(FrozenInstanceError):
        Settings().workers = 2


@pytest.mark.parametrize(("line", "told"), [("home = 3", "home = 3 is no text"), ("workers = -1", "workers = -1")])
def test_values_that_make_no_sense_are_refused(tmp_path, line, told):
    path = tmp_path / "foretail.toml"
    path.write_text(line)
    with pytest.raises(UsageError, match=told):
        Settings.load(path, environ={})
