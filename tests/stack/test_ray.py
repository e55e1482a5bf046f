"""Partitions on a real Ray: two nodes, workers and nodes that are killed, a client server, a head that goes away."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import textwrap
import threading
from pathlib import Path
from typing import Any

import psutil
import pytest

from foretail.core.errors import DataError, ServiceError, UsageError
from foretail.features.offline.cluster import run_partitions

sys.path.insert(0, str(Path(__file__).parent))
import partition_jobs as jobs  # importable by this name in the workers too: see `ray_cluster`


def test_results_come_in_the_order_of_the_tasks(ray_cluster: Any) -> None:
    done: list[int] = []
    results = list(run_partitions(range(20), jobs.square, ray_cluster.address, done.append))
    assert results == [number * number for number in range(20)]
    assert done == [1] * 20


def test_no_partition_runs_ahead_of_the_memory_for_it(ray_cluster: Any) -> None:
    read = []

    def tasks():
        for number in range(50):
            read.append(number)
            yield number

    results = run_partitions(tasks(), jobs.square, ray_cluster.address)
    assert next(results) == 0
    assert len(read) <= 4  # two cores and one; the first is taken
    results.close()


def test_workers_have_one_thread_each(ray_cluster: Any) -> None:
    assert set(run_partitions(range(3), jobs.threads, ray_cluster.address)) == {"1"}


def test_the_ray_of_this_process_is_used_when_none_is_named(ray_cluster: Any) -> None:
    list(run_partitions([1], jobs.square, ray_cluster.address))
    assert list(run_partitions([3], jobs.square, "ray")) == [9]


def test_another_cluster_than_the_attached_one_is_refused(ray_cluster: Any) -> None:
    list(run_partitions([1], jobs.square, ray_cluster.address))
    with pytest.raises(UsageError, match=r"attached to another Ray than 127\.0\.0\.9:4000"):
        list(run_partitions([1], jobs.square, "127.0.0.9:4000"))


def test_an_error_of_a_partition_is_raised_whole_and_not_tried_again(ray_cluster: Any, tmp_path: Path) -> None:
    tasks = [(number, str(tmp_path)) for number in range(6)]
    done: list[int] = []
    with pytest.raises(DataError) as caught:
        list(run_partitions(tasks, jobs.refuse_two, ray_cluster.address, done.append))
    assert done == [1, 1]
    assert str(caught.value) == "the column price is text\n  where: part-2.parquet\n  fix:   write it as numbers"
    assert (tmp_path / "tries").read_text() == "x"


def test_a_killed_worker_costs_only_time(ray_cluster: Any, tmp_path: Path) -> None:
    tasks = [(number, str(tmp_path)) for number in range(6)]
    assert list(run_partitions(tasks, jobs.die_once, ray_cluster.address)) == list(range(6))
    assert (tmp_path / "3").exists()


def test_a_partition_that_kills_every_worker_is_an_error(ray_cluster: Any) -> None:
    with pytest.raises(ServiceError, match=r"Ray lost partition 1: WorkerCrashedError.*\n  where: Ray at .*\n  fix: "):
        list(run_partitions([7], jobs.always_die, ray_cluster.address))


def test_a_killed_node_costs_only_time_and_no_result(ray_cluster: Any, ray_node: dict[str, Any]) -> None:
    """It dies while partitions run on it and finished ones, not yet taken, lie in its memory."""
    node = ray_cluster.add_node(**ray_node)
    n_done = 0

    def advance(n: int) -> None:
        nonlocal n_done
        n_done += n
        if n_done == 3:
            ray_cluster.remove_node(node, allow_graceful=False)

    numbers = [
        part["number"][0].as_py() for part in run_partitions(range(12), jobs.table, ray_cluster.address, advance)
    ]
    assert numbers == list(range(12))


def test_a_node_killed_at_any_moment_costs_only_time(ray_cluster: Any, ray_node: dict[str, Any]) -> None:
    node = ray_cluster.add_node(**ray_node)
    killer = threading.Timer(0.5, ray_cluster.remove_node, (node,), {"allow_graceful": False})
    killer.start()
    try:
        results = list(run_partitions(range(10), jobs.slow_square, ray_cluster.address))
    finally:
        killer.join()
    assert results == [number * number for number in range(10)]


def run_script(text: str, timeout_s: float = 120) -> subprocess.CompletedProcess[str]:
    """In a process that is not attached to a Ray yet."""
    command = [sys.executable, "-c", textwrap.dedent(text)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=timeout_s)


def test_a_client_server_runs_partitions(ray_cluster: Any) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address = f"ray://127.0.0.1:{port}"
    command = [sys.executable, "-m", "ray.util.client.server", "--address", ray_cluster.address]
    command += ["--host", "127.0.0.1", "--port", str(port)]
    patient = {**os.environ, "RAY_CLIENT_SERVER_CHECK_CHANNEL_TIMEOUT_S": "120"}  # a busy machine may take Ray's 30 s
    server = subprocess.Popen(command, env=patient, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        done = run_script(f"""
            import socket, time
            for _ in range(600):
                try:
                    socket.create_connection(("127.0.0.1", {port})).close()
                    break
                except OSError:
                    time.sleep(0.1)
            import partition_jobs as jobs
            from foretail.features.offline.cluster import run_partitions
            print(list(run_partitions(range(5), jobs.square, {address!r})))
        """)
    finally:
        server.terminate()
        server.wait()
    assert (done.stdout, done.returncode) == ("[0, 1, 4, 9, 16]\n", 0), done.stderr


OWN = """
import psutil
import partition_jobs as jobs
from foretail.core.errors import ServiceError
from foretail.execution import attach
from foretail.features.offline.cluster import run_partitions

