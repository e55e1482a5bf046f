"""What is declared: the names and counts that the outside world sees, for any spec; no window sees its target."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from panel_maker import make_panel

from foretail.core.errors import UsageError
from foretail.core.spec import DatasetSpec, PastCovariate
from foretail.features.asof import plan_features
from foretail.features.catalogue import catalogue
from foretail.features.declaration import Declaration, Feature, Window, declare, declare_as
from foretail.features.derived import Derivation
from foretail.features.space import Space
from foretail.features.table import features_page, weekly_declaration
from foretail.panel.build import build_panel
from foretail.panel.panel import Panel
from foretail.sources.synthetic import synthetic_table

ROOT = Path(__file__).parents[4]
WEEKLY = {"stores": 4, "departments": 3, "weeks": 30}
LAGS = ["lag_1", "lag_2", "lag_4", "lag_8", "rolling_mean_4w", "rolling_std_4w", "sales_vs_avg"]
CALENDAR = ["week_of_year", "month", "quarter", "week_of_month", "is_month_end", "is_holiday", "days_to_holiday"]
SALES = ["weekly_sales", *LAGS, *CALENDAR, "temperature", "fuel_price", "cpi", "unemployment"]
WALMART = DatasetSpec(
    ("Store", "Dept"),
    "Date",
    "Weekly_Sales",
    "W-FRI",
    39,
    static=("Type", "Size"),
    known=("IsHoliday", *(f"MarkDown{i}" for i in range(1, 6))),
    past=tuple(PastCovariate(name) for name in ("Temperature", "Fuel_Price", "CPI", "Unemployment")),
    country="US",
)
ROSSMANN = DatasetSpec(
    ("Store",),
    "Date",
    "Sales",
    "D",
    42,
    static=("StoreType", "Assortment", "CompetitionDistance", "Promo2"),
    known=("Open", "Promo", "StateHoliday", "SchoolHoliday"),
    past=(PastCovariate("Customers"),),
    open="Open",
    country="DE",
)
SPECS = {
    "walmart": WALMART,
    "rossmann": ROSSMANN,
    "invoices": DatasetSpec(("StockCode",), "InvoiceDate", "Quantity", "D", 28, country="GB"),
    "single": DatasetSpec((), "month", "passengers", "MS", 12),
    "clashing": DatasetSpec(
        ("lag_1", "month"),
        "event_timestamp",
        "momentum",
        "W",
        4,
        static=("quarter", "a b"),
        past=(PastCovariate("a-b"),),
    ),
}


def panel_of(config: dict[str, object]) -> Panel:
    return build_panel(synthetic_table(config)).panel


def names(declaration: Declaration, view: str) -> list[str]:
    return list(declaration.view(view).names)


def test_weekly_sales_by_store_and_department() -> None:
    declaration = weekly_declaration()
    assert [(item.name, item.dtype) for item in declaration.entities] == [("store_id", "Int64"), ("dept_id", "Int64")]
    assert names(declaration, "sales_features") == SALES
    assert len(SALES) == 19
    assert declaration.view("sales_features").keys == ("store_id", "dept_id")
    assert names(declaration, "store_features") == ["store_type", "store_size", "region"]
    assert declaration.view("store_features").keys == ("store_id",)
    assert [view.name for view in declaration.views if view.on_demand] == ["derived_features", "derived_ahead_features"]
    assert all(view.ttl is None for view in declaration.views)
    n = {service.name: len(service.features) for service in declaration.services}
    assert (n["training_features"], n["inference_features"]) == (22, 21)
    assert declaration.target == ("sales_features", "weekly_sales")
    for service in declaration.services:
        assert (declaration.target in service.features) == service.name.startswith("training_features")


def test_the_table_says_what_is_usual() -> None:
    """With and without the table the weekly world is declared alike."""
    panel = panel_of(WEEKLY)
    seen, usual = declare(panel.spec, panel), declare(panel.spec)
    assert seen.table().equals(usual.table())
    assert (seen.types, seen.static_keys, seen.services) == (usual.types, usual.static_keys, usual.services)


@pytest.mark.parametrize("name", SPECS)
def test_any_spec(name: str) -> None:
    spec = SPECS[name]
    declaration = declare(spec)
    every = [item.name for view in declaration.views for item in (*view.features, *view.request)]
    assert len(set(every)) == len(every)
    assert not set(every) & {*spec.keys, "event_timestamp", "created_timestamp"}
    assert all(item.isidentifier() for item in every)
    assert len({view.name for view in declaration.views}) == len(declaration.views)
    stored = sum(len(view.features) for view in declaration.stored)
    assert len(declaration.service("training_features").features) == stored
    assert len(declaration.features_of("inference_features")) == stored - 1
    assert {item.role for item in declaration.features_of("inference_features")} <= {"input", "static"}


def test_names_follow_the_columns_and_the_periods() -> None:
    walmart = declare(WALMART)
    assert names(walmart, "sales_features")[-5:] == [
        "days_to_holiday",
        "Temperature",
        "Fuel_Price",
        "CPI",
        "Unemployment",
    ]
    assert walmart.view("sales_features").feature("is_holiday").source == "IsHoliday"
    assert names(walmart, "store_features") == ["Type", "Size"]
    assert "sales_per_sqft" in names(walmart, "derived_features")
    rossmann = declare(ROSSMANN)
    assert {"lag_7", "rolling_mean_28d", "Customers"} <= set(names(rossmann, "sales_features"))
    assert rossmann.view("sales_features").feature("is_holiday").source == "StateHoliday"
    assert "sales_per_sqft" not in names(rossmann, "derived_features")
    invoices = declare(SPECS["invoices"])
    assert invoices.view("sales_features").feature("is_holiday").source == "public holidays of GB"
    single = declare(SPECS["single"])
    assert [view.name for view in single.views] == ["sales_features", "derived_features"]
    assert {"lag_12", "rolling_mean_3m", "quarter"} <= set(names(single, "sales_features"))
    assert not {"is_holiday", "week_of_year", "days_to_holiday"} & set(names(single, "sales_features"))


def test_a_taken_name_gets_a_prefix() -> None:
    declaration = declare(SPECS["clashing"])
    assert names(declaration, "sales_features")[:2] == ["momentum", "feature_lag_1"]
    assert {"feature_month", "quarter", "a_b"} <= set(names(declaration, "sales_features"))
    assert names(declaration, "lag_1_features") == ["static_quarter", "static_a_b"]
    assert "derived_momentum" in names(declaration, "derived_features")


def test_static_columns_belong_to_the_key_they_depend_on() -> None:
    panel = panel_of({"stores": 7, "products": 9, "periods": 60})
    declaration = declare(panel.spec, panel)
    assert {view.name: view.names for view in declaration.stored[1:]} == {
        "store_features": ("store_type", "region"),
        "product_features": ("category",),
    }
    both = replace(panel, series=panel.series.with_columns(pl.Series("region", [str(i) for i in range(63)])))
    assert declare(both.spec, both).view("series_features").keys == ("store_id", "product_id")


def test_text_is_declared_as_text() -> None:
    panel = make_panel("D", 1)
    text = replace(panel.past[0], categories=("a", "b"), values=panel.past[0].values * 0)
    series = panel.series.with_columns(store=pl.Series([f"s{i}" for i in panel.series["store"]]), size=pl.lit(True))
    declaration = declare(panel.spec, replace(panel, past=(text, *panel.past[1:]), series=series))
    assert [item.dtype for item in declaration.entities] == ["String", "Int64"]
    assert declaration.types["visitors"] == "String"
    assert declaration.types["size"] == "Bool"
    again = declare_as(declaration.spec, declaration.types, declaration.static_keys)
    assert again.table().equals(declaration.table())


@pytest.mark.parametrize(("lag", "n", "least"), [(0, 1, None), (-3, 4, None), (1, 0, None), (1, 4, 5), (1, 4, 0)])
def test_a_window_that_cannot_be(lag: int, n: int, least: int | None) -> None:
    with pytest.raises(UsageError, match=r"where: Window") as refused:
        Window(lag, n, least)
    assert ("sees the value being forecast" in str(refused.value)) == (lag < 1)


def test_every_feature_of_the_target_hangs_on_a_lag() -> None:
    """In the store, on demand, and in the training frame of a run."""
    for spec in (WALMART, ROSSMANN, weekly_declaration().spec):
        declaration = declare(spec)
        for view in declaration.stored:
            for item in view.features:
                assert (item.window is None) == (item.kind in ("ahead", "static")), item.name
                assert item.kind == "ahead" or item.source, item.name
                assert item.compute.keywords.get("window", item.window) is item.window if item.window else True
        inputs = {name for view in declaration.views if view.on_demand for _, name in view.inputs}
        assert spec.target not in inputs
    panel = make_panel("W-WED", 1)
    windows = {item.name: item.window for item in catalogue(panel, plan_features(panel, Space("log")))}
    assert (windows["recent_4"], windows["past_visitors"]) == (Window(1, 4, 1), Window(1, 52, 1))
    assert all(window is None or window.lag >= 1 for window in windows.values())


def test_on_demand_views_are_given_what_they_read_and_nothing_else() -> None:
    declaration = weekly_declaration()
    view = declaration.view("derived_features")
    read = {column for item in view.features for column in item.compute.columns}
    assert {name for _, name in view.inputs} == read
    assert view.sources == ("sales_features", "store_features")
    assert not view.request
    ahead = declaration.view("derived_ahead_features")
    assert [(item.name, item.role) for item in ahead.request] == [("total_markdown", "request")]
    assert all(isinstance(item.compute, Derivation) for item in (*view.features, *ahead.features))


def test_unknown_names_are_told_with_the_nearest() -> None:
    declaration = weekly_declaration()
    with pytest.raises(UsageError, match="did you mean 'store_features'"):
        declaration.view("store_feature")
    with pytest.raises(UsageError, match="did you mean 'training_features'"):
        declaration.service("training_feature")
    with pytest.raises(UsageError, match="did you mean 'lag_1'"):
        declaration.view("sales_features").feature("lag1")
    with pytest.raises(UsageError, match="dtype = 'int' is none"):
        Feature("a", "as_of", "a", len, dtype="int")  # type: ignore[arg-type]


def test_the_page_of_the_documentation_is_up_to_date() -> None:
    page = (ROOT / "docs" / "features-table.md").read_text(encoding="utf-8")
    assert page == features_page(weekly_declaration()), "python -m foretail.features.table docs/features-table.md"


def test_declaring_loads_nothing_heavy() -> None:
    code = (
        "import sys, foretail.features.history, foretail.features.catalogue; "
        "print(*{'feast', 'ray', 'pandas', 'torch', 'holidays'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.returncode) == ("", 0), done.stderr
