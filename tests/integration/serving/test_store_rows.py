"""From a table to an answer through the feature store: applied, materialized, trained, served, the same throughout."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from foretail.core.errors import PromotionRefused
from foretail.core.progress import Silent
from foretail.core.settings import Settings
from foretail.features.online import OnlineReader
from foretail.pipelines.features import apply_features, materialize_features, open_repository
from foretail.pipelines.forecast import forecast_version
from foretail.pipelines.request import Request
from foretail.pipelines.train import train_request
from foretail.registry.versions import Registry
from foretail.serving.errors import RequestError
from foretail.serving.scorer import Answered, Ask, Scorer, StoreScorer

H = 4
NAME = "store-rows"
WORLD = {
    "stores": 2,
    "departments": 3,
    "weeks": 70,
    "horizon": H,
    "opening_share": 0.0,
    "closing_share": 0.0,
    "seed": 3,
}
FAMILY = "neural[features=store,epochs=1,members=2,max_rows=2000,n_threads=1]"
KEYS = ("store_id", "dept_id")


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """A home in which a small chain was applied, materialized and trained on."""
    folder = tmp_path_factory.mktemp("chain")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FEAST_USAGE", "False")
        patch.setenv("FORETAIL_HOME", str(folder / "home"))
        made = Settings.load()
        (folder / "world.json").write_text(json.dumps(WORLD))
        request = Request(table="synthetic", data=folder / "world.json", name=NAME, models=(FAMILY,))
        apply_features(request, made, Silent())
        materialize_features(made, Silent())
        with suppress(PromotionRefused):  # whether one epoch is better than the last season is not asked here
            train_request(request, folder / "out", made, Silent())
        yield made


@pytest.fixture(scope="module")
def bundle(settings: Settings) -> Path:
    return Registry(settings).fetch(NAME, 1)


@pytest.fixture(scope="module")
def reader(settings: Settings) -> OnlineReader:
    return OnlineReader(open_repository(settings, None).open(), "inference_features")


@pytest.fixture(scope="module")
def scorer(bundle: Path, reader: OnlineReader) -> Scorer:
    return Scorer.load(bundle, f"{NAME}/1", online=reader)


@pytest.fixture(scope="module")
def written(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> pl.DataFrame:
    """What the command line forecasts."""
    nothing = {"table": None, "future": None, "horizon": None}
    out = tmp_path_factory.mktemp("forecast")
    return forecast_version(f"{NAME}/1", **nothing, out=out, settings=settings, progress=Silent())


def series_of(written: pl.DataFrame) -> list[tuple[int, int]]:
    return written.select(KEYS).unique(maintain_order=True).rows()


def row_of(reader: OnlineReader, keys: tuple[int, int]) -> dict[str, float | str]:
    """What the store holds of one series, as an instance gives it."""
    found = reader.read([dict(zip(KEYS, keys, strict=True))])
    return {name: values[0] for name, values in found.items() if name not in (*KEYS, "as_of")}


def numbers(answered: list[Answered]) -> np.ndarray:
    return np.array([[item.y_hat, *item.quantiles.values()] for item in answered])


def test_rows_of_the_online_store_give_the_forecast_of_the_command_line(scorer: Scorer, written: pl.DataFrame) -> None:
    assert isinstance(scorer, StoreScorer)
    assert scorer.info.reads_store
    found = scorer.score([Ask(keys, scorer.info.first, {}, H) for keys in series_of(written)])
    columns = ["y_hat", *found[0].quantiles]
    np.testing.assert_allclose(numbers(found), written.select(columns).to_numpy(), rtol=1e-9)
    assert [item.ds for item in found] == written["date"].to_list()
    assert {item.source for item in found} == {"model"}
    assert {item.warnings for item in found} == {()}


def test_rows_of_the_bundles_own_sales_give_the_same(bundle: Path, scorer: Scorer, written: pl.DataFrame) -> None:
    asks = [Ask(keys, scorer.info.last) for keys in series_of(written)]
    alone = Scorer.load(bundle, f"{NAME}/1")
    np.testing.assert_allclose(numbers(alone.score(asks)), numbers(scorer.score(asks)), rtol=1e-9)


def test_one_instance_is_answered_as_among_many(scorer: Scorer, written: pl.DataFrame) -> None:
    asks = [Ask(keys, scorer.info.first, {}, H) for keys in series_of(written)]
    alone = [item for ask in asks for item in scorer.score([ask])]
    np.testing.assert_allclose(numbers(alone), numbers(scorer.score(asks)), rtol=1e-9)


def test_an_override_moves_the_answer_of_its_instance_alone(
    scorer: Scorer, reader: OnlineReader, written: pl.DataFrame
) -> None:
    first, second = series_of(written)[:2]
    date = scorer.info.first
    usual = scorer.score([Ask(first, date), Ask(second, date)])
    told = float(row_of(reader, first)["lag_1"])
    found = scorer.score([Ask(first, date, {"lag_1": told / 3}), Ask(second, date)])
    assert found[0].y_hat != usual[0].y_hat
    assert found[1] == usual[1]
    same = scorer.score([Ask(first, date, {"lag_1": told})])[0]
    assert same.y_hat == pytest.approx(usual[0].y_hat, rel=1e-12)


class Gone:
    """A reader that nobody may ask."""

    def read(self, columns: dict[str, list[int]]) -> dict[str, list[object]]:
        raise ConnectionError(f"asked for {columns}")


def test_a_row_given_whole_needs_no_look_up(
    bundle: Path, scorer: Scorer, reader: OnlineReader, written: pl.DataFrame
) -> None:
    keys, date = series_of(written)[0], scorer.info.last
    row = row_of(reader, keys)
    assert set(row) == set(scorer.info.features)
    usual = scorer.score([Ask(keys, date)])[0]

    found = Scorer.load(bundle, f"{NAME}/1", online=Gone()).score([Ask(keys, date, row)])[0]  # type: ignore[arg-type]
    assert found.y_hat == pytest.approx(usual.y_hat, rel=1e-9)
    assert found.quantiles == pytest.approx(usual.quantiles, rel=1e-9)


class Lacking:
    """A reader in whose rows some features are not known, for one series."""

    def __init__(self, reader: OnlineReader, keys: tuple[int, int], names: Sequence[str]):
        self._reader, self._keys, self._names = reader, keys, names

    def read(self, columns: dict[str, list[int]]) -> dict[str, list[object]]:
        found: dict[str, list[object]] = self._reader.read(columns)
        for i, keys in enumerate(zip(*(columns[name] for name in KEYS), strict=True)):
            for name in self._names if keys == self._keys else ():
                found[name][i] = None
        return found


def test_what_a_row_lacks_is_said(bundle: Path, scorer: Scorer, reader: OnlineReader, written: pl.DataFrame) -> None:
    keys, date = series_of(written)[0], scorer.info.first
    lacking = Lacking(reader, keys, ("lag_8", "temperature"))
    found = Scorer.load(bundle, f"{NAME}/1", online=lacking).score([Ask(keys, date)])[0]  # type: ignore[arg-type]
    assert found.warnings == ("lag_8 is not known", "temperature is not known")
    assert np.isfinite(found.y_hat)
    assert found.y_hat != scorer.score([Ask(keys, date)])[0].y_hat


def test_a_row_without_sales_is_refused(
    bundle: Path, scorer: Scorer, reader: OnlineReader, written: pl.DataFrame
) -> None:
    first, second = series_of(written)[:2]
    names = [name for name in scorer.info.features if name.startswith(("lag_", "rolling_", "sales_"))]
    online = Scorer.load(bundle, f"{NAME}/1", online=Lacking(reader, second, names))  # type: ignore[arg-type]
    with pytest.raises(RequestError, match="no believable forecast") as caught:
        online.score([Ask(first, scorer.info.first), Ask(second, scorer.info.first)])
    assert [(item.status, item.instance) for item in caught.value.problems] == [(422, 1)]
    told = online.score([Ask(second, scorer.info.first, {"lag_1": 500.0})])[0]
    assert np.isfinite(told.y_hat)
    assert len(told.warnings) == len(names) - 1


def test_a_stale_row_is_refused(bundle: Path, scorer: Scorer, settings: Settings, tmp_path: Path) -> None:
    """A store whose rows are two weeks older than what the version was trained on."""
    keys, before = (1, 1), scorer.info.cutoff - dt.timedelta(weeks=2)
    older = replace(settings, home=tmp_path)
    apply_features(Request(table="synthetic", data=settings.home.parent / "world.json"), older, Silent())
    materialize_features(older, Silent(), to=before)
    reader = OnlineReader(open_repository(older, None).open(), "inference_features")
    online = Scorer.load(bundle, f"{NAME}/1", online=reader)
    with pytest.raises(RequestError, match="the feature row is stale") as caught:
        online.score([Ask(keys, scorer.info.first)])
    assert caught.value.problems[0].status == 422
    assert str(before) in str(caught.value)


def test_an_explanation_adds_up(scorer: Scorer, written: pl.DataFrame) -> None:
    found = scorer.explain([Ask(series_of(written)[0], scorer.info.first)])[0]
    assert found.base + sum(found.parts.values()) == pytest.approx(found.answered.y_hat, rel=1e-6)
