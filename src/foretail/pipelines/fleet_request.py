"""What a fleet of per-series models is asked for, how its series are called, and what comes back."""

from __future__ import annotations

import datetime as dt
import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import polars as pl

from foretail.core.columns import UNIQUE_ID
from foretail.core.errors import UsageError, nearest
from foretail.core.frequency import Frequency
from foretail.core.locations import is_database
from foretail.models.families import FAMILIES, family_class, make, parse
from foretail.pipelines.request import Request

__all__ = ["FleetRequest", "FleetResult", "SeriesVersion", "named_series", "window_periods"]

_LAST = re.compile(r"(?P<days>\d+)d")
_YEARLY: dict[str, Any] = {"yearly_seasonality": True, "yearly_from_days": 0}


@dataclass(frozen=True)
class FleetRequest:
    """One fleet: a table of sales and the recipe that every series of it gets.

    Attributes
    ----------
    request : the table and the meaning of its columns; ``quantiles``, ``cutoff``, ``horizon`` and ``seed`` count too.
        The horizon is a week of daily sales by default, else one of the table's own.
    family : a local family, parameters in brackets: ``prophet``, ``theta``, ``prophet[growth=flat]``.
    last : how much history a model sees: ``120d`` or ``all``.
    n_windows : rolling origins of the walk-forward, one horizon apart.
    fleet : its name in the warehouse; the dataset's by default.
    product : what the product is called where the table has one key only (a shop).
    yearly : fit a yearly season on less than two years too, with a warning.
    """

    request: Request
    family: str = "prophet"
    last: str = "120d"
    n_windows: int = 5
    fleet: str | None = None
    product: str = "product_A"
    yearly: bool = False

    def __post_init__(self) -> None:
        name, _ = parse(self.family)
        make(self.model)
        if not family_class(name).tags.local:
            local = [item for item in FAMILIES if not FAMILIES[item].extra and family_class(item).tags.local]
            raise UsageError(
                f"a fleet has one model per series, {name} is one across series.\n  where: --family {self.family}\n"
                f"  fix:   {nearest(name, local)}"
            )
        if self.last != "all" and not (_LAST.fullmatch(self.last) and int(self.last[:-1]) > 0):
            raise UsageError(f"not a length of history: {self.last!r}.\n  where: --last\n  fix:   --last 120d, or all")
        if self.n_windows < 1:
            raise UsageError(f"{self.n_windows} windows.\n  where: --windows\n  fix:   --windows 5")

    @property
    def model(self) -> str:
        """The family with its parameters, the yearly season that was asked for included."""
        if not self.yearly:
            return self.family
        name, given = parse(self.family)
        if name != "prophet":
            raise UsageError(
                f"{name} has no yearly terms.\n  where: --yearly\n  fix:   leave it out, or --family prophet"
            )
        words = (f"{key}={_word(value)}" for key, value in {**_YEARLY, **given}.items())
        return f"{name}[{','.join(words)}]"

    @property
    def recipe(self) -> str:
        """What two versions share that would forecast alike from the same sales: ``prophet@120d``."""
        return f"{self.model}@{self.last}"

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as JSON holds them; files by their full path, so that it means the same in another folder."""
        values = asdict(self)
        told, cutoff = values["request"], self.request.cutoff
        told |= {key: _absolute(told[key]) for key in ("table", "future", "spec", "data")}
        told["cutoff"] = cutoff and cutoff.isoformat()
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> FleetRequest:
        """Read what ``to_dict`` wrote."""
        told: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in values["request"].items()
        }
        data = told["data"]
        told |= {
            "cutoff": dt.date.fromisoformat(told["cutoff"]) if told["cutoff"] else None,
            "data": Path(data) if data and not is_database(data) else data,
        }
        return cls(**{**values, "request": Request(**told)})


@dataclass(frozen=True)
class SeriesVersion:
    """One version of one series' model, as the warehouse holds it.

    Attributes
    ----------
    fleet, unique_id, store, product, model_id : which series. version : counts up from 1 for each series.
    status : ``trained``, ``fallback`` (the last season answers), ``failed``, ``stale`` (nothing sold or told any more)
        or ``skipped`` (never sold). reason : why, where it is not trained.
    metrics : of its walk-forward: ``wape, bias, mase, coverage_80, coverage_95, skill, n_windows, recipe``.
    is_champion : it is the version that answers. bundle : where its model is. run_id : which job made it.
    """

    fleet: str
    unique_id: str
    store: str
    product: str
    model_id: str
    version: int
    status: str
    reason: str | None
    metrics: Mapping[str, Any]
    is_champion: bool
    bundle: str
    run_id: str
    created_on: dt.datetime | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


@dataclass(frozen=True)
class FleetResult:
    """What a training of the fleet came to.

    Attributes
    ----------
    fleet, run_id, family, cutoff : which. model_version : in the registry, ``name/number`` or ``unregistered``.
    n_series : of them ``counts`` have each status. n_champions : versions that became the one that answers.
    n_forecasts : rows stored.
    wape, naive_wape : of the family and of seasonal naive over all series and windows, before anything is chosen.
    coverage_80, coverage_95 : of its intervals, each window laid out from the others.
    seconds : wall time by stage. notes : to be told.
    """

    fleet: str
    run_id: str
    family: str
    cutoff: str
    model_version: str
    n_series: int
    counts: Mapping[str, int]
    n_champions: int
    n_forecasts: int
    wape: float
    naive_wape: float
    coverage_80: float
    coverage_95: float
    seconds: Mapping[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def skill(self) -> float:
        """1 - WAPE over seasonal naive's."""
        return 1 - self.wape / self.naive_wape if self.naive_wape > 0 else math.nan

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {**asdict(self), "skill": self.skill}

    def but(self, **changes: Any) -> FleetResult:
        """A copy with some fields changed."""
        return replace(self, **changes)


def window_periods(last: str, frequency: Frequency) -> int | None:
    """Periods of history that ``120d`` stands for; None for ``all``."""
    if last == "all":
        return None
    return max(1, math.ceil(int(last[:-1]) / frequency.days))


def named_series(series: pl.DataFrame, keys: tuple[str, ...], family: str, product: str) -> pl.DataFrame:
    """How series are called outside.

    Parameters
    ----------
    series : ``unique_id`` and the key columns. keys : the first one is the store, the others name the product.
    family : a name such as ``prophet[growth=flat]``. product : the product's name where there is one key only.

    Returns
    -------
    ``unique_id, store, productname, model_id``, all text.
    """
    store = pl.col(keys[0]).cast(pl.String) if keys else pl.lit("all")
    others = [pl.col(key).cast(pl.String) for key in keys[1:]]
    named = pl.concat_str(others, separator="-") if others else pl.lit(product)
    return series.select(UNIQUE_ID, store.alias("store"), named.alias("productname")).with_columns(
        pl.format(f"{parse(family)[0]}-retail-forecaster-store-{{}}-{{}}", "store", "productname").alias("model_id")
    )


def _absolute(place: Path | str | None) -> str | None:
    """A path that is there in full; a URL and the name of a layout as they are."""
    if place is None:
        return None
    text = str(place)
    return text if "://" in text or not Path(text).exists() else str(Path(text).absolute())


def _word(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
