"""What Feast asks of every offline store, asked of ours through Feast's own API, each answer beside a plain loop.

The cases are those of Feast's suite for offline stores (several views of several keys at once, full names, life times,
ties and restatements, renamed columns, one view joined twice, on-demand views, no entity rows, saved datasets, writes,
materialisation), on a small chain of shops. Feast's default store, which reads the same files, answers a part of them
otherwise; where it does, the test says what is right.
"""

from __future__ import annotations

import datetime as dt
import inspect
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from feast import (
    Entity,
    FeatureService,
    FeatureStore,
    FeatureView,
    Field,
    FileSource,
    OnDemandFeatureView,
    PushSource,
    RepoConfig,
    RequestSource,
    ValueType,
)
from feast.data_source import PushMode
from feast.errors import (
    FeatureNameCollisionError,
    RequestDataNotFoundInEntityDfException,
    SavedDatasetLocationAlreadyExists,
)
from feast.infra.offline_stores.file_source import SavedDatasetFileStorage
from feast.transformation.pandas_transformation import PandasTransformation
from feast.types import Array, Bool, Float32, Float64, Int32, Int64, String, UnixTimestamp

T0 = dt.datetime(2024, 3, 1, tzinfo=dt.UTC)
HOUR, DAY = dt.timedelta(hours=1), dt.timedelta(days=1)
SHOPS, DEPARTMENTS = (1, 2, 3), (1, 11)
pytestmark = pytest.mark.filterwarnings("ignore:On demand feature view is an experimental feature:RuntimeWarning")
both_names = pytest.mark.parametrize("full", [True, False], ids=["full names", "short names"])


