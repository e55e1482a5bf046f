"""The public layouts: every trap of their files, on small files made by hand, and the originals where they are."""

from __future__ import annotations

import datetime as dt
import os
from pathlib import Path

import polars as pl
import pytest

from foretail.core.errors import DataError, UsageError
from foretail.sources.layouts import read_rossmann, read_walmart
from foretail.sources.open import open_table

MARKDOWNS = ",".join(f"MarkDown{i}" for i in range(1, 6))


def originals(name: str) -> Path:
    """The folder of the original files, or a skip that says so."""
    beside = Path(__file__).resolve().parents[4] / "shared" / "data"
    root = Path(os.environ.get("FORETAIL_DATA", beside))
    if not (root / name).is_dir():
        pytest.skip(f"the original files of {name} are not under FORETAIL_DATA nor beside the checkout")
    return root / name


@pytest.fixture
def walmart(tmp_path: Path) -> Path:
    (tmp_path / "stores.csv").write_bytes(b"Store,Type,Size\r1,A,151315\r2,B,202307")
    (tmp_path / "features.csv").write_text(
        f"Store,Date,Temperature,Fuel_Price,{MARKDOWNS},CPI,Unemployment,IsHoliday\n"
        "1,2011-11-04,42.3,2.5,NA,NA,NA,NA,NA,211.1,8.1,FALSE\n"
        "1,2011-11-11,38.5,2.5,10.5,NA,-3,4,5,211.2,8.1,TRUE\n"
        "2,2011-11-04,50,2.5,NA,NA,NA,NA,NA,NA,NA,FALSE\n"
        "1,2011-11-18,40,2.6,7,8,9,10,11,NA,NA,FALSE\n"
        "1,2011-11-25,41,2.6,1,NA,NA,NA,NA,NA,NA,TRUE\n"
    )
    (tmp_path / "train.csv").write_text(
        "Store,Dept,Date,Weekly_Sales,IsHoliday\n"
        "1,1,2011-11-04,24924.5,FALSE\n1,1,2011-11-11,-98,TRUE\n2,7,2011-11-04,0,FALSE\n1,12,2011-11-11,3,TRUE\n"
    )
    (tmp_path / "test.csv").write_text(
        "Store,Dept,Date,IsHoliday\n1,1,2011-11-18,FALSE\n1,12,2011-11-25,TRUE\n1,1,2011-11-25,TRUE\n"
    )
    return tmp_path


def test_walmart_joins_its_files_without_changing_the_rows(walmart: Path) -> None:
    table = read_walmart(walmart)
    assert table.frame.select("Store", "Dept", "Weekly_Sales").rows() == [
        (1, 1, 24924.5), (1, 1, -98.0), (2, 7, 0.0), (1, 12, 3.0),
    ]  # fmt: skip
    assert table.frame["Type"].to_list() == ["A", "A", "B", "A"], "stores.csv ends its lines in a bare CR"
    assert table.frame["Size"].dtype == pl.Int64
    assert table.frame["Date"].dtype == pl.Date
    assert set(table.spec.columns) <= set(table.frame.columns)


def test_walmart_keeps_na_as_unknown_and_negative_sales(walmart: Path) -> None:
    table = read_walmart(walmart)
    assert table.frame["MarkDown1"].to_list() == [None, 10.5, None, 10.5]
    assert table.frame["MarkDown2"].null_count() == 4
    assert table.frame["MarkDown2"].dtype == pl.Float64
    assert table.frame["CPI"].to_list() == [211.1, 211.2, None, 211.2]
    assert any("1 of 4 weeks have negative sales" in note for note in table.notes)
    assert any("2011-11-11" in note for note in table.notes)


def test_walmart_future_has_every_week_of_its_series(walmart: Path) -> None:
    """test.csv leaves out 1/12 on 2011-11-18: the week is asked for all the same, with what is known of it."""
    future = read_walmart(walmart).future
    assert future is not None
    assert future.select("Store", "Dept", "Date", "IsHoliday", "MarkDown1").rows() == [
        (1, 1, dt.date(2011, 11, 18), False, 7.0),
        (1, 1, dt.date(2011, 11, 25), True, 1.0),
        (1, 12, dt.date(2011, 11, 18), False, 7.0),
        (1, 12, dt.date(2011, 11, 25), True, 1.0),
    ]
    assert "Weekly_Sales" not in future.columns
    (walmart / "test.csv").unlink()
    assert read_walmart(walmart).future is None


def test_walmart_refuses_two_rows_of_one_store(walmart: Path) -> None:
    with (walmart / "stores.csv").open("ab") as file:
        file.write(b"\r2,C,1")
    with pytest.raises(DataError, match=r"more than once\n.*stores.csv: 2"):
        read_walmart(walmart)


def test_a_file_of_another_kind_is_refused(walmart: Path) -> None:
    (walmart / "stores.csv").write_text("id,type\n1,A\n")
    with pytest.raises(DataError, match="no Store, Type, Size"):
        read_walmart(walmart)


def test_options_go_before_the_layout(walmart: Path) -> None:
    table = open_table("walmart", data=walmart, horizon=4, known=("IsHoliday",), past=("CPI:1",), freq="W-FRI")
    assert (table.spec.horizon, table.spec.known, table.spec.past[0].delay) == (4, ("IsHoliday",), 1)
    with pytest.raises(UsageError, match="W-FRI"):
        open_table("walmart", data=walmart, freq="D")
    with pytest.raises(DataError, match="no column 'Promo'"):
        open_table("walmart", data=walmart, known=("Promo",))


