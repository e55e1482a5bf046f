"""Public holidays of the countries, and whose holidays the sales of a table have noticed; weak evidence is no guess."""

from __future__ import annotations

import datetime as dt
import difflib
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
import polars as pl

from foretail.core.errors import UsageError
from foretail.core.frequency import Frequency

__all__ = ["NO_COUNTRY", "CountryGuess", "check_country", "guess_country", "public_holidays"]

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

NO_COUNTRY = "none"  # the word that switches the guess off

_EPOCH = dt.date(1970, 1, 1).toordinal()
_MOST = 2 / 3  # of the parts of a country must keep a day that the country as such does not have
_RECENT_DAYS = 4 * 366  # older sales say little more and cost time
_AROUND = 4  # weeks on either side whose median is the usual sales
_ALIVE = 0.1  # of the median sales; days that usually sell less are closed anyway and say nothing
_CLOSED = 0.05  # of the usual sales: fewer count as so many
_MOST_OF_ONE = 4.0  # times its mean that one series may add on one day

# Distance of a period from the usual, in robust standard deviations, and how a holiday is spread over these bands: a
# fifth to a third pass unnoticed, another third are closures. Ordinary periods are counted in the table itself.
_BANDS = (1.5, 2.5, 4.0, 7.0)
_ON_HOLIDAYS = np.array([0.25, 0.15, 0.15, 0.15, 0.30])
_BEFORE_COUNTING = np.array([8.0, 1.0, 0.5, 0.25, 0.25])
_UNUSUAL = _BANDS[1]

# What a guess needs. On noise, on shuffled sales and on sales with a season and no holidays the best country stays
# below what the same sales moved by some weeks reach (tests); holidays that matter reach several times that.
_LEAST_SCORE = 8.0
_ABOVE_CHANCE = 1.4
_LEAST_SEEN = {"day": 5, "week": 8}
_LEAST_TELLING = 3  # dates of the year among the unusual ones that most countries do not keep
_LEAST_WEEKS = 53
_APART_DAYS = 21  # moved by less than this, or by whole years and less than this, holidays may meet their own traces


@dataclass(frozen=True)
class CountryGuess:
    """The country whose public holidays explain unusual sales best.

    Attributes
    ----------
    code : ISO 3166 code of two letters.
    n_seen, n_holidays : periods with a holiday whose sales were unusual, and all periods with a holiday.
    score : log of how much likelier the sales are with this country's holidays than without.
    chance : the best score of any country on the same sales moved by some weeks.
    """

    code: str
    n_seen: int
    n_holidays: int
    score: float
    chance: float


def guess_country(
    frame: pl.DataFrame, *, keys: Sequence[str], time: str, target: str, freq: str
) -> CountryGuess | None:
    """Guess the country of daily or weekly sales from the days on which they are unusual.

    The sales of all series together are compared with the usual ones of the same weekday (or week) some weeks before
    and after; closed days without rows are days without sales. Each country's public holidays are scored by the
    likelihood of what is seen on them: a holiday on an unusual day counts for a country, one on an ordinary day
    against it. Where countries are nearly equal, one with more parts goes first, as it is probably the larger one. The
    weeks around Christmas and New Year are left out: sales are unusual in them everywhere.

    Parameters
    ----------
    frame : rows of the past only; ``time`` as pl.Date, ``target`` as numbers or as text that holds numbers.
    keys, time, target : column names. freq : a code of `foretail.core.frequency.Frequency`.

    Returns
    -------
    None for monthly sales, for too short a history (fewer than 53 weeks; too few holidays), and where no country is
    clearly better than on the same sales moved in time.
    """
    frequency = Frequency(freq)
    if frequency.is_monthly:
        return None
    first, sales = _sales_per_period(frame, list(keys), time, target, frequency)
    if not (sales > 0).any() or (frequency.is_weekly and len(sales) < _LEAST_WEEKS):
        return None
    distance = _distance_from_usual(sales, 7 if frequency.is_daily else 1)
    last_days = frequency.to_date(first + np.arange(len(sales)))
    distance[_is_rush(last_days, frequency)] = np.nan
    weights = _weights(distance)
    return _best(_candidates(), weights, distance, last_days, frequency) if weights.any() else None


