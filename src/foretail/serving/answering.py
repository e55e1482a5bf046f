"""How a version answers: forecasts of all series are computed once, what-ifs when they are asked.

Without overrides an answer is a row of the forecasts that `foretail forecast` writes. With them the model is asked
again, and its calibrated intervals are laid around the new forecast. Needs no server.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from foretail.core.errors import ForecastError
from foretail.core.quantiles import quantile_column
from foretail.forecasts.explain import Explainer
from foretail.forecasts.heeding import reconciler
from foretail.forecasts.whatif import WhatIf
from foretail.models.intervals import Conformal
from foretail.registry.bundle import Bundle
from foretail.serving.asks import Answered, Ask, Explained, ServedInfo
from foretail.serving.errors import RequestError, RequestProblem
from foretail.serving.overrides import known_covariates, read_overrides
from foretail.serving.places import Places

__all__ = ["SAME", "Answering", "ReadsStore"]

FloatArray = npt.NDArray[np.float64]
Computed = tuple[FloatArray, str, tuple[str, ...]]  # values ``[H, 1 + Q]``, source, warnings
Told = tuple[dict[str, dict[int, float]], tuple[str, ...]]  # overrides by name and step, warnings
SAME = 1e-9  # relative difference of two ways to the same forecast


@runtime_checkable
class ReadsStore(Protocol):
    """A family that can take its features row by row, from the store or a request."""

    features: str

    def predict_rows(
        self, features: Mapping[str, npt.NDArray[Any]], as_of: npt.NDArray[np.datetime64], step: npt.NDArray[np.int64]
    ) -> tuple[FloatArray, FloatArray]:
        """Point forecast ``[n]`` and quantiles ``[n, Q]`` at the default levels; NaN where a row is not enough for one.

        Parameters
        ----------
        features : ``[n]`` by name, the keys among them. as_of : datetime64[D] ``[n]``, of the rows. step : ``[n]``.
        """


class Answering:
    """Answers for one model version; may be shared by threads.

    Parameters
    ----------
    bundle : the version. label : what answers call it, ``sales-forecast/3``.

    Attributes
    ----------
    info : what it can be asked. golden : an ask and its answer, to prove a server with.
    """

    info: ServedInfo
    golden: tuple[Ask, Answered]

    def __init__(self, bundle: Bundle, label: str):
        info = bundle.info
        self._h, self._bundle = min(info.horizon, info.spec.horizon), bundle
        panel = replace(bundle.panel, spec=info.spec.but(horizon=self._h))
        intervals = Conformal.from_arrays(bundle.calibration)
        heeds = reconciler(bundle.levels, bundle.panel)
        self._whatif = WhatIf(panel, bundle.model, self._h, intervals, info.levels, heeds)
        self._values, self._sources = self._whatif.as_it_is()
        self._explainer = Explainer(bundle.model, panel, self._whatif.forecast, self._whatif.point)
        self._places = Places(panel, self._h)
        self._features = known_covariates(self._whatif.panel)
        self._columns = tuple(map(quantile_column, info.levels))
        self._says = (info.model, label, info.dataset_version)
        self._not_told = _not_told(self._whatif)
        self.info = self._described(label)
        self.golden = self._golden()

    def _described(self, label: str) -> ServedInfo:
        info, dates = self._bundle.info, self._places.dates
        return ServedInfo(
            name=info.model,
            version=label,
            family=info.tree.family,
            cutoff=self._bundle.panel.cutoff,
            horizon=self._h,
            freq=info.spec.freq,
            first=dates[0],
            last=dates[-1],
            keys=self._places.keys,
            features={name: feature.datatype for name, feature in self._features.items()},
            levels=info.levels,
            n_series=self._bundle.panel.n_series,
            target=info.spec.target,
            unit=info.spec.unit,
            dataset_version=info.dataset_version,
        )

    # the golden request

    def _golden(self) -> tuple[Ask, Answered]:
        """The first date of the largest series that the model itself answers."""
        by_model = np.array([source == "model" for source in self._sources])
        size = np.where(by_model | ~by_model.any(), self._values[:, 0, 0], -1.0)
        row = int(size.argmax())
        columns = (self._bundle.panel.series[name].to_list()[row] for name in self._places.keys)
        kinds = self._places.keys.values()
        keys = tuple(str(value) if kind == "BYTES" else value for value, kind in zip(columns, kinds, strict=True))
        ask = Ask(keys, self._places.dates[0])
        return ask, next(self._rows(ask, row, 0, self._values[row], self._sources[row], ()))

    def check(self) -> None:
        """Prove that the version answers: the golden request, looked up and, as a what-if of what is known, computed.

        Raises
        ------
        ForecastError : an answer is no number, or the two differ by more than 1e-9 of the forecast.
        """
        ask, expected = self.golden
        row, first = self._places.find(ask) or (-1, -1)
        change = self._whatif.change([row], [{}])
        found = self._whatif.answers(change)[0].values[first]
        wanted = np.array([expected.y_hat, *expected.quantiles.values()])
        if not np.isfinite(wanted).all() or not np.allclose(found, wanted, rtol=SAME, atol=SAME):
            raise ForecastError(
                f"the version does not give the same forecast twice: {found[0]!r} and {expected.y_hat!r}."
                f"\n  where: {self.info.version}, {ask.keys} on {ask.target_date}"
                "\n  fix:   train the model again; this is a defect of the family"
            )

    # answers

    def score(self, asks: Sequence[Ask]) -> list[Answered]:
        """One answer per step asked, instance after instance.

        Parameters
        ----------
        asks : instances; those without overrides cost a look-up, all others together one more forecast of their series.

        Raises
        ------
        RequestError : every instance that cannot be answered, and why.
        """
        found: list[tuple[int, int] | None] = list(map(self._places.find, asks))
        told: dict[int, Told] = {}
        problems: list[RequestProblem] = []
        for i, (ask, place) in enumerate(zip(asks, found, strict=True)):
            if place is None:
                problems.extend(self._places.why(ask, i))
            if ask.overrides:
                told[i] = self._read(ask, i, place[1] if place else 0, problems)
        if problems:
            raise RequestError(problems)
        places = [place for place in found if place is not None]
        computed = self._computed(places, told) if told else {}
        answered: list[Answered] = []
        for i, (ask, (row, first)) in enumerate(zip(asks, places, strict=True)):
            values, source, warnings = computed.get(i) or (self._values[row], self._sources[row], ())
            answered.extend(self._rows(ask, row, first, values, source, warnings))
        return answered

    def _read(self, ask: Ask, i: int, first: int, problems: list[RequestProblem]) -> Told:
        """The overrides of an instance by name and step, and what is unusual about them."""
        if not isinstance(ask.overrides, Mapping):
            problems.append(RequestProblem(400, "overrides are no object", f"instance {i}", "feature: value", i))
            return {}, ()
        horizon = ask.horizon if type(ask.horizon) is int and 1 <= ask.horizon <= self._h else 1
        values: dict[str, dict[int, float]] = {}
        warnings: dict[str, None] = {}
        for item in read_overrides(ask.overrides, horizon, self._features, i):
            if isinstance(item, RequestProblem):
                problems.append(item)
                continue
            feature, numbers = item
            values[feature.name] = {first + 1 + k: float(number) for k, number in enumerate(numbers)}
            warnings |= dict.fromkeys(filter(None, map(feature.warning, numbers)))
        return values, tuple(warnings)

    def _computed(self, places: Sequence[tuple[int, int]], told: Mapping[int, Told]) -> dict[int, Computed]:
        """The what-ifs, all in one go: values ``[H, 1 + Q]``, source and warnings by instance."""
        change = self._whatif.change([places[i][0] for i in told], [values for values, _ in told.values()])
        answers = self._whatif.answers(change)
        return {
            i: (answer.values, answer.source, warnings)
            for (i, (_, warnings)), answer in zip(told.items(), answers, strict=True)
        }

    def explain(self, asks: Sequence[Ask]) -> list[Explained]:
        """What each answer of `score` is made of, in the same order.

        Raises
        ------
        RequestError : as `score`.
        """
        answered = iter(self.score(asks))
        return [item for ask in asks for item in self._explained(ask, [next(answered) for _ in range(ask.horizon)])]

    def _explained(self, ask: Ask, answered: Sequence[Answered]) -> Iterator[Explained]:
        row = self._places.row_of(ask)
        assert row is not None  # noqa: S101  (it was answered)
        explainer = self._explainer
        if ask.overrides:
            values, _ = self._read(ask, 0, answered[0].step - 1, [])
            whole = self._whatif.whole(self._whatif.change([row], [values]), 0)
            explainer = Explainer(self._bundle.model, whole.panel, whole.forecast, whole.point)
        steps = np.array([item.step for item in answered])
        found = explainer.explain(np.full(len(steps), row), steps)
        by_row = found.features.partition_by("row", as_dict=True, include_key=False)
        for i, item in enumerate(answered):
            features = by_row[(i,)].to_dicts() if (i,) in by_row else []
            parts = dict(zip(found.groups, found.parts[i].tolist(), strict=True))
            yield Explained(item, float(found.base[i]), parts, tuple(features))

    def _rows(
        self, ask: Ask, row: int, first: int, values: FloatArray, source: str, warnings: tuple[str, ...]
    ) -> Iterator[Answered]:
        model, version, dataset = self._says
        for k in range(first, first + ask.horizon):
            y_hat, *quantiles = values[k].tolist()
            yield Answered(
                ask.keys,
                self._places.dates[k],
                k + 1,
                self._places.cutoff,
                y_hat,
                dict(zip(self._columns, quantiles, strict=True)),
                model,
                version,
                dataset,
                source,
                self._warned(row, k, ask.overrides, warnings) if self._not_told else warnings,
            )

    def _warned(self, row: int, k: int, overrides: Mapping[str, Any], warnings: tuple[str, ...]) -> tuple[str, ...]:
        """The warnings, and which known covariates nobody told for this date."""
        lacking = [name for name, missing in self._not_told.items() if missing[row, k] and name not in overrides]
        return (*warnings, *(f"{name} is not known for this date" for name in lacking))


def _not_told(whatif: WhatIf) -> dict[str, npt.NDArray[np.bool_]]:
    """Known covariates that are always told in the history and not always in the future: bool ``[N, H]`` where not."""
    t, observed = whatif.panel.n_periods, whatif.panel.observed
    lacking = {}
    for item in whatif.panel.known:
        told = np.isfinite(item.values)
        if told[:, :t][observed].all() and not told[:, t:].all():
            lacking[item.name] = ~told[:, t:]
    return lacking
