"""The offline store that Feast calls: `type: foretail.features.offline.AsofOfflineStore` in ``feature_store.yaml``."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import polars as pl
import pyarrow as pa
from feast.data_source import DataSource
from feast.feature_view import DUMMY_ENTITY_ID, DUMMY_ENTITY_VAL, FeatureView
from feast.infra.offline_stores.file_source import FileSource
from feast.infra.offline_stores.offline_store import OfflineStore, RetrievalJob, RetrievalMetadata
from feast.on_demand_feature_view import OnDemandFeatureView
from feast.repo_config import FeastConfigBaseModel, RepoConfig
from feast.utils import (
    _get_requested_feature_views_to_features_dict,
    _get_requested_on_demand_feature_views,
    compute_non_entity_date_range,
)
from pydantic import Field, SecretStr
from sqlalchemy.engine import make_url

from foretail.core.errors import UsageError
from foretail.features.offline import write
from foretail.features.offline.entities import EntityRows, entity_rows
from foretail.features.offline.job import AsofRetrievalJob, TableJob, plain_text
from foretail.features.offline.parquet import ParquetSource
from foretail.features.offline.plan import JoinPlan, ViewJoin
from foretail.features.offline.postgres import Database, PostgresSource
from foretail.features.offline.pull import Pull, observed_rows, pull
from foretail.features.offline.scan import Source, Span
from foretail.features.offline.stream import Streaming
from foretail.features.offline.times import to_datetime, to_microseconds

__all__ = ["AsofOfflineStore", "AsofOfflineStoreConfig"]

_MICROSECOND = dt.timedelta(microseconds=1)


class AsofOfflineStoreConfig(FeastConfigBaseModel):  # type: ignore[misc]
    """Settings under ``offline_store``.

    Attributes
    ----------
    execution : where the partitions of a large join run: ``local``, ``ray``, or an address (see `cluster`).
    row_budget : rows up to which a join runs at once; see `stream.Streaming`.
    partitions : number of partitions above the budget; left out, as many as the budget asks for.
    spill : folder for temporary files of large joins.
    url : ``postgresql://…`` of the database that PostgreSQL sources and entity queries are in.
    db_schema : schema in which tables without one are looked for.
    """

    type: Literal["foretail.features.offline.AsofOfflineStore"] = "foretail.features.offline.AsofOfflineStore"
    execution: str = "local"
    row_budget: int = Field(2_000_000, ge=1)
    partitions: int | None = Field(None, ge=1)
    spill: str | None = None
    url: SecretStr | None = None
    db_schema: str = "public"

    @property
    def streaming(self) -> Streaming:
        """How joins are carried out."""
        return Streaming(self.row_budget, self.partitions, self.execution, self.spill)

    @property
    def source_database(self) -> Database | None:
        """Where PostgreSQL sources are; None if no ``url`` is set."""
        if self.url is None:
            return None
        plain = make_url(self.url.get_secret_value()).set(drivername="postgresql")
        return Database(plain.render_as_string(hide_password=False), self.db_schema)

    # Feast's PostgreSQL sources look their own connection up under the names that follow

    @property
    def host(self) -> str:
        return str(self._part("host", "localhost"))

    @property
    def port(self) -> int:
        return int(self._part("port", 5432))

    @property
    def user(self) -> str:
        return str(self._part("username", ""))

    @property
    def password(self) -> str:
        return str(self._part("password", ""))

    @property
    def database(self) -> str:
        return str(self._part("database", ""))

    @property
    def sslmode(self) -> str:
        return str(self._part("query", {}).get("sslmode", "prefer"))

    @property
    def sslkey_path(self) -> str | None:
        return self._option("sslkey")

    @property
    def sslcert_path(self) -> str | None:
        return self._option("sslcert")

    @property
    def sslrootcert_path(self) -> str | None:
        return self._option("sslrootcert")

    @property
    def keepalives_idle(self) -> int:
        return 0

    def _option(self, name: str) -> str | None:
        value = self._part("query", {}).get(name)
        return None if value is None else str(value)

    def _part(self, name: str, otherwise: Any) -> Any:
        """A part of ``url``."""
        value = None if self.url is None else getattr(make_url(self.url.get_secret_value()), name)
        return otherwise if value is None else value


class AsofOfflineStore(OfflineStore):  # type: ignore[misc]
    """Training sets, materialisation and logs over Parquet and PostgreSQL, by one as-of join per view.

    Sources: `FileSource` (a file, a folder with hive partitions, a glob; local or at an fsspec address such as
    ``s3://``) and `PostgreSQLSource` (a table or a query). Relative paths start at the feature repository.
    """

    supports_filter_by_created_timestamp = True

    @staticmethod
    def get_historical_features(
        config: RepoConfig,
        feature_views: list[FeatureView],
        feature_refs: list[str],
        entity_df: Any,
        registry: Any,
        project: str,
        full_feature_names: bool = False,
        filter_by_created_timestamp: bool = False,
        start_date: dt.datetime | None = None,
        end_date: dt.datetime | None = None,
    ) -> RetrievalJob:
        """Join features to entity rows as of each row's time.

        Parameters
        ----------
        entity_df : pandas, Polars or Arrow frame, address of Parquet files, or SQL; None takes the keys and times that
            the views themselves hold between the dates.
        filter_by_created_timestamp : leave out values written after the row's time: as known then.
        start_date, end_date : only without ``entity_df``; by default the longest time to live, or 30 days, up to now.

        Returns
        -------
        A job with the entity rows, in number and order, and the features beside them.

        Raises
        ------
        DataError : entity columns or source columns that are missing, of the wrong type, or named twice.
        UsageError : a source or entity rows of a kind that is not read.
        """
        on_demand = _get_requested_on_demand_feature_views(feature_refs, project, registry)
        asked, _ = _get_requested_feature_views_to_features_dict(feature_refs, feature_views, on_demand)
        views = tuple(_view_join(config, view, names, full_feature_names) for view, names in asked.items())
        if entity_df is None:
            entities = _observed(views, feature_views, start_date, end_date)
        else:
            database = config.offline_store.source_database
            entities = entity_rows(entity_df, database.query if database else None)
        plan = JoinPlan(entities, views, filter_by_created_timestamp)
        plan.check()
        return AsofRetrievalJob(
            plan,
            config.offline_store.streaming,
            OnDemandFeatureView.get_requested_odfvs(feature_refs, project, registry),
            _metadata(entities, feature_refs),
            full_feature_names,
            config.repo_path,
        )

    @staticmethod
    def pull_latest_from_table_or_query(
        config: RepoConfig,
        data_source: DataSource,
        join_key_columns: list[str],
        feature_name_columns: list[str],
        timestamp_field: str,
        created_timestamp_column: str | None,
        start_date: dt.datetime | None = None,
        end_date: dt.datetime | None = None,
    ) -> RetrievalJob:
        """The newest row of every key between two dates, both included; of equal times the one written last."""
        return _pulled(
            config,
            data_source,
            Pull(join_key_columns, feature_name_columns, timestamp_field, created_timestamp_column, newest=True),
            (start_date, end_date),
        )

    @staticmethod
    def pull_all_from_table_or_query(
        config: RepoConfig,
        data_source: DataSource,
        join_key_columns: list[str],
        feature_name_columns: list[str],
        timestamp_field: str,
        created_timestamp_column: str | None = None,
        start_date: dt.datetime | None = None,
        end_date: dt.datetime | None = None,
    ) -> RetrievalJob:
        """Every row between two dates, both included, in the order of the source."""
        return _pulled(
            config,
            data_source,
            Pull(join_key_columns, feature_name_columns, timestamp_field, created_timestamp_column, newest=False),
            (start_date, end_date),
        )

    @staticmethod
    def offline_write_batch(
        config: RepoConfig, feature_view: FeatureView, table: pa.Table, progress: Callable[[int], Any] | None
    ) -> None:
        """Append rows to the Parquet behind a view; readers see all of them or none.

        Raises
        ------
        DataError : other columns than the source's, or types that do not fit.
        UsageError : the source is not Parquet.
        """
        source = _source(config, feature_view.name, feature_view.batch_source)
        if not isinstance(source, ParquetSource):
            raise UsageError(
                f"rows can only be written to Parquet.\n  where: {source.where}"
                "\n  fix:   write to the table itself, in SQL"
            )
        write.append(source, table)
        if progress:
            progress(table.num_rows)

    @staticmethod
    def write_logged_features(
        config: RepoConfig,
        data: pa.Table | Path,
        source: Any,  # noqa: ARG004
        logging_config: Any,
        registry: Any,  # noqa: ARG004
    ) -> None:
        """Add logged rows to the folder of their destination as a file of their own."""
        destination = logging_config.destination
        if not hasattr(destination, "partition_by"):
            raise UsageError(
                f"logs cannot be written to {type(destination).__name__}.\n  where: the logging config"
                "\n  fix:   FileLoggingDestination(path=…)"
            )
        uri = FileSource.get_uri_for_file_path(config.repo_path, destination.path)
        target = ParquetSource("logged features", uri, _storage(destination.s3_endpoint_override, None))
        write.add_logs(target, data, destination.partition_by)


def _view_join(config: RepoConfig, view: FeatureView, names: list[str], full_feature_names: bool) -> ViewJoin:
    """What to read and join for one feature view; names of a field mapping are turned back into the source's."""
    data_source = view.batch_source
    source = _source(config, view.name, data_source)
    theirs = {new: old for old, new in data_source.field_mapping.items()}
    prefix = f"{view.projection.name_alias or view.projection.name}__" if full_feature_names else ""
    renamed = view.projection.join_key_map
    keys = [column.name for column in view.entity_columns if column.name != DUMMY_ENTITY_ID]
    created = data_source.created_timestamp_column
    return ViewJoin(
        source,
        theirs.get(data_source.timestamp_field, data_source.timestamp_field),
        theirs.get(created, created) or None,
        tuple((renamed.get(key, key), theirs.get(key, key)) for key in keys),
        tuple((prefix + name, theirs.get(name, name)) for name in dict.fromkeys(names)),
        view.ttl // _MICROSECOND if view.ttl else None,
    )


def _source(config: RepoConfig, view: str, data_source: DataSource | None) -> Source:
    """What stands behind a view, told by the interface of Feast's sources.

    Raises
    ------
    UsageError : a source of another kind, or a PostgreSQL source without ``url``.
    """
    if isinstance(data_source, FileSource):
        uri = FileSource.get_uri_for_file_path(config.repo_path, data_source.file_options.uri)
        credentials = data_source.resolve_credentials()
        return ParquetSource(view, uri, _storage(data_source.s3_endpoint_override, credentials))
    if data_source is None or type(data_source).__name__ != "PostgreSQLSource":
        raise UsageError(
            f"a source of type {type(data_source).__name__} is not read.\n  where: {view}"
            "\n  fix:   FileSource (Parquet) or PostgreSQLSource"
        )
    database = config.offline_store.source_database
    if database is None:
        raise UsageError(
            f"a PostgreSQL source needs a database.\n  where: {view}"
            "\n  fix:   set url: postgresql://… under offline_store in feature_store.yaml"
        )
    return PostgresSource(view, database, data_source.get_table_query_string())


def _storage(endpoint: str | None, credentials: dict[str, str] | None) -> dict[str, Any]:
    """Options of S3's file system; without any, the environment's own credentials are used."""
    names = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_SESSION_TOKEN": "token"}
    given = credentials or {}
    options: dict[str, Any] = {ours: given[name] for name, ours in names.items() if given.get(name)}
    return {**options, "endpoint_url": endpoint} if endpoint else options


def _observed(
    views: tuple[ViewJoin, ...],
    feature_views: list[FeatureView],
    start_date: dt.datetime | None,
    end_date: dt.datetime | None,
) -> EntityRows:
    start, end = compute_non_entity_date_range(feature_views, start_date=start_date, end_date=end_date)
    return observed_rows(views, Span(to_microseconds(start), to_microseconds(end)))


def _metadata(entities: EntityRows, feature_refs: list[str]) -> RetrievalMetadata:
    first, last = entities.span()
    return RetrievalMetadata(
        features=feature_refs,
        keys=[name for name in entities.schema if name != entities.time],
        min_event_timestamp=None if first is None else to_datetime(first),
        max_event_timestamp=None if last is None else to_datetime(last),
    )


def _pulled(
    config: RepoConfig, data_source: DataSource, what: Pull, dates: tuple[dt.datetime | None, dt.datetime | None]
) -> TableJob:
    source = _source(config, data_source.name, data_source)
    span = Span(*(None if date is None else to_microseconds(date) for date in dates))
    dummy = None if what.keys else pl.lit(DUMMY_ENTITY_VAL).alias(DUMMY_ENTITY_ID)

    def read() -> pa.Table:
        rows = pull(source, what, span)
        return plain_text((rows if dummy is None else rows.with_columns(dummy)).to_arrow())

    return TableJob(read, config.repo_path)