def _sales_per_period(
    frame: pl.DataFrame, keys: list[str], time: str, target: str, frequency: Frequency
) -> tuple[int, FloatArray]:
    """Index of the first period and the sales of each one up to the last; a week without rows is NaN, a day is 0.

    A series adds in proportion to the root of its mean (large ones do not hide the others) and never more than some
    times that mean (one bulk order is no holiday).
    """
    y = pl.col(target).cast(pl.Float64, strict=False).clip(0.0)
    rows = frame.select(*keys, pl.col(time).alias("__day"), y.alias("__y")).filter(
        pl.col("__day").is_not_null(), pl.col("__y").is_finite()
    )
    if rows.is_empty():
        return 0, np.zeros(0)
    rows = rows.filter(pl.col("__day") > pl.col("__day").max() - pl.duration(days=_RECENT_DAYS))
    if keys:
        mean = pl.col("__y").filter(pl.col("__y") > 0).mean().over(keys)
        rows = rows.with_columns((pl.min_horizontal(pl.col("__y") / mean, _MOST_OF_ONE) * mean.sqrt()).alias("__y"))
    days = rows.group_by("__day").agg(pl.col("__y").sum()).sort("__day")
    index = frequency.to_index(days["__day"].to_numpy())
    n = int(index[-1] - index[0]) + 1
    sales: FloatArray = np.bincount(index - index[0], weights=days["__y"].to_numpy(), minlength=n).astype(np.float64)
    if frequency.is_weekly:
        sales[np.bincount(index - index[0], minlength=n) == 0] = np.nan
    return int(index[0]), sales


def _distance_from_usual(sales: FloatArray, season: int) -> FloatArray:
    """Log ratio to the median of the neighbours, in robust standard deviations: ``[T]``, NaN where nothing is usual."""
    n, reach = len(sales), _AROUND * season
    padded = np.concatenate([np.full(reach, np.nan), sales, np.full(reach, np.nan)])
    shifts = [k * season for k in range(-_AROUND, _AROUND + 1) if k]
    around = np.stack([padded[reach + shift : reach + shift + n] for shift in shifts])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # all of nothing is nothing
        usual = np.nanmedian(around, axis=0)
        lively = usual > _ALIVE * np.nanmedian(sales[sales > 0])
        ratio = np.log(np.maximum(sales, _CLOSED * usual) / np.where(lively, usual, np.nan))
        centred = ratio - np.nanmedian(ratio)
        spread = 1.4826 * np.nanmedian(np.abs(centred))
    distance: FloatArray = np.abs(centred) / max(spread, 0.01) if np.isfinite(spread) else np.full(n, np.nan)
    return distance


def _is_rush(last_days: npt.NDArray[np.datetime64], frequency: Frequency) -> BoolArray:
    """Days from 10 December to 2 January; weeks from December to the one after New Year."""
    month_start = last_days.astype("datetime64[M]")
    month = month_start.astype(np.int64) % 12 + 1
    day = (last_days - month_start.astype("datetime64[D]")).astype(np.int64) + 1
    rush: BoolArray
    if frequency.is_daily:
        rush = ((month == 12) & (day >= 10)) | ((month == 1) & (day <= 2))
    else:
        rush = (month == 12) | ((month == 1) & (day <= 8))
    return rush


def _weights(distance: FloatArray) -> FloatArray:
    """Log of how much likelier each distance is on a holiday than on any period; 0 where it is not known: ``[T]``."""
    known = np.isfinite(distance)
    band = np.digitize(np.where(known, distance, 0.0), _BANDS)
    counts = np.bincount(band[known], minlength=len(_ON_HOLIDAYS)) + _BEFORE_COUNTING
    odds = np.log(_ON_HOLIDAYS / np.maximum(counts / counts.sum(), 0.003))
    return np.where(known, odds[band], 0.0)


def _best(
    codes: tuple[str, ...],
    weights: FloatArray,
    distance: FloatArray,
    last_days: npt.NDArray[np.datetime64],
    frequency: Frequency,
) -> CountryGuess | None:
    held = _held(codes, last_days, frequency)
    moved = _moved(weights, frequency)
    if not moved.shape[1]:
        return None
    score = held @ weights
    best = int(np.argmax(score + np.array([_before_seeing(code) for code in codes])))
    chance = float((held @ moved).max())
    holidays = held[best].astype(bool) & np.isfinite(distance)
    seen = holidays & (np.nan_to_num(distance) > _UNUSUAL)
    telling = _n_dates(last_days[seen & (held.mean(axis=0) < 0.5)])
    is_clear = score[best] >= max(_LEAST_SCORE, _ABOVE_CHANCE * chance)
    is_enough = seen.sum() >= _LEAST_SEEN[frequency.noun] and telling >= _LEAST_TELLING
    if not (is_clear and is_enough):
        return None
    return CountryGuess(codes[best], int(seen.sum()), int(holidays.sum()), float(score[best]), chance)


def _n_dates(days: npt.NDArray[np.datetime64]) -> int:
    """How many dates of the year there are among some days."""
    return len(np.unique(days.astype("datetime64[D]") - days.astype("datetime64[Y]").astype("datetime64[D]")))


def _held(codes: tuple[str, ...], last_days: npt.NDArray[np.datetime64], frequency: Frequency) -> FloatArray:
    """Whether each period holds a public holiday of each country, as 0 and 1: ``[C, T]``."""
    first_year, last_year = (int(day.astype("datetime64[Y]").astype(int)) + 1970 for day in last_days[[0, -1]])
    start = frequency.to_index(last_days[:1])[0]
    held = np.zeros((len(codes), len(last_days)))
    for row, code in enumerate(codes):
        days = np.array(public_holidays(code, first_year - 1, last_year), dtype=np.int64)
        place = frequency.to_index(days.astype("datetime64[D]")) - start
        held[row, place[(place >= 0) & (place < len(last_days))]] = 1.0
    return held


