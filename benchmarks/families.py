"""Every family on one synthetic daily and one weekly panel: CPU seconds per 1,000 series on one thread, WAPE."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from benchmarks.table import Measure, publish
from foretail.core.errors import ForetailError
from foretail.models.fallback import last_season
from foretail.models.families import FAMILIES, make
from foretail.panel.build import build_panel
from foretail.panel.panel import Panel
from foretail.sources.synthetic import SyntheticConfig, generate

WORLDS = {
    "daily": SyntheticConfig(stores=10, products=12, periods=828, horizon=28, seed=3),
    "weekly": SyntheticConfig(stores=10, products=12, periods=168, horizon=12, freq="W-FRI", seed=4),
}
_WARM_UP = 2  # series that load a family's libraries before it is timed


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure the families named, or all of them."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.families", description=__doc__)
    parser.add_argument("families", nargs="*", default=list(FAMILIES), help="names; all when none is given")
    named = parser.parse_args(arguments).families
    measures = []
    for name, config in WORLDS.items():
        whole = build_panel(generate(config).table).panel
        panel = whole.as_of(whole.n_periods - config.horizon, config.horizon)
        y = np.where(whole.closed[:, : whole.n_periods], np.nan, whole.y)[:, panel.n_periods :]
        for family in named:
            measures += _measured(name, family, panel, y)
    publish("families", measures)


def _measured(world: str, family: str, panel: Panel, y: npt.NDArray[np.float64]) -> list[Measure]:
    """CPU seconds and WAPE of one family on one panel; a family that cannot run is told and left out."""
    h = y.shape[1]
    try:
        few = panel.select(np.arange(_WARM_UP))
        make(family, n_threads=1).fit(few, h).predict(few, h)
        begun = time.process_time()
        y_hat = make(family, n_threads=1).fit(panel, h).predict(panel, h).y_hat
    except ForetailError as error:
        print(f"{family}: {error}")
        return []
    seconds = (time.process_time() - begun) / panel.n_series * 1000
    work = f"{world}, {family}"
    naive = _wape(last_season(panel, h), y)
    return [
        Measure(f"{work}: 1,000 series", seconds, "CPU s"),
        Measure(f"{work}: WAPE", _wape(y_hat, y), "share", "seasonal naive", naive),
    ]


def _wape(y_hat: npt.NDArray[np.float64], y: npt.NDArray[np.float64]) -> float:
    """Sum of absolute errors over sales, on open days that were observed."""
    seen = np.isfinite(y)
    return float(np.abs(y_hat - y)[seen].sum() / np.abs(y[seen]).sum())


if __name__ == "__main__":
    main()
