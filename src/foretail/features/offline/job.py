"""What a query of the offline store gives back: rows that are read when they are asked for, on-demand features last."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, cast

import fsspec
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from feast.errors import SavedDatasetLocationAlreadyExists
from feast.infra.offline_stores.file_source import FileSource, SavedDatasetFileStorage
from feast.infra.offline_stores.offline_store import RetrievalJob, RetrievalMetadata
from feast.on_demand_feature_view import OnDemandFeatureView

from foretail.core.errors import DataError, Problem, UsageError
from foretail.features.offline.plan import JoinPlan
from foretail.features.offline.stream import Streaming, historical_to_parquet, join_plan, write_part

__all__ = ["AsofRetrievalJob", "TableJob", "plain_text"]


class TableJob(RetrievalJob):  # type: ignore[misc]
    """Rows that a function reads, as Arrow, pandas or Polars.

    Parameters
    ----------
    read : gives the rows.
    repo_path : folder that relative paths of saved datasets start from.
    """

    def __init__(self, read: Callable[[], pa.Table], repo_path: Path | None = None):
        self._read = read
        self._repo_path = repo_path

    @property
    def full_feature_names(self) -> bool:
        return False

    @property
    def on_demand_feature_views(self) -> list[OnDemandFeatureView]:
        return []

    @property
    def metadata(self) -> RetrievalMetadata | None:
        return None

    def to_df(self, validation_reference: Any = None, timeout: int | None = None) -> pd.DataFrame:
        """The rows as a pandas frame; Arrow's memory is let go of column by column."""
        return _pandas(self.to_arrow(validation_reference, timeout))

    def to_polars(self) -> pl.DataFrame:
        """The rows as a Polars frame."""
        return cast(pl.DataFrame, pl.from_arrow(self.to_arrow()))

    def persist(self, storage: Any, allow_overwrite: bool = False, timeout: int | None = None) -> None:  # noqa: ARG002
        """Write the rows as a saved dataset: a file if its path ends in ``.parquet``, else a folder.

        Raises
        ------
        UsageError : the storage is no file.
        SavedDatasetLocationAlreadyExists : something is there and may not be overwritten.
        """
        if not isinstance(storage, SavedDatasetFileStorage):
            raise UsageError(
                f"a training set cannot be saved to {type(storage).__name__}.\n  where: storage"
                "\n  fix:   SavedDatasetFileStorage(path=…), locally or at an fsspec address"
            )
        uri = FileSource.get_uri_for_file_path(self._repo_path, storage.file_options.uri)
        filesystem, path = fsspec.core.url_to_fs(uri)
        if filesystem.exists(path) and not allow_overwrite:
            raise SavedDatasetLocationAlreadyExists(location=storage.file_options.uri)
        if "://" not in uri:
            self._write(Path(path), allow_overwrite)
            return
        target = path if path.endswith(".parquet") else f"{path.rstrip('/')}/part-00000.parquet"
        filesystem.makedirs(target.rpartition("/")[0], exist_ok=True)
        with filesystem.open(target, "wb") as file:
            pq.write_table(self.to_arrow(), file)

    def supports_remote_storage_export(self) -> bool:
        return False

    def _write(self, path: Path, overwrite: bool) -> None:
        if overwrite and path.is_dir():
            shutil.rmtree(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix != ".parquet":
            path.mkdir(exist_ok=True)
            path = path / "part-00000.parquet"
        write_part(self.to_arrow(), path)

    def _to_arrow_internal(self, timeout: int | None = None) -> pa.Table:  # noqa: ARG002
        return self._read()

    def _to_df_internal(self, timeout: int | None = None) -> pd.DataFrame:  # noqa: ARG002
        return _pandas(self._read())


class AsofRetrievalJob(TableJob):
    """A training set that is joined when it is asked for.

    Parameters
    ----------
    plan : what to join.
    streaming : how.
    on_demand : views to compute after the join, in this order.
    metadata : Feast's note of what was asked.
    full_feature_names : whether features carry the name of their view.
    repo_path : as for `TableJob`.
    """

    def __init__(
        self,
        plan: JoinPlan,
        streaming: Streaming,
        on_demand: Iterable[OnDemandFeatureView],
        metadata: RetrievalMetadata,
        full_feature_names: bool,
        repo_path: Path | None,
    ):
        super().__init__(self._joined, repo_path)
        self.plan = plan
        self._streaming = streaming
        self._on_demand = list(on_demand)
        self._metadata = metadata
        self._full = full_feature_names

    @property
    def full_feature_names(self) -> bool:
        return self._full

    @property
    def on_demand_feature_views(self) -> list[OnDemandFeatureView]:
        return self._on_demand

    @property
    def metadata(self) -> RetrievalMetadata:
        return self._metadata

    def to_arrow(self, validation_reference: Any = None, timeout: int | None = None) -> pa.Table:
        """The rows with on-demand features, each view of those given the columns it declares and no other.

        Raises
        ------
        DataError : a source that lacks something, is broken or changed while it was read; an on-demand view whose
            inputs are not there.
        """
        # Feast hands every column to every on-demand view: what a view declares would not be all that it sees
        whole = TableJob(self._complete, self._repo_path)
        return whole.to_arrow(validation_reference, timeout)

    def to_parquet(self, folder: Path | str, *, overwrite: bool = False) -> list[Path]:
        """Write the rows as a folder of Parquet parts, however many there are; see `stream.historical_to_parquet`."""
        finish = self._with_on_demand if self._on_demand else None
        return historical_to_parquet(self.plan, self._streaming, Path(folder), finish, overwrite=overwrite)

    def _write(self, path: Path, overwrite: bool) -> None:
        if path.suffix == ".parquet":
            super()._write(path, overwrite)
        else:
            self.to_parquet(path, overwrite=overwrite)

    def _joined(self) -> pa.Table:
        return plain_text(join_plan(self.plan, self._streaming))

    def _complete(self) -> pa.Table:
        return self._with_on_demand(self._joined())

    def _with_on_demand(self, table: pa.Table) -> pa.Table:
        for view in self._on_demand:
            computed = view.transform_arrow(table.select(self._inputs(view, table)), self._full)
            for name in self._asked(view):
                if name not in computed.column_names:
                    raise DataError(
                        Problem(f"it does not give {name!r}", f"on-demand view {view.name}", "return it, or ask less")
                    )
                table = table.append_column(name, computed[name])
        return table

    def _inputs(self, view: OnDemandFeatureView, table: pa.Table) -> list[str]:
        """Columns of the table that a view declares as its sources.

        Raises
        ------
        DataError : one is not there.
        """
        given = [field.name for source in view.source_request_sources.values() for field in source.schema]
        missing = [name for name in given if name not in table.column_names]
        for projection in view.source_feature_view_projections.values():
            for feature in projection.features:
                names = [feature.name, f"{projection.name_to_use()}__{feature.name}"]
                found = [name for name in names if name in table.column_names]
                given += found
                missing += [] if found else names[:1]
        if missing:
            raise DataError(
                Problem(
                    f"inputs are not there: {', '.join(missing)}",
                    f"on-demand view {view.name}",
                    "add the request columns to the entity rows, and ask for the views it reads",
                )
            )
        return list(dict.fromkeys(given))

    def _asked(self, view: OnDemandFeatureView) -> list[str]:
        """Features of a view that were asked for, under their final names."""
        prefix = f"{view.projection.name_to_use()}__" if self._full else ""
        own = {view.name, view.projection.name_to_use()}
        refs = (ref.split(":", 1) for ref in self._metadata.features if ":" in ref)
        return list(dict.fromkeys(prefix + feature for name, feature in refs if name in own))


def _pandas(table: pa.Table) -> pd.DataFrame:
    frame: pd.DataFrame = table.to_pandas(self_destruct=True)
    return frame


def plain_text(table: pa.Table) -> pa.Table:
    """Text as Feast's other stores give it: Polars writes it with long offsets."""
    for i, field in enumerate(table.schema):
        if pa.types.is_large_string(field.type) and table.column(i).nbytes < 2**31:
            table = table.set_column(i, pa.field(field.name, pa.string()), table.column(i).cast(pa.string()))
    return table
