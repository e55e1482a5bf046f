"""Sales told since a version was made: from a file, or as a stream has brought them to the warehouse."""

from __future__ import annotations

import polars as pl

from foretail.core.locations import is_database
from foretail.core.settings import Settings
from foretail.sources.files import read_frame
from foretail.sources.open import WAREHOUSE
from foretail.sources.stream_sales import open_sales

__all__ = ["newer_sales"]


def newer_sales(table: str, settings: Settings) -> tuple[pl.DataFrame, pl.DataFrame | None]:
    """The rows of a table, and what the source itself can say of the days to come.

    Parameters
    ----------
    table : a path or URL of CSV or Parquet; ``warehouse`` for the one of the settings, or the URL of one.

    Raises
    ------
    DataError : it cannot be read. ServiceError : the warehouse does not answer.
    """
    if table != WAREHOUSE and not is_database(table):
        return read_frame(table), None
    found = open_sales(settings.warehouse if table == WAREHOUSE else table)
    return found.frame, found.future
