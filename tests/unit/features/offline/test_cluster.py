"""Where partitions may run, and what is said when that place is not there; a real Ray is in tests/stack."""

from __future__ import annotations

import socket
import subprocess
import sys

import pytest

from foretail.core.errors import ServiceError, UsageError
from foretail.execution import attach
from foretail.features.offline.cluster import run_partitions


def test_here_results_keep_the_order_and_progress_is_told() -> None:
    done: list[int] = []
    assert list(run_partitions([3, 1, 2], lambda number: number * 10, "local", done.append)) == [30, 10, 20]
    assert done == [1, 1, 1]


def test_here_a_task_is_read_when_its_turn_comes() -> None:
    read = []

    def tasks():
        for number in range(3):
            read.append(number)
            yield number

    results = run_partitions(tasks(), str)
    assert (next(results), read) == ("0", [0])


@pytest.mark.parametrize("execution", ["rya", "ray://", "ray://host", "host", "http://host:1", "", "host:port"])
def test_a_place_that_is_none_is_refused_before_anything_runs(execution: str) -> None:
    with pytest.raises(UsageError, match=r"is nowhere to run\.\n  where: .*\n  fix:   one of local, ray, ray://HOST"):
        run_partitions([1], str, execution)


def test_an_address_where_nobody_listens_is_told_in_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attach, "_ANSWER_S", 0.3)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    for execution in (address, f"ray://{address}"):
        with pytest.raises(ServiceError, match=rf"Ray does not answer within .*\n  where: {execution}\n  fix:"):
            run_partitions([1], str, execution)


def test_an_address_that_speaks_something_else_is_told_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attach, "_ANSWER_S", 0.3)
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        with pytest.raises(ServiceError, match="Ray does not answer"):
            run_partitions([1], str, f"127.0.0.1:{mute.getsockname()[1]}")


def test_without_ray_its_extra_is_named() -> None:
    program = (
        "import sys; sys.modules['ray'] = None\n"
        "from foretail.features.offline.cluster import run_partitions\n"
        "print(list(run_partitions([1], str)))\n"
        "run_partitions([1], str, 'ray')"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "['1']\n"
    assert "MissingExtraError: ray is not installed.\n  fix:   pip install 'foretail[ray]'" in done.stderr


def test_ray_is_imported_only_when_it_is_asked_for() -> None:
    program = (
        "import sys\nfrom foretail.features.offline.cluster import run_partitions\n"
        "list(run_partitions([1], str))\nprint({'ray', 'grpc', 'feast', 'pandas'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "set()\n", done.stderr
