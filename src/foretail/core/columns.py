"""The column names of the house, spelled once; a user's own names live in the spec and come back at the doors."""

from __future__ import annotations

__all__ = ["CUTOFF", "DS", "MODEL", "MODEL_VERSION", "SOURCE", "STEP", "UNIQUE_ID", "Y_HAT", "Y"]

UNIQUE_ID = "unique_id"  # one series; the key values joined by "/"
DS = "ds"  # the date of an observation or of a forecast
Y = "y"  # observed value, in the unit of the target
CUTOFF = "cutoff"  # last date the model saw
STEP = "step"  # 1..h, counted in periods from the cutoff
Y_HAT = "y_hat"  # point forecast, in the unit of the target
MODEL = "model"
MODEL_VERSION = "model_version"
SOURCE = "source"  # "model" or "fallback:<why>"
