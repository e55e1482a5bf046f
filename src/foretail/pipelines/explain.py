"""explain: why a registered version forecasts what it does for one series and date, in parts that add up."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from foretail.core.columns import UNIQUE_ID
from foretail.core.errors import DataError, Problem, UsageError, nearest
from foretail.core.progress import Progress
from foretail.core.settings import Settings
from foretail.forecasts.explain import Explainer, Explanation
from foretail.forecasts.heeding import reconciler
from foretail.forecasts.policy import with_policies
from foretail.panel.panel import Panel
from foretail.pipelines.forecast import open_version
from foretail.registry.bundle import Bundle

__all__ = ["Explained", "explain_version"]

_ALMOST = 0.005  # share of a forecast below which a part is not worth a word


@dataclass(frozen=True)
class Explained:
    """The explanation of one forecast.

    Attributes
    ----------
    keys : key columns and values. ds : the date. cutoff : the last date that the model saw. unit : of the target.
    model, model_version : who forecasts. source : ``model``, or ``closed``, or ``fallback:why``.
    y_hat, base : the forecast, and the usual sales of the series. parts : group -> part; base and parts add up to the
        forecast. features : feature, group and part, largest first.
    """

    keys: Mapping[str, Any]
    ds: dt.date
    step: int
    cutoff: dt.date
    unit: str
    model: str
    model_version: str
    source: str
    y_hat: float
    base: float
    parts: Mapping[str, float]
    features: tuple[Mapping[str, Any], ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as JSON can hold them."""
        return {**vars(self), "sentence": self.sentence()}

    def sentence(self) -> str:
        """The explanation in one sentence."""
        who = ", ".join(f"{name} {value}" for name, value in self.keys.items()) or "the series"
        unit = f" {self.unit}" if self.unit else ""
        head = f"{who} on {self.ds}: {self.y_hat:,.4g}{unit} forecast, {self.base:,.4g} are usual"
        if self.source == "closed":
            return f"{head}; it is closed."
        if self.source != "model":
            return f"{head}; no explanation, as {self.source.partition(':')[2]} made a fallback answer."
        told = [(name, part) for name, part in self.parts.items() if abs(part) > _ALMOST * max(abs(self.y_hat), 1e-12)]
        told.sort(key=lambda item: -abs(item[1]))
        words = [f"{name} {part:+,.3g}" for name, part in told]
        return f"{head}; {', '.join(words)}." if words else f"{head}; nothing moves it from there."

    def waterfall(self) -> list[tuple[str, float, float]]:
        """Rows of a waterfall: what, its part, and the total so far; groups without a part left out."""
        rows = [("usual sales", self.base, self.base)]
        for name, part in self.parts.items():
            if part:
                rows.append((name, part, rows[-1][2] + part))
        return [*rows, ("forecast", self.y_hat, self.y_hat)]


def explain_version(
    model: str,
    keys: Mapping[str, str],
    *,
    date: dt.date | None,
    table: str | None,
    future: str | None,
    settings: Settings,
    progress: Progress,
) -> Explained:
    """Explain one forecast without fitting anything.

    Parameters
    ----------
    model : ``name`` (its champion), ``name@alias``, ``name/version``, or the folder of a bundle.
    keys : each key column and its value as text. date : within the horizon; the first one when None.
    table, future : as for `forecast_version`.

    Raises
    ------
    UsageError : key columns that are missing or unknown, a date that is not one of the horizon.
    DataError : no series with these keys has sales.
    """
    with progress.stage("load"):
        bundle, label, wanted = open_version(model, table=table, future=future, horizon=None, settings=settings)
        panel = wanted.panel
        row, step = _row_of(panel, keys), _step_of(panel, date)
    with progress.stage("explain"):
        found = _explainer(bundle, panel).explain(np.array([row]), np.array([step]))
    return _explained(panel, row, step, found, bundle.info.model, label)


def _explainer(bundle: Bundle, panel: Panel) -> Explainer:
    """Of the forecasts as they are answered: the levels heeded, if there are some."""
    point = bundle.model.predict(panel, panel.spec.horizon)
    heeds = reconciler(bundle.levels, bundle.panel)
    heeded = point if heeds is None else heeds(panel, point)
    return Explainer(bundle.model, panel, with_policies(panel, heeded), point)


def _row_of(panel: Panel, keys: Mapping[str, str]) -> int:
    """The series of these keys."""
    wanted = panel.spec.keys
    for name in keys:
        if name not in wanted:
            fix = nearest(name, wanted) if wanted else "leave it out: there is one series only"
            raise UsageError(f"{name!r} is no key column.\n  where: --{name}\n  fix:   {fix}")
    missing = [name for name in wanted if name not in keys]
    if missing:
        example = " ".join(f"--{name} VALUE" for name in missing)
        raise UsageError(f"which series? {', '.join(missing)} is not given.\n  where: the keys\n  fix:   {example}")
    same = pl.all_horizontal(pl.lit(True), *(pl.col(name).cast(pl.String) == keys[name] for name in wanted))
    found = panel.series.with_row_index("row").filter(same)["row"].to_list()
    if not found:
        shown = ", ".join(f"{name}={value}" for name, value in keys.items())
        first = ", ".join(panel.series[UNIQUE_ID].head(3))
        raise DataError(Problem("no series with these keys has sales", shown, f"keys of the table, such as {first}"))
    return int(found[0])


def _step_of(panel: Panel, date: dt.date | None) -> int:
    if date is None:
        return 1
    dates = panel.future_dates(panel.spec.horizon).astype("datetime64[D]").astype(object).tolist()
    if date not in dates:
        raise UsageError(
            f"{date} is no date that is forecast.\n  where: --date\n"
            f"  fix:   a {panel.frequency.noun} from {dates[0]} to {dates[-1]} ({panel.frequency}); the cutoff is "
            f"{panel.cutoff}"
        )
    return int(dates.index(date)) + 1


def _explained(panel: Panel, row: int, step: int, found: Explanation, model: str, label: str) -> Explained:
    spec = panel.spec
    keys = panel.series.select(spec.keys).row(row, named=True) if spec.keys else {}
    features = found.features.select("feature", "group", "part").to_dicts()
    return Explained(
        keys=keys,
        ds=panel.future_dates(spec.horizon)[step - 1].astype("datetime64[D]").astype(object),
        step=step,
        cutoff=panel.cutoff,
        unit=spec.unit,
        model=model,
        model_version=label,
        source=found.reasons[0] or "model",
        y_hat=float(found.y_hat[0]),
        base=float(found.base[0]),
        parts={group: float(part) for group, part in zip(found.groups, found.parts[0], strict=True)},
        features=tuple(features),
    )
