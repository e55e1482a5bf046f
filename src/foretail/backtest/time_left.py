"""How long the next trial of a search will take, from those before it, and whether that much time is left."""

from __future__ import annotations

import time
from collections.abc import Sequence

from foretail.backtest.trial import Trial
from foretail.models.search import relative_cost

__all__ = ["TimeLeft"]

_MARGIN = 1.3  # fits with the same parameters differ by about this much on a machine that does other things too


class TimeLeft:
    """Keeps a search to its deadline.

    A window is taken to last a + b x relative cost, with a and b unknown and not negative. Then each window that was
    timed is an upper bound for every other one: its own seconds for cheaper parameters, more in proportion for dearer
    ones. The lowest bound counts, which also forgets what the first fit spends on loading libraries.

    Parameters
    ----------
    deadline : `time.monotonic` moment; None for no limit. family : whose parameters are tried.
    """

    def __init__(self, deadline: float | None, family: str):
        self._deadline = deadline
        self._family = family
        self._timed: list[tuple[float, float]] = []  # relative cost and seconds of a window
        self._longest: list[float] = []  # seconds of the trials of this call
        self._earlier = 0.0  # of the longest trial of earlier calls

    def recall(self, trials: Sequence[Trial]) -> None:
        """Take the trials of earlier calls into account."""
        self._earlier = max((trial.seconds for trial in trials[1:] or trials), default=0.0)
        timed = [trial for trial in trials if trial.windows and trial.seconds > 0]
        self._timed = [(self._cost(trial), trial.seconds / len(trial.windows)) for trial in timed]

    def time_window(self, trial: Trial, seconds: float) -> None:
        """Note what a window took."""
        self._timed.append((self._cost(trial), seconds))

    def time_trial(self, seconds: float) -> None:
        """Note what a whole trial took, with everything around it."""
        if not self._longest and len(self._timed) > 1:  # less what only the first window does
            seconds -= max(0.0, self._timed[0][1] - self._timed[1][1])
        self._longest.append(seconds)

    @property
    def longest(self) -> float:
        """Seconds of the longest trial so far."""
        return max(self._earlier, *self._longest, 0.0)

    def expected(self, trial: Trial) -> float:
        """Seconds of a window at most, as far as the windows before it tell; 0 when there are none."""
        cost = self._cost(trial)
        return _MARGIN * min((seconds * max(1.0, cost / other) for other, seconds in self._timed), default=0.0)

    def has(self, seconds: float = 0.0) -> bool:
        """Whether that much time is left."""
        return self._deadline is None or time.monotonic() + seconds <= self._deadline

    def _cost(self, trial: Trial) -> float:
        return relative_cost(self._family, trial.params)
