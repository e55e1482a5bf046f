"""A fleet of per-series models: train all, train one again, look at them, forecast; what `foretail fleet` calls."""

from __future__ import annotations

from foretail.pipelines.fleet_request import FleetRequest, FleetResult, SeriesVersion
from foretail.pipelines.fleet_series import fleet_retry, retrain_series
from foretail.pipelines.fleet_serve import fleet_forecast
from foretail.pipelines.fleet_train import fleet_train
from foretail.pipelines.fleet_view import fleet_request, fleet_show, fleet_status

__all__ = [
    "FleetRequest",
    "FleetResult",
    "SeriesVersion",
    "fleet_forecast",
    "fleet_request",
    "fleet_retry",
    "fleet_show",
    "fleet_status",
    "fleet_train",
    "retrain_series",
]
