"""Monotone constraints on known covariates: which features they bind, and a plan whose base keeps out of their way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from foretail.core.errors import UsageError, nearest
from foretail.features.asof import Plan, plan_features
from foretail.features.catalogue import Feature
from foretail.features.space import Space
from foretail.panel.panel import Panel

__all__ = ["Monotone", "check_monotone", "check_together", "constraints", "monotone_plan", "read_monotone"]

Monotone = Mapping[str, int] | str | None

_EXAMPLE = '{"price": -1, "promo": 1}, or as text price:-1;promo:1'
# features made of the covariate's own value at the target date, and the sign with which they follow it; the distances
# to a flag are 0 where it is on. Values of the dates before and after it (`before_`, `after_`) are not bound.
_FOLLOWING = {"known_": 1, "relative_": 1, "run_": 1, "since_": -1, "until_": -1}
# objectives whose leaves are set to a quantile afterwards, past any constraint: LightGBM refuses them, XGBoost
# breaks the constraint in silence
_RENEWED = {"l1", "mae", "regression_l1", "mape", "quantile", "reg:absoluteerror", "reg:quantileerror"}


def read_monotone(wanted: Monotone) -> dict[str, int]:
    """Covariate -> -1 (a higher value never sells more) or 1 (never less).

    Parameters
    ----------
    wanted : a mapping, or a text ``price:-1;promo:1`` as the name of a family can carry it; empty or None for nothing.

    Raises
    ------
    UsageError : not of that form, or another direction than -1 and 1.
    """
    items: list[tuple[str, Any]] = list(_items(wanted) if isinstance(wanted, str) else (wanted or {}).items())
    bad = [f"{name}: {sign!r}" for name, sign in items if not name or isinstance(sign, bool) or sign not in (-1, 1)]
    if bad:
        raise UsageError(
            f"a monotone constraint is a covariate and a direction, -1 or 1.\n  where: {', '.join(bad)}"
            f"\n  fix:   monotone = {_EXAMPLE}"
        )
    return {name: int(sign) for name, sign in items}


def check_monotone(panel: Panel, signs: Mapping[str, int]) -> None:
    """See that every constrained covariate is a number known ahead.

    Raises
    ------
    UsageError : a covariate that the panel does not know ahead, or one that holds text.
    """
    known = {item.name: item for item in panel.known}
    for name in signs:
        if name not in known:
            raise UsageError(
                f"no known covariate {name!r} to be monotone in.\n  where: monotone\n  fix:   {nearest(name, known)}"
            )
        if known[name].categories:
            raise UsageError(
                f"{name!r} holds text, which has no order to be monotone in.\n  where: monotone"
                f"\n  fix:   give {name!r} as a number, for example 0 and 1"
            )


def check_together(monotone: Mapping[str, int], objective: str, heads: str) -> None:
    """See that a library can keep what is asked for monotone.

    Raises
    ------
    UsageError : quantile heads, or an objective whose leaves are moved after the constraint was applied.
    """
    kind = (
        f"heads={heads}"
        if heads in {"interval", "quantile"}
        else f"objective {objective!r}"
        if objective in _RENEWED
        else ""
    )
    if monotone and kind:
        raise UsageError(
            f"{kind} cannot be kept monotone: the leaves are moved after the constraint was applied.\n"
            f"  where: monotone in {', '.join(monotone)}\n  fix:   objective=l2 or objective=huber, and heads=none"
        )


def monotone_plan(panel: Panel, space: Space, signs: Mapping[str, int]) -> Plan:
    """The plan of a panel; constrained covariates split no cells.

    The reference and the linear base follow the cells, and the trees' constraints do not bind them: a covariate in
    both could sell less through the one than it gains through the other.
    """
    plan = plan_features(panel, space)
    if not set(signs) & set(plan.cells.flags):
        return plan
    others = replace(panel, known=tuple(item for item in panel.known if item.name not in signs))
    return replace(plan, cells=plan_features(others, space).cells)


def constraints(features: Sequence[Feature], signs: Mapping[str, int]) -> list[int]:
    """-1, 0 or 1 per feature: those that hold the covariate's value at the target date follow its direction."""
    bound = {prefix + name: sign * way for name, sign in signs.items() for prefix, way in _FOLLOWING.items()}
    return [bound.get(feature.name, 0) for feature in features]


def _items(text: str) -> list[tuple[str, Any]]:
    """``a:1;b:-1`` as pairs; a direction that is no number stays text."""
    found: list[tuple[str, Any]] = []
    for part in filter(None, (part.strip() for part in text.split(";"))):
        name, _, sign = part.rpartition(":")
        found.append((name.strip(), {"-1": -1, "1": 1, "+1": 1}.get(sign.strip(), sign.strip())))
    return found