class Repository:
    """A Feast repository over Parquet files in a folder, with foretail's offline store and Feast's SQLite online."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.store = FeatureStore(
            config=RepoConfig(
                project="suite",
                provider="local",
                registry=str(folder / "registry.db"),
                repo_path=folder,
                offline_store={"type": "foretail.features.offline.AsofOfflineStore"},
                online_store={"type": "sqlite", "path": str(folder / "online.db")},
                entity_key_serialization_version=3,
            )
        )

    def source(self, name, frame, *, created="created", rename=None):
        path = self.folder / f"{name}.parquet"
        frame.to_parquet(path, index=False)
        return FileSource(
            name=name,
            path=str(path),
            timestamp_field="at",
            created_timestamp_column=created,
            field_mapping=rename,
        )

    def ask(self, entities, features, **options):
        return self.store.get_historical_features(entity_df=entities, features=features, **options)


@pytest.fixture
def repository(tmp_path):
    return Repository(tmp_path)


def shop():
    return Entity(name="shop", join_keys=["shop_id"], value_type=ValueType.INT64)


def department():
    return Entity(name="department", join_keys=["department_id"], value_type=ValueType.INT64)


def view(name, keys, source, features, ttl=None, **options):
    schema = [Field(name=feature, dtype=dtype) for feature, dtype in features.items()]
    schema += [Field(name=key.join_key, dtype=Int64) for key in keys]
    return FeatureView(name=name, entities=list(keys), schema=schema, source=source, ttl=ttl, **options)


def frame(*rows, columns=("shop_id", "at", "value", "created")):
    return pd.DataFrame(rows, columns=list(columns))


def stamps(*texts):
    return pd.to_datetime(list(texts), utc=True)


# a chain of shops: three views, each with its own keys and life time, and what is derived on demand


def per_shop():
    """Twice a day; the second shop pauses for two days."""
    rows = [
        (s, T0 + n * DAY / 2, 10.0 * s + n / 8, n * s, T0 + n * DAY / 2 + HOUR)
        for s in SHOPS
        for n in range(16)
        if not (s == 2 and 4 <= n < 9)
    ]
    return frame(*rows, columns=("shop_id", "at", "visitors", "staff", "created"))


def per_department():
    rows = [
        (s, d, T0 + n * 5 * HOUR, float(100 * s + d + n), T0 + n * 5 * HOUR)
        for s in SHOPS
        for d in DEPARTMENTS
        for n in range(30)
    ]
    return frame(*rows, columns=("shop_id", "department_id", "at", "sales", "created"))


def of_the_chain():
    rows = [(T0 + n * DAY, n + 0.5, T0 + n * DAY) for n in range(8)]
    return frame(*rows, columns=("at", "raw_index", "created"))


def derive(inputs: pd.DataFrame) -> pd.DataFrame:
    out = pd.DataFrame()
    out["per_head"] = inputs["sales"] / (inputs["staff"] + 1)
    out["planned"] = inputs["sales"] + inputs["plan"]
    return out


class Chain:
    """The views, and the answer that a loop over all rows gives."""

    def __init__(self, repository, ttl=True):
        self.frames = {"shops": per_shop(), "departments": per_department(), "chain": of_the_chain()}
        sources = {
            name: repository.source(name, rows, rename={"raw_index": "price_index"} if name == "chain" else None)
            for name, rows in self.frames.items()
        }
        life = {"shops": DAY, "departments": 7 * HOUR, "chain": None} if ttl else dict.fromkeys(sources)
        self.life = life
        self.shops = view("shops", [shop()], sources["shops"], {"visitors": Float64, "staff": Int64}, life["shops"])
        keys = [shop(), department()]
        self.departments = view("departments", keys, sources["departments"], {"sales": Float64}, life["departments"])
        self.chain = view("chain", [], sources["chain"], {"price_index": Float64}, life["chain"])
        plan = RequestSource(name="plan", schema=[Field(name="plan", dtype=Int64)])
        self.derived = OnDemandFeatureView(
            name="derived",
            sources=[self.shops[["staff"]], self.departments, plan],
            schema=[Field(name="per_head", dtype=Float64), Field(name="planned", dtype=Float64)],
            feature_transformation=PandasTransformation(derive, inspect.getsource(derive)),
            mode="pandas",
        )
        repository.store.apply([shop(), department(), self.shops, self.departments, self.chain, self.derived])

    def latest(self, name, keys, row):
        """The record of a view that holds at an entity row; all None where there is none."""
        life = self.life[name]
        best = None
        for record in self.frames[name].to_dict("records"):
            age = row["event_timestamp"] - record["at"]
            fits = all(record[key] == row[key] for key in keys)
            if (
                fits
                and age >= dt.timedelta(0)
                and (life is None or age <= life)
                and (best is None or record["at"] >= best["at"])
            ):
                best = record
        return best or dict.fromkeys(self.frames[name].columns)

    def expected(self, entities):
        """Columns of every feature, in the order of the entity rows; NaN for none."""
        rows = []
        for row in entities.to_dict("records"):
            a = self.latest("shops", ["shop_id"], row)
            b = self.latest("departments", ["shop_id", "department_id"], row)
            c = self.latest("chain", [], row)
            rows.append((a["visitors"], a["staff"], b["sales"], c["raw_index"]))
        out = pd.DataFrame(rows, columns=["visitors", "staff", "sales", "price_index"], dtype="float64")
        out["per_head"] = out["sales"] / (out["staff"] + 1)
        out["planned"] = out["sales"] + entities["plan"].to_numpy()
        return out


def entity_rows():
    """Every shop and department at odd times, one shop that nobody knows, shuffled, with a column of no view."""
    rows = [
        (s, d, T0 + n * 11 * HOUR + s * dt.timedelta(minutes=7), 10 * n)
        for s in (*SHOPS, 99)
        for d in DEPARTMENTS
        for n in range(-1, 17)
    ]
    out = pd.DataFrame(rows, columns=["shop_id", "department_id", "event_timestamp", "plan"])
    out["order"] = np.arange(len(out))
    return out.sample(frac=1.0, random_state=5).reset_index(drop=True)


PLAIN = {"shops": ("visitors", "staff"), "departments": ("sales",), "chain": ("price_index",)}
ALL = {**PLAIN, "derived": ("per_head", "planned")}


def references(features):
    return [f"{name}:{feature}" for name, group in features.items() for feature in group]


def answer_name(feature, full):
    owner = next(name for name, group in ALL.items() if feature in group)
    return f"{owner}__{feature}" if full else feature


def assert_same(found, expected, full=False):
    for feature in expected.columns:
        got = found[answer_name(feature, full)].to_numpy(dtype="float64", na_value=np.nan)
        np.testing.assert_array_equal(got, expected[feature].to_numpy(), err_msg=feature)


@both_names
def test_views_of_several_keys_and_on_demand_features_at_once(repository, full):
    chain, entities = Chain(repository), entity_rows()
    job = repository.ask(entities, references(ALL), full_feature_names=full)
    found, expected = job.to_df(), chain.expected(entities)
    names = [answer_name(feature, full) for feature in expected.columns]
    assert sorted(found.columns) == sorted([*entities.columns, *names])
    assert found["order"].tolist() == entities["order"].tolist(), "rows keep their number and their order"
    assert_same(found, expected, full)
    assert expected["sales"].isna().any(), "some rows have no record within its life time"
    assert expected["visitors"].notna().any()
    pd.testing.assert_frame_equal(job.to_arrow().to_pandas(), found)


def test_without_life_times_nothing_expires(repository):
    chain, entities = Chain(repository, ttl=False), entity_rows()
    expected = chain.expected(entities)
    known = (entities["shop_id"] < 99) & (entities["event_timestamp"] >= T0)
    assert expected["visitors"].notna().tolist() == known.tolist()
    assert_same(repository.ask(entities, references(ALL)).to_df(), expected)


def test_the_life_time_ends_to_the_microsecond(repository):
    rows = repository.source("rows", frame((1, T0, 5.0, T0)))
    repository.store.apply([shop(), view("rows", [shop()], rows, {"value": Float64}, DAY)])
    moments = [T0 - dt.timedelta(microseconds=1), T0, T0 + DAY, T0 + DAY + dt.timedelta(microseconds=1)]
    found = repository.ask(pd.DataFrame({"shop_id": 1, "event_timestamp": moments}), ["rows:value"]).to_df()
    assert found["value"].fillna(-1).tolist() == [-1, 5, 5, -1]


def test_a_service_asks_for_what_it_lists(repository):
    chain, entities = Chain(repository), entity_rows()
    repository.store.apply([FeatureService(name="few", features=[chain.shops[["staff"]], chain.derived])])
    found = repository.ask(entities, repository.store.get_feature_service("few")).to_df()
    assert {"staff", "per_head", "planned"} <= set(found.columns)
    assert "visitors" not in found.columns
    assert_same(found, chain.expected(entities)[["staff", "per_head", "planned"]])


def test_one_view_joined_twice_under_two_names(repository):
    chain = Chain(repository)
    pair = FeatureService(
        name="pair",
        features=[
            chain.shops[["visitors"]].with_name("sender").with_join_key_map({"shop_id": "from_id"}),
            chain.shops[["visitors"]].with_name("receiver").with_join_key_map({"shop_id": "to_id"}),
        ],
    )
    repository.store.apply([pair])
    rows = [(a, b, T0 + 3 * DAY) for a in SHOPS for b in SHOPS]
    entities = pd.DataFrame(rows, columns=["from_id", "to_id", "event_timestamp"])
    found = repository.ask(entities, pair, full_feature_names=True).to_df()
    for name, key in (("sender", "from_id"), ("receiver", "to_id")):
        asked = entities.rename(columns={key: "shop_id"}).to_dict("records")
        expected = [chain.latest("shops", ["shop_id"], row)["visitors"] for row in asked]
        got = found[f"{name}__visitors"].to_numpy(dtype="float64")
        np.testing.assert_array_equal(got, np.array(expected, dtype="float64"))
    with pytest.raises(FeatureNameCollisionError):
        repository.ask(entities, pair, full_feature_names=False)


@both_names
def test_a_feature_that_its_view_does_not_have(repository, full):
    source = Chain(repository).shops.batch_source
    narrow = view("narrow", [shop()], source, {"staff": Int64})
    repository.store.apply([narrow])
    with pytest.raises(KeyError, match="visitors"):
        repository.ask(entity_rows(), ["narrow:visitors"], full_feature_names=full).to_df()


def test_request_data_that_is_missing(repository):
    Chain(repository)
    with pytest.raises(RequestDataNotFoundInEntityDfException, match="plan"):
        repository.ask(entity_rows().drop(columns="plan"), references(ALL)).to_df()


@both_names
def test_only_the_on_demand_features_that_were_asked_for_come_back(repository, full):
    Chain(repository)
    names = [answer_name(feature, full) for feature in ("per_head", "planned")]
    one = repository.ask(entity_rows(), ["derived:planned"], full_feature_names=full).to_df()
    assert [name in one.columns for name in names] == [False, True]
    two = repository.ask(entity_rows(), ["derived:planned", "derived:per_head"], full_feature_names=full).to_df()
    assert [name in two.columns for name in names] == [True, True]


# ties, restatements, and what was known when


def versions(repository, rows, moments, known=False, ttl=7 * DAY):
    """The value at each ``(shop, moment)``; -1 for none."""
    source = repository.source("versions", rows, created="created" if "created" in rows.columns else None)
    repository.store.apply([shop(), view("versions", [shop()], source, {"value": Float64}, ttl)])
    entities = pd.DataFrame(moments, columns=["shop_id", "event_timestamp"])
    job = repository.ask(entities, ["versions:value"], filter_by_created_timestamp=known)
    found = job.to_df()
    assert found["shop_id"].tolist() == entities["shop_id"].tolist()
    return found["value"].fillna(-1).tolist()


def test_the_newest_version_wins_among_equal_times_and_later_times_win_over_later_versions(repository):
    rows = frame((1, T0, 10, T0), (1, T0, 20, T0 + DAY), (2, T0, 30, T0 + DAY), (2, T0 + DAY, 40, T0))
    assert versions(repository, rows, [(1, T0 + 2 * DAY), (2, T0 + 2 * DAY)]) == [20, 40]


def test_the_newest_version_wins_wherever_it_stands_in_the_file(repository):
    rows = [(s, T0 + s * HOUR, float(v), T0 + v * DAY) for s in range(1, 101) for v in (1, 0)]
    order = np.random.default_rng(3).permutation(len(rows))
    asked = [(s, T0 + 5 * DAY) for s in range(1, 101)]
    assert versions(repository, frame(*(rows[i] for i in order)), asked) == [1.0] * 100


@pytest.mark.parametrize(("known", "value"), [(False, 6.0), (True, 4.0)])
def test_a_version_made_later_counts_only_unless_the_time_of_asking_rules(repository, known, value):
    rows = frame((1, T0, 4.0, T0 + HOUR), (1, T0, 6.0, T0 + 3 * DAY))
    assert versions(repository, rows, [(1, T0 + DAY)], known) == [value]


def test_a_version_of_no_date_was_never_known(repository):
    rows = frame((1, T0, 4.0, T0 + HOUR), (1, T0, 6.0, pd.NaT))
    assert versions(repository, rows, [(1, T0 + DAY)], known=True) == [4.0]


def test_rows_stay_where_nothing_was_known_and_borrow_from_nobody(repository):
    rows = frame((1, T0, 4.0, T0 + HOUR), (2, T0, 5.0, T0 + 3 * DAY), (2, T0 + HOUR, 6.0, T0 + 4 * DAY))
    assert versions(repository, rows, [(2, T0 + DAY), (1, T0 + DAY)], known=True) == [-1, 4.0]


def test_without_a_creation_column_the_filter_changes_nothing(repository):
    rows = frame((1, T0, 4.0, None)).drop(columns="created")
    assert versions(repository, rows, [(1, T0 + DAY)], known=True) == [4.0]


def test_rows_of_one_key_and_time_are_not_merged(repository):
    """Feast's default store gives two rows back for these three."""
    rows = repository.source("rows", frame((1, T0, 0.5, T0)))
    repository.store.apply([shop(), view("rows", [shop()], rows, {"value": Float64}, DAY)])
    entities = pd.DataFrame({"shop_id": [1, 1, 2], "event_timestamp": T0, "request": ["a", "b", "c"]})
    found = repository.ask(entities, ["rows:value"]).to_df()
    assert found["request"].tolist() == ["a", "b", "c"]
    assert found["value"].fillna(-1).tolist() == [0.5, 0.5, -1]


