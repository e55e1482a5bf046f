"""A seeded world of shops whose true expected demand is known: leaks, coverage and the noise floor can be tested.

Demand of a series in a period has the mean

    level x trend x year x weekday x holiday x promotion x post-promotion dip x (price / usual price) ** elasticity

and is drawn around it: negative binomial pieces in the daily world, gamma money in the weekly one. Sales are demand cut
by stockouts; shut days have none. Nothing else moves demand: neither the temperature, nor fuel price, CPI, unemployment
and markdowns of the weekly world, nor the type, size and region of a store. Nothing is modelled on a real table.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from foretail.core.frequency import Frequency
from foretail.core.spec import DatasetSpec, PastCovariate
from foretail.sources.synthetic_config import PRESETS, SyntheticConfig
from foretail.sources.table import Table

__all__ = ["PRESETS", "OtherPlan", "SyntheticConfig", "SyntheticWorld", "generate", "other_plan", "synthetic_table"]

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Days = npt.NDArray[np.datetime64]
_TYPES, _REGIONS, _CATEGORIES = ("A", "B", "C"), ("north", "south", "east", "west"), ("food", "home", "garden", "toys")
_WRITTEN_AFTER = 14  # days within which a restated value is written


@dataclass(frozen=True)
class SyntheticWorld:
    """A world.

    Attributes
    ----------
    frame : the sales table up to the last period of the history, as a shop would write it.
    truth : one row per series and period, horizon included: keys, date, ``expected`` (mean demand), ``demand`` (what
        would have been sold with full shelves), ``sales`` (what was sold), ``stockout``, ``open``.
    future : keys, dates and known covariates of the horizon.
    spec : the meaning of the columns.
    config : what the world was made from.
    """

    frame: pl.DataFrame
    truth: pl.DataFrame
    future: pl.DataFrame
    spec: DatasetSpec
    config: SyntheticConfig

    @property
    def table(self) -> Table:
        """The table as a source returns it."""
        return Table(self.frame, self.spec, self.future, ("synthetic data: no shop sold this",))


def synthetic_table(config: Mapping[str, Any] | None = None) -> Table:
    """The table of a synthetic world; the daily default world without a configuration.

    Parameters
    ----------
    config : fields of `SyntheticConfig`; ``preset`` names one of `PRESETS`, which the other fields change.

    Raises
    ------
    UsageError : an unknown key or an impossible value.
    """
    return generate(SyntheticConfig.from_dict(config or {})).table


def generate(config: SyntheticConfig) -> SyntheticWorld:
    """Make a world; the same configuration gives the same world."""
    rng = np.random.default_rng(config.seed)
    dates = _dates(config)
    n, t = config.stores * config.products, len(dates)
    store, product = (
        np.repeat(np.arange(config.stores), config.products),
        np.tile(np.arange(config.products), config.stores),
    )
    holiday = _holidays(dates, config)
    is_open = _opening_days(dates, config)
    promo = _promotions(rng, n, t, config)
    price = _prices(rng, promo, product)
    weather = _weather(rng, dates, config.stores)
    expected = _expected(rng, config, dates, store, product, holiday, promo, price) * is_open
    demand = _drawn(rng, config, expected)
    sales, stockout = _shelves(rng, config, demand)
    active = _lives(rng, config, n, t)
    columns = _columns(config, dates, store, product, holiday, promo, price, weather, rng)
    every = pl.DataFrame({name: values.ravel() for name, values in columns.items()}).with_columns(
        pl.Series("expected", expected.ravel()),
        pl.Series("demand", demand.ravel()),
        pl.Series("sales", sales.ravel()),
        pl.Series("stockout", stockout.ravel()),
        pl.Series("open", np.broadcast_to(is_open, (n, t)).ravel()).cast(pl.Int64),
    )
    return _world(config, every.filter(pl.Series(active.ravel())), dates, rng)


@dataclass(frozen=True)
class OtherPlan:
    """Mean demand of a world under another plan, every array ``[N, T + H]``.

    Attributes
    ----------
    expected : mean demand. promo : bool. price : with the usual reduction on promotion.
    """

    expected: Floats
    promo: Bools
    price: Floats


def other_plan(config: SyntheticConfig, promo: Bools | None = None, *, has_holidays: bool = True) -> OtherPlan:
    """What the world would have been had its promotions been others, everything else equal.

    Parameters
    ----------
    promo : bool ``[N, T + H]``, series by store, then product; None for those of the world itself.
    has_holidays : whether its holidays move demand.
    """
    rng = np.random.default_rng(config.seed)  # draws in the order of `generate`
    dates = _dates(config)
    store = np.repeat(np.arange(config.stores), config.products)
    product = np.tile(np.arange(config.products), config.stores)
    own = _promotions(rng, len(store), len(dates), config)
    promo = own if promo is None else promo
    price = _prices(rng, promo, product)
    _weather(rng, dates, config.stores)
    holiday = _holidays(dates, config) & has_holidays
    expected = _expected(rng, config, dates, store, product, holiday, promo, price) * _opening_days(dates, config)
    return OtherPlan(expected, promo, price)


def _dates(config: SyntheticConfig) -> Days:
    """Labels of the history and the horizon."""
    frequency = Frequency(config.freq)
    first = int(frequency.to_index(np.asarray(np.datetime64(config.start_date, "D"))))
    return frequency.to_date(first + np.arange(config.periods + config.horizon))


def _years(dates: Days) -> Floats:
    years: Floats = (dates - dates[0]).astype(np.int64) / 365.25
    return years


def _holidays(dates: Days, config: SyntheticConfig) -> Bools:
    """bool ``[T]``: the period holds Easter, the fourth Thursday of November, or 24 to 26 December."""
    first, last = dates[0].astype(object), dates[-1].astype(object)
    days = []
    for year in range(first.year, last.year + 2):
        thanksgiving = 22 + (3 - dt.date(year, 11, 22).weekday()) % 7
        days += [_easter(year), dt.date(year, 11, thanksgiving), *(dt.date(year, 12, day) for day in (24, 25, 26))]
    frequency = Frequency(config.freq)
    return np.isin(frequency.to_index(dates), frequency.to_index(np.array(days, dtype="datetime64[D]")))


def _easter(year: int) -> dt.date:
    """Easter Sunday (the anonymous Gregorian computus)."""
    a, b, c = year % 19, year // 100, year % 100
    d = (19 * a + b - b // 4 - (b - (b + 8) // 25 + 1) // 3 + 15) % 30
    e = (32 + 2 * (b % 4) + 2 * (c // 4) - d - c % 4) % 7
    f = d + e - 7 * ((a + 11 * d + 22 * e) // 451) + 114
    return dt.date(year, f // 31, f % 31 + 1)


def _opening_days(dates: Days, config: SyntheticConfig) -> Bools:
    """bool ``[T]``: shops are open; every week of the weekly world is."""
    if not config.is_daily:
        return np.ones(len(dates), dtype=np.bool_)
    day = dates.astype(np.int64)
    shut = np.zeros(len(dates), dtype=np.bool_)
    if config.closed_weekday is not None:
        shut = (day + 3) % 7 == config.closed_weekday
    month_day = dates.astype("datetime64[D]").astype(str)
    return ~(shut | np.char.endswith(month_day, "-12-25"))


def _promotions(rng: np.random.Generator, n: int, t: int, config: SyntheticConfig) -> Bools:
    """bool ``[N, T]``: promotions run for a week or two, drawn per series."""
    length = 7 if config.is_daily else 1
    blocks = rng.random((n, t // length + 2)) < config.promo_share
    promo: Bools = np.repeat(blocks, length, axis=1)[:, :t]
    return promo


def _prices(rng: np.random.Generator, promo: Bools, product: npt.NDArray[np.int64]) -> Floats:
    """float64 ``[N, T]``: a usual price per product that rises once, 20 % off on promotion."""
    n, t = promo.shape
    usual = np.exp(rng.normal(1.5, 0.6, product.max() + 1))[product]
    rise = np.arange(t) >= rng.integers(t // 4, 3 * t // 4 + 1, (n, 1))
    price: Floats = np.round(usual[:, None] * np.where(rise, 1.05, 1.0) * np.where(promo, 0.8, 1.0), 2)
    return np.maximum(price, 0.05)


def _weather(rng: np.random.Generator, dates: Days, stores: int) -> Floats:
    """float64 ``[S, T]``, degrees Celsius."""
    season = -np.cos(2 * np.pi * _year_phase(dates))
    return np.round(11 + 10 * season + rng.normal(0, 3, (stores, len(dates))), 1)


def _year_phase(dates: Days) -> Floats:
    """Share of the calendar year that has passed."""
    year = dates.astype("datetime64[Y]")
    phase: Floats = (dates - year.astype("datetime64[D]")).astype(np.int64) / 365.25
    return phase


def _expected(
    rng: np.random.Generator,
    config: SyntheticConfig,
    dates: Days,
    store: npt.NDArray[np.int64],
    product: npt.NDArray[np.int64],
    holiday: Bools,
    promo: Bools,
    price: Floats,
) -> Floats:
    """Mean demand, float64 ``[N, T]``, the formula of the module."""
    n = len(store)
    level = (
        rng.normal(0, 0.5, config.stores)[store] + rng.normal(0, 0.8, config.products)[product] + rng.normal(0, 0.2, n)
    )
    level += np.log(12.0 if config.is_daily else 9000.0)
    if config.is_daily:
        level -= np.where(rng.random(n) < config.intermittent_share, rng.uniform(3.0, 4.5, n), 0.0)
    log = level[:, None] + rng.uniform(-1, 1, (n, 1)) * config.trend * _years(dates)
    log += _season(rng, config, dates)[product]
    log += rng.uniform(0.1, 0.8, config.products)[product][:, None] * holiday
    log += rng.uniform(0.2, 0.6, config.products)[product][:, None] * promo
    log -= rng.uniform(0.05, 0.25, config.products)[product][:, None] * _just_after(promo, 7 if config.is_daily else 1)
    elasticity = rng.uniform(-2.0, -0.5, config.products)[product][:, None]
    expected: Floats = np.exp(log + elasticity * np.log(price / price.max(axis=1, keepdims=True)))
    return expected


def _season(rng: np.random.Generator, config: SyntheticConfig, dates: Days) -> Floats:
    """Log season of each product, float64 ``[P, T]``: two yearly waves and, for days, a weekday pattern."""
    angle = 2 * np.pi * _year_phase(dates)
    season = np.zeros((config.products, len(dates)))
    for wave in (1, 2):
        amplitude, shift = (
            rng.uniform(0.05, 0.25, (config.products, 1)),
            rng.uniform(0, 2 * np.pi, (config.products, 1)),
        )
        season += amplitude * np.cos(wave * angle - shift)
    if config.is_daily:
        week = rng.normal(0, 0.12, (config.products, 7)) + np.array([-0.1, -0.1, -0.05, 0.0, 0.2, 0.35, 0.1])
        season += week[:, (dates.astype(np.int64) + 3) % 7]
    return season


def _just_after(promo: Bools, length: int) -> Bools:
    """The ``length`` periods after a promotion ends."""
    after = np.zeros_like(promo)
    for lag in range(1, length + 1):
        after[:, lag:] |= promo[:, :-lag]
    return after & ~promo


def _drawn(rng: np.random.Generator, config: SyntheticConfig, expected: Floats) -> Floats:
    """Demand drawn around its mean, float64 ``[N, T]``."""
    shape = 1.0 / max(config.noise, 1e-6) ** 2
    drawn = expected * rng.gamma(shape, 1.0 / shape, expected.shape)
    return rng.poisson(drawn).astype(np.float64) if config.is_daily else np.round(drawn, 2)


def _shelves(rng: np.random.Generator, config: SyntheticConfig, demand: Floats) -> tuple[Floats, Bools]:
    """Sales and where the shelf ran empty: there only part of the demand is sold."""
    empty = (rng.random(demand.shape) < config.stockout_share) & (demand > 0)
    sold = demand * np.where(empty, rng.random(demand.shape) * 0.6, 1.0)
    return np.floor(sold) if config.is_daily else np.round(sold, 2), empty


def _lives(rng: np.random.Generator, config: SyntheticConfig, n: int, t: int) -> Bools:
    """bool ``[N, T]``: the series exists; openings in the first half of the history, closings in the last quarter."""
    h = config.periods
    first = np.where(rng.random(n) < config.opening_share, rng.integers(1, max(2, h // 2), n), 0)
    last = np.where(rng.random(n) < config.closing_share, rng.integers(max(1, 3 * h // 4), h + 1, n), t)
    period = np.arange(t)
    alive: Bools = (period >= first[:, None]) & (period < last[:, None])
    return alive


def _columns(
    config: SyntheticConfig,
    dates: Days,
    store: npt.NDArray[np.int64],
    product: npt.NDArray[np.int64],
    holiday: Bools,
    promo: Bools,
    price: Floats,
    weather: Floats,
    rng: np.random.Generator,
) -> dict[str, npt.NDArray[Any]]:
    """What the table says beside the sales; every array is ``[N, T]``."""
    n, t = promo.shape
    per_series = {
        "store_id": store + 1,
        "dept_id" if not config.is_daily else "product_id": product + 1,
        "store_type": np.array(_TYPES)[store % len(_TYPES)],
        "region": np.array(_REGIONS)[store // len(_TYPES) % len(_REGIONS)],
    }
    if config.is_daily:
        per_series["category"] = np.array(_CATEGORIES)[product % len(_CATEGORIES)]
    else:
        per_series["store_size"] = rng.integers(300, 2200, config.stores)[store] * 100
    columns = {name: np.repeat(values[:, None], t, axis=1) for name, values in per_series.items()}
    columns["date"] = np.broadcast_to(dates, (n, t))
    columns["is_holiday"] = np.broadcast_to(holiday, (n, t)).astype(np.int64)
    columns["promo"], columns["price"] = promo.astype(np.int64), price
    columns["temperature"] = weather[store]
    if not config.is_daily:
        columns |= _economy(rng, config, t, store)
    return columns


def _economy(
    rng: np.random.Generator, config: SyntheticConfig, t: int, store: npt.NDArray[np.int64]
) -> dict[str, npt.NDArray[Any]]:
    """Fuel price, CPI, unemployment and five markdowns (money, mostly 0) of each store; none of them moves demand."""
    shape = (config.stores, t)
    walks = {
        "fuel_price": 3.2 + np.cumsum(rng.normal(0, 0.03, shape), axis=1),
        "cpi": 180
        + rng.normal(0, 8, (config.stores, 1))
        + 0.05 * np.arange(t)
        + np.cumsum(rng.normal(0, 0.02, shape), axis=1),
        "unemployment": 7.5 + np.cumsum(rng.normal(0, 0.02, shape), axis=1),
    }
    for i in range(1, 6):
        walks[f"markdown_{i}"] = np.where(rng.random(shape) < 0.3, rng.gamma(2.0, 1500.0, shape), 0.0)
    return {name: np.round(np.maximum(values, 0.0), 2)[store] for name, values in walks.items()}


def _world(config: SyntheticConfig, every: pl.DataFrame, dates: Days, rng: np.random.Generator) -> SyntheticWorld:
    spec = _spec(config)
    told = {"sales": spec.target}
    last = dates[config.periods - 1].astype(object)
    names = [*spec.keys, spec.time, *spec.static, *spec.known, *(past.name for past in spec.past)]
    history = every.filter(pl.col("date") <= last)
    frame = history.select(*names, "sales").rename(told)
    frame = frame.with_columns(pl.col(spec.target).cast(pl.Int64 if config.is_daily else pl.Float64))
    if config.has_restatements:
        frame = _retold(rng, config, frame, spec)
    future = every.filter(pl.col("date") > last).select(*spec.keys, spec.time, *spec.known)
    truth = every.select(*spec.keys, "date", "expected", "demand", "sales", "stockout", "open")
    return SyntheticWorld(frame, truth, future, spec, config)


def _spec(config: SyntheticConfig) -> DatasetSpec:
    restated: dict[str, Any] = {"recorded": "recorded", "duplicates": "last"} if config.has_restatements else {}
    if config.is_daily:
        return DatasetSpec(
            keys=("store_id", "product_id"),
            time="date",
            target="units",
            freq="D",
            horizon=config.horizon,
            name="synthetic",
            unit="pieces",
            static=("store_type", "region", "category"),
            known=("open", "promo", "price", "is_holiday"),
            past=(PastCovariate("temperature"),),
            open="open",
            **restated,
        )
    return DatasetSpec(
        keys=("store_id", "dept_id"),
        time="date",
        target="weekly_sales",
        freq=config.freq,
        horizon=config.horizon,
        name="synthetic",
        unit="EUR",
        static=("store_type", "store_size", "region"),
        known=("is_holiday", "promo", "price", *(f"markdown_{i}" for i in range(1, 6))),
        past=tuple(PastCovariate(name) for name in ("temperature", "fuel_price", "cpi", "unemployment")),
        **restated,
    )


def _retold(rng: np.random.Generator, config: SyntheticConfig, frame: pl.DataFrame, spec: DatasetSpec) -> pl.DataFrame:
    """Rows told wrongly first and corrected within two weeks, and rows written twice."""
    draw = rng.random(frame.height)
    restated, twice = draw < config.restated_share, draw > 1 - config.duplicate_share
    wrong = frame[spec.target] * pl.Series(np.where(restated, rng.uniform(0.3, 1.7, frame.height), 1.0))
    wrong = wrong.round(0 if config.is_daily else 2).cast(frame[spec.target].dtype)
    first = frame.with_columns(wrong.alias(spec.target), pl.col("date").alias("recorded"))
    delay = pl.Series(rng.integers(1, _WRITTEN_AFTER + 1, frame.height)) * pl.duration(days=1)
    later = frame.with_columns((pl.col("date") + delay).cast(pl.Date).alias("recorded")).filter(pl.Series(restated))
    again = first.filter(pl.Series(twice & ~restated))
    return pl.concat([first, later, again])
