"""What a feature, a view, a service and a declaration are; a window that sees the value being forecast is refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar, get_args

import numpy.typing as npt
import polars as pl

from foretail.core.errors import UsageError, nearest
from foretail.core.spec import DatasetSpec

__all__ = ["Declaration", "Dtype", "Entity", "Feature", "Limits", "Role", "Service", "View", "Window"]

Dtype = Literal["Int64", "Float64", "String", "Bool"]
Role = Literal["input", "target", "static", "request"]
_Item = TypeVar("_Item")
Compute = Callable[[Any], npt.NDArray[Any] | pl.Series | list[Any]]


@dataclass(frozen=True)
class Window:
    """Past values that a feature looks at, counted back from T + 1 step: lag 1 is the value at T, the as-of date.

    Attributes
    ----------
    lag : the newest value. n : how many values: lag, lag + 1, …, lag + n - 1.
    least : how many of them must be known; None for all.

    Raises
    ------
    UsageError : a lag below 1 would see the value being forecast; a window without values.
    """

    lag: int = 1
    n: int = 1
    least: int | None = None

    def __post_init__(self) -> None:
        if self.lag < 1:
            raise UsageError(
                f"a window on lag {self.lag} sees the value being forecast."
                f"\n  where: Window(lag={self.lag}, n={self.n})\n  fix:   lag 1 is the value at T, the as-of date"
            )
        if self.n < 1 or (self.least is not None and not 1 <= self.least <= self.n):
            raise UsageError(
                f"a window of {self.n} values of which {self.least or self.n} must be known cannot be."
                f"\n  where: Window(lag={self.lag}, n={self.n}, least={self.least})\n  fix:   1 <= least <= n"
            )

    @property
    def last(self) -> int:
        """The oldest lag."""
        return self.lag + self.n - 1

    @property
    def n_least(self) -> int:
        """How many values must be known."""
        return self.n if self.least is None else self.least

    def __str__(self) -> str:
        lags = f"lag {self.lag}" if self.n == 1 else f"lags {self.lag}-{self.last}"
        return lags if self.least is None else f"{lags}, {self.least} known"


@dataclass(frozen=True)
class Limits:
    """What is normal for a feature, declared and not fitted.

    Attributes
    ----------
    null_share : largest share of rows (0-1) without a value. low, high : smallest and largest value; None for none.
    drift : largest population stability index between two splits, of features that look at past values.
    """

    null_share: float = 0.25
    low: float | None = None
    high: float | None = None
    drift: float | None = 0.25


@dataclass(frozen=True)
class Feature:
    """One declared feature.

    Attributes
    ----------
    name : its column, in a training frame as in the store.
    kind : ``as_of`` (one value per series), ``ahead`` (of the date to forecast, known in advance), ``season`` (per
        series, cutoff and step), ``static``, ``label`` (the target) or ``on_demand`` (from other features of a row).
    about : what it is, for people.
    compute : what makes it. In the training frame: from an `AsOf` to ``[N]``, ``[H]`` as ``[1, H]``, or ``[N, H]``;
        differences are in the units of `AsOf`. In the store: from `Moments` to ``[R]``. On demand: from columns of the
        rows to a list.
    base : also a regressor of the linear base forecast.
    is_category : codes without order.
    dtype : ``Int64``, ``Float64``, ``String`` or ``Bool``.
    role : ``input``, ``target``, ``static``, or ``request`` (given by whoever asks).
    window : past values it looks at; None where it looks at none, or at more than a window says.
    source : the columns it comes from, by ", ".
    owner : who answers for it.
    limits : largest null share and range.
    """

    name: str
    kind: str
    about: str
    compute: Compute
    base: bool = False
    is_category: bool = False
    dtype: Dtype = "Float64"
    role: Role = "input"
    window: Window | None = None
    source: str = ""
    owner: str = "foretail"
    limits: Limits = Limits()

    def __post_init__(self) -> None:
        for name, value, known in (("dtype", self.dtype, get_args(Dtype)), ("role", self.role, get_args(Role))):
            if value not in known:
                raise UsageError(
                    f"{name} = {value!r} is none.\n  where: the feature {self.name!r}\n  fix:   {nearest(value, known)}"
                )


@dataclass(frozen=True)
class Entity:
    """A key of the store: its column and whether its values are ``Int64`` or ``String``."""

    name: str
    dtype: Dtype


@dataclass(frozen=True)
class View:
    """Features with the same keys, kept in one table; or features made on demand from those of other views.

    Attributes
    ----------
    name : of the view. keys : join keys, key columns of the spec. features : in the order of the columns.
    about : what its rows are. ttl : None: no row expires in silence; the age of a row is a matter of the reader.
    on_demand : not stored, made from the row.
    sources : on demand: names of the views it reads.
    inputs : on demand: the features it reads, view name and feature name, and nothing else.
    request : on demand: columns that whoever asks must give.
    """

    name: str
    keys: tuple[str, ...]
    features: tuple[Feature, ...]
    about: str = ""
    ttl: None = None
    on_demand: bool = False
    sources: tuple[str, ...] = ()
    inputs: tuple[tuple[str, str], ...] = ()
    request: tuple[Feature, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the features."""
        return tuple(feature.name for feature in self.features)

    @property
    def limits(self) -> dict[str, Limits]:
        """Limits by feature."""
        return {feature.name: feature.limits for feature in self.features}

    def feature(self, name: str) -> Feature:
        """The feature of that name.

        Raises
        ------
        UsageError : there is none; the nearest one is told.
        """
        return _named(name, {item.name: item for item in self.features}, f"the view {self.name!r}", "feature")


