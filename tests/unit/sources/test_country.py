"""The country of a table: found by its holidays, not found where there are none, never from rows after the cutoff."""

from __future__ import annotations

import datetime as dt
import os
from pathlib import Path
from typing import Any

import holidays
import numpy as np
import polars as pl
import pytest

from foretail.core.errors import DataError, UsageError
from foretail.core.spec import DatasetSpec
from foretail.sources.country import CountryGuess, check_country, guess_country, public_holidays
from foretail.sources.guess import guess_spec
from foretail.sources.open import open_table

START = dt.date(2021, 1, 1)
SHORT = 2 * 365 + 120
CLOSED = 0.0


def calendar(n: int) -> list[dt.date]:
    return [START + dt.timedelta(days=day) for day in range(n)]


def sales(
    country: str | None, n: int = SHORT, *, seed: int = 0, noise: float = 0.06, on_holidays: float = CLOSED
) -> pl.DataFrame:
    """Daily sales with a week, a year, a growth, a Christmas business and noise, times a factor on public holidays."""
    days = calendar(n)
    t, rng = np.arange(n), np.random.default_rng(seed)
    week = np.array([0.9, 0.9, 0.95, 1.0, 1.3, 1.5, 0.6])[[day.weekday() for day in days]]
    to_christmas = np.array([abs((dt.date(day.year, 12, 23) - day).days) for day in days])
    rush = 1 + 0.8 * np.maximum(0, 1 - to_christmas / 20)
    y = 200 * week * rush * np.exp(0.2 * np.sin(2 * np.pi * t / 365.25) + 0.0004 * t + noise * rng.standard_normal(n))
    if country is not None:
        code, _, part = country.partition("-")
        kept = holidays.country_holidays(code, subdiv=part or None, years=range(START.year, days[-1].year + 1))
        y = np.where([day in kept for day in days], on_holidays * y, y)
    return pl.DataFrame({"date": days, "sales": y})


def weeks(frame: pl.DataFrame, last: int = 6) -> pl.DataFrame:
    """The same sales by weeks that end on a weekday (Monday = 0); only whole weeks."""
    end = pl.col("date") + pl.duration(days=(last + 1 - pl.col("date").dt.weekday()) % 7)
    by_week = frame.group_by(end.alias("date")).agg(pl.col("sales").sum(), pl.len()).sort("date")
    return by_week.filter(pl.col("len") == 7).drop("len")


def guess(frame: pl.DataFrame, freq: str = "D", keys: tuple[str, ...] = ()) -> CountryGuess | None:
    return guess_country(frame, keys=keys, time="date", target="sales", freq=freq)


def code(found: CountryGuess | None) -> str | None:
    return None if found is None else found.code


def test_the_tests_draw_on_real_holidays() -> None:
    closed = sales("DE").filter(pl.col("sales") == 0)["date"].to_list()
    assert dt.date(2021, 4, 2) in closed
    assert len(closed) == len(set(closed))
    assert 15 < len(closed) < 30


@pytest.mark.parametrize("country", ["AU", "CN", "DE", "EC", "FR", "IN", "JP", "MX", "PL", "TR", "US"])
def test_a_country_that_closes_on_its_holidays_is_found(country: str) -> None:
    found = guess(sales(country))
    assert code(found) == country
    assert found is not None
    assert found.n_seen > 0.6 * found.n_holidays
    assert found.score > 2 * found.chance


@pytest.mark.parametrize("country", ["DE", "GB-ENG", "PL", "US"])
def test_shops_that_sell_more_on_holidays_tell_their_country_too(country: str) -> None:
    assert code(guess(sales(country, on_holidays=1.8))) == country[:2]


@pytest.mark.parametrize("country", ["EC", "GB-ENG", "JP", "TR", "US"])
@pytest.mark.parametrize("last", [4, 6])
def test_weeks_that_hold_a_closed_day_tell_the_country(country: str, last: int) -> None:
    frame = weeks(sales(country, 3 * 365, noise=0.04), last)
    assert code(guess(frame, "W-FRI" if last == 4 else "W-SUN")) == country[:2]


def test_a_part_of_a_country_shows_as_the_country() -> None:
    """Bavaria keeps five days more than Germany as such."""
    assert code(guess(sales("DE-BY"))) in {"DE", "AT"}
    assert code(guess(sales("DE-HE"))) == "DE"