def _moved(weights: FloatArray, frequency: Frequency) -> FloatArray:
    """The weights turned by whole weeks, by none that is nearly a number of years: ``[T, M]``."""
    n, step = len(weights), 7 if frequency.is_daily else 1
    turn = np.arange(step, n, step)
    both = np.stack([turn, n - turn]) * frequency.days
    from_year = np.abs(both - 365.25 * np.round(both / 365.25))
    turn = turn[(from_year >= _APART_DAYS).all(axis=0)]
    turned: FloatArray = weights[(np.arange(n)[:, None] - turn[None, :]) % n]
    return turned


@cache
def _candidates() -> tuple[str, ...]:
    import holidays  # heavy

    return tuple(sorted(code for code in holidays.list_supported_countries(include_aliases=False) if len(code) == 2))


def _before_seeing(code: str) -> float:
    """What speaks for a country before any sales are seen: a calendar per part is kept where there are many people."""
    return float(np.log1p(len(_parts(code))))


@cache
def _parts(code: str) -> tuple[str, ...]:
    import holidays

    return tuple(holidays.list_supported_countries(include_aliases=False).get(code, ()))


@cache
def public_holidays(country: str, first: int, last: int) -> tuple[int, ...]:
    """Day numbers (since 1970-01-01) of the public holidays of the years ``first`` to ``last``, ascending.

    A country's holidays are those it has as such and those that at least two thirds of its parts keep (Easter Monday
    in the United Kingdom, Good Friday in Switzerland, Thanksgiving in Canada).

    Parameters
    ----------
    country : ISO 3166 code: ``DE``, ``DEU``, or with a part ``DE-BY``.

    Raises
    ------
    UsageError : a code whose holidays are not known.
    """
    code, _, part = country.partition("-")
    found = set(_days(code, part or None, first, last))
    parts = () if part else _parts(code)
    kept = Counter(day for name in parts for day in _days(code, name, first, last))
    found |= {day for day, n in kept.items() if n >= _MOST * len(parts)}
    return tuple(sorted(found))


def _days(code: str, part: str | None, first: int, last: int) -> list[int]:
    import holidays

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # renamed parts, and moons that are only estimated
        try:
            found = holidays.country_holidays(code, subdiv=part, years=range(first, last + 1))
        except NotImplementedError as error:
            name = code if part is None else f"{code}-{part}"
            raise UsageError(_unknown(name)) from error
    return [day.toordinal() - _EPOCH for day in found]


def check_country(country: str) -> str:
    """The code of a country or of a part of it as it is used: ``de`` is DE, ``gb-eng`` is GB-ENG, ``None`` is none.

    Raises
    ------
    UsageError : a code whose public holidays are not known; the nearest one is told.
    """
    import holidays

    name = country.strip()
    if name.lower() == NO_COUNTRY:
        return NO_COUNTRY
    code, dash, part = name.upper().partition("-")
    known = holidays.list_supported_countries(include_aliases=True)
    if code not in known or (dash and part not in {item.upper() for item in known[code]}):
        raise UsageError(_unknown(country))
    parts = {item.upper(): item for item in known[code]}
    return f"{code}-{parts[part]}" if dash else code


def _unknown(country: str) -> str:
    hint = _nearest(country.strip().upper())
    return (
        f"the public holidays of {country!r} are not known.\n  where: --country, or country in the spec"
        f"\n  fix:   {hint}an ISO 3166 code such as DE or DE-BY, or {NO_COUNTRY} and your own events"
    )


def _nearest(country: str) -> str:
    """A hint at what was probably meant: a part of a known country, a name of a country, or a code like this one."""
    import holidays

    known = holidays.list_supported_countries(include_aliases=True)
    code, dash, part = country.partition("-")
    if dash and code in known:
        near = difflib.get_close_matches(part, known[code], n=1)
        parts = ", ".join(known[code]) or "none"
        return f"did you mean {code}-{near[0]}? " if near else f"parts of {code}: {parts}; "
    names = _names()
    whole = country.replace(" ", "")
    like = [name for name in sorted(names) if len(whole) > 2 and name.startswith(whole)]
    like += difflib.get_close_matches(whole, names, n=1, cutoff=0.8) if len(whole) > 3 else []
    codes = [names[name] for name in like] or difflib.get_close_matches(whole, _candidates(), n=1)
    return f"did you mean {codes[0]}? " if codes else ""


def _names() -> dict[str, str]:
    """The English names of the countries, capitals without blanks, and their codes."""
    import holidays

    classes = ((code, type(holidays.country_holidays(code)).__mro__[1].__name__) for code in _candidates())
    return {name.removeprefix("Holiday").upper(): code for code, name in classes}
