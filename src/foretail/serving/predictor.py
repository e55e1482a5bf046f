"""KServe's model: one name that is served, each request taken from the wire to a version's scorer and back."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from kserve import Model
from kserve.model import InferenceVerb

from foretail.core.quantiles import quantile_column
from foretail.serving import metrics
from foretail.serving.asks import Ask, Explained
from foretail.serving.errors import RequestError, refuse
from foretail.serving.requestlog import RequestLog
from foretail.serving.scorer import Scorer
from foretail.serving.slow_lane import SlowLane
from foretail.serving.tensors import (
    PREDICTIONS,
    Output,
    Question,
    answer_parameters,
    answer_tensors,
    has_steps,
    read_tensors,
)
from foretail.serving.traffic import Route, Shadow
from foretail.serving.versions import Slot
from foretail.serving.wire import (
    MAX_INSTANCES,
    TARGET_DATE,
    Inputs,
    check_count,
    dump_json,
    explanation,
    load_json,
    prediction,
    read_instances,
)

__all__ = ["Call", "Predictor", "TensorAnswer"]

_QUICK_ROWS = 500  # rows that are answered on the event loop; more, and whatever computes, goes to a thread


@dataclass(frozen=True)
class Call:
    """A request as it came.

    Attributes
    ----------
    protocol : ``v1``, ``v2`` or ``grpc``. body : the bytes of V1, the question of the others.
    version : asked for by the client; "" leaves it to the server. request_id : the client's own.
    """

    protocol: str
    body: bytes | Question
    version: str = ""
    request_id: str = ""


@dataclass(frozen=True)
class TensorAnswer:
    """The answer to a V2 request, before it is JSON, bytes or protobuf."""

    model_name: str
    model_version: str
    question: Question
    outputs: list[Output]
    parameters: Mapping[str, str]


@dataclass
class _Batch:
    """A request on its way: who answers it, what is asked, what came out."""

    call: Call
    slot: Slot
    scorer: Scorer
    asks: Sequence[Ask]
    answered: Sequence[Any] = field(default=())

    @property
    def n_rows(self) -> int:
        return sum(ask.horizon for ask in self.asks)

    @property
    def is_quick(self) -> bool:
        """Whether few rows are looked up and nothing is computed or fetched."""
        computes = self.scorer.info.reads_store or any(ask.overrides for ask in self.asks)
        return not computes and self.n_rows <= _QUICK_ROWS


class Predictor(Model):  # type: ignore[misc]  # kserve carries no types
    """Answers for one name.

    Parameters
    ----------
    name : as clients ask for it. route : its versions. slow : where long work runs.
    shadow : compares answers, None for no shadow. log : the request log, None for none.
    max_instances : instances, and rows of the answer, of one request.
    """

    def __init__(
        self,
        name: str,
        route: Route,
        slow: SlowLane,
        *,
        shadow: Shadow | None = None,
        log: RequestLog | None = None,
        max_instances: int = MAX_INSTANCES,
    ):
        super().__init__(name)
        self.route = route
        self._slow = slow
        self._shadow = shadow
        self._log = log
        self._max_instances = max_instances
        self.ready = True

    async def healthy(self) -> bool:
        """Whether the version that answers by default is loaded."""
        return self.ready and self.route.default.scorer is not None

    async def __call__(
        self, body: Call, headers: dict[str, str] | None = None, verb: InferenceVerb = InferenceVerb.PREDICT
    ) -> Any:
        """Answer a call, count it and note it in the request log."""
        started = time.perf_counter()
        try:
            answer, response_headers = await super().__call__(body, headers, verb)
        except RequestError as error:
            metrics.REFUSED.labels(self.name, body.protocol, str(error.status)).inc()
            self._note(body, body.version, error.status, 0, started)
            raise
        reply, batch = answer
        metrics.REQUESTS.labels(self.name, batch.slot.number, body.protocol).inc()
        self._note(body, batch.slot.number, 200, len(batch.asks), started)
        if self._shadow is not None and verb is InferenceVerb.PREDICT:
            self._shadow.mirror(batch.asks, batch.answered)
        return reply, response_headers

    def validate(self, payload: _Batch) -> _Batch:
        """Everything was checked when it was read."""
        return payload

    async def preprocess(self, payload: Call, headers: dict[str, str] | None = None) -> _Batch:  # noqa: ARG002
        """Choose who answers, and read what is asked in the terms of that version."""
        slot = self.route.choose(payload.version)
        scorer = slot.scorer
        if scorer is None:
            raise refuse(503, "the version was taken away", str(slot.reference), "ask again")
        inputs = Inputs.of(scorer.info)
        limit = self._max_instances
        if isinstance(payload.body, Question):
            asks = read_tensors(payload.body, inputs, max_instances=limit)
        else:
            asks = read_instances(load_json(payload.body), inputs, max_instances=limit)
        batch = _Batch(payload, slot, scorer, asks)
        check_count(batch.n_rows, limit)
        return batch

    async def predict(self, payload: _Batch, headers: dict[str, str] | None = None) -> _Batch:  # noqa: ARG002
        """Score: at once what is only looked up, on a thread what computes."""
        if not payload.is_quick:
            payload.answered = await self._slow.score(payload.scorer, payload.asks)
        else:
            payload.answered = payload.scorer.score(payload.asks)
        return payload

    async def explain(self, payload: _Batch, headers: dict[str, str] | None = None) -> _Batch:  # noqa: ARG002
        """Say what each forecast is made of."""
        if isinstance(payload.call.body, Question):
            raise refuse(400, "V2 has no verb for explanations", "the protocol", f"POST /v1/models/{self.name}:explain")
        payload.answered = await self._slow.run(payload.scorer.explain, payload.asks)
        return payload

    async def postprocess(
        self,
        result: _Batch,
        headers: dict[str, str] | None = None,  # noqa: ARG002
    ) -> tuple[bytes | TensorAnswer, _Batch]:
        """The answer in the form of its protocol."""
        if len(result.answered) > _QUICK_ROWS:
            return await self._slow.run(self._reply, result), result
        return self._reply(result), result

    def get_input_types(self) -> list[dict[str, Any]]:
        """The tensors that a V2 request must bring."""
        keys = Inputs.of(self._scorer().info).keys
        return [
            {"name": name, "datatype": kind, "shape": [-1]} for name, kind in [*keys.items(), (TARGET_DATE, "BYTES")]
        ]

    def get_output_types(self) -> list[dict[str, Any]]:
        """The tensors that a V2 answer holds."""
        names = [PREDICTIONS, *map(quantile_column, self._scorer().info.levels)]
        return [{"name": name, "datatype": "FP64", "shape": [-1]} for name in names]

    def describe(self) -> dict[str, Any]:
        """What is served under this name, as ``GET /v1/models/NAME`` answers."""
        info = self._scorer().info
        return {
            "version": self.route.default.number,
            "cutoff": info.cutoff,
            "horizon": info.horizon,
            "keys": dict(info.keys),
            "features": dict(info.features),
            "quantiles": list(map(quantile_column, info.levels)),
            "dates": [info.first, info.last],
            "versions": [
                {
                    "alias": slot.reference.version,
                    "version": slot.number or None,
                    "trouble": slot.trouble or None,
                }
                for slot in self.route.slots
            ],
        }

    def _scorer(self) -> Scorer:
        scorer = self.route.choose(self.route.default.reference.version).scorer
        if scorer is None:
            raise refuse(503, "the version was taken away", self.name, "ask again")
        return scorer

    def _reply(self, batch: _Batch) -> bytes | TensorAnswer:
        keys = list(batch.scorer.info.keys)
        question = batch.call.body
        if isinstance(question, Question):
            outputs = answer_tensors(batch.answered, list(question.outputs), has_steps=has_steps(batch.asks))
            return TensorAnswer(self.name, batch.slot.number, question, outputs, answer_parameters(batch.answered))
        if batch.answered and isinstance(batch.answered[0], Explained):
            return dump_json({"explanations": [explanation(row, keys) for row in batch.answered]})
        return dump_json({"predictions": [prediction(row, keys) for row in batch.answered]})

    def _note(self, call: Call, version: str, status: int, instances: int, started: float) -> None:
        if self._log is not None:
            took = 1000 * (time.perf_counter() - started)
            self._log.put((time.time(), call.request_id, self.name, version, call.protocol, status, instances, took))
