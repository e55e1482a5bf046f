"""What a family can do that may be asked again for single series, without a second forecast of the whole panel."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

from foretail.features.frame import Outlook
from foretail.features.plan import Plan
from foretail.models.contract import Forecast, Forecaster
from foretail.panel.panel import Panel

__all__ = ["FromOutlook", "Mixes"]


@runtime_checkable
class FromOutlook(Protocol):
    """A family whose forecast of a series rests on its own rows of an outlook alone."""

    def outlook_plan(self) -> Plan | None:
        """What the outlook is made by; None where nothing was learned and `Forecaster.predict` answers otherwise."""

    def predict_from(self, outlook: Outlook) -> Forecast:
        """As `Forecaster.predict`, of the series of an outlook; what a fallback borrows comes from these alone."""


@runtime_checkable
class Mixes(Protocol):
    """A family that is made of others, each asked for itself."""

    members_: Mapping[str, Forecaster]

    def mixed(self, found: Mapping[str, Forecast], panel: Panel) -> Forecast:
        """The forecast that the members' forecasts of the series of a panel make together."""
