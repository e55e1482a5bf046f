"""What a feature speaks of, for people: the level, the season, a promotion; read from how the feature was declared."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np

from foretail.features.feature import Feature
from foretail.panel.panel import Covariate, Panel

__all__ = [
    "CALENDAR",
    "CLOSED",
    "FALLBACK",
    "GROUPS",
    "LEVEL",
    "OTHER",
    "PRICE",
    "PROMOTION",
    "SEASON",
    "SERIES",
    "WEATHER",
    "covariate_groups",
    "groups_of",
]

LEVEL, SEASON, CALENDAR, PROMOTION, PRICE = "level", "season", "calendar", "promotion", "price"
WEATHER, SERIES, OTHER, CLOSED, FALLBACK = "weather/economy", "store/series", "other", "closed", "fallback"
GROUPS = (LEVEL, SEASON, CALENDAR, PROMOTION, PRICE, WEATHER, SERIES, OTHER, CLOSED, FALLBACK)

# a spec says that a column is known in advance, not what it is: only its name can. Parts of names, in any case
_NAMED = (
    (PROMOTION, re.compile(r"promo|discount|markdown|deal|offer|campaign|coupon|leaflet|flyer|rebate", re.I)),
    (PRICE, re.compile(r"price|tariff", re.I)),
    (CALENDAR, re.compile(r"holiday|event|festiv|open|closed|school|vacation", re.I)),
)


def groups_of(features: Sequence[Feature], panel: Panel) -> tuple[str, ...]:
    """The group of each feature of the catalogue.

    Static features speak of the series; those of the target's own past of its level; those that hang on cutoff and step
    and read no column, and the short season's cells, of the season; what is known of a date of the calendar, or of the
    covariate that it reads; past covariates are weather and economy.
    """
    covariates = covariate_groups(panel)
    return tuple(_group(feature, covariates, panel.spec.target) for feature in features)


def _group(feature: Feature, covariates: Mapping[str, str], target: str) -> str:
    if feature.role == "static" or feature.kind == "static":
        return SERIES
    if feature.source in covariates:
        return covariates[feature.source]
    if feature.source == target or feature.kind == "as_of":
        return LEVEL
    if feature.kind == "season" or feature.is_category:
        return SEASON
    return CALENDAR


def covariate_groups(panel: Panel) -> dict[str, str]:
    """The group of each covariate.

    Past ones are weather and economy. A known one is the calendar when the spec calls it the opening, what its name
    says otherwise; with a name that says nothing it is the calendar where all series share its values, else ``other``.
    """
    past = {item.name: WEATHER for item in panel.past}
    return past | {item.name: _known(item, panel) for item in panel.known}


def _known(item: Covariate, panel: Panel) -> str:
    if item.name == panel.spec.open:
        return CALENDAR
    named = next((group for group, pattern in _NAMED if pattern.search(item.name)), None)
    return named or (CALENDAR if _is_shared(item, panel) else OTHER)


def _is_shared(item: Covariate, panel: Panel) -> bool:
    """Whether all series, more than one, have the same value in every period in which they have one."""
    if panel.n_series < 2:
        return False
    known = np.isfinite(item.values)
    low = np.where(known, item.values, np.inf).min(axis=0)
    high = np.where(known, item.values, -np.inf).max(axis=0)
    return bool((low >= high).all())
