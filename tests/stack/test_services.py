"""The services themselves: they start empty, keep strangers out, survive a kill, and leave nothing."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import psycopg
import pytest
import redis as redis_client
from scripts.services import __main__ as command
from scripts.services.postgres import Postgres
from scripts.services.process import Server, ServiceError, find
from scripts.services.redis import Redis


def is_alive(pid: int) -> bool:
    return command._born(pid) != ""


def wait_until_gone(pid: int) -> bool:
    end = time.monotonic() + 10
    while is_alive(pid) and time.monotonic() < end:
        time.sleep(0.05)
    return not is_alive(pid)


def test_postgres_answers_with_its_password_only(postgres: Postgres) -> None:
    with psycopg.connect(postgres.url) as session:
        assert session.execute("select current_database()").fetchone() == ("foretail",)
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(postgres.url.replace(postgres.password, "postgres"))


def test_postgres_listens_on_loopback_only(postgres: Postgres) -> None:
    with psycopg.connect(postgres.url) as session:
        assert session.execute("show listen_addresses").fetchone() == ("127.0.0.1",)
        assert session.execute("show unix_socket_directories").fetchone() == ("",)


def test_a_killed_postgres_goes_on_with_what_was_committed(own_postgres: Postgres) -> None:
    with psycopg.connect(own_postgres.url, autocommit=True) as session:
        session.execute("create table kept as select generate_series(1, 1000) as number")
        own_postgres.kill()
        with pytest.raises(psycopg.OperationalError):  # a session ends when it is idle next
            for _ in range(100):
                session.execute("select 1")
                time.sleep(0.05)
    own_postgres.start()
    with psycopg.connect(own_postgres.url) as session:
        assert session.execute("select count(*) from kept").fetchone() == (1000,)


def test_redis_answers_with_its_password_only(redis: Redis) -> None:
    with redis_client.Redis.from_url(redis.url) as client:
        assert client.set("key", "value")
        assert client.get("key") == b"value"
        assert client.config_get("bind") == {"bind": "127.0.0.1"}
    with redis_client.Redis(port=redis.port) as stranger, pytest.raises(redis_client.AuthenticationError):
        stranger.get("key")


def test_a_service_ends_with_the_process_that_started_it() -> None:
    program = (
        "from scripts.services.postgres import Postgres\n"
        "service = Postgres(dies_with_parent=True, is_durable=False)\nservice.start()\n"
        "print(service.pid, service.folder, flush=True)\nimport time; time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid, folder = parent.stdout.readline().split()
        try:
            assert is_alive(int(pid))
            parent.kill()
            assert wait_until_gone(int(pid))
        finally:
            subprocess.run(["rm", "-rf", folder], check=True)


def test_a_server_that_does_not_start_shows_its_last_words(tmp_path: Path) -> None:
    server = Server(["sh", "-c", "echo the disk is gone; exit 3"], tmp_path / "log.txt")
    with pytest.raises(ServiceError, match=r"ended with code 3\n  where: .*log\.txt\n.*\n +the disk is gone"):
        server.wait_ready(lambda: False)


def test_a_server_that_never_answers_is_ended(tmp_path: Path) -> None:
    server = Server(["sleep", "60"], tmp_path / "log.txt")
    with pytest.raises(ServiceError, match="does not answer"):
        server.wait_ready(lambda: False, timeout_s=0.1)
    assert not is_alive(server.pid)


def test_a_missing_program_is_named_with_its_package() -> None:
    with pytest.raises(ServiceError, match=r"kafka-of-old is not installed\n.*\n  fix:   apt-get install kafka"):
        find("kafka-of-old", "kafka", "/opt/kafka/bin")


def test_up_tells_where_it_answers_and_down_leaves_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state = tmp_path / "services.json"
    program = (
        "import sys; from pathlib import Path; from scripts.services.__main__ import up\n"
        "up(['postgres', 'redis'], Path(sys.argv[1]))"
    )
    started = []
    for _ in range(2):  # the second time finds them running
        done = subprocess.run([sys.executable, "-c", program, str(state)], capture_output=True, text=True, check=True)
        lines = [shlex.split(line.removeprefix("export "))[0] for line in done.stdout.splitlines()]
        started.append(dict(line.split("=", 1) for line in lines))
    assert started[0] == started[1]
    assert oct(state.stat().st_mode & 0o777) == "0o600"
    with psycopg.connect(started[0]["FORETAIL_POSTGRES_URL"]) as session:
        assert session.execute("show fsync").fetchone() == ("on",)
    with redis_client.Redis.from_url(started[0]["FORETAIL_REDIS_URL"]) as client:
        assert client.ping()
    entries = json.loads(state.read_text())
    command.down(["postgres", "redis"], state)
    assert all(not is_alive(entry["pid"]) and not Path(entry["folder"]).exists() for entry in entries)
    assert not state.exists()
    assert "redis is stopped" in capsys.readouterr().err


def test_down_leaves_a_process_alone_that_was_given_the_pid_since(tmp_path: Path) -> None:
    stranger = subprocess.Popen(["sleep", "60"])
    try:
        started = command.Started("redis", stranger.pid, "1", signal.SIGKILL, str(tmp_path / "gone"), {})
        state = tmp_path / "services.json"
        command._write(state, [started])
        command.down(["redis"], state)
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_packages_are_installed_by_root_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Redis, "program", "redis-of-old")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(
        ServiceError, match=r"not installed: redis-server\n.*\n  fix:   as root: apt-get update && apt-get"
    ):
        command.install(["postgres", "redis"])