def kill(name):
    for process in psutil.Process().children(recursive=True):
        if process.name() == name:
            process.kill()

class Killer:
    def __init__(self, name):
        self.name, self.n_done = name, 0

    def __call__(self, n):
        self.n_done += n
        if self.n_done == 3:
            kill(self.name)

attach._LOOK_S = attach._ANSWER_S = attach._SILENT_S = 1.0
"""


def test_a_ray_of_its_own_says_nothing_and_leaves_nothing() -> None:
    done = run_script(
        OWN
        + """
print(list(run_partitions(range(5), jobs.square, "ray")))
import ray
print(ray.nodes()[0]["NodeManagerAddress"])
print(*(process.pid for process in psutil.Process().children(recursive=True)))
"""
    )
    results, address, pids = done.stdout.splitlines()
    assert (results, address, done.stderr) == ("[0, 1, 4, 9, 16]", "127.0.0.2", "")
    assert len(pids.split()) > 3
    gone, alive = psutil.wait_procs(
        [psutil.Process(int(pid)) for pid in pids.split() if psutil.pid_exists(int(pid))], 10
    )
    assert alive == [], gone


@pytest.mark.parametrize(("name", "what"), [("raylet", "Ray lost partition"), ("gcs_server", "the head of the Ray")])
def test_a_ray_that_dies_whole_is_an_error_and_a_rerun_completes(name: str, what: str) -> None:
    """The node of this very process, or the head: nothing can go on, but it is said, and the next run starts anew."""
    done = run_script(
        OWN
        + f"""
try:
    list(run_partitions(range(200), jobs.slow_square, "ray", Killer({name!r})))
except ServiceError as error:
    print("said:", str(error).splitlines()[0])
print("rerun:", list(run_partitions(range(5), jobs.square, "ray")))
"""
    )
    lines = dict(line.split(": ", 1) for line in done.stdout.splitlines() if line.startswith(("said: ", "rerun: ")))
    assert lines.get("said", "").startswith(what), done.stdout + done.stderr
    assert lines.get("rerun") == "[0, 1, 4, 9, 16]"
