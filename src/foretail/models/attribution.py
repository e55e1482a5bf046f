"""From what a base and a model on feature rows say of each feature to contributions to sales."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from foretail.features.asof import AsOf
from foretail.features.frame import Outlook, Rows
from foretail.features.groups import LEVEL, SEASON, groups_of
from foretail.features.plan import Plan
from foretail.features.space import Space
from foretail.models.asked import Asked
from foretail.models.base import LinearBase
from foretail.models.contract import Forecast
from foretail.models.contributions import Contributions, Term, from_space
from foretail.models.sample import taken

__all__ = ["Attributed", "over_a_base"]

FloatArray = npt.NDArray[np.float64]
# rows and their base ``[R]`` -> per feature and for the base ``[R, F + 1]``, and the model's answer ``[R]``, in units
Attributed = Callable[[Rows, FloatArray], tuple[FloatArray, FloatArray]]

_OWN_TERMS = (
    Term("long-run level", LEVEL),
    Term("place in the short season", SEASON),
    Term("average of what was learned from", LEVEL),
)


def over_a_base(
    asked: Asked, plan: Plan, base: LinearBase, predict: Callable[[Outlook], Forecast], attribute: Attributed
) -> Contributions:
    """Contributions of reference, linear base and what was learned on top of it.

    What the model makes of the base forecast, a feature of its own, is shared by the features of the base by the size
    of their part in it; what it says beside all features is the average of what it learned from.

    Parameters
    ----------
    plan : of the features. base : the linear base. predict : forecasts of the series of an outlook.
    attribute : what the model says of each row.
    """
    outlook = asked.outlook(plan)
    rows = taken(outlook.rows(), asked.at)
    forecast = base.predict(rows)
    learned, answer = attribute(rows, forecast)
    with np.errstate(over="ignore", invalid="ignore"):
        z = _in_space(outlook.asof, rows, base, learned, answer - learned.sum(axis=1))
    groups = groups_of(rows.features, asked.panel)
    terms = [Term(item.name, group, item.source) for item, group in zip(rows.features, groups, strict=True)]
    floor = asked.panel.spec.non_negative
    found = from_space(Space(plan.space), rows.scale, asked.usual, [*_OWN_TERMS, *terms], z, 0, floor)
    every = predict(outlook)
    return found.unless_fallen(asked.place, asked.steps, every.y_hat, every.reasons)


def _in_space(
    asof: AsOf, rows: Rows, base: LinearBase, learned: FloatArray, average: FloatArray
) -> npt.NDArray[np.float64]:
    """``[R, 3 + F]`` parts in model space."""
    linear = base.parts(rows)
    size = np.abs(linear[:, 1:])
    whole = size.sum(axis=1, keepdims=True)
    share = size / np.where(whole > 0, whole, 1.0)
    by_feature = learned[:, :-1].copy()
    by_feature[:, [rows.names.index(name) for name in base.names]] += linear[:, 1:] + learned[:, -1:] * share
    rest = average + linear[:, 0] + np.where(whole[:, 0] > 0, 0.0, learned[:, -1])
    level = asof.weekless(asof.cell_windows[0])[rows.series, rows.step - 1]
    unit = rows.unit[:, None]
    return np.column_stack([level, rows.reference - level, rows.unit * rest, unit * by_feature])
