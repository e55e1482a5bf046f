"""The door of the room: paths, specs, layouts, what the user says on top, and what comes after the last date."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from foretail.core.errors import DataError, UsageError
from foretail.core.spec import DatasetSpec
from foretail.sources.open import LAYOUTS, open_table


@pytest.fixture
def sales(tmp_path: Path) -> Path:
    frame = pl.DataFrame(
        {
            "store": [code for code in ("001", "A02") for _ in range(20)],
            "date": [dt.date(2024, 1, 1) + dt.timedelta(days=i) for i in range(20)] * 2,
            "sales": range(40),
            "promo": [0, 1] * 20,
        }
    )
    path = tmp_path / "My sales.csv"
    frame.write_csv(path)
    return path


def spec_file(folder: Path, text: str) -> Path:
    path = folder / "spec.toml"
    path.write_text(text)
    return path


SPEC = 'keys = ["store"]\ntime = "date"\ntarget = "sales"\nfreq = "D"\nhorizon = 3\nknown = ["promo"]\n'


def test_a_path_alone_is_guessed(sales: Path) -> None:
    table = open_table(str(sales))
    assert (table.spec.name, table.spec.keys, table.spec.freq, table.spec.horizon) == ("my-sales", ("store",), "D", 28)
    assert table.future is None
    assert table.notes


def test_what_is_said_goes_before_the_guess(sales: Path) -> None:
    table = open_table(str(sales), horizon=4, known=("promo",), static=(), name=None, unit="pieces")
    assert (table.spec.horizon, table.spec.known, table.spec.unit) == (4, ("promo",), "pieces")


def test_a_spec_file_names_its_table_relative_to_itself(sales: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = spec_file(sales.parent, f'table = "{sales.name}"\n{SPEC}')
    monkeypatch.chdir("/")
    table = open_table(str(path))
    assert table.spec.known == ("promo",)
    assert len(table.frame) == 40
    assert open_table(str(path), horizon=9).spec.horizon == 9


def test_a_spec_beside_a_path(sales: Path) -> None:
    table = open_table(str(sales), spec=spec_file(sales.parent, SPEC), freq="D", horizon=7)
    assert (table.spec.horizon, table.spec.known, table.notes) == (7, ("promo",), ())


def test_a_written_spec_reads_back(sales: Path) -> None:
    guessed = open_table(str(sales)).spec
    path = spec_file(sales.parent, f'table = "{sales.name}"\n{guessed.to_toml()}')
    assert open_table(str(path)).spec == guessed


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (SPEC, "does not name its table"),
        ('table = "x.csv"\nhorizonn = 3\n' + SPEC, "unknown key 'horizonn'"),
        ('table = "x.csv"\n', "no 'target'"),
        ("table = \n", "not a TOML file"),
        ('table = "gone.csv"\n' + SPEC, "no such file"),
        ('table = "My sales.csv"\n' + SPEC.replace("promo", "prom").replace('"date"', '"dat"'), "no column 'prom'"),
    ],
)
def test_spec_files_that_do_not_work(sales: Path, text: str, said: str) -> None:
    with pytest.raises(DataError) as caught:
        open_table(str(spec_file(sales.parent, text)))
    assert said in str(caught.value)


def test_a_missing_spec_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot read the spec"):
        open_table(str(tmp_path / "spec.toml"))


def test_all_missing_columns_of_a_spec_are_told(sales: Path) -> None:
    text = SPEC.replace("promo", "prom").replace('"date"', '"dat"')
    with pytest.raises(DataError) as caught:
        open_table(str(sales), spec=spec_file(sales.parent, text))
    assert len(caught.value.problems) == 2


def test_an_unknown_name_lists_the_layouts() -> None:
    with pytest.raises(UsageError, match="did you mean 'walmart'"):
        open_table("wallmart")


def test_a_missing_path_is_a_data_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        open_table(str(tmp_path / "gone.csv"))


@pytest.mark.parametrize("name", ["walmart", "rossmann"])
def test_a_layout_without_its_files_says_where_it_looked(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(DataError) as caught:
        open_table(name, data=tmp_path)
    assert str(tmp_path / name) in str(caught.value)
    assert "train.csv" in str(caught.value)
    monkeypatch.delenv("FORETAIL_DATA", raising=False)
    with pytest.raises(DataError, match="FORETAIL_DATA"):
        open_table(name)


def test_every_layout_is_listed() -> None:
    assert LAYOUTS == ("walmart", "rossmann", "online-retail", "synthetic", "warehouse")


def test_synthetic() -> None:
    table = open_table("synthetic", horizon=5)
    assert table.spec.horizon == 5
    assert set(table.spec.columns) <= set(table.frame.columns)


def test_synthetic_takes_a_configuration(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text('{"start_date": "2022-01-07", "weeks": 60, "stores": 2, "departments": 3, "seed": 1}')
    assert (
        open_table("synthetic", data=path)
        .frame.select(pl.struct(*open_table("synthetic", data=path).spec.keys).n_unique())
        .item()
        == 6
    )
    path.write_text("{")
    with pytest.raises(DataError, match="configuration"):
        open_table("synthetic", data=path)


def test_the_future_takes_the_types_of_the_table(sales: Path) -> None:
    """A future of one store whose code looks like a number still names the same store."""
    frame = pl.read_csv(sales, infer_schema=False)
    frame.with_columns(store=pl.when(pl.col("store") == "001").then(pl.lit("7")).otherwise("store")).write_csv(sales)
    ahead = sales.parent / "ahead.csv"
    ahead.write_text("store,date,promo\n7,2024-01-21,1\n7,2024-01-22,NA\n")
    table = open_table(str(sales), future=str(ahead), known=("promo",))
    assert table.future is not None
    assert table.future["store"].to_list() == ["7", "7"]
    assert table.future["promo"].to_list() == [1, None]


def test_a_future_of_other_kinds_is_refused(sales: Path) -> None:
    ahead = sales.parent / "ahead.csv"
    ahead.write_text("store,date,promo\n001,2024-01-21,yes\n")
    with pytest.raises(DataError, match="'promo' holds text"):
        open_table(str(sales), future=str(ahead), known=("promo",))
    ahead.write_text("shop,date,promo\n001,2024-01-21,1\n")
    with pytest.raises(DataError, match="no column 'store'"):
        open_table(str(sales), future=str(ahead), known=("promo",))


def test_the_spec_may_name_the_future(sales: Path) -> None:
    (sales.parent / "ahead.csv").write_text("store,date,promo\n001,2024-01-21,1\n")
    path = spec_file(sales.parent, f'table = "{sales.name}"\nfuture = "ahead.csv"\n{SPEC}')
    future = open_table(str(path)).future
    assert future is not None
    assert len(future) == 1


def test_csv_and_parquet_open_the_same(sales: Path) -> None:
    table = open_table(str(sales))
    path = sales.with_suffix(".parquet")
    table.frame.write_parquet(path)
    again = open_table(str(path))
    assert_frame_equal(again.frame, table.frame)
    assert again.spec == table.spec
    assert isinstance(again.spec, DatasetSpec)


def test_a_named_size_of_the_synthetic_world_opens_by_its_name(tmp_path: Path) -> None:
    table = open_table("synthetic:weekly-5k", horizon=3)
    assert (len(table.frame), table.spec.horizon) == (5_200, 3)
    config = tmp_path / "world.json"
    config.write_text('{"weeks": 30}')
    assert len(open_table("synthetic:weekly-5k", data=config).frame) == 1_500
    for name in ("synthetic:weekly-6k", "synthetic:"):
        with pytest.raises(UsageError, match="unknown preset"):
            open_table(name)


@pytest.mark.parametrize(("text", "what"), [("[1]", "not a JSON object"), ("{", "cannot be read")])
def test_a_bad_description_of_the_synthetic_world_is_refused(tmp_path: Path, text: str, what: str) -> None:
    config = tmp_path / "world.json"
    config.write_text(text)
    with pytest.raises(DataError, match=what):
        open_table("synthetic", data=config)