@pytest.mark.parametrize("known", [False, True])
def test_no_entity_rows_give_no_rows_and_all_columns(repository, known):
    Chain(repository)
    none = entity_rows().head(0)
    found = repository.ask(none, references(PLAIN), filter_by_created_timestamp=known).to_df()
    assert found.shape[0] == 0
    assert {"visitors", "staff", "sales", "price_index"} <= set(found.columns)


# time zones, names and types


def test_a_source_in_another_zone_and_entity_rows_of_every_kind(repository):
    """The object column holds naive times (taken as UTC) beside zoned ones, as a notebook may make it."""
    zone = ZoneInfo("America/New_York")
    rows = frame((1, T0.astimezone(zone), 1.0, T0), (1, (T0 + DAY).astimezone(zone), 2.0, T0))
    rows = rows.astype({"at": "datetime64[us, America/New_York]"})
    rows = repository.source("rows", rows)
    repository.store.apply([shop(), view("rows", [shop()], rows, {"value": Float64})])
    moment = T0 + DAY
    kinds = [moment.replace(tzinfo=None), moment, moment.astimezone(dt.timezone(HOUR)), moment.astimezone(zone)]
    column = pd.Series([pd.Timestamp(kind) for kind in kinds], dtype="object")
    found = repository.ask(pd.DataFrame({"shop_id": 1, "event_timestamp": column}), ["rows:value"]).to_df()
    assert found["value"].tolist() == [2.0] * 4
    before = pd.DataFrame({"shop_id": 1, "event_timestamp": [moment - dt.timedelta(seconds=1)]})
    assert repository.ask(before, ["rows:value"]).to_df()["value"].tolist() == [1.0]


