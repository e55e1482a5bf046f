"""Apache Kafka on loopback: one process that is broker and controller, ready when it answers, not when it listens."""

from __future__ import annotations

import socket
import struct
import subprocess
import sys
import uuid
from base64 import urlsafe_b64encode
from pathlib import Path
from typing import ClassVar

from scripts.services.jars import fetch
from scripts.services.process import HOME, ServiceError, free_port
from scripts.services.service import Service
from scripts.services.spark import spark_jars

__all__ = ["Kafka"]

_LOGS = ("-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-Dorg.slf4j.simpleLogger.showDateTime=true")
_JAVA = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:+ExitOnOutOfMemoryError", "-Djava.awt.headless=true")
_READY_S = 90.0  # after a kill it reads its log again and waits for its own old session to end
_METADATA, _NO_TOPICS = 3, struct.pack(">i", 0)
_SETTINGS = """\
process.roles=broker,controller
node.id=1
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
controller.quorum.bootstrap.servers=127.0.0.1:{controller_port}
log.dirs={data}
num.partitions=4
offsets.topic.num.partitions=4
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
auto.create.topics.enable=false
log.retention.hours=-1
log.cleaner.dedupe.buffer.size=16777216
# a broker that was killed is let in again after this, not after 9 s
broker.session.timeout.ms=2000
broker.heartbeat.interval.ms=500
"""


class Kafka(Service):
    """A broker that anyone on this machine may use: it has no password.

    Parameters
    ----------
    dies_with_parent : see `Service`.
    heap_mb : memory of the Java heap; the process takes about 90 MB more.
    settings : further lines of its ``server.properties``, e.g. ``{"message.max.bytes": "4000000"}``.
    """

    name, program, package = "kafka", "java", "default-jre-headless"
    tools: ClassVar = {"mvn": "maven"}

    def __init__(self, *, dies_with_parent: bool = False, heap_mb: int = 256, settings: dict[str, str] | None = None):
        super().__init__(dies_with_parent=dies_with_parent)
        self._jars = fetch("kafka")
        self._heap = (f"-Xms{heap_mb}m", f"-Xmx{heap_mb}m")
        self._controller_port = free_port()
        self._more = settings or {}

    @classmethod
    def fetch(cls) -> None:
        """Bring the jars of the broker, and those with which Spark reads it."""
        fetch("kafka")
        spark_jars()

    @property
    def address(self) -> str:
        """As ``bootstrap.servers`` takes it."""
        return f"127.0.0.1:{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        connectors = HOME / "jars" / "spark"
        found = {"FORETAIL_SPARK_JARS": str(connectors)} if connectors.exists() else {}
        return {"FORETAIL_KAFKA": self.address, **found}

    def start(self) -> None:
        settings, data = self.folder / "server.properties", self.folder / "data"
        if not (data / "meta.properties").exists():
            self._make(settings, data)
        self._launch(
            self._java(*self._heap, *_JAVA, main=("kafka.Kafka", str(settings))), self._answers, timeout_s=_READY_S
        )

    def create_topic(self, name: str, partitions: int = 4, settings: dict[str, str] | None = None) -> None:
        """Make a topic, and wait until it can be written.

        Raises
        ------
        ServiceError : confluent-kafka is missing, or the broker refuses, e.g. since there is one of that name.
        """
        try:
            from confluent_kafka import KafkaException
            from confluent_kafka.admin import AdminClient, NewTopic
        except ImportError as error:
            raise ServiceError(
                "confluent-kafka is not installed", sys.prefix, "pip install 'foretail[kafka]'"
            ) from error
        admin = AdminClient({"bootstrap.servers": self.address, "log_level": 0})
        topic = NewTopic(name, num_partitions=partitions, replication_factor=1, config=settings or {})
        try:
            admin.create_topics([topic], operation_timeout=20)[name].result(30)
        except KafkaException as error:
            raise ServiceError(f"the topic {name} cannot be made", self.address, f"it says: {error}") from error

    def _make(self, settings: Path, data: Path) -> None:
        ports = {"port": self.port, "controller_port": self._controller_port}
        more = "".join(f"{key}={value}\n" for key, value in self._more.items())
        settings.write_text(_SETTINGS.format(**ports, data=data) + more, encoding="utf-8")
        words = ("kafka.tools.StorageTool", "format", "--standalone", "-t", _new_id(), "-c", str(settings))
        done = subprocess.run(self._java(_JAVA[1], main=words), capture_output=True, text=True, check=False)
        if done.returncode:
            raise ServiceError("kafka's storage cannot be made", str(data), f"it says: {done.stdout}{done.stderr}")

    def _java(self, *options: str, main: tuple[str, ...]) -> list[str]:
        return [str(self.binary), *options, *_LOGS, "-cp", f"{self._jars}/*", *main]

    def _answers(self) -> bool:
        """It names a broker to write to: itself, once its controller has let it in."""
        request = struct.pack(">hhih", _METADATA, 1, 1, -1) + _NO_TOPICS
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as talk, talk.makefile("rb") as answer:
                talk.sendall(struct.pack(">i", len(request)) + request)
                _, _, n_brokers = struct.unpack(">iii", answer.read(12))
        except (OSError, struct.error):
            return False
        return bool(n_brokers > 0)


def _new_id() -> str:
    """A cluster's id: 16 bytes in URL-safe letters; one that begins with a dash would be taken for an option."""
    found = "-"
    while found.startswith("-"):
        found = urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
    return found