@pytest.mark.parametrize("seed", range(6))
def test_sales_without_holidays_have_no_country(seed: int) -> None:
    frame = sales(None, 3 * 365, seed=seed)
    assert guess(frame) is None
    assert guess(weeks(frame), "W-SUN") is None


@pytest.mark.parametrize("seed", range(6))
def test_closed_days_at_random_have_no_country(seed: int) -> None:
    frame = sales(None, 3 * 365, seed=seed)
    closed = np.random.default_rng(100 + seed).choice(frame.height, 36, replace=False)
    frame = frame.with_columns(
        pl.when(pl.int_range(pl.len()).is_in(closed)).then(0.0).otherwise("sales").alias("sales")
    )
    assert guess(frame) is None
    assert guess(weeks(frame), "W-SUN") is None


@pytest.mark.parametrize("seed", range(6))
def test_shuffled_sales_have_no_country(seed: int) -> None:
    frame = sales("DE", 3 * 365).with_columns(pl.col("sales").shuffle(seed=seed))
    assert guess(frame) is None


@pytest.mark.parametrize("seed", range(3))
def test_heavy_tails_have_no_country(seed: int) -> None:
    y = np.exp(0.3 * np.random.default_rng(seed).standard_t(1.5, 1100).clip(-20, 20))
    frame = pl.DataFrame({"date": calendar(1100), "sales": y})
    assert guess(frame) is None
    assert guess(weeks(frame), "W-SUN") is None


def test_two_holidays_are_too_few() -> None:
    """Christmas and New Year are kept by most countries and tell none of them."""
    frame = sales("DE")
    is_common = pl.col("date").dt.to_string("%m-%d").is_in(["12-25", "12-26", "01-01"])
    ordinary = sales(None)["sales"]
    assert guess(frame.with_columns(pl.when(is_common).then("sales").otherwise(ordinary).alias("sales"))) is None


def test_a_short_history_has_no_country() -> None:
    assert guess(sales("DE", 100)) is None
    assert guess(weeks(sales("JP", 365)), "W-SUN") is None
    assert guess(sales("DE", 1)) is None
    assert guess(sales("DE").clear()) is None
    assert guess(sales("DE").with_columns(sales=pl.lit(None, pl.Float64))) is None
    assert guess(sales("DE").with_columns(sales=0.0)) is None


def test_months_have_no_country() -> None:
    months = sales("DE", 4 * 365).group_by(pl.col("date").dt.truncate("1mo")).agg(pl.col("sales").sum()).sort("date")
    assert guess(months, "MS") is None


def test_closed_days_without_rows_are_closed_days() -> None:
    frame = sales("DE").slice(1)  # the first day would be closed, and rows begin with the first open one
    assert guess(frame.filter(pl.col("sales") > 0)) == guess(frame)


def test_closed_sundays_say_nothing() -> None:
    is_sunday = pl.col("date").dt.weekday() == 7
    found = guess(sales("DE").with_columns(pl.when(is_sunday).then(0.0).otherwise("sales").alias("sales")))
    assert found is not None
    assert code(found) == "DE"
    whole = guess(sales("DE"))
    assert whole is not None
    on_sundays = [dt.date(2021, 10, 3), dt.date(2022, 5, 1)]
    assert all(day.weekday() == 6 and day in holidays.country_holidays("DE") for day in on_sundays)
    assert found.n_holidays == whole.n_holidays - len(on_sundays)


def test_many_series_speak_together_and_one_bulk_order_does_not_drown_them() -> None:
    rng = np.random.default_rng(5)
    alone = [
        sales("FR", seed=seed).with_columns(
            pl.lit(f"s{seed}").alias("store"), pl.col("sales") * rng.uniform(0.01, 1) * rng.poisson(2, SHORT)
        )
        for seed in range(12)
    ]
    table = pl.concat(alone).with_columns(
        pl.when(pl.int_range(pl.len()) % 397 == 0).then(pl.col("sales") + 50_000).otherwise("sales").alias("sales")
    )
    assert code(guess(table.sample(fraction=1.0, shuffle=True, seed=1), keys=("store",))) == "FR"


def test_text_nulls_and_negative_values_are_read() -> None:
    frame = sales("US").with_columns(pl.col("sales").round(2).cast(pl.String))
    odd = pl.DataFrame({"date": [START, None, START], "sales": ["n/a", "3", "-5"]}, schema=frame.schema)
    assert code(guess(pl.concat([odd, frame, odd.with_columns(sales=pl.lit(None, pl.String))]))) == "US"


