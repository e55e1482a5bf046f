"""Who answers a request: the version asked for, the default or the canary; and the shadow that is compared."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Sequence
from dataclasses import dataclass

from foretail.core.errors import ForetailError, UsageError
from foretail.serving import metrics
from foretail.serving.asks import Answered, Ask
from foretail.serving.errors import refuse
from foretail.serving.scorer import Scorer
from foretail.serving.versions import Slot

__all__ = ["Canary", "Route", "Shadow"]

logger = logging.getLogger(__name__)

_WAITING = 256  # requests that wait for the shadow at most; beyond, they are counted as dropped
_SAME = 1e-9  # relative difference up to which two answers are the same


@dataclass(frozen=True)
class Canary:
    """A share of the traffic for an alias.

    Attributes
    ----------
    alias : who gets it. percent : of the requests that name no version, 0 to 100.
    """

    alias: str
    percent: float

    @classmethod
    def parse(cls, text: str) -> Canary:
        """``ALIAS=10``.

        Raises
        ------
        UsageError : no alias, or no percentage.
        """
        alias, _, share = text.partition("=")
        try:
            percent = float(share)
        except ValueError:
            percent = -1.0
        if not alias or not 0 <= percent <= 100:
            raise UsageError(f"not a share of traffic: {text!r}.\n  where: --canary\n  fix:   challenger=10 (per cent)")
        return cls(alias, percent)


class Route:
    """The slots of one model name.

    Parameters
    ----------
    slots : the first answers requests that name no version. canary : its slot and percentage.
    """

    def __init__(self, slots: Sequence[Slot], canary: tuple[Slot, float] | None = None):
        self.slots = tuple(slots)
        self.default = self.slots[0]
        self._canary = canary
        self._due = 0.0

    def choose(self, version: str = "") -> Slot:
        """The slot that answers.

        Parameters
        ----------
        version : alias or number; "" leaves the choice to the server: exactly the canary's share goes to it.

        Raises
        ------
        RequestError : 404 for a version that is not served, 503 for one that is not loaded.
        """
        slot = self._asked(version) if version else self._shared()
        if slot.scorer is None:
            fix = f"ask for another of: {', '.join(self.names)}"
            raise refuse(503, "no version is loaded for this alias", str(slot.reference), fix)
        return slot

    @property
    def names(self) -> list[str]:
        """Aliases and numbers that may be asked for."""
        known = [(slot.reference.version, slot.number) for slot in self.slots]
        return sorted({name for pair in known for name in pair if name})

    def _asked(self, version: str) -> Slot:
        for slot in self.slots:
            if version in (slot.reference.version, slot.number) and slot.scorer is not None:
                return slot
        found = [slot for slot in self.slots if version == slot.reference.version]
        if found:
            return found[0]
        name = self.default.reference.name
        fix = f"ask for one of: {', '.join(self.names)}"
        raise refuse(404, f"version {version[:40]!r} of {name} is not served", "model version", fix)

    def _shared(self) -> Slot:
        if self._canary is None or self._canary[0].scorer is None:
            return self.default
        slot, percent = self._canary
        self._due += percent
        if self._due < 100:
            return self.default
        self._due -= 100
        return slot


class Shadow(threading.Thread):
    """Asks the shadow what was answered already, compares, and counts; no request waits for it.

    Parameters
    ----------
    slot : the version that is mirrored to.
    """

    def __init__(self, slot: Slot):
        super().__init__(name="foretail-shadow", daemon=True)
        self.slot = slot
        self._waiting: queue.Queue[tuple[Sequence[Ask], Sequence[Answered]] | None] = queue.Queue(_WAITING)

    def mirror(self, asks: Sequence[Ask], answered: Sequence[Answered]) -> None:
        """Have a request compared later; it is dropped, and counted, where too many wait."""
        if self.slot.scorer is None:
            return
        try:
            self._waiting.put_nowait((asks, answered))
        except queue.Full:
            metrics.SHADOW.labels("dropped").inc()

    def run(self) -> None:
        """Compare until `stop`."""
        while (item := self._waiting.get()) is not None:
            scorer = self.slot.scorer
            if scorer is not None:
                metrics.SHADOW.labels(_outcome(scorer, *item)).inc()

    def stop(self) -> None:
        """End after what waits."""
        self._waiting.put(None)


def _outcome(scorer: Scorer, asks: Sequence[Ask], answered: Sequence[Answered]) -> str:
    """``same``, ``different`` or ``failed``; the size of the difference goes to its histogram."""
    try:
        mirrored = scorer.score(asks)
        off = sum(abs(ours.y_hat - theirs.y_hat) for ours, theirs in zip(answered, mirrored, strict=True))
    except ForetailError as error:
        logger.info("the shadow refuses what was answered: %s", error)
        return "failed"
    except Exception:  # a shadow may fail in any way of its own and must not end the comparing
        logger.exception("the shadow fails")
        return "failed"
    total = sum(abs(row.y_hat) for row in answered)
    share = off / total if total else float(off > 0)
    metrics.SHADOW_DIFFERENCE.observe(share)
    return "same" if share <= _SAME else "different"
