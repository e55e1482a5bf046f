"""Frequencies of a panel (daily, weekly with an anchor, monthly) and their integer time line.

Every period has an integer index, so that a lag is a subtraction and a panel is a dense matrix.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from functools import cached_property
from typing import cast

import numpy as np
import numpy.typing as npt

from foretail.core.errors import UsageError, nearest

__all__ = ["Frequency"]

_WEEKDAYS = ("MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN")
_EPOCH_WEEKDAY = 3  # 1970-01-01 was a Thursday (Monday = 0)
_CODES = ("D", *(f"W-{day}" for day in _WEEKDAYS), "MS", "ME")

IntArray = npt.NDArray[np.int64]
DayArray = npt.NDArray[np.datetime64]


@dataclass(frozen=True)
class Frequency:
    """A regular time line.

    Parameters
    ----------
    code : ``D`` daily, ``W-MON`` .. ``W-SUN`` weekly with the labelling weekday, ``MS`` / ``ME`` monthly labelled by
        the first / last day. ``W`` means ``W-SUN``, ``M`` means ``ME``, as in pandas.

    Raises
    ------
    UsageError : an unknown code.
    """

    code: str

    def __post_init__(self) -> None:
        code = {"W": "W-SUN", "M": "ME"}.get(self.code.upper(), self.code.upper())
        if code not in _CODES:
            raise UsageError(
                f"unknown frequency {self.code!r}.\n  where: --freq\n  fix:   {nearest(self.code, _CODES)}"
            )
        object.__setattr__(self, "code", code)

    @property
    def is_daily(self) -> bool:
        return self.code == "D"

    @property
    def is_weekly(self) -> bool:
        return self.code.startswith("W-")

    @property
    def is_monthly(self) -> bool:
        return self.code in ("MS", "ME")

    @property
    def season_length(self) -> int:
        """Periods of the season that seasonal naive repeats: 7 days, 52 weeks, 12 months."""
        return 7 if self.is_daily else 52 if self.is_weekly else 12

    @property
    def year_length(self) -> int:
        """Whole periods in a year that keep the weekday: 364 days, 52 weeks, 12 months."""
        return 364 if self.is_daily else self.season_length

    @property
    def days(self) -> float:
        """Mean length of a period in days."""
        return 1.0 if self.is_daily else 7.0 if self.is_weekly else 30.4375

    @property
    def noun(self) -> str:
        return "day" if self.is_daily else "week" if self.is_weekly else "month"

    @cached_property
    def _weekday(self) -> int:
        return _WEEKDAYS.index(self.code[2:])

    def to_index(self, dates: DayArray) -> IntArray:
        """Index of the period that holds each date (weekly: the seven days up to and with the anchor).

        Parameters
        ----------
        dates : datetime64[D], any shape.
        """
        day = dates.astype("datetime64[D]").astype(np.int64)
        if self.is_daily:
            return day
        if self.is_weekly:
            # days 0..6 up to and with the anchor share an index
            return (day - (self._weekday - _EPOCH_WEEKDAY) + 6) // 7
        return dates.astype("datetime64[M]").astype(np.int64)

    def to_date(self, index: IntArray | int) -> DayArray:
        """Label (datetime64[D]) of each period index."""
        index = np.asarray(index, dtype=np.int64)
        if self.is_daily:
            return index.astype("datetime64[D]")
        if self.is_weekly:
            return (index * 7 + (self._weekday - _EPOCH_WEEKDAY)).astype("datetime64[D]")
        if self.code == "MS":
            return index.astype("datetime64[M]").astype("datetime64[D]")
        next_first = (index + 1).astype("datetime64[M]").astype("datetime64[D]").astype(np.int64)
        return (next_first - 1).astype("datetime64[D]")

    def is_on_grid(self, dates: DayArray) -> npt.NDArray[np.bool_]:
        """Whether each date is the label of its period."""
        result: npt.NDArray[np.bool_] = self.to_date(self.to_index(dates)) == dates.astype("datetime64[D]")
        return result

    def shift(self, date: dt.date, periods: int) -> dt.date:
        """The label ``periods`` after the period of ``date``."""
        index = self.to_index(np.asarray(np.datetime64(date, "D")))
        return cast(dt.date, self.to_date(index + periods).item())

    def __str__(self) -> str:
        return self.code
