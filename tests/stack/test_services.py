"""The services themselves: they start empty, keep strangers out, survive a kill, and leave nothing."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import psutil
import psycopg
import pytest
import redis as redis_client
from confluent_kafka import Consumer, Producer
from scripts.services import __main__ as command
from scripts.services import jars, spark
from scripts.services.kafka import Kafka
from scripts.services.mlflow import Mlflow
from scripts.services.nginx import Nginx
from scripts.services.postgres import Postgres
from scripts.services.process import Server, ServiceError, find
from scripts.services.ray import RayCluster
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


def values_of(kafka: Kafka, topic: str, n: int) -> list[bytes]:
    """What a topic holds, once there are n messages, and whatever comes in the second after."""
    settings = {
        "bootstrap.servers": kafka.address,
        "group.id": "reader",
        "auto.offset.reset": "earliest",
        "log_level": 0,
    }
    consumer = Consumer(settings)
    consumer.subscribe([topic])
    values: list[bytes] = []
    end = time.monotonic() + 60
    while len(values) < n and time.monotonic() < end:
        values += [message.value() for message in consumer.consume(n, timeout=1)]
    values += [message.value() for message in consumer.consume(n, timeout=1)]
    consumer.close()
    return values


def test_a_killed_kafka_goes_on_with_what_it_acknowledged(own_kafka: Kafka) -> None:
    own_kafka.create_topic("sales", 3)
    producer = Producer({"bootstrap.servers": own_kafka.address, "enable.idempotence": True, "log_level": 0})
    sent = [f"{number}".encode() for number in range(2_000)]
    for value in sent[:1_000]:
        producer.produce("sales", value)
    assert producer.flush(30) == 0
    own_kafka.kill()
    assert not own_kafka.is_running
    own_kafka.start()
    for value in sent[1_000:]:
        producer.produce("sales", value)
    assert producer.flush(60) == 0
    assert sorted(values_of(own_kafka, "sales", 2_000), key=int) == sent


def test_a_topic_is_made_once_and_never_by_itself(kafka: Kafka, topic: str) -> None:
    with pytest.raises(ServiceError, match=rf"the topic {topic} cannot be made\n.*\n.*already exists"):
        kafka.create_topic(topic, 1)
    failures: list[object] = []
    producer = Producer({"bootstrap.servers": kafka.address, "message.timeout.ms": 2_000, "log_level": 0})
    producer.produce("mistyped", b"value", callback=lambda error, _: failures.append(error))
    assert producer.flush(30) == 0
    assert len(failures) == 1
    assert failures[0] is not None


def test_jars_are_fetched_when_their_pom_is_new(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pom = tmp_path / "poms" / "small" / "pom.xml"
    pom.parent.mkdir(parents=True)
    text = (jars.POMS / "kafka" / "pom.xml").read_text()
    first, last = text.index("<dependency>"), text.index("</dependency>") + len("</dependency>")
    pom.write_text(text[:first] + text[last:])  # without the broker: what is left is small
    monkeypatch.setattr(jars, "POMS", tmp_path / "poms")
    folder = jars.fetch("small", tmp_path)
    assert sorted(path.name for path in folder.glob("*.jar")) == ["slf4j-api-1.7.36.jar", "slf4j-simple-1.7.36.jar"]
    with monkeypatch.context() as patch:
        patch.setenv("PATH", "")
        assert jars.fetch("small", tmp_path) == folder  # no Maven is needed a second time
        pom.write_text(pom.read_text().replace("1.7.36", "1.7.35"))
        with pytest.raises(ServiceError, match=r"mvn is not installed\n.*\n  fix:   apt-get install maven"):
            jars.fetch("small", tmp_path)
    pom.write_text(pom.read_text().replace("1.7.35", "0.0.0"))
    with pytest.raises(ServiceError, match=r"Maven cannot fetch the jars\n  where: .*pom\.xml\n.*0\.0\.0"):
        jars.fetch("small", tmp_path)
    assert [path.name for path in (tmp_path / "jars").iterdir() if path.is_dir()] == ["small"]


def test_the_jars_for_spark_are_those_of_its_line(monkeypatch: pytest.MonkeyPatch) -> None:
    names = [path.name.rpartition("-")[0] for path in spark.spark_jars()]
    connectors = ["spark-sql-kafka-0-10_2.13", "spark-token-provider-kafka-0-10_2.13"]
    assert names == ["commons-pool2", "kafka-clients", "postgresql", *connectors]
    monkeypatch.setattr(spark, "version", lambda _: "3.5.1")
    with pytest.raises(ServiceError, match=r"the jars are for Spark 4\..*, installed is 3\.5\.1\n.*\n.* 3\.5"):
        spark.spark_jars()


@pytest.fixture
def mlflow() -> Iterator[Mlflow]:
    service = Mlflow(dies_with_parent=True)
    try:
        service.start()
        yield service
    finally:
        service.remove()


def test_a_killed_mlflow_goes_on_with_runs_artifacts_and_versions(mlflow: Mlflow, tmp_path: Path) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(mlflow.url)
    run = client.create_run(client.create_experiment("sales-forecasting"))
    client.log_metric(run.info.run_id, "wape", 0.125)
    client.log_text(run.info.run_id, "what it holds", "note.txt")
    client.create_registered_model("sales-forecast")
    version = client.create_model_version("sales-forecast", run.info.artifact_uri, run.info.run_id)
    client.set_registered_model_alias("sales-forecast", "champion", version.version)
    children = psutil.Process(mlflow.pid).children(recursive=True)
    mlflow.kill()
    assert children
    assert psutil.wait_procs(children, 10)[1] == []
    mlflow.start()
    assert client.get_run(run.info.run_id).data.metrics == {"wape": 0.125}
    assert client.get_model_version_by_alias("sales-forecast", "champion").version == version.version
    assert Path(client.download_artifacts(run.info.run_id, "note.txt", str(tmp_path))).read_text() == "what it holds"
    stranger = urllib.request.Request(mlflow.url, headers={"Host": "elsewhere.example"})
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(stranger, timeout=10)


class Echo(BaseHTTPRequestHandler):
    """Says which path it was asked for."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(self.path.encode())

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def upstream() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), Echo) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_killed_nginx_serves_the_same_again(upstream: str) -> None:
    service = Nginx({"trainers": [f"{upstream} max_fails=1"]}, dies_with_parent=True)
    try:
        for end in (service.kill, service.stop):
            service.start()
            children = psutil.Process(service.pid).children()
            with urllib.request.urlopen(f"{service.url}/api/trainers/train?store=1", timeout=10) as answer:
                assert answer.read() == b"/train?store=1"
            end()
            assert psutil.wait_procs(children, 10)[1] == []
    finally:
        service.remove()


