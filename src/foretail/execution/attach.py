"""Attaches this process to a Ray and watches over it; what does not answer is an error within seconds, not minutes.

Ray is imported where it is used.
"""

from __future__ import annotations

import logging
import os
import re
import sys
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

from foretail.core.errors import MissingExtraError, ServiceError, UsageError

__all__ = ["Cluster", "attach", "check_execution", "one_line"]

_ELSEWHERE = ("ray", "ray://HOST:PORT", "HOST:PORT")

_ADDRESS = re.compile(r"(?:ray://)?(?P<door>(?:[\w.-]+|\[[0-9a-fA-F:]+\]):\d{1,5})")
_ANSWER_S = 5.0  # for an address to answer
_LOOK_S = 5.0  # how often a wait looks after the cluster
_SILENT_S = 15.0  # without an answer of the head; after 60 s Ray ends the process
_NO_NODE_S = 300.0  # without a node to run on: a cluster that grows on demand needs minutes for its first one
_LOOPBACK = "127.0.0.2"  # Ray replaces 127.0.0.1 by the address of the network card


@dataclass
class Cluster:
    """The Ray that this process is attached to.

    Attributes
    ----------
    ray : the module.
    address : host and port of its head, or of its client server.
    n_cores : of its nodes, when it was last looked at.
    """

    ray: ModuleType
    address: str
    n_cores: int = 0
    _looked: float = field(default_factory=time.monotonic)
    _answered: float = field(default_factory=time.monotonic)
    _had_cores: float = field(default_factory=time.monotonic)

    @property
    def name(self) -> str:
        """For messages."""
        return f"Ray at {self.address}"

    def wait(self, references: Sequence[Any]) -> list[Any]:
        """Wait for the first results as long as there is a head that answers and a node to run on.

        Returns
        -------
        The references whose results, or errors, are there; at least one.

        Raises
        ------
        ServiceError : the head has not answered for `_SILENT_S`, or there was no node for `_NO_NODE_S`.
        """
        while not (ready := self.ray.wait(references, timeout=_LOOK_S)[0]):
            self.look()
        if time.monotonic() - self._looked > _LOOK_S:  # short tasks go on for a while without a head
            self.look()
        return list(ready)

    def look(self) -> None:
        """See whether it is still there, and how large it is.

        Raises
        ------
        ServiceError : as `wait`.
        """
        now = self._looked = time.monotonic()
        if _answers(self.address):
            self._answered = now
            self.n_cores = int(self.ray.cluster_resources().get("CPU", 0))
            self._had_cores = now if self.n_cores else self._had_cores
        elif now - self._answered > _SILENT_S:
            self.let_go()
            raise ServiceError(
                f"the head of the Ray cluster went away.\n  where: {self.name}\n  fix:   start it, then run this again"
            )
        if now - self._had_cores > _NO_NODE_S:
            raise ServiceError(
                f"the Ray cluster has had no node to run on for {_NO_NODE_S:.0f} s.\n  where: {self.name}"
                "\n  fix:   start a node (`ray start --address=HOST:PORT`), then run this again"
            )

    def cancel(self, references: Iterable[Any]) -> None:
        """Ask for nothing that nobody waits for any more; a cluster that is gone needs no asking."""
        if not self.ray.is_initialized():
            return
        with suppress(self.ray.exceptions.RayError, ConnectionError):
            for reference in references:
                self.ray.cancel(reference)

    def let_go(self) -> None:
        """Detach from it, so that the next run attaches anew."""
        self.ray.shutdown()


def check_execution(execution: str, here: str, where: str) -> None:
    """Refuse what is nowhere to run.

    Parameters
    ----------
    here : what this machine without Ray is called. where : for the message.

    Raises
    ------
    UsageError : neither ``here``, nor ``ray``, nor an address.
    """
    if execution not in (here, "ray") and _ADDRESS.fullmatch(execution) is None:
        raise UsageError(
            f"execution = {execution!r} is nowhere to run.\n  where: {where}"
            f"\n  fix:   one of {', '.join((here, *_ELSEWHERE))}"
        )


