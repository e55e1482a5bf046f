"""What a synthetic world is made of: counts, shares and the named sizes; refuses what cannot be made."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import Any

from foretail.core.errors import UsageError, nearest
from foretail.core.frequency import Frequency

__all__ = ["PRESETS", "SyntheticConfig"]

_COUNTS = {"periods", "stores", "products", "horizon", "seed"}
_COMPLETE = {"start_date": "2010-02-05", "opening_share": 0.0, "closing_share": 0.0}

PRESETS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "weekly-5k": {**_COMPLETE, "stores": 10, "departments": 5, "weeks": 104},
        "weekly-65k": {**_COMPLETE, "stores": 45, "departments": 14, "weeks": 104},
        "weekly-425k": {**_COMPLETE, "stores": 45, "departments": 66, "weeks": 143},
    }
)
"""Weekly worlds in which every series is complete: stores x departments x weeks = 5,200, 65,520 and 424,710 rows."""


@dataclass(frozen=True)
class SyntheticConfig:
    """What world to make. Shares lie between 0 and 1.

    Attributes
    ----------
    start_date : the first day; a weekly world starts in the first week whose label is not before it.
    periods : days or weeks of history.
    stores, products : every store sells every product (called departments in the weekly world).
    freq : ``D``, or weekly with any anchor.
    horizon : periods after the history for which known covariates and the truth are made too.
    seed : the same seed gives the same world.
    noise : coefficient of variation of demand around its mean (pieces have Poisson noise on top).
    trend : largest yearly growth or decline of a series.
    promo_share : share of periods on promotion.
    stockout_share : share of periods in which the shelf runs empty.
    opening_share, closing_share : share of series that begin later or end earlier than the table.
    intermittent_share : share of series that sell now and then only (daily world).
    closed_weekday : weekday (Monday = 0) on which shops are shut in the daily world; None for none.
    duplicate_share : share of rows written twice.
    restated_share : share of rows told wrongly first and corrected later.
    """

    start_date: dt.date = dt.date(2022, 1, 1)
    periods: int = 730
    stores: int = 5
    products: int = 8
    freq: str = "D"
    horizon: int = 28
    seed: int = 7
    noise: float = 0.2
    trend: float = 0.15
    promo_share: float = 0.12
    stockout_share: float = 0.01
    opening_share: float = 0.1
    closing_share: float = 0.05
    intermittent_share: float = 0.2
    closed_weekday: int | None = 6
    duplicate_share: float = 0.0
    restated_share: float = 0.0

    def __post_init__(self) -> None:
        bad = [name for name in ("periods", "stores", "products", "horizon") if getattr(self, name) < 1]
        bad += [
            item.name for item in fields(self) if item.name.endswith("_share") and not 0 <= getattr(self, item.name) < 1
        ]
        if Frequency(self.freq).is_monthly:
            bad.append("freq")
        if bad:
            found = ", ".join(f"{name} = {getattr(self, name)!r}" for name in bad)
            raise UsageError(
                f"the synthetic world cannot be made.\n  where: {found}"
                "\n  fix:   counts from 1, shares from 0 to below 1, a daily or weekly frequency"
            )

    @property
    def is_daily(self) -> bool:
        return Frequency(self.freq).is_daily

    @property
    def has_restatements(self) -> bool:
        return self.duplicate_share > 0 or self.restated_share > 0

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> SyntheticConfig:
        """Read a configuration; ``weeks`` and ``departments`` make a weekly world, ``preset`` is one of `PRESETS`.

        Raises
        ------
        UsageError : an unknown key or preset, or a value that cannot be read.
        """
        read = _with_preset(values)
        known = {item.name for item in fields(cls)}
        if "weeks" in read or "departments" in read:
            weekly: dict[str, Any] = {"freq": "W-FRI", "horizon": 8, "periods": read.pop("weeks", 143)}
            read = {**weekly, "products": read.pop("departments", 8), **read}
        unknown = [key for key in read if key not in known]
        if unknown:
            hint = nearest(unknown[0], {*known, "preset", "weeks", "departments"})
            raise UsageError(f"unknown key {unknown[0]!r}.\n  where: the synthetic world\n  fix:   {hint}")
        try:
            if isinstance(read.get("start_date"), str):
                read["start_date"] = dt.date.fromisoformat(read["start_date"])
            for key in _COUNTS & set(read):
                read[key] = int(read[key])
        except (TypeError, ValueError) as error:
            raise UsageError(f"{error}.\n  where: the synthetic world\n  fix:   ISO dates and whole numbers") from error
        return cls(**read)


def _with_preset(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values over those of the preset they name, if any."""
    read = dict(values)
    preset = read.pop("preset", None)
    if preset is None:
        return read
    if preset not in PRESETS:
        raise UsageError(
            f"unknown preset {preset!r}.\n  where: the synthetic world\n  fix:   {nearest(str(preset), PRESETS)}"
        )
    return {**PRESETS[preset], **read}
