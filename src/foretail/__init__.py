"""foretail: demand forecasts for retail that can be trusted and acted on.

import foretail
result = foretail.run("sales.csv", keys=["store", "item"], time="date", target="units", horizon=28)
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from foretail.core.spec import DatasetSpec
    from foretail.pipelines.run import RunResult, run
    from foretail.pipelines.tune import TuneResult, tune

__all__ = ["DatasetSpec", "RunResult", "TuneResult", "__version__", "run", "tune"]
__version__ = "0.1.0"

_LAZY = {
    "DatasetSpec": "foretail.core.spec",
    "RunResult": "foretail.pipelines.run",
    "TuneResult": "foretail.pipelines.tune",
    "run": "foretail.pipelines.run",
    "tune": "foretail.pipelines.tune",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'foretail' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
