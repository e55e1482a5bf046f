"""A version whose features are rows of the feature store: looked up by key, overridden by a request, never imputed."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import polars as pl

from foretail.core.errors import DataError, ForecastError, ForetailError
from foretail.core.quantiles import DEFAULT_QUANTILES
from foretail.features.declaration import declare
from foretail.features.feature import Feature
from foretail.features.history import feature_rows
from foretail.forecasts.frame import within_rules
from foretail.forecasts.policy import with_intervals
from foretail.models.contract import Forecast
from foretail.models.intervals import Conformal, Size
from foretail.registry.bundle import Bundle
from foretail.serving.answering import SAME, Answering, ReadsStore
from foretail.serving.asks import Answered, Ask, Explained
from foretail.serving.errors import RequestError, RequestProblem
from foretail.serving.overrides import Overridable, read_overrides

if TYPE_CHECKING:
    from foretail.features.online.reader import OnlineReader

__all__ = ["StoreAnswering"]

IntArray = npt.NDArray[np.int64]
SERVICE = "inference_features"
_AS_OF = "as_of"
_TYPES = {"Int64": "INT64", "Float64": "FP64", "String": "BYTES", "Bool": "BOOL"}


class StoreAnswering(Answering):
    """As `Answering`, with the rows of the feature store.

    A row stamped T answers the steps after T. Overrides may name any feature of the row; a row that is given whole is
    not looked up, and counts as known at the version's cutoff. A series that a fallback answers is answered by it. What
    a row does not hold is told in a warning; a row that is not enough for a forecast is refused.

    Parameters
    ----------
    online : where the rows are; those of the bundle's own sales when None.
    max_age : of a row against the clock; rows older than the version's cutoff are always refused.
    """

    def __init__(
        self, bundle: Bundle, label: str, online: OnlineReader | None = None, max_age: dt.timedelta | None = None
    ):
        super().__init__(bundle, label)
        panel = self._whatif.panel
        declared = declare(panel.spec, panel)
        self._declared = {item.name: item for item in declared.features_of(SERVICE)}
        self._features = {name: Overridable(name, _TYPES[item.dtype]) for name, item in self._declared.items()}
        kinds = {name: item.datatype for name, item in self._features.items()}
        self.info = replace(self.info, features=kinds, reads_store=True)
        self._keys = {name: panel.series[name].cast(pl.String).to_numpy() for name in panel.spec.keys}
        self._online, self._max_age = online, max_age
        self._intervals = Conformal.from_arrays(bundle.calibration)
        self._size = Size.of(panel)
        self._own_rows = self._from_panel() if online is None else {}

    def _from_panel(self) -> dict[tuple[Any, ...], dict[str, Any]]:
        """The rows of the bundle's own sales at its cutoff, by key."""
        panel = self._whatif.panel
        declared = declare(panel.spec, panel)
        series = panel.series.select(panel.spec.keys)
        for view, frame in feature_rows(panel, declared, panel.cutoff).items():
            keys = list(declared.view(view).keys)
            names = [name for name in frame.columns if name in self._declared]
            series = series.join(frame.select(*keys, *names), on=keys, how="left", maintain_order="left")
        rows = series.to_dicts()
        return {tuple(row[name] for name in panel.spec.keys): row | {_AS_OF: panel.cutoff} for row in rows}

    def check(self) -> None:
        """As `Answering.check`, and the golden request from the row of the bundle's own sales.

        Raises
        ------
        ForecastError : the row gives another forecast than the panel.
        """
        super().check()
        ask, expected = self.golden
        if expected.source != "model":
            return
        row = (self._own_rows or self._from_panel())[ask.keys]
        found = self._answered([ask], [row], [{}], [expected.step])[0]
        told, wanted = ([item.y_hat, *item.quantiles.values()] for item in (found, expected))
        if not np.allclose(told, wanted, rtol=SAME, atol=SAME):
            raise ForecastError(
                f"the feature row gives another forecast than the sales: {told[0]!r} and {wanted[0]!r}."
                f"\n  where: {self.info.version}, {ask.keys} on {ask.target_date}"
                "\n  fix:   train the model again; this is a defect of the family"
            )

    def score(self, asks: Sequence[Ask]) -> list[Answered]:
        """One answer per step asked, instance after instance.

        Raises
        ------
        RequestError : every instance that cannot be answered, and why; 503 where the online store does not answer.
        """
        problems: list[RequestProblem] = []
        given = [self._given(ask, i, problems) for i, ask in enumerate(asks)]
        if problems:
            raise RequestError(problems)
        rows = self._looked_up(asks, given)
        first = [self._first_step(ask, row, i, problems) for i, (ask, row) in enumerate(zip(asks, rows, strict=True))]
        if problems:
            raise RequestError(problems)
        return self._answered(asks, rows, given, first)

    def _explained(self, ask: Ask, answered: Sequence[Answered]) -> Iterator[Explained]:
        if ask.overrides or answered[0].cutoff != self._places.cutoff:
            what = "only forecasts from the version's own cutoff, without overrides, can be explained"
            fix = f"leave the overrides out; the cutoff is {self._places.cutoff}"
            raise RequestError(RequestProblem(422, what, f"{ask.keys} on {ask.target_date}", fix))
        yield from super()._explained(ask, answered)

    def _given(self, ask: Ask, i: int, problems: list[RequestProblem]) -> dict[str, float | str]:
        """The overrides of an instance, each one value."""
        if self._places.row_of(ask) is None:
            problems.extend(self._places.why_keys(ask, i))
        if type(ask.target_date) is not dt.date or type(ask.horizon) is not int or not 1 <= ask.horizon <= self._h:
            problems.extend(item for item in self._places.why(ask, i) if item.status == 400 and item not in problems)
            if type(ask.horizon) is int and ask.horizon > self._h:
                fix = f"at most {self._h}"
                problems.append(RequestProblem(422, "more steps than the horizon", f"horizon = {ask.horizon}", fix, i))
        values: dict[str, float | str] = {}
        for item in read_overrides(ask.overrides, 1, self._features, i):
            if isinstance(item, RequestProblem):
                problems.append(item)
            else:
                values[item[0].name] = item[1][0]
        return values

    def _looked_up(self, asks: Sequence[Ask], given: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
        """The row of each instance: ``as_of`` and the features, with the overrides in it."""
        lacking = [i for i, values in enumerate(given) if len(values) < len(self._declared)]
        stored: dict[int, Mapping[str, Any]] = dict(
            zip(lacking, self._read_rows([asks[i] for i in lacking]), strict=True)
        )
        whole: Mapping[str, Any] = {_AS_OF: self._places.cutoff}
        return [{**stored.get(i, whole), **values} for i, values in enumerate(given)]

    def _read_rows(self, asks: Sequence[Ask]) -> list[Mapping[str, Any]]:
        if self._online is None or not asks:
            return [self._own_rows[ask.keys] for ask in asks]
        names = list(self._places.keys)
        columns = {name: [ask.keys[k] for ask in asks] for k, name in enumerate(names)}
        try:
            found = self._online.read(columns)
        except DataError as error:
            raise RequestError(
                [RequestProblem(400, item.what, item.where, item.fix) for item in error.problems]
            ) from error
        except ForetailError as error:
            what = "the online store does not answer"
            raise RequestError(RequestProblem(503, what, str(error).partition("\n")[0], "try again later")) from error
        return [
            {_AS_OF: found[_AS_OF][i], **{name: found[name][i] for name in self._declared}} for i in range(len(asks))
        ]

    def _first_step(self, ask: Ask, row: Mapping[str, Any], i: int, problems: list[RequestProblem]) -> int:
        """The step of the target date, counted from the row's own date; its problems where the row cannot answer it."""
        as_of, where = row[_AS_OF], f"instance {i}, target_date = {ask.target_date}"
        if as_of is None:
            fix = "materialize the features of this series, or give the whole row"
            problems.append(RequestProblem(422, "the online store has no feature row", where, fix, i))
            return 0
        told = _date_of(row)
        too_old = self._max_age is not None and dt.datetime.now(dt.UTC).date() - told > self._max_age
        if told < self._places.cutoff or (too_old and isinstance(as_of, dt.datetime)):
            what = f"the feature row is stale: it is as of {told}, the version of {self._places.cutoff}"
            problems.append(RequestProblem(422, what, where, "materialize newer features, or give the whole row", i))
            return 0
        step = self._places.steps_between(told, ask.target_date)
        if step is None or not 1 <= step <= self._h - ask.horizon + 1:
            last = self._places.date_after(told, self._h)
            what = "the date is no step of the horizon" if step is None else "the date lies outside the horizon"
            fix = f"dates after {told}, the row's own, to {last}"
            problems.append(RequestProblem(422, what, where, fix, i))
            return 0
        return step

    def _answered(
        self,
        asks: Sequence[Ask],
        rows: Sequence[Mapping[str, Any]],
        given: Sequence[Mapping[str, Any]],
        first: Sequence[int],
    ) -> list[Answered]:
        n_steps = np.array([ask.horizon for ask in asks], dtype=np.int64)
        of_ask = np.repeat(np.arange(len(asks)), n_steps)
        step = np.concatenate([np.arange(start, start + n) for start, n in zip(first, n_steps, strict=True)]).astype(
            np.int64
        )
        series = np.array([self._places.row_of(ask) for ask in asks], dtype=np.int64)
        values = self._forecast(rows, of_ask, step, series[of_ask])
        self._refuse_nothing(asks, rows, of_ask, step, values)
        model, version, dataset = self._says
        lacking = [[name for name in self._declared if row.get(name) is None] for row in rows]
        answered = []
        for i, k, numbers in zip(of_ask.tolist(), step.tolist(), values.tolist(), strict=True):
            row, cutoff = int(series[i]), _date_of(rows[i])
            source, warnings = self._sources[row], tuple(f"{name} is not known" for name in lacking[i])
            if source != "model":
                numbers, warnings = self._by_fallback(row, cutoff, k, bool(given[i]))
            y_hat, *quantiles = numbers
            ds = self._places.date_after(cutoff, k)
            named = dict(zip(self._columns, quantiles, strict=True))
            answered.append(
                Answered(asks[i].keys, ds, k, cutoff, y_hat, named, model, version, dataset, source, warnings)
            )
        return answered

    def _refuse_nothing(
        self,
        asks: Sequence[Ask],
        rows: Sequence[Mapping[str, Any]],
        of_ask: IntArray,
        step: IntArray,
        values: npt.NDArray[np.float64],
    ) -> None:
        """Refuse rows of which the model, and no fallback, makes nothing."""
        nothing = np.flatnonzero(~np.isfinite(values).all(axis=1))
        first = {int(of_ask[k]): int(step[k]) for k in nothing[::-1]}
        problems = []
        for i in sorted(first):
            if self._sources[self._places.row_of(asks[i]) or 0] == "model":
                where = f"instance {i}, the row as of {_date_of(rows[i])}, step {first[i]}"
                fix = "give the sales that it lacks, or values like those seen before"
                problems.append(RequestProblem(422, "the feature row leads to no believable forecast", where, fix, i))
        if problems:
            raise RequestError(problems)

    def _by_fallback(self, row: int, cutoff: dt.date, k: int, is_whatif: bool) -> tuple[list[float], Any]:
        """What the version's own forecast says of a series that the model does not answer."""
        place = (self._places.steps_between(self._places.cutoff, self._places.date_after(cutoff, k)) or 1) - 1
        warnings = ("answered by a fallback: overrides do not move it",) if is_whatif else ()
        return self._values[row, min(place, self._h - 1)].tolist(), warnings

    def _forecast(
        self, rows: Sequence[Mapping[str, Any]], of_ask: IntArray, step: IntArray, series: IntArray
    ) -> npt.NDArray[np.float64]:
        """``[n, 1 + Q]`` of some rows and steps, calibrated, within the rules."""
        model = self._bundle.model
        assert isinstance(model, ReadsStore)  # noqa: S101  (else this class is not made)
        columns = {name: _column(item, rows)[of_ask] for name, item in self._declared.items()}
        columns |= {name: texts[series] for name, texts in self._keys.items()}
        as_of = np.array([_date_of(row) for row in rows], dtype="datetime64[D]")
        y_hat, quantiles = model.predict_rows(columns, as_of[of_ask], step)
        at = np.arange(len(step)), step - 1
        point = np.zeros((len(step), self._h))
        own = np.zeros((len(step), self._h, len(DEFAULT_QUANTILES)))
        point[at], own[at] = y_hat, quantiles
        size = self._size.take(series)
        panel, levels = self._whatif.panel, self.info.levels
        made = Forecast(point, DEFAULT_QUANTILES, own)
        laid = with_intervals(made, size, self._intervals, levels, panel.spec.non_negative)
        assert laid.quantiles is not None  # noqa: S101  (they were laid a line ago)
        values = np.concatenate([point[at][:, None], laid.quantiles[at]], axis=1)[:, None]
        closed = self._closed(rows, of_ask, step, series)
        return within_rules(values, closed[:, None], panel.spec)[:, 0]

    def _closed(
        self, rows: Sequence[Mapping[str, Any]], of_ask: IntArray, step: IntArray, series: IntArray
    ) -> npt.NDArray[np.bool_]:
        """bool ``[n]``: periods that the bundle knows to be closed; of later ones nobody knows it."""
        panel = self._whatif.panel
        dates = map(_date_of, rows)
        ahead = np.array([self._places.steps_between(self._places.cutoff, date) or 0 for date in dates], dtype=np.int64)
        column = panel.n_periods - 1 + ahead[of_ask] + step
        inside = column < panel.closed.shape[1]
        closed: npt.NDArray[np.bool_] = panel.closed[series, np.where(inside, column, 0)] & inside
        return closed


def _date_of(row: Mapping[str, Any]) -> dt.date:
    """The as-of date of a row."""
    told = row[_AS_OF]
    date: dt.date = told.date() if isinstance(told, dt.datetime) else told
    return date


def _column(item: Feature, rows: Sequence[Mapping[str, Any]]) -> npt.NDArray[Any]:
    """A feature of each row: numbers as float64 with NaN where there is none, texts as they are."""
    values = [row.get(item.name) for row in rows]
    if item.dtype == "String":
        return np.array(values, dtype=object)
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64)