def table(history: str | None, later: str | None, cut: int = 600) -> pl.DataFrame:
    """Two stores; the sales up to a day keep the holidays of one country, those after it of another."""
    known, unknown = (sales(country, 1100, seed=3) for country in (history, later))
    frame = pl.concat([known.head(cut), unknown.slice(cut)])
    return pl.concat([frame.with_columns(pl.lit(store).alias("store")) for store in ("a", "b")])


@pytest.mark.parametrize(("history", "later", "told"), [(None, "DE", None), ("JP", "DE", "JP"), ("JP", None, "JP")])
def test_rows_after_the_cutoff_are_not_seen(history: str | None, later: str | None, told: str | None) -> None:
    cutoff = START + dt.timedelta(days=599)
    spec, notes = guess_spec(table(history, later), {}, cutoff)
    assert spec.country == told
    cut = table(history, later).filter(pl.col("date") <= cutoff)
    assert (spec, notes) == guess_spec(cut, {}), "the same guess as if the later rows did not exist"


def test_with_the_later_rows_the_guess_is_another() -> None:
    assert guess_spec(table(None, "DE", 200), {}, None)[0].country == "DE"


def test_the_guess_is_said_and_how_to_overrule_it() -> None:
    spec, notes = guess_spec(sales("DE"), {})
    assert spec.country == "DE"
    said = next(note for note in notes if note.startswith("country"))
    assert "country DE: sales are unusual on 1" in said or "country DE: sales are unusual on 2" in said
    assert "days with its public holidays (--country says another, or none)" in said


@pytest.mark.parametrize(("given", "kept"), [("FR", "FR"), ("none", None), ("None", None)])
def test_what_is_given_is_not_guessed(given: str, kept: str | None) -> None:
    spec, notes = guess_spec(sales("DE"), {"country": given})
    assert spec.country == kept
    assert not any(note.startswith("country") for note in notes)


@pytest.mark.parametrize(
    ("text", "used"),
    [("DE", "DE"), ("de", "DE"), (" gb-eng ", "GB-ENG"), ("DE-by", "DE-BY"), ("DEU", "DEU"), ("NONE", "none")],
)
def test_codes_are_read(text: str, used: str) -> None:
    assert check_country(text) == used


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("Germany", "did you mean DE?"),
        ("united states", "did you mean US?"),
        ("Frnace", "did you mean FR?"),
        ("DE-BAY", "did you mean DE-BY?"),
        ("DE-QQ", "parts of DE: BB"),
        ("QX", "an ISO 3166 code such as DE"),
        ("", "an ISO 3166 code such as DE"),
        ("-BY", "an ISO 3166 code such as DE"),
    ],
)
def test_an_unknown_code_is_refused_with_the_nearest(text: str, hint: str) -> None:
    with pytest.raises(UsageError, match=r"holidays of .* are not known\.\n  where: --country.*\n  fix: ") as caught:
        check_country(text)
    assert hint in str(caught.value)
    assert len(str(caught.value)) < 400


def dates(country: str, year: int) -> set[dt.date]:
    found = public_holidays(country, year, year)
    assert list(found) == sorted(set(found))
    return {dt.date(1970, 1, 1) + dt.timedelta(days=day) for day in found}


def test_holidays_that_most_parts_keep_are_the_countrys() -> None:
    easter_monday, late_summer = dt.date(2023, 4, 10), dt.date(2023, 8, 28)
    as_such = set(holidays.country_holidays("GB", years=2023))
    assert not {easter_monday, late_summer} & as_such
    assert dates("GB", 2023) == as_such | {easter_monday, late_summer}
    assert easter_monday not in dates("GB-SCT", 2023)


def test_holidays_of_few_parts_are_not() -> None:
    corpus_christi = dt.date(2023, 6, 8)
    assert corpus_christi in dates("DE-BY", 2023)
    assert dates("DE", 2023) == set(holidays.country_holidays("DE", years=2023))
    assert dates("DEU", 2023) == dates("DE", 2023)


def test_a_code_that_slips_through_is_refused_where_it_is_used() -> None:
    with pytest.raises(UsageError, match="'DE-QQ' are not known"):
        public_holidays("DE-QQ", 2023, 2023)


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "sales.csv"
    sales("DE").with_columns(pl.col("sales").round(2)).write_csv(path)
    return str(path)


