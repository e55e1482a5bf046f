"""The first stages of every job: read the table, build its panel, keep its snapshot and what was set aside."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from importlib.util import find_spec

from foretail.backtest.run import ENSEMBLE, Backtest, Candidate, backtest
from foretail.core.errors import UsageError
from foretail.core.progress import Progress
from foretail.core.quantiles import check_quantiles
from foretail.core.settings import Settings
from foretail.features.demand import as_demanded
from foretail.models.families import make
from foretail.panel.build import PanelBuild, build_panel
from foretail.panel.hierarchy import check_hierarchy
from foretail.panel.panel import Panel
from foretail.panel.quarantine import keep_quarantine, with_released
from foretail.panel.snapshot import save_snapshot
from foretail.pipelines.check import open_request
from foretail.pipelines.request import Request

__all__ = ["Prepared", "backtest_prepared", "prepare"]

AUTO = (
    "seasonal_naive",
    "historic_average",
    "seasonal_window_average",
    "tsb",
    "theta",
    "auto_ets",
    "mstl",
    "profile",
    "boosting",
    "neural",
)
# most series for which these are fitted one by one unless asked for: they take 2 to 40 seconds a thousand and window
_MOST_SERIES = {"theta": 10_000, "auto_ets": 300, "mstl": 300}
# days of sales from which the network joins: it errs where trees do not, and both together less than either; weeks are
# too few for that
_FEWEST_DAYS = 100_000


@dataclass(frozen=True)
class Prepared:
    """A request with its data.

    Attributes
    ----------
    request : what was asked. build : the panel, its quality report, the rows to answer.
    candidates : families that take part. notes : what was guessed, repaired or set aside, to be told.
    """

    request: Request
    build: PanelBuild
    candidates: tuple[Candidate, ...]
    notes: tuple[str, ...]

    @property
    def panel(self) -> Panel:
        return self.build.panel

    @cached_property
    def demand(self) -> Panel:
        """The panel as a model sees it: the estimated demand in place of sales that are none."""
        return as_demanded(self.panel)

    @property
    def h(self) -> int:
        return self.panel.spec.horizon


def prepare(request: Request, settings: Settings, progress: Progress) -> Prepared:
    """Read and check.

    Raises
    ------
    UsageError : an unknown family, an ensemble of nothing, or a quantile that is none; said before anything is read.
    MissingExtraError : the package of a family is not installed.
    DataError : the table cannot be used as it is.
    """
    check_quantiles(request.quantiles)
    _check_families(request.models)
    with progress.stage("read"):
        table = with_released(open_request(request, settings), settings.home)
    with progress.stage("check"):
        build = build_panel(table, cutoff=request.cutoff, horizon=request.horizon)
        of_levels = check_hierarchy(build.series, build.panel.spec, build.quality)
        version = save_snapshot(build.panel, settings.home)
        build = replace(build, panel=replace(build.panel, dataset_version=version))
        notes = [*table.notes, *of_levels]
        if build.quarantine.height:
            keep_quarantine(build.quarantine, settings.home, build.panel.spec.name)
            notes.append(
                f"{build.quarantine.height} rows were set aside with their reasons under {settings.home / 'quarantine'}"
            )
    notes += [finding.text for finding in build.quality.findings if finding.level == "warning"]
    if "auto" in request.models and _suits_network(build.panel) and not _has_torch():
        notes.append("neural, which helps on many days of sales, did not take part: pip install 'foretail[neural]'")
    return Prepared(request, build, _candidates(request, build.panel), tuple(notes))


def backtest_prepared(prepared: Prepared, settings: Settings, progress: Progress) -> Backtest:
    """The backtest of a prepared request."""
    request = prepared.request
    return backtest(
        prepared.panel,
        prepared.h,
        prepared.candidates,
        levels=request.quantiles,
        seed=request.seed,
        n_workers=settings.n_workers,
        budget_s=request.budget_s,
        progress=progress,
    )


def _candidates(request: Request, panel: Panel) -> tuple[Candidate, ...]:
    auto = [name for name in AUTO if _joins(name, panel)]
    names = [item for name in request.models for item in (auto if name == "auto" else (name,))]
    return tuple(Candidate(name) for name in dict.fromkeys(names) if name != ENSEMBLE)


def _joins(name: str, panel: Panel) -> bool:
    """Whether a family of `AUTO` takes part unasked."""
    if name == "neural":
        return _suits_network(panel) and _has_torch()
    return panel.n_series <= _MOST_SERIES.get(name, panel.n_series)


def _suits_network(panel: Panel) -> bool:
    return panel.frequency.is_daily and int(panel.observed.sum()) >= _FEWEST_DAYS


def _has_torch() -> bool:
    return find_spec("torch") is not None


def _check_families(names: tuple[str, ...]) -> None:
    for name in names:
        if name != "auto":
            make(name)
    if names and set(names) == {ENSEMBLE}:
        raise UsageError(
            "an ensemble is mixed from other families, and none is named.\n  where: --models ensemble"
            "\n  fix:   --models auto, or the families to mix: --models theta,profile,boosting"
        )