def test_naive_times_are_utc_on_both_sides(repository):
    rows = frame((1, T0.replace(tzinfo=None), 1.0, T0.replace(tzinfo=None)))
    moments = [(1, T0.replace(tzinfo=None)), (1, (T0 - HOUR).replace(tzinfo=None))]
    assert versions(repository, rows, moments) == [1.0, -1]


def test_a_renamed_key_and_a_renamed_feature(repository):
    rows = frame((1, T0, 20, T0), (2, T0, 40, T0), columns=("number", "at", "amount", "created"))
    source = repository.source("rows", rows, rename={"number": "shop_id", "amount": "value"})
    repository.store.apply([shop(), view("rows", [shop()], source, {"value": Int32})])
    entities = pd.DataFrame({"shop_id": [2, 1], "event_timestamp": T0 + DAY})
    found = repository.ask(entities, ["rows:value"]).to_df()
    assert sorted(found.columns) == ["event_timestamp", "shop_id", "value"]
    assert found["value"].tolist() == [40, 20]


def test_values_of_every_type_come_back_as_they_are(repository):
    moment = dt.datetime(2020, 2, 29, 23, 59, 59, 999_999, tzinfo=dt.UTC)
    types = {
        "i32": (Int32, pa.int32(), -7),
        "i64": (Int64, pa.int64(), 2**53 + 1),
        "f32": (Float32, pa.float32(), 0.1),
        "f64": (Float64, pa.float64(), 0.1),
        "text": (String, pa.string(), "é|1"),
        "flag": (Bool, pa.bool_(), True),
        "many": (Array(Int64), pa.list_(pa.int64()), [1, 2, 3]),
        "when": (UnixTimestamp, pa.timestamp("us", "UTC"), moment),
    }
    columns = {name: pa.array([value, None], kind) for name, (_, kind, value) in types.items()}
    times = pa.array([T0, T0], pa.timestamp("us", "UTC"))
    path = repository.folder / "types.parquet"
    pq.write_table(pa.table({"shop_id": [1, 2], "at": times, **columns}), path)
    source = FileSource(name="types", path=str(path), timestamp_field="at")
    features = {name: dtype for name, (dtype, _, _) in types.items()}
    repository.store.apply([shop(), view("types", [shop()], source, features)])
    entities = pd.DataFrame({"shop_id": [2, 1], "event_timestamp": T0})
    found = repository.ask(entities, [f"types:{name}" for name in types]).to_arrow()
    for name, (_, kind, value) in types.items():
        assert found[name].to_pylist() == [None, pa.scalar(value, kind).as_py()], name
        if name not in ("text", "many"):
            assert found[name].type == kind, name


