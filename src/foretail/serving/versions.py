"""Which model versions are loaded: a name and alias are followed, the new loaded beside the old, swapped.

The old version answers until the new one is loaded and its golden request is right; a version that cannot be loaded
leaves the old one in place, and says so in the log, in `/metrics` and in the answer to ``GET /v1/models/NAME``.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from foretail.core.errors import ForetailError, RegistryError, UsageError
from foretail.models.families import parse
from foretail.registry.bundle import read_info
from foretail.registry.versions import Registry
from foretail.serving import metrics
from foretail.serving.scorer import Scorer

if TYPE_CHECKING:
    from foretail.core.settings import Settings
    from foretail.features.online.reader import OnlineReader
    from foretail.registry.info import FamilyTree

__all__ = ["Reference", "Shelf", "Slot", "Watcher"]

logger = logging.getLogger(__name__)

_RETRY_S = 60.0  # a version that could not be loaded is tried again after that long


@dataclass(frozen=True)
class Reference:
    """What is to be served.

    Attributes
    ----------
    name : as clients ask for it. version : alias or number of a registered model.
    folder : of a bundle, for one that is in no registry; ``version`` is then the folder's name.
    """

    name: str
    version: str = "champion"
    folder: Path | None = None

    @classmethod
    def parse(cls, text: str) -> Reference:
        """``NAME``, ``NAME@alias``, ``NAME/version``, ``NAME=FOLDER`` or the folder of a bundle.

        Raises
        ------
        UsageError : a name or version is missing.
        """
        name, has_folder, path = text.partition("=")
        if not has_folder and (Path(text) / "bundle.json").exists():
            name, has_folder, path = Path(text).absolute().name, "=", text
        if has_folder:
            reference = cls(name, Path(path).absolute().name, Path(path).absolute())
        else:
            name, at, version = text.partition("@" if "@" in text else "/")
            reference = cls(name, version if at else "champion")
        if not reference.name or not reference.version or "/" in reference.name:
            fix = "NAME, NAME@alias, NAME/version or NAME=FOLDER"
            raise UsageError(f"not a reference to a model: {text!r}.\n  where: --model\n  fix:   {fix}")
        return reference

    def __str__(self) -> str:
        return f"{self.name}={self.folder}" if self.folder else f"{self.name}@{self.version}"


class Slot:
    """The place of one reference: the scorer that answers for it now.

    Attributes
    ----------
    scorer : None until the first is loaded, or where an alias stands for no version.
    number : its version as the registry counts; the folder's name for one that is in none.
    trouble : why a newer version is not the one that answers; "" if none.
    """

    def __init__(self, reference: Reference):
        self.reference = reference
        self.scorer: Scorer | None = None
        self.number = ""
        self.trouble = ""
        self.failed: tuple[str, float] = ("", 0.0)

    def may_try(self, number: str) -> bool:
        """Whether a version is new here, and did not fail a moment ago."""
        failed, at = self.failed
        return number != self.number and not (number == failed and time.monotonic() < at + _RETRY_S)

    def swap(self, scorer: Scorer | None, number: str) -> None:
        """Let another scorer answer from now on; requests under way keep theirs."""
        before = self.number
        self.scorer = scorer
        self.number = number
        self.trouble = ""
        metrics.SWAPS.labels(self.reference.name, self.reference.version).inc()
        metrics.loaded(self.reference.name, self.reference.version, before, number)
        logger.info("%s is version %s now (before: %s)", self.reference, number or "none", before or "none")

    def keep(self, number: str, error: Exception) -> None:
        """Stay with the scorer there is, and say why."""
        self.failed = (number, time.monotonic())
        self.trouble = f"version {number} cannot be served: {error}"
        metrics.LOAD_FAILURES.labels(self.reference.name, self.reference.version).inc()
        logger.error("%s stays at version %s; %s", self.reference, self.number or "none", self.trouble)


class Shelf:
    """All slots of a server, filled from the registry.

    Parameters
    ----------
    references : what is served. optional : references that may stand for nothing (canary, shadow).
    settings : where the registry is. online : opens the online store, called once, for the first model that reads it.
    """

    def __init__(
        self,
        references: Iterable[Reference],
        optional: Iterable[Reference],
        settings: Settings,
        online: Callable[[], OnlineReader] | None = None,
    ):
        self.slots = {reference: Slot(reference) for reference in references}
        self._optional = set(optional) - set(self.slots)
        self.slots |= {reference: Slot(reference) for reference in self._optional}
        self._registry = Registry(settings)
        self._open = online
        self._online: OnlineReader | None = None
        self._lock = threading.Lock()

    def fill(self) -> None:
        """Load every reference for the first time.

        Raises
        ------
        ForetailError : one that must be there is not, or cannot be loaded.
        """
        for slot in self.slots.values():
            number = self._number_of(slot)
            if number:
                slot.swap(self._load(slot.reference, number), number)
            elif slot.reference not in self._optional:
                fix = f"foretail models promote {slot.reference.name}, or another alias"
                raise RegistryError(
                    f"no version has that alias.\n  where: {slot.reference}\n  fix:   {fix}, see foretail models list"
                )
            else:
                logger.warning("no version is %s yet: nothing goes to it", slot.reference)

    def refresh(self, names: Iterable[str] | None = None) -> None:
        """Look where the aliases stand, and load and swap what has moved; no trouble ends it, every trouble is told."""
        wanted = None if names is None else set(names)
        with self._lock:
            for slot in self.slots.values():
                if slot.reference.folder is None and (wanted is None or slot.reference.name in wanted):
                    self._refresh(slot)

    def _refresh(self, slot: Slot) -> None:
        try:
            number = self._number_of(slot)
        except ForetailError as error:
            slot.trouble = f"the registry does not answer: {error}"
            logger.warning("%s stays at version %s; %s", slot.reference, slot.number or "none", slot.trouble)
            return
        if not number:
            self._emptied(slot)
        elif number == slot.number:
            slot.trouble = ""
        elif slot.may_try(number):
            try:
                slot.swap(self._load(slot.reference, number), number)
            except Exception as error:  # whatever a version does wrong, the old one goes on answering
                slot.keep(number, error)

    def _emptied(self, slot: Slot) -> None:
        """An alias that stands for nothing: an optional one gets no traffic, another keeps what it had."""
        if slot.reference in self._optional:
            if slot.number:
                slot.swap(None, "")
        else:
            slot.trouble = f"no version is {slot.reference.version} any more"

    def _number_of(self, slot: Slot) -> str:
        """The version that a reference stands for; "" if none does."""
        reference = slot.reference
        if reference.folder is not None:
            return reference.version
        if reference.version.isdigit():
            return reference.version
        versions = self._registry.list_versions(reference.name)
        return next((str(item.version) for item in versions if reference.version in item.aliases), "")

    def _load(self, reference: Reference, number: str) -> Scorer:
        if reference.folder is not None:
            folder, label = reference.folder, reference.folder.name
        else:
            folder, label = self._registry.fetch(reference.name, int(number)), f"{reference.name}/{number}"
        started = time.perf_counter()
        scorer = Scorer.load(folder, label, online=self._reader(folder))
        logger.info("loaded %s in %.1f s", label, time.perf_counter() - started)
        return scorer

    def _reader(self, folder: Path) -> OnlineReader | None:
        """The online store, if the bundle's model reads its features there."""
        if self._online is None and self._open is not None and _reads_store(read_info(folder).tree):
            self._online = self._open()
        return self._online


class Watcher(threading.Thread):
    """Calls `Shelf.refresh` every ``poll_s`` seconds until it is stopped."""

    def __init__(self, shelf: Shelf, poll_s: float):
        super().__init__(name="foretail-versions", daemon=True)
        self._shelf = shelf
        self._poll_s = poll_s
        self._stopped = threading.Event()

    def run(self) -> None:
        """Poll."""
        while not self._stopped.wait(self._poll_s):
            self._shelf.refresh()

    def stop(self) -> None:
        """End after the refresh under way, if any."""
        self._stopped.set()


def _reads_store(tree: FamilyTree) -> bool:
    """Whether it looks rows up: a member of an ensemble answers from the sales in the bundle, as the others do."""
    named = parse(tree.family)[1]
    return (named | dict(tree.params)).get("features") == "store"
