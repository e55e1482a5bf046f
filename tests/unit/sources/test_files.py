"""Reading tables: every dialect that must work, every broken file that must be refused with what, where and how."""

from __future__ import annotations

import gzip
import uuid
from pathlib import Path

import fsspec
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from foretail.core.errors import DataError
from foretail.sources.files import read_frame

TABLE = "store,date,sales\n1,2024-01-01,10\n2,2024-01-02,12.5\n"


def write(folder: Path, content: str | bytes, name: str = "sales.csv") -> str:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(path)


def refused(location: str) -> str:
    with pytest.raises(DataError) as caught:
        read_frame(location)
    text = str(caught.value)
    assert "where:" in text
    assert "fix:" in text
    return text


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_dialects_read_the_same(tmp_path: Path, separator: str, end: str, mark: str) -> None:
    text = mark + TABLE.replace(",", separator).replace("\n", end)
    frame = read_frame(write(tmp_path, text))
    assert frame.columns == ["store", "date", "sales"]
    assert frame.rows() == [(1, "2024-01-01", 10.0), (2, "2024-01-02", 12.5)]


def test_bare_cr_without_a_last_line_end(tmp_path: Path) -> None:
    frame = read_frame(write(tmp_path, b"Store,Type,Size\r1,A,151315\r2,B,202307"))
    assert frame.rows() == [(1, "A", 151315), (2, "B", 202307)]


def test_quoted_line_ends_and_separators_stay_in_their_cell(tmp_path: Path) -> None:
    frame = read_frame(write(tmp_path, 'name,sales\n"a\rb, c\nd",1\n"say ""no""",2\n'))
    assert frame["name"].to_list() == ["a\rb, c\nd", 'say "no"']


@pytest.mark.parametrize("name", ["sales.csv.gz", "sales.tsv.gz", "sales.csv"])
def test_gzip_by_name_or_by_content(tmp_path: Path, name: str) -> None:
    assert len(read_frame(write(tmp_path, gzip.compress(TABLE.encode()), name))) == 2


def test_missing_values_are_null_and_keep_the_type(tmp_path: Path) -> None:
    frame = read_frame(write(tmp_path, "a,b,c\n1,NA,x\nNA,2.5,\n3,,NA\n"))
    assert frame.schema == {"a": pl.Int64, "b": pl.Float64, "c": pl.String}
    assert frame.null_count().row(0) == (1, 2, 2)


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        (["007", "012"], pl.String),
        (["1", "02"], pl.String),
        (["7", "12"], pl.Int64),
        (["-7", "+12"], pl.Int64),
        (["0", "-0"], pl.Int64),
        (["0.5", "-3.25e2", "1e-05"], pl.Float64),
        (["10E5", "12E3"], pl.String),  # stock codes, not numbers
        (["85123A", "71053"], pl.String),
        (["00.5", "1.5"], pl.String),
        (["12345678901234567890123", "1"], pl.String),
        (["TRUE", "false"], pl.Boolean),
        (["1.234,5", "2"], pl.String),
        (["0x1F", "2"], pl.String),
        (["1_000", "2"], pl.String),
    ],
)
def test_codes_keep_their_identity(tmp_path: Path, values: list[str], dtype: pl.DataType) -> None:
    lines = "\n".join(f'"{value}"' for value in values)
    frame = read_frame(write(tmp_path, f"code\n{lines}\n"))
    assert frame.schema["code"] == dtype
    if dtype == pl.String:
        assert frame["code"].to_list() == values


def test_a_late_text_makes_the_whole_column_text(tmp_path: Path) -> None:
    """StateHoliday of Rossmann: 0 a hundred thousand times, then "a"."""
    frame = read_frame(write(tmp_path, "holiday\n" + "0\n" * 5000 + "a\n"))
    assert frame["holiday"].unique().sort().to_list() == ["0", "a"]


def test_decimal_comma_beside_a_semicolon(tmp_path: Path) -> None:
    frame = read_frame(write(tmp_path, "store;sales;thousands\n1;12,5;1,234\n2;3;5,678\n"))
    assert frame["sales"].to_list() == [12.5, 3.0]
    assert frame["thousands"].to_list() == ["1,234", "5,678"], "may be thousands: left alone"


def test_blank_lines_and_unnamed_columns(tmp_path: Path) -> None:
    frame = read_frame(write(tmp_path, ",store,sales\n0,a,1\n\n1,b,2\n\n"))
    assert frame.columns == ["column_1", "store", "sales"]
    assert frame["sales"].to_list() == [1, 2]