@pytest.mark.parametrize("text", [False, True], ids=["numbers", "texts"])
def test_keys_that_would_run_together_stay_apart(repository, text):
    """(1, 11) and (11, 1) are two keys, as numbers and as texts."""
    pairs = [(1, 11), (11, 1), (1, 1), (11, 11)]
    kind = str if text else int
    rows = [(kind(a), kind(b), T0, float(n)) for n, (a, b) in enumerate(pairs)]
    source = repository.source("pairs", frame(*rows, columns=("a", "b", "at", "value")), created=None)
    of = ValueType.STRING if text else ValueType.INT64
    keys = [Entity(name=name, join_keys=[name], value_type=of) for name in "ab"]
    schema = [Field(name=name, dtype=String if text else Int64) for name in "ab"]
    schema += [Field(name="value", dtype=Float64)]
    repository.store.apply([*keys, FeatureView(name="pairs", entities=keys, schema=schema, source=source)])
    entities = pd.DataFrame([(kind(a), kind(b)) for a, b in reversed(pairs)], columns=["a", "b"])
    entities["event_timestamp"] = T0
    assert repository.ask(entities, ["pairs:value"]).to_df()["value"].tolist() == [3.0, 2.0, 1.0, 0.0]


# without entity rows, saved, written, pushed


