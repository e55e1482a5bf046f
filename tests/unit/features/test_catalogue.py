"""The catalogue: names are unique, the same at every cutoff, and a plan can be written down and read again."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from panel_maker import make_panel

from foretail.features.asof import AsOf, Plan, plan_features
from foretail.features.catalogue import catalogue
from foretail.features.frame import forecast_rows
from foretail.features.space import Space
from foretail.panel.panel import Panel

H = 5
FREQS = ("D", "W-MON", "MS")


def renamed(panel: Panel, names: dict[str, str]) -> Panel:
    """The same panel with other column names."""

    def new(name: str) -> str:
        return names.get(name, name)

    spec = panel.spec.but(
        keys=tuple(map(new, panel.spec.keys)),
        static=tuple(map(new, panel.spec.static)),
        known=tuple(map(new, panel.spec.known)),
        past=tuple(replace(item, name=new(item.name)) for item in panel.spec.past),
    )
    return replace(
        panel,
        spec=spec,
        series=panel.series.rename(names, strict=False),
        known=tuple(replace(item, name=new(item.name)) for item in panel.known),
        past=tuple(replace(item, name=new(item.name)) for item in panel.past),
    )


@pytest.mark.parametrize("freq", FREQS)
@pytest.mark.parametrize(
    "names",
    [
        {},
        {"promo": "holiday", "store": "own", "type": "all", "price": "holiday_in"},
        {"promo": "sale", "store": "7", "item": "own_3", "price": "promo_in", "visitors": "level"},
        {"promo": 'a "b"', "store": "a,b", "type": "ä", "price": "a b", "kind": "a_b", "weather": "[x]"},
    ],
)
def test_no_two_features_share_a_name(freq: str, names: dict[str, str]) -> None:
    panel = renamed(make_panel(freq, 1, n_series=12), names)
    panel = replace(panel, spec=panel.spec.but(country="DE"))
    features = [feature.name for feature in catalogue(panel, plan_features(panel, Space("log")))]
    assert len(set(features)) == len(features)


@pytest.mark.parametrize("freq", FREQS)
def test_the_features_are_the_same_at_every_cutoff(freq: str) -> None:
    panel = make_panel(freq, 2)
    plan = plan_features(panel, Space("log"))
    names = [feature.name for feature in catalogue(panel, plan)]
    early = panel.as_of(4, H)
    never_shut = replace(early, closed=np.zeros_like(early.closed))
    assert [feature.name for feature in catalogue(never_shut, plan)] == names
    assert forecast_rows(never_shut, plan, H).names == names


@pytest.mark.parametrize("freq", FREQS)
def test_every_feature_has_one_value_per_series_date_or_both(freq: str) -> None:
    panel = make_panel(freq, 3)
    asof = AsOf(panel, plan_features(panel, Space("log")), H)
    for feature in catalogue(asof.panel, asof.plan):
        shape = np.asarray(feature.compute(asof)).shape
        assert shape in {(6,), (1, H), (6, H)}, feature.name
        assert feature.kind in {"as_of", "ahead", "season", "static"}
        assert feature.about
        if feature.kind in ("as_of", "static"):
            assert shape == (6,), feature.name


@pytest.mark.parametrize("freq", FREQS)
def test_a_plan_survives_json(freq: str) -> None:
    plan = plan_features(make_panel(freq, 4), Space("level"))
    assert Plan.from_dict(json.loads(json.dumps(plan.to_dict()))) == plan


def test_a_plan_says_what_was_found() -> None:
    plan = plan_features(make_panel("D", 5), Space("log"))
    assert plan.cells.flags == ("promo",)
    assert plan.flags == ("promo", "kind")
    assert plan.groups == ("store", "item", "type")
    assert plan.codes == {"store": ("0", "1", "2"), "item": ("0", "1"), "type": ("x", "y")}
    assert plan.categories == {"kind": ("a", "b", "c")}
    assert plan.has_closed
    assert not plan.has_years


def test_texts_keep_their_codes_when_new_ones_appear() -> None:
    panel = make_panel("D", 6)
    plan = plan_features(panel, Space("log"))
    kind = panel.covariate("kind")
    # "aa" is new and moves the codes of "b" and "c" by one
    shifted = np.where(kind.values >= 1, kind.values + 1, kind.values)
    later = replace(kind, values=shifted.astype(np.float32), categories=("a", "aa", "b", "c"))
    other = replace(panel, known=(*panel.known[:2], later))
    assert forecast_rows(other, plan, H).x.tobytes() == forecast_rows(panel, plan, H).x.tobytes()
    all_new = replace(kind, values=np.ones_like(kind.values), categories=("a", "aa", "b", "c"))
    rows = forecast_rows(replace(panel, known=(*panel.known[:2], all_new)), plan, H)
    assert np.isnan(rows.x[:, rows.names.index("known_kind")]).all()


def test_values_too_large_for_a_feature_are_infinite_and_silent() -> None:
    panel = make_panel("D", 7)
    sizes = panel.series.with_columns(size=1e300 * panel.series["size"])
    rows = forecast_rows(replace(panel, series=sizes), plan_features(panel, Space("log")), H)
    assert np.isposinf(rows.x[-1, rows.names.index("static_size")])