def test_an_nginx_that_nobody_told_an_upstream_says_so(tmp_path: Path) -> None:
    template = tmp_path / "own.template"
    service = Nginx(template=template)
    try:
        with pytest.raises(ServiceError, match=r"there is no configuration for Nginx\n  where: .*own\.template"):
            service.start()
        template.write_text("upstream other { ${FORETAIL_OTHER} } server { listen ${FORETAIL_LISTEN}; }")
        with pytest.raises(ServiceError, match=r"nobody says what FORETAIL_OTHER is\n  where: .*own\.template"):
            service.start()
        template.write_text("server { listen ${FORETAIL_LISTEN} nonsense; }")
        with pytest.raises(ServiceError, match='invalid parameter "nonsense"'):
            service.start()
    finally:
        service.remove()


def test_ray_nodes_die_alone_and_leave_nothing(ray_service: RayCluster) -> None:
    assert ray_service.n_nodes() == 2
    with pytest.raises(urllib.error.HTTPError, match="401"):
        urllib.request.urlopen(f"{ray_service.jobs}/nodes?view=summary", timeout=10)
    head, worker = (psutil.Process(pid) for pid in ray_service.pids)
    children = worker.children(recursive=True)
    ray_service.kill_worker()
    assert psutil.wait_procs([worker, *children], 20)[1] == []
    end = time.monotonic() + 60
    while ray_service.n_nodes() > 1 and time.monotonic() < end:
        time.sleep(0.2)
    assert ray_service.n_nodes() == 1
    ray_service.start_worker()
    processes = [child for pid in ray_service.pids for child in psutil.Process(pid).children(recursive=True)]
    assert head.is_running()
    ray_service.kill()
    assert psutil.wait_procs(processes, 20)[1] == []
    ray_service.start()
    assert ray_service.n_nodes() == 2


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


def test_what_a_service_cannot_do_without_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [missing for service in command.SERVICES.values() for missing in service.missing()] == []
    monkeypatch.setenv("PATH", "")
    assert Kafka.missing() == ["default-jre-headless", "maven"]
    with pytest.raises(ServiceError, match=r"java is not installed\n.*\n  fix:   apt-get install default-jre-headless"):
        Kafka()


def test_up_and_down_of_a_service_of_two_processes(tmp_path: Path) -> None:
    state = tmp_path / "services.json"
    program = (
        "import sys; from pathlib import Path; from scripts.services.__main__ import up\nup(['ray'], Path(sys.argv[1]))"
    )
    done = subprocess.run([sys.executable, "-c", program, str(state)], capture_output=True, text=True, check=True)
    assert {line.partition("=")[0] for line in done.stdout.splitlines()} == {
        f"export {name}" for name in ("FORETAIL_RAY", "FORETAIL_RAY_JOBS", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN")
    }
    (entry,) = json.loads(state.read_text())
    assert len(entry["processes"]) == 2
    processes = [psutil.Process(int(pid)) for pid in entry["processes"]]
    processes += [child for process in processes for child in process.children(recursive=True)]
    command.down(["ray"], state)
    assert psutil.wait_procs(processes, 20)[1] == []
    assert not Path(entry["folder"]).exists()


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
    assert all(not is_alive(int(pid)) for entry in entries for pid in entry["processes"])
    assert not any(Path(entry["folder"]).exists() for entry in entries)
    assert not state.exists()
    assert "redis is stopped" in capsys.readouterr().err


def test_down_leaves_a_process_alone_that_was_given_the_pid_since(tmp_path: Path) -> None:
    stranger = subprocess.Popen(["sleep", "60"])
    try:
        started = command.Started("redis", {stranger.pid: "1"}, signal.SIGKILL, str(tmp_path / "gone"), {})
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