def test_a_span_of_time_instead_of_entity_rows(repository):
    Chain(repository)
    begin, end = T0 + DAY, T0 + 5 * DAY
    found = repository.store.get_historical_features(
        features=["shops:visitors"], start_date=begin, end_date=end
    ).to_df()
    assert set(found["shop_id"]) == set(SHOPS)
    assert found["event_timestamp"].between(begin, end).all()
    newest = per_shop().query("shop_id == 3 and at <= @end").sort_values("at")["visitors"].iloc[-1]
    assert newest in set(found.loc[found["shop_id"] == 3, "visitors"])


@both_names
def test_a_saved_dataset_holds_what_the_job_gave(repository, full):
    chain, entities = Chain(repository), entity_rows()
    job = repository.ask(entities, references(ALL), full_feature_names=full)
    path = repository.folder / "saved.parquet"
    with pytest.warns(RuntimeWarning, match="experimental"):
        saved = repository.store.create_saved_dataset(job, "saved", SavedDatasetFileStorage(path=str(path)))
    keys = ["shop_id", "department_id", "event_timestamp"]
    again = saved.to_df().sort_values(keys)
    assert_same(again, chain.expected(entities.sort_values(keys).reset_index(drop=True)), full)
    assert path.exists()


def test_a_saved_dataset_overwrites_only_when_told_to(repository):
    chain, entities = Chain(repository), entity_rows()
    path = Path(chain.shops.batch_source.path)
    before = path.read_bytes()
    job = repository.ask(entities, references(PLAIN))
    storage = SavedDatasetFileStorage(path=str(path))
    with pytest.warns(RuntimeWarning, match="experimental"), pytest.raises(SavedDatasetLocationAlreadyExists):
        repository.store.create_saved_dataset(job, "saved", storage)
    assert path.read_bytes() == before
    copy = repository.folder / "copy.parquet"
    copy.write_bytes(before)
    storage = SavedDatasetFileStorage(path=str(copy))
    with pytest.warns(RuntimeWarning, match="experimental"):
        repository.store.create_saved_dataset(job, "saved", storage, allow_overwrite=True)
    assert pq.read_metadata(copy).num_rows == len(entities)


def written(moment, value):
    return pd.DataFrame({"value": [value], "created": [moment], "at": [moment], "shop_id": [1]})


def value_at(repository, moment):
    entities = pd.DataFrame({"shop_id": [1], "event_timestamp": [moment]})
    return repository.ask(entities, ["rows:value"]).to_df()["value"].fillna(-1).tolist()


def test_rows_that_are_written_later_are_found(repository):
    """Their columns stand in another order than the file's."""
    rows = repository.source("rows", frame((1, T0, 1.0, T0)))
    repository.store.apply([shop(), view("rows", [shop()], rows, {"value": Float64}, HOUR)])
    assert value_at(repository, T0 + DAY) == [-1]
    for day in (1, 2):
        repository.store.write_to_offline_store("rows", written(T0 + day * DAY, day * 10.0))
    assert [value_at(repository, T0 + day * DAY) for day in range(3)] == [[1.0], [10.0], [20.0]]
    wrong = written(T0 + 3 * DAY, 30.0).rename(columns={"value": "amount"})
    with pytest.raises(ValueError, match=r"missing_expected_columns: \['value'\]"):
        repository.store.write_to_offline_store("rows", wrong)
    assert value_at(repository, T0 + 3 * DAY) == [-1]


