"""The processes that train together: who they are, what they add up, what one of them tells the others.

``nccl`` between GPUs, ``gloo`` on CPUs and where processes share a GPU; what lies in main memory always travels by
gloo. Imports torch.
"""

from __future__ import annotations

import inspect
import io
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

__all__ = ["Ranks", "joined"]


@dataclass(frozen=True)
class Ranks:
    """This process among all.

    Attributes
    ----------
    rank, world : its number, and how many there are. local_rank, local_world : the same on its machine.
    device : where its network lies. backend : what carries gradients.
    """

    rank: int
    world: int
    local_rank: int
    local_world: int
    device: torch.device
    backend: str

    @property
    def is_first(self) -> bool:
        """The process that decides, writes and speaks."""
        return self.rank == 0

    def total(self, values: Sequence[float]) -> list[float]:
        """Sums over all processes, in double precision, the same in each."""
        sums = torch.tensor(values, dtype=torch.float64)
        dist.all_reduce(sums)
        return [float(item) for item in sums]

    def average(self, tensors: Sequence[Tensor]) -> None:
        """Give each tensor its mean over the processes, in place."""
        if self.world == 1:
            return
        for tensor in tensors:
            dist.all_reduce(tensor)
            tensor /= self.world

    def told(self, values: Mapping[str, Any] | None) -> Any:
        """What the first process says: plain values and tensors, read without running anything they could hold."""
        stream = io.BytesIO()
        if self.is_first:
            torch.save(values, stream)
        size = torch.tensor([stream.tell()])
        dist.broadcast(size, 0)
        content = torch.empty(int(size), dtype=torch.uint8)
        if self.is_first:
            content.copy_(torch.frombuffer(bytearray(stream.getvalue()), dtype=torch.uint8))
        dist.broadcast(content, 0)
        return torch.load(io.BytesIO(content.numpy().tobytes()), map_location="cpu", weights_only=True)

    def gathered(self, state: Tensor) -> Tensor:
        """``[W, B]`` the bytes of every process, in order of rank."""
        parts = [torch.empty_like(state) for _ in range(self.world)]
        dist.all_gather(parts, state)
        return torch.stack(parts)

    def distributed(self, model: nn.Module) -> nn.parallel.DistributedDataParallel:
        """The model with its gradients averaged over the processes; running statistics are averaged by `average`."""
        ids = [self.device.index] if self.device.type == "cuda" else None
        kind = nn.parallel.DistributedDataParallel
        new, old = "forward_sync_buffers", "broadcast_buffers"  # one thing, renamed
        own: dict[str, Any] = {new if new in inspect.signature(kind.__init__).parameters else old: False}
        return kind(model, device_ids=ids, gradient_as_bucket_view=True, **own)


@contextmanager
def joined(environ: Mapping[str, str] = os.environ) -> Iterator[Ranks]:
    """Meet the others, as ``torchrun`` says in the environment; alone where it did not start this process."""
    is_alone = "RANK" not in environ
    rank, world, local_rank, local_world = (
        int(environ.get(name, default))
        for name, default in (("RANK", 0), ("WORLD_SIZE", 1), ("LOCAL_RANK", 0), ("LOCAL_WORLD_SIZE", 1))
    )
    has_gpu = torch.cuda.is_available()
    device = torch.device("cuda", local_rank % torch.cuda.device_count()) if has_gpu else torch.device("cpu")
    if has_gpu:
        torch.cuda.set_device(device)
    backend = "nccl" if has_gpu and local_world <= torch.cuda.device_count() else "gloo"  # nccl wants a GPU for each
    group = "cpu:gloo,cuda:nccl" if backend == "nccl" else "gloo"
    if is_alone:
        dist.init_process_group(group, store=dist.HashStore(), rank=0, world_size=1)  # type: ignore[attr-defined]
    else:
        dist.init_process_group(group, store=_meeting_place(environ, rank, world), rank=rank, world_size=world)
    try:
        yield Ranks(rank, world, local_rank, local_world, device, backend)
    finally:
        dist.destroy_process_group()


def _meeting_place(environ: Mapping[str, str], rank: int, world: int) -> Any:
    """Where the processes find one another, apart for every attempt.

    An agent of ``torchrun`` that shares its store keeps it over all its restarts. In the place of the attempt before, a
    process would find the addresses of the dead and knock there.
    """
    store, _, _ = next(dist.rendezvous("env://", rank, world))  # type: ignore[attr-defined]
    if environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        return store
    attempt = environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    return dist.PrefixStore(f"attempt-{attempt}", store)  # type: ignore[attr-defined]