def test_ragged_rows_are_refused_with_their_line(tmp_path: Path) -> None:
    assert "line 3" in refused(write(tmp_path, "a,b\n1,2\n1,2,3\n"))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "0 bytes"),
        (b"\n\n \n", "empty"),
        (b"\xef\xbb\xbf", "empty"),
        (b"store,date,sales\n", "no rows"),
        (b"store,date,sales", "no rows"),
        (b"store,store,sales\n1,2,3\n", "repeat: store"),
        (b"1,2024-01-01,3\n1,2024-01-02,4\n", "not column names"),
        (b"store,city\n1,Z\xfcrich\n", "line 2: byte 0xfc"),
        ("store,sales\n1,2\n".encode("utf-16"), "UTF-16"),
        (b"a,b\n1,\x00\n", "zero bytes"),
        (b"store,date,sales\n1,2024-01-01,3\n2,2024-0", "cut off"),
        (b'a,b\n1,"x\n2,3\n', "quotes"),
        (b"PK\x03\x04 and so on", "spreadsheet"),
        (b"PAR1 and so on PAR1", "though its name says text"),
    ],
)
def test_broken_text_is_refused(tmp_path: Path, content: bytes, said: str) -> None:
    assert said in refused(write(tmp_path, content))


def test_the_encoding_message_says_how_to_convert(tmp_path: Path) -> None:
    assert "iconv -f WINDOWS-1252" in refused(write(tmp_path, "a,b\n1,é\n".encode("latin-1")))


def test_a_missing_file_names_its_neighbours(tmp_path: Path) -> None:
    write(tmp_path, TABLE)
    assert "'sales.csv'" in refused(str(tmp_path / "sale.csv"))


def test_a_directory_is_refused(tmp_path: Path) -> None:
    assert "directory" in refused(str(tmp_path))


@pytest.mark.parametrize("name", ["sales.xlsx", "sales.json", "sales.feather"])
def test_other_formats_are_refused(tmp_path: Path, name: str) -> None:
    refused(write(tmp_path, TABLE, name))


def test_text_named_parquet_is_refused(tmp_path: Path) -> None:
    assert "not Parquet" in refused(write(tmp_path, TABLE, "sales.parquet"))


@pytest.mark.parametrize("keep", [4, 11, 200, -1])
def test_truncated_parquet_is_refused(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "sales.parquet"
    pl.DataFrame({"a": range(1000), "b": [str(i) for i in range(1000)]}).write_parquet(path)
    path.write_bytes(path.read_bytes()[:keep])
    assert "truncated" in refused(str(path))


def test_corrupt_parquet_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "sales.parquet"
    pl.DataFrame({"a": range(1000)}).write_parquet(path)
    data = bytearray(path.read_bytes())
    data[-40:-8] = b"\xff" * 32  # the footer
    path.write_bytes(bytes(data))
    assert "corrupt" in refused(str(path))


def test_parquet_without_rows_is_refused(tmp_path: Path) -> None:
    pl.DataFrame({"a": []}, schema={"a": pl.Int64}).write_parquet(tmp_path / "sales.parquet")
    assert "no rows" in refused(str(tmp_path / "sales.parquet"))


@pytest.mark.parametrize("cut", [1, 10, 30])
def test_truncated_gzip_is_refused(tmp_path: Path, cut: int) -> None:
    packed = gzip.compress(TABLE.encode())
    assert "gzip" in refused(write(tmp_path, packed[:-cut], "sales.csv.gz"))


def test_urls(tmp_path: Path) -> None:
    url = f"memory://{uuid.uuid4()}/sales.csv"
    with fsspec.open(url, "w") as file:
        file.write(TABLE)
    assert_frame_equal(read_frame(url), read_frame(f"file://{write(tmp_path, TABLE)}"))
    assert "no such file" in refused("memory://nowhere/sales.csv")
    assert "protocol" in refused("gopher9://host/sales.csv").lower()


def test_categories_and_decimals_become_plain(tmp_path: Path) -> None:
    path = tmp_path / "sales.parquet"
    frame = pl.DataFrame({"store": ["a", "b"], "sales": [1, 2]})
    frame.with_columns(pl.col("store").cast(pl.Categorical), pl.col("sales").cast(pl.Decimal(10, 2))).write_parquet(
        path
    )
    assert read_frame(str(path)).schema == {"store": pl.String, "sales": pl.Float64}


CELLS = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), min_size=1, max_size=6).map(
    lambda text: "k" + text
)
ROWS = st.lists(
    st.tuples(
        CELLS, st.integers(-(2**62), 2**62), st.one_of(st.none(), st.floats(allow_nan=False, allow_infinity=False))
    ),
    min_size=1,
    max_size=12,
)


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=ROWS)
def test_round_trip_of_csv_and_parquet(tmp_path: Path, rows: list[tuple[str, int, float | None]]) -> None:
    frame = pl.DataFrame(rows, schema={"key": pl.String, "n": pl.Int64, "x": pl.Float64}, orient="row")
    frame.write_csv(tmp_path / "t.csv")
    frame.write_parquet(tmp_path / "t.parquet")
    assert_frame_equal(read_frame(str(tmp_path / "t.parquet")), frame)
    back = read_frame(str(tmp_path / "t.csv"))
    assert back["key"].to_list() == frame["key"].to_list()
    assert back["n"].to_list() == frame["n"].to_list()
    assert back["x"].cast(pl.Float64).to_list() == frame["x"].to_list()
