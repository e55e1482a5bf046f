"""What a server is asked, and what it answers: plain values, whatever protocol they come by."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Answered", "Ask", "Explained", "ServedInfo"]


@dataclass(frozen=True, slots=True)
class Ask:
    """One instance.

    Attributes
    ----------
    keys : values of the key columns, in the order of the spec. target_date : the first date to answer.
    overrides : value of each feature that is to be other than known (a what-if); one value holds for every step asked,
        a list holds one for each.
    horizon : steps to answer, from the target date on.
    """

    keys: tuple[Any, ...]
    target_date: dt.date
    overrides: Mapping[str, Any] = field(default_factory=dict)
    horizon: int = 1


@dataclass(frozen=True, slots=True)
class Answered:
    """The forecast of one series and date.

    Attributes
    ----------
    keys : as asked. ds : the date. step : from the cutoff, the last date the forecast knows of.
    y_hat : in the unit of the target. quantiles : by column, ``q10`` ….
    model, model_version, dataset_version : who answered. source : ``model``, or ``fallback:<why>``.
    warnings : what whoever reads the forecast should know.
    """

    keys: tuple[Any, ...]
    ds: dt.date
    step: int
    cutoff: dt.date
    y_hat: float
    quantiles: Mapping[str, float]
    model: str
    model_version: str
    dataset_version: str
    source: str
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Explained:
    """What one forecast is made of, in the unit of the target.

    Attributes
    ----------
    answered : the forecast. base : what the parts start from. parts : by group; base and parts add up to ``y_hat``.
    features : rows of the table of single features.
    """

    answered: Answered
    base: float
    parts: Mapping[str, float]
    features: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True)
class ServedInfo:
    """What a model version that is served can be asked.

    Attributes
    ----------
    name : of the model on the leaderboard. version : its label. family : of the model.
    cutoff : the last date it knows of. first, last : dates that it answers, ``horizon`` of them, ``freq`` apart.
    keys : key column -> ``INT64``, ``FP64``, ``BOOL`` or ``BYTES``, in the order of the spec.
    features : features that may be overridden -> the same types.
    levels : quantile levels of an answer. n_series : series it answers.
    target, unit : of the values. dataset_version : what it learned from.
    reads_store : whether it takes its features from the online store.
    """

    name: str
    version: str
    family: str
    cutoff: dt.date
    horizon: int
    freq: str
    first: dt.date
    last: dt.date
    keys: Mapping[str, str]
    features: Mapping[str, str]
    levels: tuple[float, ...]
    n_series: int
    target: str
    unit: str
    dataset_version: str
    reads_store: bool = False
