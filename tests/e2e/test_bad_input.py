"""Tables and options that cannot be used: the exit code, what / where / how to fix on stderr, and nothing written."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pytest
from shop import FAST, ROLES, H, Shop, check_forecasts, daily_world, forecasts

Frame = pl.DataFrame
SIMPLE = ("--horizon", H)


@dataclass(frozen=True)
class Bad:
    """One thing that is wrong.

    Attributes
    ----------
    write : puts the files into a folder. words : after ``run``; said : what stderr must hold; code : of the exit.
    """

    write: Callable[[Path], object]
    words: Sequence[object]
    said: Sequence[str]
    code: int = 3


def sales(n_days: int = 60) -> Frame:
    """Two shops, every day."""
    days = [dt.date(2024, 1, 1) + dt.timedelta(i) for i in range(n_days)]
    return Frame([{"shop": shop, "date": day, "sales": 5 + i % 7} for shop in "ab" for i, day in enumerate(days)])


def csv(frame: Frame, name: str = "t.csv") -> Callable[[Path], object]:
    return lambda folder: frame.write_csv(folder / name)


def text(content: str, name: str = "t.csv") -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_text(content)


def raw(content: bytes, name: str = "t.csv") -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_bytes(content)


def both(*writers: Callable[[Path], object]) -> Callable[[Path], object]:
    return lambda folder: [write(folder) for write in writers]


def with_dates(**changes: str) -> Frame:
    """Dates as text, with some of them spelled otherwise."""
    dates = sales()["date"].cast(pl.String)
    rows = {int(name.removeprefix("row")): value for name, value in changes.items()}
    return sales().with_columns(pl.Series("date", [rows.get(i, date) for i, date in enumerate(dates)]))


def truncated_parquet(folder: Path) -> None:
    sales().write_parquet(folder / "t.parquet")
    data = (folder / "t.parquet").read_bytes()
    (folder / "t.parquet").write_bytes(data[: len(data) // 2])


def planned(promo: Sequence[int | None], dates: Sequence[str]) -> Frame:
    """A future of both shops."""
    rows = [{"shop": shop, "date": date, "promo": on} for shop in "ab" for date, on in zip(dates, promo, strict=True)]
    return Frame(rows, schema={"shop": pl.String, "date": pl.String, "promo": pl.Int64})


PROMOTED = sales().with_columns(promo=pl.col("sales") % 2)
AHEAD = [(dt.date(2024, 2, 29) + dt.timedelta(i)).isoformat() for i in range(1, H + 1)]
SPEC = 'keys = ["shop"]\ntime = "date"\ntarget = "sales"\nfreq = "D"\nhorizon = 7\n'
SHOP = ("--keys", "shop", "--time", "date", "--target", "sales", *SIMPLE)
PROMO = (*SHOP, "--known", "promo", "--future", "f.csv")

CASES = {
    "no such file": Bad(lambda _: None, ("t.csv", *SIMPLE), ("no such file", "t.csv")),
    "missing column": Bad(csv(sales()), ("t.csv", "--target", "slaes", *SIMPLE), ("no column 'slaes'", "'sales'")),
    "two missing columns": Bad(
        csv(sales()), ("t.csv", "--target", "x", "--keys", "z", *SIMPLE), ("no column 'x'", "no column 'z'")
    ),
    "unparsable dates": Bad(
        csv(with_dates(row3="soon", row70="later")), ("t.csv", *SHOP), ("date", "soon", "later", "line 5")
    ),
    "mixed formats": Bad(csv(with_dates(row5="31/01/2024", row6="02/13/2024")), ("t.csv", *SHOP), ("31/01/2024",)),
    "text in the target": Bad(
        text(sales().write_csv().replace(",9\n", ",many\n", 1)), ("t.csv", *SHOP), ("sales", "many")
    ),
    "two rows per key and date": Bad(
        csv(pl.concat([sales(), sales()[:3]])), ("t.csv", *SHOP), ("2024-01-01", "duplicates")
    ),
    "dates off the week": Bad(csv(sales()), ("t.csv", *SHOP, "--freq", "W-FRI"), ("W-FRI", "2024-01-01")),
    "irregular dates": Bad(
        csv(sales().filter(pl.col("date").dt.ordinal_day().is_in([1, 2, 5, 17, 18, 40, 59]))),
        ("t.csv", "--keys", "shop", "--time", "date", "--target", "sales", *SIMPLE),
        ("--freq",),
    ),
    "future not given": Bad(csv(PROMOTED), ("t.csv", *SHOP, "--known", "promo"), ("promo", "--future")),
    "future with a gap": Bad(
        both(csv(PROMOTED), csv(planned([0] * 6, [*AHEAD[:3], *AHEAD[4:]]), "f.csv")),
        ("t.csv", *PROMO),
        ("2024-03-04", "--future"),
    ),
    "future too short": Bad(
        both(csv(PROMOTED), csv(planned([0] * 3, AHEAD[:3]), "f.csv")), ("t.csv", *PROMO), ("horizon",)
    ),
    "future without its covariate": Bad(
        both(csv(PROMOTED), csv(planned([0] * 7, AHEAD).drop("promo"), "f.csv")), ("t.csv", *PROMO), ("promo",)
    ),
    "known covariate unknown in the future": Bad(
        both(csv(PROMOTED), csv(planned([None] * 7, AHEAD), "f.csv")), ("t.csv", *PROMO), ("promo",)
    ),
    "two futures of one day": Bad(
        both(csv(PROMOTED), csv(pl.concat([planned([0] * 7, AHEAD)] * 2), "f.csv")), ("t.csv", *PROMO), ("2024-03-01",)
    ),
    "horizon longer than history": Bad(
        csv(sales()), ("t.csv", *SHOP, "--horizon", 90), ("the horizon (90)", "60 days", "--horizon 20")
    ),
    "empty file": Bad(text("\n\n"), ("t.csv", *SIMPLE), ("empty", "t.csv")),
    "0 bytes": Bad(raw(b""), ("t.csv", *SIMPLE), ("0 bytes",)),
    "header only": Bad(text("shop,date,sales\n"), ("t.csv", *SIMPLE), ("no rows",)),
    "not UTF-8": Bad(
        raw("shop,date,sales\nKöln,2024-01-01,3\n".encode("latin-1")), ("t.csv", *SIMPLE), ("UTF-8", "line 2")
    ),
    "truncated Parquet": Bad(truncated_parquet, ("t.parquet", *SIMPLE), ("truncated", "export it again")),
    "CSV called Parquet": Bad(csv(sales(), "t.parquet"), ("t.parquet", *SIMPLE), ("not Parquet",)),
    "directory": Bad(lambda folder: (folder / "t.csv").mkdir(), ("t.csv", *SIMPLE), ("directory",)),
    "spec with an unknown key": Bad(
        both(csv(sales()), text(SPEC + "horizont = 3\n", "s.toml")),
        ("t.csv", "--spec", "s.toml"),
        ("horizont", "did you mean 'horizon'", "s.toml"),
    ),
    "spec that is no TOML": Bad(
        both(csv(sales()), text("keys = [", "s.toml")), ("t.csv", "--spec", "s.toml"), ("not a TOML file", "s.toml")
    ),
    "spec without its table": Bad(text(SPEC, "s.toml"), ("s.toml",), ("does not name its table",)),
    "spec with an unknown column": Bad(
        both(csv(sales()), text(SPEC.replace('"sales"', '"sold"'), "s.toml")),
        ("t.csv", "--spec", "s.toml"),
        ("no column 'sold'",),
    ),
    "cutoff before the data": Bad(csv(sales()), ("t.csv", *SHOP, "--cutoff", "2020-01-01"), ("cutoff", "2024-01-01")),
    "no value in the target": Bad(
        csv(sales().with_columns(sales=pl.lit(None, pl.Int64))), ("t.csv", *SHOP), ("the target has no value", "sales")
    ),
    "one row": Bad(csv(sales()[:1]), ("t.csv", *SHOP, "--freq", "D"), ("horizon",)),
    "two periods": Bad(csv(sales(2)), ("t.csv", *SHOP[:-1], 1), ("too short",)),
    "unknown family": Bad(csv(sales()), ("t.csv", *SHOP, "--models", "profil"), ("did you mean 'profile'",), 2),
    "unknown layout": Bad(lambda _: None, ("wallmart", *SIMPLE), ("did you mean 'walmart'",), 2),
    "layout without its files": Bad(lambda _: None, ("walmart", "--data", ".", *SIMPLE), ("walmart", "--data")),
    "unknown frequency": Bad(csv(sales()), ("t.csv", *SHOP, "--freq", "Q"), ("unknown frequency 'Q'",), 2),
    "quantile above one": Bad(csv(sales()), ("t.csv", *SHOP, "--quantiles", "0.1,1.5"), ("between 0 and 1",), 2),
    "a column with two roles": Bad(csv(sales()), ("t.csv", *SHOP, "--known", "sales"), ("one role",), 2),
    "horizon 0": Bad(csv(sales()), ("t.csv", "--horizon", 0), ("--horizon",), 2),
    "a date that is none": Bad(csv(sales()), ("t.csv", *SHOP, "--cutoff", "2024-02-31"), ("2024-02-31",), 2),
    "unknown option": Bad(csv(sales()), ("t.csv", "--horizn", 7), ("--horizon",), 2),
}


@pytest.mark.parametrize("name", CASES)
def test_it_is_told_and_nothing_is_written(name, tmp_path):
    case, place = CASES[name], tmp_path / "place"
    place.mkdir()
    case.write(place)
    before = sorted(place.iterdir())
    shop = Shop(place, tmp_path / "home")
    answer = shop("run", *case.words, "--out", tmp_path / "out", code=case.code)
    for part in case.said:
        assert part in answer.stderr
    if case.code == 3:
        assert answer.stderr.count("\n  where: ") == answer.stderr.count("\n  fix:   ") >= 1
    assert answer.stdout == ""
    assert not (tmp_path / "out").exists()
    assert sorted(place.iterdir()) == before


def test_with_json_the_problems_are_on_stdout_too(tmp_path):
    sales().write_csv(tmp_path / "t.csv")
    shop = Shop(tmp_path, tmp_path / "home")
    answer = shop("run", "t.csv", "--target", "x", "--keys", "z", *SIMPLE, "--json", code=3)
    problem = json.loads(answer.stdout)
    assert problem["exit_code"] == 3
    assert len(problem["problems"]) == 2
    assert all(set(item) == {"what", "where", "fix"} for item in problem["problems"])


@pytest.mark.parametrize("verb", ["backtest", "train"])
def test_other_verbs_refuse_in_the_same_way(verb, tmp_path):
    (tmp_path / "t.csv").write_bytes(b"")
    answer = Shop(tmp_path, tmp_path / "home")(verb, "t.csv", *SIMPLE, "--out", tmp_path / "out", code=3)
    assert "0 bytes" in answer.stderr
    assert not (tmp_path / "out").exists()


def test_an_earlier_run_stays_as_it_was_when_the_next_table_is_bad(done, tmp_path):
    shop, out, _ = done
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    (tmp_path / "t.csv").write_bytes(b"")
    shop("run", tmp_path / "t.csv", *SIMPLE, "--out", out, code=3)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def test_nothing_but_zeros_is_answered_with_zeros(shop: Shop, tmp_path):
    daily_world().frame.with_columns(units=pl.lit(0)).write_csv(tmp_path / "t.csv")
    shop("run", tmp_path / "t.csv", *ROLES, *FAST, "--out", tmp_path / "out")
    check_forecasts(forecasts(tmp_path / "out"), H)
    assert forecasts(tmp_path / "out").select("y_hat", "q97_5").sum().sum_horizontal().item() == 0


def test_one_series_without_keys(shop: Shop, tmp_path):
    sales().filter(pl.col("shop") == "a").drop("shop").write_csv(tmp_path / "t.csv")
    answer = shop("run", tmp_path / "t.csv", *SIMPLE, *FAST, "--out", tmp_path / "out")
    assert "no keys" in answer.stderr
    frame = forecasts(tmp_path / "out")
    assert frame.columns[:2] == ["date", "cutoff"]
    check_forecasts(frame, H)
