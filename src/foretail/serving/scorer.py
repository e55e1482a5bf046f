"""One model version ready to answer: read from its bundle, proven by its golden request. Needs no server."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import TYPE_CHECKING

from foretail.registry.bundle import read_bundle
from foretail.serving.answering import Answering, ReadsStore
from foretail.serving.asks import Answered, Ask, Explained, ServedInfo
from foretail.serving.store_answering import StoreAnswering

if TYPE_CHECKING:
    from foretail.features.online.reader import OnlineReader

__all__ = ["Answered", "Ask", "Explained", "Scorer", "ServedInfo", "StoreScorer"]


class Scorer(Answering):
    """Answers for one model version; may be shared by threads. See `Answering`."""

    @classmethod
    def load(
        cls, folder: Path, label: str, *, online: OnlineReader | None = None, max_age: dt.timedelta | None = None
    ) -> Scorer:
        """Read a bundle, forecast every series, and check the golden request.

        Parameters
        ----------
        folder : of the bundle. label : of the version.
        online : where a version that reads the feature store finds its rows; the sales in the bundle when None.
        max_age : of such a row, against the clock; rows older than the version's own cutoff are always refused.

        Raises
        ------
        RegistryError : the bundle is not whole. ForecastError : it does not forecast, or not the same by every way.
        """
        bundle = read_bundle(Path(folder))
        if isinstance(bundle.model, ReadsStore) and bundle.model.features == "store":
            scorer: Scorer = StoreScorer(bundle, label, online, max_age)
        else:
            scorer = cls(bundle, label)
        scorer.check()
        return scorer


class StoreScorer(StoreAnswering, Scorer):
    """A `Scorer` whose features are rows of the feature store. See `StoreAnswering`."""
