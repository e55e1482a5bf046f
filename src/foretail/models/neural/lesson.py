"""What a network is taught: presented rows with what turns its answers back into sales, and the split in time.

Everything measured (base, scalers, the unit of the answers) is measured on the rows a lesson is learned from, so that
the rows which decide when to stop have told nothing before.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from foretail.core.quantiles import DEFAULT_QUANTILES
from foretail.features.frame import Rows
from foretail.features.space import Space
from foretail.models.base import LinearBase, fit_base
from foretail.models.neural.inputs import Inputs
from foretail.models.sample import taken

__all__ = ["Curriculum", "Lens", "Lesson", "curriculum_of", "in_units", "newest_rows", "target_quantiles", "to_sales"]

FloatArray = npt.NDArray[np.float64]
Float32Array = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

_CLIP = {"log": 3.0, "level": 20.0}  # differences from the base are cut here: a factor of 20, or 20 times the series
_LEAST_SPREAD = 1e-9  # of the networks' answers, in units: where nothing is left over, next to nothing is answered
_VALIDATION_SHARE = 0.2  # of the span of targets, at most
_FEWEST_ROWS = 50  # on either side of the split in time; fewer decide nothing


@dataclass(frozen=True)
class Lesson:
    """Rows as a network sees them, and what makes sales of its answers.

    Attributes
    ----------
    numbers, codes : see `Inputs`. target : ``[R]`` difference from the base, in spreads. weight : ``[R]``.
    base, reference, unit, scale : ``[R]`` see `to_sales`. y : ``[R]`` the sales themselves.
    """

    numbers: Float32Array
    codes: IntArray
    target: FloatArray
    weight: FloatArray
    base: FloatArray
    reference: FloatArray
    unit: FloatArray
    scale: FloatArray
    y: FloatArray

    def __len__(self) -> int:
        return len(self.target)

    def take(self, index: IntArray) -> Lesson:
        """Some of the rows, in the order given."""
        return Lesson(*(getattr(self, item.name)[index] for item in fields(self)))


@dataclass(frozen=True)
class Lens:
    """How rows are presented: everything that was measured before the first network.

    Attributes
    ----------
    space : ``log`` or ``level``. base : the linear base. inputs : scalers and codes. spread : unit of the answers.
    """

    space: str
    base: LinearBase
    inputs: Inputs
    spread: float

    @classmethod
    def of(cls, rows: Rows, weight: FloatArray, space: str, seed: int) -> Lens:
        """Measure training rows, at least one."""
        base = fit_base(rows, weight, seed)
        forecast = base.predict(rows)
        return cls(space, base, Inputs.of(rows, forecast), _spread(_left(rows, forecast, space)))

    def lesson(self, rows: Rows, weight: FloatArray, y: FloatArray) -> Lesson:
        """Rows with their targets, presented; ``y [R]`` is the sales behind the targets."""
        base = self.base.predict(rows)
        return Lesson(
            numbers=self.inputs.numeric(rows, base),
            codes=self.inputs.codes(rows),
            target=_left(rows, base, self.space) / self.spread,
            weight=weight,
            base=base,
            reference=rows.reference,
            unit=rows.unit,
            scale=rows.scale,
            y=y,
        )


@dataclass(frozen=True)
class Curriculum:
    """What training in many processes needs.

    Attributes
    ----------
    older, held : rows before and after the split in time, as a lens fitted on the older ones shows them; None where
        either side has too few. whole : all rows, as the lens of the model shows them.
    older_lens, lens : the two.
    """

    whole: Lesson
    lens: Lens
    older: Lesson | None = None
    held: Lesson | None = None
    older_lens: Lens | None = None


def curriculum_of(
    rows: Rows, weigh: Callable[[Rows], FloatArray], y: FloatArray, h: int, space: str, seed: int
) -> Curriculum:
    """Split rows by whole periods of their targets, the newest h at most held back, and present both sides.

    Parameters
    ----------
    weigh : weights of rows among one another. y : ``[R]`` the sales behind the targets.
    """
    weight = weigh(rows)
    lens = Lens.of(rows, weight, space, seed)
    whole = lens.lesson(rows, weight, y)
    newest = newest_rows(rows, h)
    if min(int(newest.sum()), int((~newest).sum())) < _FEWEST_ROWS:
        return Curriculum(whole, lens)
    older, held = taken(rows, ~newest), taken(rows, newest)
    older_weight = weigh(older)
    older_lens = Lens.of(older, older_weight, space, seed)
    return Curriculum(
        whole,
        lens,
        older_lens.lesson(older, older_weight, y[~newest]),
        older_lens.lesson(held, weigh(held), y[newest]),
        older_lens,
    )


def newest_rows(rows: Rows, h: int) -> BoolArray:
    """Rows of the last h periods of targets, fewer where that would be a large part of all: bool ``[R]``."""
    target = rows.cutoff + rows.step
    last = target.max()
    newest: BoolArray = target > last - min(h, _VALIDATION_SHARE * (last - target.min() + 1))
    return newest


def target_quantiles(target: FloatArray, weight: FloatArray) -> FloatArray:
    """``[Q]`` weighted quantiles of all targets together: what is answered before anything is learned."""
    values, shares = target.astype(np.float32), weight.astype(np.float32)
    order = np.argsort(values, kind="stable")
    share = np.cumsum(shares[order], dtype=np.float64)
    position = np.searchsorted(share, np.array(DEFAULT_QUANTILES) * share[-1])
    found: FloatArray = values[order][np.minimum(position, len(values) - 1)].astype(np.float64)
    return found


def to_sales(
    found: FloatArray,
    spread: float,
    space: str,
    base: FloatArray,
    reference: FloatArray,
    unit: FloatArray,
    scale: FloatArray,
) -> FloatArray:
    """Answers of networks as sales, ``[R, Q]``.

    Parameters
    ----------
    found : ``[R, Q]`` differences from the base, in spreads. base : ``[R]`` differences from the reference, in units.
    reference : ``[R]`` in model space. unit, scale : ``[R]`` of the series, see `Rows`.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        difference = base[:, None] + in_units(found, spread, space)
        return Space(space).inverse(reference[:, None] + unit[:, None] * difference, scale)


def in_units(found: FloatArray, spread: float, space: str) -> FloatArray:
    """Answers of networks, in spreads, as differences from the base in units, without the wildest part."""
    bound = _CLIP[space]
    difference: FloatArray = np.clip(found * spread, -bound, bound)
    return difference


def _left(rows: Rows, base: FloatArray, space: str) -> FloatArray:
    """What the base leaves over, in units, without the wildest part."""
    bound = _CLIP[space]
    left: FloatArray = np.clip(rows.target - base, -bound, bound)
    return left


def _spread(left: FloatArray) -> float:
    """A robust size of what the base leaves over, positive."""
    size = float(np.median(np.abs(left)))
    return size if size > _LEAST_SPREAD else max(float(np.abs(left).mean()), _LEAST_SPREAD)
