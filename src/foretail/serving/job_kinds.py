"""What each kind of job does, in the process that does it: one series trained anew, or the whole fleet."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from foretail.core.errors import UsageError, nearest
from foretail.core.progress import Stage
from foretail.core.settings import Settings
from foretail.pipelines.fleet import FleetRequest, fleet_request, fleet_train, retrain_series
from foretail.warehouse.database import open_warehouse

__all__ = ["JobKinds"]

Tell = Callable[[float, str], None]


@dataclass(frozen=True)
class JobKinds:
    """The jobs of one fleet.

    Attributes
    ----------
    fleet : its name in the warehouse. settings : where everything is.
    request : how the whole fleet is trained; None for as it was trained before.
    """

    fleet: str
    settings: Settings
    request: FleetRequest | None = None

    def run(self, job: Mapping[str, Any], tell: Tell) -> dict[str, Any]:
        """Do a job.

        Parameters
        ----------
        job : ``job_id, kind, store, product``. tell : called with the share done (0 to 1) and what is done now.

        Raises
        ------
        UsageError : an unknown kind, or a fleet that this worker cannot train. ForetailError : it cannot be done.
        """
        kinds = {"fleet": self._train_fleet, "series": self._train_series}
        kind = str(job["kind"])
        if kind not in kinds:
            raise UsageError(f"unknown kind of job {kind!r}.\n  where: the job\n  fix:   {nearest(kind, kinds)}")
        return kinds[kind](job, tell)

    def to_plain(self) -> dict[str, Any]:
        """As JSON holds it, to be read by `from_plain` in another process."""
        settings = {name: str(value) for name, value in vars(self.settings).items() if value is not None}
        settings["workers"] = self.settings.workers  # type: ignore[assignment]  # the only number
        return {
            "fleet": self.fleet,
            "settings": settings,
            "request": None if self.request is None else self.request.to_dict(),
        }

    @classmethod
    def from_plain(cls, values: Mapping[str, Any]) -> JobKinds:
        """Read what `to_plain` gave."""
        settings = dict(values["settings"])
        settings["home"] = Path(settings["home"])
        request = values["request"]
        return cls(values["fleet"], Settings(**settings), None if request is None else FleetRequest.from_dict(request))

    def warm_up(self) -> None:
        """Load what a job needs, so that the first is as quick as the next."""
        open_warehouse(self.settings.warehouse).dispose()

    def _train_series(self, job: Mapping[str, Any], tell: Tell) -> dict[str, Any]:
        tell(0.1, f"train store {job['store']}, product {job['product']}")
        version = retrain_series(self.fleet, str(job["store"]), str(job["product"]), self.settings)
        return {
            "model_name": version.model_id,
            "model_version": str(version.version),
            "status": version.status,
            "reason": version.reason,
            "is_champion": version.is_champion,
            "run_id": version.run_id,
        }

    def _train_fleet(self, job: Mapping[str, Any], tell: Tell) -> dict[str, Any]:  # noqa: ARG002  (it is for all)
        asked = self.request or replace(fleet_request(self.settings, self.fleet), fleet=self.fleet)
        result = fleet_train(asked, self.settings, _Told(tell))
        return {name: value for name, value in result.to_dict().items() if name != "notes"}


class _Told:
    """Progress of a pipeline as a share; how many stages come is not known, so that each takes half of the rest."""

    def __init__(self, tell: Tell):
        self._tell = tell
        self._done = 0.0

    @contextmanager
    def stage(self, name: str, total: int = 1) -> Iterator[Stage]:
        """Begin a stage."""
        width = (1 - self._done) / 2
        stage = _ToldStage(self._tell, name, self._done, width, total)
        self._tell(self._done, name)
        yield stage
        self._done += width


class _ToldStage:
    def __init__(self, tell: Tell, name: str, first: float, width: float, total: int):
        self._tell, self._name, self._first, self._width, self._total = tell, name, first, width, max(1, total)
        self._n = 0
        self._told = 0

    def advance(self, n: int = 1) -> None:
        """Tell at most twenty times a stage."""
        self._n += n
        twentieth = 20 * self._n // self._total
        if twentieth > self._told:
            self._told = twentieth
            self._tell(self._first + self._width * min(1.0, self._n / self._total), self._name)

    def describe(self, text: str) -> None:
        self._tell(self._first + self._width * min(1.0, self._n / self._total), text)
