"""The options of joint samples: how many futures, and which totals of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from foretail.cli.options import comma_list
from foretail.core.errors import UsageError

if TYPE_CHECKING:
    from foretail.pipelines.samples import SamplesAsked

__all__ = ["sample_options", "samples_from"]

_MOST = 10_000  # samples; more say nothing that calibrated quantiles know


def levels(text: str) -> tuple[tuple[str, ...], ...]:
    """Levels between commas, each of columns between slashes: ``type,store/dept``."""
    found = (tuple(part.strip() for part in item.split("/") if part.strip()) for item in comma_list(text))
    return tuple(level for level in found if level)


def sample_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--samples`` and what goes with it, in this order."""
    for option in reversed(
        (
            click.option(
                "--samples",
                type=click.IntRange(1, _MOST),
                metavar="N",
                help="Also N joint futures of all series, and quantiles of their totals.",
            ),
            click.option(
                "--lead-time",
                type=click.IntRange(min=1),
                multiple=True,
                metavar="N",
                help="With --samples: total the first N periods too; may be given several times.",
            ),
            click.option(
                "--total-by",
                type=levels,
                metavar="A,B/C",
                help="With --samples: total over the series that share these columns.",
            ),
            click.option("--sample-seed", type=int, default=7, show_default=True, help="Seed of the samples."),
        )
    ):
        command = option(command)
    return command


def samples_from(
    samples: int | None, lead_time: tuple[int, ...], total_by: tuple[tuple[str, ...], ...] | None, sample_seed: int
) -> SamplesAsked | None:
    """What the options ask for; None without ``--samples``.

    Raises
    ------
    UsageError : an option that needs ``--samples``, without it; a seed below 0.
    """
    from foretail.pipelines.samples import SamplesAsked

    if samples is None and (lead_time or total_by):
        option = "--lead-time" if lead_time else "--total-by"
        raise UsageError(f"{option} totals joint samples, and none are asked for.\n  where: {option}\n"
                         "  fix:   add --samples 200")  # fmt: skip
    if sample_seed < 0:
        raise UsageError(
            f"a seed is not below 0.\n  where: --sample-seed {sample_seed}\n  fix:   0 or a number above it"
        )
    if samples is None:
        return None
    return SamplesAsked(samples, sample_seed, lead_time, total_by or ())