@pytest.mark.parametrize("inside", [True, False])
def test_the_folder_may_be_the_layouts_or_the_one_above(
    walmart: Path, inside: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = walmart if inside else walmart.rename(walmart.parent / "walmart").parent
    assert len(open_table("walmart", data=root).frame) == 4
    monkeypatch.setenv("FORETAIL_DATA", str(root))
    assert len(open_table("walmart").frame) == 4


STORE = (
    '"Store","StoreType","Assortment","CompetitionDistance","CompetitionOpenSinceMonth","CompetitionOpenSinceYear",'
    '"Promo2","Promo2SinceWeek","Promo2SinceYear","PromoInterval"\n'
    '1,"c","a",1270,9,2014,1,40,2014,"Mar,Jun,Sept,Dec"\n2,"a","b",,,,0,,,""\n'
)
TRAIN = '"Store","DayOfWeek","Date","Sales","Customers","Open","Promo","StateHoliday","SchoolHoliday"\n'
TEST = '"Id","Store","DayOfWeek","Date","Open","Promo","StateHoliday","SchoolHoliday"\n'


@pytest.fixture
def rossmann(tmp_path: Path) -> Path:
    (tmp_path / "store.csv").write_text(STORE)
    (tmp_path / "train.csv").write_text(
        TRAIN
        + '1,1,2014-09-08,5263,555,1,1,"0","1"\n1,5,2014-12-26,0,0,0,0,"c","1"\n2,1,2014-09-08,100,10,1,1,0,0\n'
        + '2,3,2014-12-31,0,0,0,0,a,0\n1,1,2014-06-30,50,5,1,0,0,0\n1,1,2014-09-29,50,5,1,0,"0","0"\n'
    )
    (tmp_path / "test.csv").write_text(TEST + '1,1,5,2015-01-02,,0,"0","1"\n2,1,6,2015-01-03,0,0,"0","0"\n')
    return tmp_path


def test_rossmann_state_holiday_is_one_kind_of_text(rossmann: Path) -> None:
    table = read_rossmann(rossmann)
    assert table.frame["StateHoliday"].to_list() == ["0", "c", "0", "a", "0", "0"]
    assert table.future is not None
    assert table.future["StateHoliday"].to_list() == ["0", "0"], "also where a file has zeros only"


def test_rossmann_closed_days_are_told(rossmann: Path) -> None:
    table = read_rossmann(rossmann)
    assert table.spec.open == "Open"
    assert table.spec.gaps == "missing", "half a year without rows is a closure, not zeros"
    assert any("2 of 6 days are closed" in note for note in table.notes)
    assert table.future is not None
    assert table.future["Open"].to_list() == [1, 0], "not told means open"
    assert any("missing in 1 rows" in note for note in table.notes)
    assert "Customers" not in table.future.columns


def test_rossmann_competition_and_continuing_promotion(rossmann: Path) -> None:
    frame = read_rossmann(rossmann).frame
    assert frame["CompetitionMonths"].to_list() == [0, 3, None, None, 0, 0]
    # round months Mar, Jun, Sept, Dec; the store takes part from week 40 of 2014 (29 September) on
    assert frame["Promo2Month"].to_list() == [0, 1, 0, 0, 0, 1]
    assert frame["CompetitionDistance"].to_list() == [1270, 1270, None, None, 1270, 1270]


def test_original_walmart() -> None:
    table = open_table("walmart", data=originals("walmart"))
    spec = table.spec
    assert len(table.frame) == 421_570
    assert table.frame.select(pl.struct("Store", "Dept", "Date").n_unique()).item() == 421_570
    assert (table.frame["Weekly_Sales"] < 0).sum() == 1285
    assert table.frame.select(*spec.static).null_count().row(0) == (0, 0)
    before = table.frame.filter(pl.col("Date") < dt.date(2011, 11, 1))
    assert before.select(f"MarkDown{i}" for i in range(1, 6)).null_count().row(0) == (len(before),) * 5
    assert (spec.freq, spec.horizon, spec.country) == ("W-FRI", 39, "US")
    assert table.future is not None
    assert table.future["Date"].unique().len() == 39
    assert len(table.future) == 39 * 3169
    assert table.future["IsHoliday"].null_count() == 0


def test_original_rossmann() -> None:
    table = open_table("rossmann", data=originals("rossmann"), horizon=10)
    frame = table.frame
    assert len(frame) == 1_017_209
    assert frame["StateHoliday"].unique().sort().to_list() == ["0", "a", "b", "c"]
    assert frame.filter(pl.col("Open") == 0)["Sales"].max() == 0
    rows = frame.group_by("Store").len()["len"]
    assert (rows == 758).sum() == 180, "180 stores lack 184 days"
    assert table.spec.horizon == 10
    assert table.future is not None
    assert table.future["Store"].n_unique() == 856
    assert table.future["Open"].null_count() == 0
    assert frame.select("Open", "Promo", "Promo2Month", "SchoolHoliday").null_count().row(0) == (0, 0, 0, 0)