@dataclass(frozen=True)
class Service:
    """Features that are asked for together: view name and feature name of each, in the order of the columns."""

    name: str
    features: tuple[tuple[str, str], ...]
    about: str = ""


@dataclass(frozen=True)
class Declaration:
    """Everything that is declared about the features of a table.

    Attributes
    ----------
    spec : the meaning of the table's columns. entities : its keys. views : stored ones first. services : by name.
    types : dtype of each text or number column as it was found, by column; what was not seen is taken as usual.
    owners : keys that each static column depends on, by column.
    """

    spec: DatasetSpec
    entities: tuple[Entity, ...]
    views: tuple[View, ...]
    services: tuple[Service, ...]
    types: Mapping[str, Dtype] = field(default_factory=dict)
    static_keys: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def stored(self) -> tuple[View, ...]:
        """Views that are kept in tables."""
        return tuple(view for view in self.views if not view.on_demand)

    @property
    def target(self) -> tuple[str, str]:
        """View and name of the target."""
        return next((view.name, item.name) for view in self.views for item in view.features if item.role == "target")

    def view(self, name: str) -> View:
        """The view of that name.

        Raises
        ------
        UsageError : there is none; the nearest one is told.
        """
        return _named(name, {view.name: view for view in self.views}, "the declaration", "view")

    def service(self, name: str) -> Service:
        """The service of that name.

        Raises
        ------
        UsageError : there is none; the nearest one is told.
        """
        return _named(name, {service.name: service for service in self.services}, "the declaration", "service")

    def features_of(self, service: str) -> tuple[Feature, ...]:
        """The features of a service, in its order."""
        return tuple(self.view(view).feature(name) for view, name in self.service(service).features)

    def table(self) -> pl.DataFrame:
        """One row per feature: view, feature, dtype, role, kind, window, source, owner, limits, about."""
        rows = [_row(view.name, item) for view in self.views for item in (*view.request, *view.features)]
        return pl.DataFrame(rows, schema=_TABLE)


_TABLE = {
    **dict.fromkeys(("view", "feature", "dtype", "role", "kind", "window", "source", "owner"), pl.String),
    **dict.fromkeys(("null_share", "low", "high"), pl.Float64),
    "about": pl.String,
}


def _row(view: str, item: Feature) -> dict[str, Any]:
    limits = {"null_share": item.limits.null_share, "low": item.limits.low, "high": item.limits.high}
    texts = {name: getattr(item, name) for name in ("dtype", "role", "kind", "source", "owner", "about")}
    return {"view": view, "feature": item.name, "window": str(item.window or ""), **texts, **limits}


def _named(name: str, known: Mapping[str, _Item], where: str, noun: str) -> _Item:
    if name not in known:
        raise UsageError(f"there is no {noun} {name!r}.\n  where: {where}\n  fix:   {nearest(name, known)}")
    return known[name]
