"""Who trains: machines and processes as an operator tells them, and what is asked without one."""

from __future__ import annotations

import pytest

from foretail.core.errors import UsageError
from foretail.pipelines.torchrun import Nodes


@pytest.mark.parametrize(
    ("environ", "nproc", "expected"),
    [
        ({}, None, None),
        ({}, 2, Nodes(1, 0, 2)),
        ({"PET_NNODES": "1"}, None, None),
        ({"PET_NNODES": "2", "PET_NODE_RANK": "1"}, None, Nodes(2, 1, 1)),
        ({"PET_NNODES": "2", "PET_NODE_RANK": "1", "PET_NPROC_PER_NODE": "4"}, None, Nodes(2, 1, 4)),
        ({"PET_NNODES": "2", "PET_NPROC_PER_NODE": "4"}, 3, Nodes(2, 0, 3)),
        ({"PET_NNODES": "3", "PET_NPROC_PER_NODE": "auto"}, None, Nodes(3, 0, 1)),
        ({"PET_NPROC_PER_NODE": "2"}, None, Nodes(1, 0, 2)),
    ],
)
def test_who_trains(environ: dict[str, str], nproc: int | None, expected: Nodes | None) -> None:
    assert Nodes.of(environ, nproc) == expected


def test_world_counts_every_process() -> None:
    assert (Nodes(2, 1, 4).world, Nodes(2, 1, 4).is_first, Nodes(2, 0, 4).is_first) == (8, False, True)


def test_a_number_that_is_none() -> None:
    with pytest.raises(UsageError, match="PET_NNODES is no number"):
        Nodes.of({"PET_NNODES": "2:4"}, None)
