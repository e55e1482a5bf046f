"""What is decided about a panel once, before any feature is computed: it becomes a part of the model."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from foretail.features.calendar import calendar_of
from foretail.features.cells import CellPlan, cell_effects, cell_ids, flag_factors, plan_cells
from foretail.features.cube import Cube, group_codes
from foretail.features.profile import ProfileOptions, best_grouping, best_options
from foretail.features.space import Space
from foretail.features.spans import spans_of
from foretail.panel.panel import Panel

__all__ = ["Plan", "plan_features"]

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

_MAX_GROUPS = 200  # a column with more values is an id rather than a group
_MAX_FLAG_LEVELS = 6  # a covariate with more values is a quantity rather than a flag


@dataclass(frozen=True)
class Plan:
    """What was decided about a panel before its features are computed; part of the model.

    Attributes
    ----------
    space : ``log`` or ``level``. cells : weekday x flag cells. groups : key and static columns used for group levels.
    profile_group : the column whose groups share the shape of a year; "" for all series.
    profile_options : how much of a series' own shape of the year is believed.
    codes : per text key or static column, its values in code order (unseen values are missing).
    flags : known covariates with few values, for which distances to changes are features.
    effects : flags without cells of their own, whose effect on past dates is a feature.
    has_years : whether the history is long enough for features of the year before.
    has_two_years : whether every date of the year was seen twice.
    has_closed : whether closed days are known, for which distances are features.
    categories : per covariate that holds text, its texts in code order (unseen texts are missing).
    """

    space: str
    cells: CellPlan
    groups: tuple[str, ...] = ()
    profile_group: str = ""
    profile_options: ProfileOptions = field(default_factory=ProfileOptions)
    codes: dict[str, tuple[str, ...]] = field(default_factory=dict)
    flags: tuple[str, ...] = ()
    effects: tuple[str, ...] = ()
    has_years: bool = True
    has_two_years: bool = True
    has_closed: bool = False
    categories: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as JSON can hold them."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Plan:
        """Read what ``to_dict`` wrote, from JSON."""
        cells = values["cells"]
        return cls(
            space=values["space"],
            cells=CellPlan(tuple(cells["flags"]), tuple(tuple(item) for item in cells["values"]), cells["n_phases"]),
            groups=tuple(values["groups"]),
            profile_group=values["profile_group"],
            profile_options=ProfileOptions(**values["profile_options"]),
            codes={name: tuple(items) for name, items in values["codes"].items()},
            flags=tuple(values["flags"]),
            effects=tuple(values.get("effects", ())),  # plans of before had none
            has_years=values["has_years"],
            has_two_years=values["has_two_years"],
            has_closed=values["has_closed"],
            categories={name: tuple(items) for name, items in values["categories"].items()},
        )


def plan_features(panel: Panel, space: Space) -> Plan:
    """Decide cells, groups and codes from the history of a panel."""
    calendar = calendar_of(panel.frequency, panel.start, panel.closed.shape[1], panel.spec.country)
    groups = _groups(panel)
    cube = Cube.of(panel, space)
    cells = plan_cells(panel, cube.z, calendar.phase)
    usual = _usual_sales(cube, cells, calendar.phase)
    profile_group = _profile_group(panel, usual, groups)
    flags = tuple(item.name for item in panel.known if _is_flag(item.values[:, : panel.n_periods]))
    return Plan(
        space=space.name,
        cells=cells,
        groups=groups,
        profile_group=profile_group,
        profile_options=_profile_options(panel, usual, profile_group, calendar.days),
        codes=_codes(panel),
        flags=flags,
        effects=tuple(name for name in flags if name not in cells.flags),
        has_years=panel.n_periods >= panel.frequency.year_length // 2,
        has_two_years=panel.n_periods >= 2 * panel.frequency.year_length,
        has_closed=bool(panel.closed.any()),
        categories={item.name: item.categories for item in (*panel.known, *panel.past) if item.categories},
    )


def _groups(panel: Panel) -> tuple[str, ...]:
    """Columns with several values, each shared by two series or more on average."""
    most = min(_MAX_GROUPS, panel.n_series // 2)
    columns = (*panel.spec.keys, *panel.spec.static)
    return tuple(name for name in columns if 2 <= panel.series[name].n_unique() <= most)


def _usual_sales(cube: Cube, cells: CellPlan, phase: IntArray) -> FloatArray:
    """``[N, T]`` sales of weeks and months had their flags been as usual; those of days as they were."""
    panel, known = cube.panel, cube.panel.n_periods
    if panel.frequency.is_daily or cells.n_flag_cells == 1:
        return panel.y
    ids, unit = cell_ids(panel, phase, cells)[:, :known], cube.unit
    effects, _ = cell_effects(cube.z, ids, cells.n_cells, spans_of(panel.frequency).cells, unit)
    usual: FloatArray = panel.y / flag_factors(effects[0], ids, known, is_log=cube.space.is_log)
    return usual


def _profile_group(panel: Panel, usual: FloatArray, groups: tuple[str, ...]) -> str:
    year = panel.frequency.year_length
    if panel.n_periods < year:
        return ""
    everything = {"": np.zeros(panel.n_series, dtype=np.int64)}
    return best_grouping(usual[:, -year:], everything | {name: group_codes(panel, name) for name in groups})


def _profile_options(panel: Panel, usual: FloatArray, profile_group: str, days: IntArray) -> ProfileOptions:
    if panel.frequency.is_daily:
        return ProfileOptions()
    y = np.where(panel.closed[:, : panel.n_periods], np.nan, usual)
    groups = group_codes(panel, profile_group) if profile_group else np.zeros(panel.n_series, dtype=np.int64)
    return best_options(y, groups, panel.frequency, days)


def _codes(panel: Panel) -> dict[str, tuple[str, ...]]:
    columns = {name: panel.series[name] for name in (*panel.spec.keys, *panel.spec.static)}
    return {
        name: tuple(sorted(values.drop_nulls().cast(str).unique().to_list()))
        for name, values in columns.items()
        if not values.dtype.is_float() and values.n_unique() > 1
    }


def _is_flag(values: npt.NDArray[np.float32]) -> bool:
    return 2 <= len(np.unique(values[np.isfinite(values)])) <= _MAX_FLAG_LEVELS