def attach(execution: str) -> Cluster:
    """Ray for an execution: the one this process is attached to, the one at the address, or one of its own.

    Raises
    ------
    MissingExtraError : Ray is not installed.
    UsageError : another cluster than the one this process is attached to.
    ServiceError : the address does not answer, or what answers is no Ray that lets us in.
    """
    ray = _ray()
    address = "" if execution == "ray" else execution
    if ray.is_initialized():
        _check_same(ray, address)
        cluster = _current(ray)
        if _answers(cluster.address):
            cluster.look()
            return cluster
        cluster.let_go()
        address = address or _ASKED_FOR.get("address", "")
    _ASKED_FOR["address"] = address = address or os.environ.get("RAY_ADDRESS", "")
    if _ADDRESS.fullmatch(address) and not _answers(address):
        raise ServiceError(
            f"Ray does not answer within {_ANSWER_S:.0f} s.\n  where: {address}"
            "\n  fix:   check the address; `ray status` on its head node says whether it runs"
        )
    _init(ray, address)
    cluster = _current(ray)
    cluster.look()
    return cluster


_ASKED_FOR: dict[str, str] = {}  # "address": the one that this process attached to, as it was given


def _ray() -> ModuleType:
    try:
        import ray
        import ray.exceptions
    except ImportError as error:
        raise MissingExtraError("ray", "ray") from error
    module: ModuleType = ray
    return module


def _current(ray: ModuleType) -> Cluster:
    asked_for = _ASKED_FOR.get("address", "")
    return Cluster(ray, asked_for if asked_for.startswith("ray://") else ray.get_runtime_context().gcs_address)


def _init(ray: ModuleType, address: str) -> None:
    try:
        try:
            ray.init(**_options(address))
        except ConnectionAbortedError:  # its process for this client did not start in time: a busy machine
            ray.shutdown()
            ray.init(**_options(address))
    except (ConnectionError, RuntimeError, TimeoutError, ray.exceptions.RayError) as error:
        raise ServiceError(
            f"Ray cannot be used: {one_line(error)}\n  where: {address or 'this machine'}"
            "\n  fix:   `ray status` on its head node says whether it runs; its version must be the one installed here,"
            " and a cluster that asks for a token needs RAY_AUTH_MODE=token and RAY_AUTH_TOKEN"
        ) from error


def _options(address: str) -> dict[str, Any]:
    """What to attach to or start: no dashboard, nothing on the terminal."""
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address:
        return {"address": address, **options}
    if sys.platform == "linux":
        options["_node_ip_address"] = _LOOPBACK
    return {"address": "local", "include_dashboard": False, **options}


def _check_same(ray: ModuleType, address: str) -> None:
    if not address or address == _ASKED_FOR.get("address"):
        return
    current = ray.get_runtime_context().gcs_address
    if address != current:
        raise UsageError(
            f"this process is attached to another Ray than {address}.\n  where: Ray at {current}"
            "\n  fix:   execution = 'ray' uses that one; ray.shutdown() lets go of it"
        )


def _answers(address: str) -> bool:
    """Something that speaks gRPC listens there: Ray itself would wait for minutes, and not say for what."""
    match = _ADDRESS.fullmatch(address)
    if match is None or os.environ.get("RAY_USE_TLS", "0") != "0":
        return True  # a door that opens to a certificate only: Ray has to try
    import grpc

    with grpc.insecure_channel(match["door"]) as channel:
        try:
            grpc.channel_ready_future(channel).result(timeout=_ANSWER_S)
        except grpc.FutureTimeoutError:
            return False
    return True


def one_line(error: Exception) -> str:
    """Kind and first line of an error; with the next one where the first only announces it."""
    first, _, rest = str(error).strip().partition("\n")
    text = f"{first} {rest.strip().partition(chr(10))[0]}".strip() if first.endswith(":") else first
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
