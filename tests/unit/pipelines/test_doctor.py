"""The doctor tells what is there, what is broken and how to mend it, and creates nothing."""

import importlib.metadata
import json
import socket
import subprocess
import sys
import threading
import warnings
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from foretail.core.settings import Settings
from foretail.pipelines.doctor import Diagnosis, Sign, diagnose


def look(settings):
    """Signs by name; what packages warn of at import is not the doctor's business."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        diagnosis = diagnose(settings)
    return diagnosis, {sign.name: sign for sign in diagnosis.signs}


@pytest.fixture
def server():
    """An HTTP server whose /health answers, as MLflow's does."""

    class Health(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200 if self.path == "/health" else 404)
            self.end_headers()

        def log_message(self, *args):
            pass

    http = HTTPServer(("127.0.0.1", 0), Health)
    thread = threading.Thread(target=http.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{http.server_port}"
    http.shutdown()
    thread.join()
    http.server_close()


def test_a_sound_machine_is_healthy_and_nothing_is_created(tmp_path):
    diagnosis, signs = look(Settings(home=tmp_path / "home"))
    assert diagnosis.is_healthy
    assert signs["polars"] == Sign("core", "polars", "ok", importlib.metadata.version("polars"))
    assert signs["s3fs"].group == "s3"
    assert "made at the first run" in signs["home"].found
    assert "made at the first run" in signs["warehouse"].found
    assert signs["data"].state == "missing"
    assert "FORETAIL_DATA" in signs["data"].fix
    assert not any(tmp_path.iterdir())


def test_every_core_requirement_is_looked_at(tmp_path):
    _, signs = look(Settings(home=tmp_path))
    core = [text for text in importlib.metadata.requires("foretail") if "extra ==" not in text]
    assert len(core) == sum(sign.group == "core" for sign in signs.values())


def test_stores_that_are_there_answer(tmp_path):
    (tmp_path / "warehouse.db").touch()
    (tmp_path / "data" / "walmart").mkdir(parents=True)
    _, signs = look(Settings(home=tmp_path, data=tmp_path / "data"))
    assert signs["warehouse"].found.endswith("warehouse.db answers")
    assert signs["data"].state == "ok"
    assert "walmart" in signs["data"].found


def test_what_does_not_answer_is_broken_and_passwords_are_not_shown(tmp_path):
    (tmp_path / "text.db").write_text("this is no database, however long the text may be" * 100)
    settings = Settings(
        home=tmp_path, warehouse=f"sqlite:///{tmp_path}/text.db", tracking_uri="postgresql+nodriver://me:secret@db/x"
    )
    diagnosis, signs = look(settings)
    assert not diagnosis.is_healthy
    assert signs["warehouse"].state == signs["tracking"].state == "broken"
    assert "FORETAIL_WAREHOUSE" in signs["warehouse"].fix
    assert "secret" not in json.dumps(diagnosis.to_dict())


def test_a_folder_without_layouts_is_said(tmp_path):
    _, signs = look(Settings(home=tmp_path, data=tmp_path))
    assert signs["data"].state == "missing"
    assert "none of the known layouts" in signs["data"].found


def test_a_tracking_server_is_asked(tmp_path, server):
    _, signs = look(Settings(home=tmp_path, tracking_uri=server))
    assert signs["tracking"].state == "ok"
    assert "answers 200" in signs["tracking"].found


def test_a_tracking_server_that_is_down_is_broken(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    _, signs = look(Settings(home=tmp_path, tracking_uri=f"http://me:secret@127.0.0.1:{port}"))
    assert signs["tracking"].state == "broken"
    assert "secret" not in signs["tracking"].found
    assert "FORETAIL_TRACKING_URI" in signs["tracking"].fix


def test_an_optional_package_that_is_missing_leaves_it_healthy():
    assert Diagnosis((Sign("s3", "s3fs", "missing", "not installed"),)).is_healthy
    assert not Diagnosis((Sign("core", "numpy", "broken", "not installed"),)).is_healthy


def test_the_verb_leaves_with_1_when_the_home_cannot_be(tmp_path):
    (tmp_path / "file").touch()
    command = [sys.executable, "-m", "foretail.cli.main", "doctor", "--json", "--home", str(tmp_path / "file" / "sub")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    told = json.loads(done.stdout)
    assert done.returncode == 1
    assert told["healthy"] is False
    assert [sign["name"] for sign in told["signs"] if sign["state"] == "broken"] == ["home"]
    assert "next: mend home" in done.stderr