@pytest.mark.parametrize(
    ("given", "kept"),
    [({}, "DE"), ({"country": "none"}, None), ({"country": "at"}, "AT"), ({"cutoff": dt.date(2021, 3, 1)}, None)],
)
def test_a_file_is_opened_with_its_country(file: str, given: dict[str, Any], kept: str | None) -> None:
    assert open_table(file, **given).spec.country == kept


def test_an_unknown_country_is_refused_before_the_file_is_read() -> None:
    with pytest.raises(UsageError, match="did you mean DE"):
        open_table("not/there.csv", country="Germany")


@pytest.mark.parametrize(
    ("line", "given", "kept"),
    [
        ("", None, None),
        ('country = "none"', None, None),
        ('country = "de-by"', None, "DE-BY"),
        ('country = "DE"', "none", None),
        ('country = "DE"', "FR", "FR"),
    ],
)
def test_a_spec_is_taken_at_its_word(file: str, line: str, given: str | None, kept: str | None) -> None:
    spec = Path(file).with_suffix(".toml")
    spec.write_text(f'table = "sales.csv"\ntime = "date"\ntarget = "sales"\nfreq = "D"\nhorizon = 7\n{line}\n')
    found = open_table(str(spec), country=given)
    assert (found.spec.country, found.notes) == (kept, ())


def test_a_spec_with_a_country_that_is_none_is_refused(file: str) -> None:
    spec = Path(file).with_suffix(".toml")
    head = 'table = "sales.csv"\ntime = "date"\ntarget = "sales"\nfreq = "D"\nhorizon = 7\n'
    spec.write_text(head + 'country = "Frankreich"\n')
    with pytest.raises(UsageError, match="'Frankreich' are not known"):
        open_table(str(spec))
    spec.write_text(head + "country = 49\n")
    with pytest.raises(DataError, match="country = 49 cannot be read"):
        open_table(str(spec))


def test_a_layout_keeps_its_country_unless_another_is_given() -> None:
    assert open_table("online-retail").spec.country == "GB"
    assert open_table("online-retail", country="none").spec.country is None
    assert open_table("online-retail", country="GB-ENG").spec.country == "GB-ENG"


def test_a_guess_survives_being_written_down() -> None:
    spec, _ = guess_spec(sales("DE"), {})
    values = DatasetSpec.from_dict(spec.to_dict())
    assert values.country == "DE"
    assert 'country = "DE"' in spec.to_toml()


def originals(name: str) -> Path:
    """The folder of the original files, or a skip that says so."""
    beside = Path(__file__).resolve().parents[4] / "shared" / "data"
    root = Path(os.environ.get("FORETAIL_DATA", beside))
    if not (root / name).is_dir():
        pytest.skip(f"the original files of {name} are not under FORETAIL_DATA nor beside the checkout")
    return root / name


def test_german_shops_are_found_from_half_a_year_on() -> None:
    path = originals("rossmann") / "train.csv"
    told = pl.read_csv(path, columns=["Store", "Date", "Sales"], try_parse_dates=True)
    told = told.rename({"Date": "date", "Sales": "sales"})
    for cutoff in (dt.date(2013, 7, 1), dt.date(2014, 1, 31), dt.date(2015, 3, 1)):
        known = told.filter(pl.col("date") <= cutoff)
        assert code(guess(known, keys=("Store",))) == "DE"
        assert code(guess(known.filter(pl.col("sales") > 0), keys=("Store",))) == "DE", "closed days not told"
    assert guess(told.filter(pl.col("date") < dt.date(2013, 4, 20)), keys=("Store",)) is None
    assert code(guess(told.filter(pl.col("Store") == 7))) == "DE", "one store alone"


def test_a_british_gift_shop_is_found() -> None:
    told = pl.read_parquet(originals("online_retail") / "online_retail_2010-12_2011-12.parquet")
    day = pl.col("InvoiceDate").dt.date()
    frame = told.select(item="StockCode", date=day, sales="Quantity")
    assert code(guess(frame, keys=("item",))) == "GB"
    assert code(guess(frame.filter(pl.col("date") <= dt.date(2011, 9, 30)), keys=("item",))) == "GB"


def test_weekly_sales_of_american_stores_say_nothing_wrong() -> None:
    """Their stores stay open: weeks tell too little, and too little is no guess."""
    told = pl.read_csv(originals("walmart") / "train.csv", try_parse_dates=True)
    frame = told.select("Store", "Dept", pl.col("Date").alias("date"), pl.col("Weekly_Sales").alias("sales"))
    assert code(guess(frame, "W-FRI", ("Store", "Dept"))) in {None, "US"}