def test_rows_that_are_pushed_are_found(repository):
    batch = repository.source("rows", frame((1, T0, 1.0, T0)))
    pushed = PushSource(name="pushed", batch_source=batch)
    repository.store.apply([shop(), view("rows", [shop()], pushed, {"value": Float64}, HOUR)])
    repository.store.push("pushed", written(T0 + DAY, 7.0), to=PushMode.OFFLINE)
    assert value_at(repository, T0 + DAY) == [7.0]


# what materialisation asks


def test_the_latest_row_of_each_key_in_a_span(repository):
    rows = frame(
        *((1, T0, 1.0, T0), (1, T0 + DAY, 2.0, T0 + DAY), (1, T0 + DAY, 3.0, T0 + 2 * DAY)),
        *((1, T0 + 9 * DAY, 4.0, T0 + 9 * DAY), (2, T0 - 9 * DAY, 5.0, T0), (3, T0, 6.0, T0)),
    )
    source, store = repository.source("rows", rows), repository.store
    pull = store._get_provider().offline_store.pull_latest_from_table_or_query
    options = {"timestamp_field": "at", "created_timestamp_column": "created"}
    options |= {"start_date": T0 - DAY, "end_date": T0 + 3 * DAY}
    job = pull(store.config, source, ["shop_id"], ["value"], **options)
    found = job.to_df().sort_values("shop_id")
    assert found["shop_id"].tolist() == [1, 3]
    assert found["value"].tolist() == [3.0, 6.0]
    assert pd.to_datetime(found["at"], utc=True).tolist() == [T0 + DAY, T0]


def test_every_row_in_a_span_both_ends_included(repository):
    rows = repository.source("rows", frame(*((1, T0 + n * DAY, float(n), T0) for n in range(6))))
    store = repository.store
    pull = store._get_provider().offline_store.pull_all_from_table_or_query
    options = {"timestamp_field": "at", "created_timestamp_column": "created"}
    options |= {"start_date": T0 + DAY, "end_date": T0 + 3 * DAY}
    found = pull(store.config, rows, ["shop_id"], ["value"], **options).to_df()
    assert sorted(found["value"]) == [1.0, 2.0, 3.0]


def test_online_after_each_materialisation_is_what_offline_says_at_its_end(repository):
    rows = frame(
        *((1, T0 - 4 * HOUR, 0.1, T0), (2, T0, 9.0, T0), (1, T0 - 3 * HOUR, 0.3, T0)),
        *((3, T0 - 4 * HOUR, 4.0, T0), (3, T0 - 2 * HOUR, 5.0, T0)),
    )
    source, store = repository.source("rows", rows), repository.store
    store.apply([shop(), view("rows", [shop()], source, {"value": Float64}, 60 * DAY)])
    split = T0 - 2 * HOUR - dt.timedelta(seconds=1)
    store.materialize(T0 - 90 * DAY, split)
    assert online(store) == offline(repository, split) == [0.3, -1, 4.0]
    store.materialize_incremental(T0)
    assert online(store) == offline(repository, T0) == [0.3, 9.0, 5.0]


def test_materialisation_of_columns_that_the_source_calls_otherwise(repository):
    rows = frame((1, T0 - HOUR, 1.0, T0), (1, T0, 2.0, T0), columns=("number", "moment", "amount", "created"))
    source = repository.source("rows", rows, rename={"number": "shop_id", "moment": "at", "amount": "value"})
    repository.store.apply([shop(), view("rows", [shop()], source, {"value": Float64})])
    assert offline(repository, T0 - HOUR) == [1.0, -1, -1]
    repository.store.materialize(T0 - DAY, T0)
    assert online(repository.store) == [2.0, -1, -1]


def online(store):
    found = store.get_online_features(["rows:value"], [{"shop_id": s} for s in SHOPS]).to_dict()["value"]
    return [-1 if value is None else value for value in found]


def offline(repository, moment):
    entities = pd.DataFrame({"shop_id": SHOPS, "event_timestamp": moment})
    return repository.ask(entities, ["rows:value"]).to_df()["value"].fillna(-1).tolist()
