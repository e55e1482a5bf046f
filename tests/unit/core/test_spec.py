"""The dataset spec: TOML and back, roles, policies, every problem at once."""

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foretail.core.errors import DataError, UsageError
from foretail.core.spec import DatasetSpec, Event, PastCovariate

FULL = DatasetSpec(
    keys=("store", "item"),
    time="date",
    target="units",
    freq="W-FRI",
    horizon=8,
    name='shop "one" \\ two',
    unit="pieces",
    static=("region",),
    known=("promo", "open"),
    past=(PastCovariate("customers"), PastCovariate("cpi", 4)),
    open="open",
    recorded="written_at",
    stockout="shelf:available",
    duplicates="last",
    gaps="missing",
    negatives="clip",
    non_negative=False,
    hierarchy=("region", "region/item"),
    country="DE",
    events=(Event("fair", (dt.date(2024, 5, 1), dt.date(2025, 5, 2))), Event("jubilee", (dt.date(2025, 1, 1),))),
)


def write(tmp_path, text):
    path = tmp_path / "spec.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_every_field_survives_toml(tmp_path):
    assert DatasetSpec.from_toml(write(tmp_path, FULL.to_toml())) == FULL


def test_defaults_survive_toml(tmp_path):
    spec = DatasetSpec(keys=(), time="t", target="y", freq="D", horizon=1)
    assert DatasetSpec.from_toml(write(tmp_path, spec.to_toml())) == spec


def test_dicts_hold_every_field():
    assert DatasetSpec.from_dict(FULL.to_dict()) == FULL


names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)


@given(st.lists(names, min_size=2, max_size=8, unique=True), names, st.integers(1, 500))
def test_any_column_names_survive_toml(tmp_path_factory, columns, title, horizon):
    time, target, *keys = columns
    spec = DatasetSpec(keys=tuple(keys), time=time, target=target, freq="ME", horizon=horizon, name=title)
    assert DatasetSpec.from_toml(write(tmp_path_factory.mktemp("spec"), spec.to_toml())) == spec


def test_past_covariates_may_be_written_short():
    spec = DatasetSpec.from_dict(
        {"keys": [], "time": "t", "target": "y", "freq": "D", "horizon": 1, "past": ["customers", "cpi:4"]}
    )
    assert spec.past == (PastCovariate("customers", 0), PastCovariate("cpi", 4))


def test_columns_are_in_reading_order():
    assert FULL.columns == (
        "store", "item", "date", "units", "region", "promo", "open", "customers", "cpi", "written_at", "shelf",
    )  # fmt: skip


def test_the_frequency_is_normalised_and_known():
    spec = FULL.but(freq="w")
    assert spec.freq == "W-SUN"
    assert spec.frequency.is_weekly
    with pytest.raises(UsageError, match="unknown frequency"):
        FULL.but(freq="hourly")


@pytest.mark.parametrize("field", ["duplicates", "gaps", "negatives"])
def test_an_unknown_policy_is_refused(field):
    with pytest.raises(UsageError, match=f"{field} = 'whatever' is not a policy"):
        FULL.but(**{field: "whatever"})


def test_a_column_has_one_role():
    with pytest.raises(UsageError, match="one role only") as caught:
        FULL.but(known=("promo", "store", "units"))
    assert "where: store, units" in str(caught.value)


@pytest.mark.parametrize("horizon", [0, -3])
def test_the_horizon_is_positive(horizon):
    with pytest.raises(UsageError, match="at least 1"):
        FULL.but(horizon=horizon)


def test_unknown_and_missing_keys_are_told_together(tmp_path):
    with pytest.raises(DataError) as caught:
        DatasetSpec.from_toml(write(tmp_path, 'time = "t"\nfreq = "D"\ntargte = "y"\n'))
    told = str(caught.value)
    assert len(caught.value.problems) == 3
    assert "unknown key 'targte'" in told
    assert "did you mean 'target'" in told
    assert "no 'target'" in told
    assert "no 'horizon'" in told


def test_a_file_that_is_not_toml_or_not_there_is_a_data_error(tmp_path):
    with pytest.raises(DataError, match="not a TOML file"):
        DatasetSpec.from_toml(write(tmp_path, "time = "))
    with pytest.raises(DataError, match="cannot read the spec"):
        DatasetSpec.from_toml(tmp_path / "none.toml")
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="not a TOML file"):
        DatasetSpec.from_toml(binary)


NEEDED = {"keys": ["store"], "time": "t", "target": "y", "freq": "D", "horizon": 1}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("keys", "store"),
        ("known", [1]),
        ("time", 3),
        ("horizon", "many"),
        ("horizon", True),
        ("horizon", 2.5),
        ("non_negative", "yes"),
        ("country", 49),
        ("stockout", ["out"]),
        ("past", ["cpi:soon"]),
        ("past", [{"nme": "cpi"}]),
        ("past", 3),
        ("events", [{"name": "fair"}]),
        ("events", [{"name": "fair", "dates": ["soon"]}]),
    ],
)
def test_a_value_of_the_wrong_type_is_a_data_error_with_an_example(key, value):
    with pytest.raises(DataError, match="cannot be read") as caught:
        DatasetSpec.from_dict({**NEEDED, key: value}, where="spec.toml")
    (problem,) = caught.value.problems
    assert key in problem.what
    assert problem.where == "spec.toml"
    assert problem.fix.startswith("for example ")


@pytest.mark.parametrize(("told", "column", "is_share"), [("out", "out", False), ("there:available", "there", True)])
def test_a_stockout_is_a_flag_or_a_share(told, column, is_share):
    spec = DatasetSpec(keys=(), time="t", target="y", freq="D", horizon=1, stockout=told)
    assert (spec.stockout_column, spec.tells_available) == (column, is_share)
    assert column in spec.columns


@pytest.mark.parametrize("column", ["store", "t", "y", "size", "promo", "promo:available"])
def test_a_stockout_is_known_afterwards_only(column):
    with pytest.raises(UsageError, match=r"known only after the fact[\s\S]*where:[\s\S]*fix:"):
        DatasetSpec(
            keys=("store",),
            time="t",
            target="y",
            freq="D",
            horizon=1,
            static=("size",),
            known=("promo",),
            stockout=column,
        )


def test_a_stockout_may_be_a_past_covariate_too():
    past = (PastCovariate("out"),)
    assert DatasetSpec(keys=(), time="t", target="y", freq="D", horizon=1, past=past, stockout="out").past == past
