"""One door for every source: a path, a URL, a spec file or the name of a layout becomes a table with its meaning."""

from __future__ import annotations

import datetime as dt
import json
import os
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import polars as pl

from foretail.core.errors import DataError, Problem, UsageError, nearest
from foretail.core.locations import is_database
from foretail.core.spec import DatasetSpec
from foretail.sources.country import check_country
from foretail.sources.files import read_frame
from foretail.sources.guess import check_columns, guess_spec, named_columns, said
from foretail.sources.layouts import FILES, read_rossmann, read_walmart
from foretail.sources.online_retail import read_online_retail
from foretail.sources.stream_sales import open_sales
from foretail.sources.table import Table

__all__ = ["LAYOUTS", "WAREHOUSE", "open_table"]

WAREHOUSE = "warehouse"
LAYOUTS = ("walmart", "rossmann", "online-retail", "synthetic", WAREHOUSE)
_PRESET = "synthetic:"
_IN_WAREHOUSE = (WAREHOUSE, "rossmann")  # what a stream may have brought there
_ROOT = Path(__file__).resolve().parents[3]
_READERS: dict[str, Callable[[Path], Table]] = {"walmart": read_walmart, "rossmann": read_rossmann}


def open_table(
    table: str,
    *,
    data: Path | str | None = None,
    spec: Path | None = None,
    future: str | None = None,
    cutoff: dt.date | None = None,
    **given: Any,
) -> Table:
    """Open a table of sales.

    Parameters
    ----------
    table : a path or URL of CSV or Parquet; a spec file (``.toml``) that names it under ``table`` (and ``future``),
        relative to itself; or a layout: ``walmart``, ``rossmann``, ``online-retail``, ``synthetic``, where
        ``synthetic:NAME`` is one of the named sizes of the synthetic world (see `PRESETS`), and ``warehouse`` the sales
        that the stream has brought; or the URL of such a warehouse.
    data : folder of the layouts, or of this layout; default ``$FORETAIL_DATA``. ``online-retail`` falls back to the
        extract in ``examples/online_retail``. For ``synthetic``: a JSON file with its configuration. The URL of a
        database makes ``warehouse`` and ``rossmann`` read the sales there.
    spec : a spec file for a table that is given by its path.
    future : a path or URL with the keys, dates and known covariates to forecast.
    cutoff : nothing is guessed from rows after this date; they are read all the same.
    given : fields of `DatasetSpec`; None and ``()`` mean not given. They go before a spec file and before a layout.

    Raises
    ------
    UsageError : a name that is neither a file nor a layout; a frequency that a layout does not have; a country whose
        public holidays are not known.
    DataError : a table that cannot be read, columns that do not exist, nothing that can be guessed.
    """
    given = _with_country(given)
    database = _database_of(table, data)
    if database is not None:
        result = _override(open_sales(database), said(given))
    elif table in LAYOUTS or table.startswith(_PRESET):
        result = _open_layout(table, None if data is None else Path(data), said(given))
    elif table.lower().endswith(".toml"):
        location, ahead, values = _read_spec(Path(table))
        if location is None:
            raise DataError(
                Problem("the spec does not name its table", table, 'add table = "sales.csv", relative to the spec')
            )
        future = future or ahead
        result = _open_by_spec(location, {**values, **said(given)}, table)
    elif spec is not None:
        _, ahead, values = _read_spec(spec)
        future = future or ahead
        result = _open_by_spec(_existing(table), {**values, **said(given)}, str(spec))
    else:
        result = _open_by_guess(_existing(table), said(given), cutoff)
    return result if future is None else _with_future(result, future)


def _database_of(table: str, data: Path | str | None) -> str | None:
    """The URL of the warehouse to read; None where the table is a file or another layout.

    Raises
    ------
    UsageError : the warehouse is asked for and not said where it is.
    """
    if is_database(table):
        return table
    if isinstance(data, str) and is_database(data) and table in _IN_WAREHOUSE:
        return data
    if table != WAREHOUSE:
        return None
    url = os.environ.get("FORETAIL_WAREHOUSE")
    if not url:
        raise UsageError(
            "it is not said where the warehouse is.\n  where: --data\n"
            "  fix:   set FORETAIL_WAREHOUSE, or --data postgresql://host/database"
        )
    return url


def _with_country(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values with the country's code as it is used; what is no text is told with the other keys of the spec."""
    country = values.get("country")
    return {**values, "country": check_country(country)} if isinstance(country, str) else dict(values)


def _existing(table: str) -> str:
    """Refuse what is neither a file, nor like a path, nor a layout."""
    if "://" in table or Path(table).expanduser().exists() or Path(table).suffix or os.sep in table:
        return table
    raise UsageError(
        f"neither a file nor a known layout: {table!r}.\n  where: TABLE\n  fix:   {nearest(table, LAYOUTS)}"
    )


def _read_spec(path: Path) -> tuple[str | None, str | None, dict[str, Any]]:
    """The table and the future a spec file names, and the fields of the spec."""
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise DataError(Problem(f"not a TOML file: {error}", str(path), "`foretail init TABLE` writes one")) from error
    except OSError as error:
        reason = error.strerror or str(error)
        raise DataError(Problem(f"cannot read the spec: {reason}", str(path), "check the path")) from error
    locations = [_beside(path, values.pop(key, None)) for key in ("table", "future")]
    return locations[0], locations[1], values


def _beside(spec: Path, location: str | None) -> str | None:
    if location is None or "://" in location:
        return location
    return str(spec.parent / Path(location).expanduser())


def _open_by_spec(location: str, values: Mapping[str, Any], where: str) -> Table:
    spec = DatasetSpec.from_dict(_with_country(values), where=where)
    if location in LAYOUTS:
        raise UsageError(f"a layout has its own spec.\n  where: {where}\n  fix:   foretail run {location}")
    frame = read_frame(location)
    check_columns(frame, named_columns(spec.to_dict()), where)
    return Table(frame, spec)


def _open_by_guess(location: str, given: Mapping[str, Any], cutoff: dt.date | None) -> Table:
    frame = read_frame(location)
    spec, notes = guess_spec(frame, {"name": _name_of(location), **given}, cutoff)
    return Table(frame, spec, notes=notes)


def _name_of(location: str) -> str:
    """The name of a dataset from its file: ``data/My sales.csv.gz`` is my-sales."""
    stem = location.rstrip("/").split("/")[-1].split("?")[0].split(".")[0]
    return "-".join(stem.lower().split()) or "sales"


def _open_layout(name: str, data: Path | None, given: Mapping[str, Any]) -> Table:
    if name == "synthetic" or name.startswith(_PRESET):
        return _override(_open_synthetic(name, data), given)
    if name == "online-retail":
        table = read_online_retail(
            _online_retail_folder(data), freq=given.get("freq", "D"), horizon=given.get("horizon")
        )
        return _override(table, given)
    table = _READERS[name](_folder(name, data))
    freq = given.get("freq")
    if freq and table.spec.but(freq=freq).freq != table.spec.freq:
        raise UsageError(f"{name} has the frequency {table.spec.freq}.\n  where: --freq {freq}\n  fix:   leave it out")
    return _override(table, given)


def _override(table: Table, given: Mapping[str, Any]) -> Table:
    """What the user says goes before what the layout says."""
    if not given:
        return table
    spec = DatasetSpec.from_dict({**_fields(table.spec), **given}, where="the options")
    check_columns(table.frame, named_columns(spec.to_dict()), "the options")
    return Table(table.frame, spec, table.future, table.notes)


def _fields(spec: DatasetSpec) -> dict[str, Any]:
    return {name: getattr(spec, name) for name in spec.to_dict()}


def _open_synthetic(name: str, data: Path | None) -> Table:
    """The world of a named size, or the default one, changed by what the JSON file says."""
    from foretail.sources.synthetic import synthetic_table

    config = {"preset": name.removeprefix(_PRESET)} if name.startswith(_PRESET) else {}
    return synthetic_table(config if data is None else {**config, **_read_config(data)})


def _read_config(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _bad_config(path, f"the configuration cannot be read: {error}") from error
    if not isinstance(config, dict):
        raise _bad_config(path, "the configuration is not a JSON object")
    return config


def _bad_config(path: Path, what: str) -> DataError:
    return DataError(Problem(what, str(path), "give a JSON file, or leave --data out"))


def _folder(name: str, data: Path | None) -> Path:
    root = data or (Path(os.environ["FORETAIL_DATA"]) if os.environ.get("FORETAIL_DATA") else None)
    if root is None:
        raise DataError(
            Problem(f"the folder of the layout {name!r} is not known", "--data", "--data FOLDER, or set FORETAIL_DATA")
        )
    tried = [root / name, root]
    for folder in tried:
        if all((folder / file).is_file() for file in FILES[name]):
            return folder
    places = " or ".join(str(folder) for folder in tried)
    files = ", ".join(FILES[name])
    raise DataError(Problem(f"the files of {name} are not there", places, f"put {files} there, or change --data"))


def _online_retail_folder(data: Path | None) -> Path:
    """The given folder, else the one under $FORETAIL_DATA, else the extract that comes with the project."""
    if data is not None:
        return data / "online_retail" if (data / "online_retail").is_dir() else data
    root = os.environ.get("FORETAIL_DATA")
    if root and (Path(root) / "online_retail").is_dir():
        return Path(root) / "online_retail"
    return _ROOT / "examples" / "online_retail"


def _with_future(table: Table, location: str) -> Table:
    future = read_frame(location)
    spec = table.spec
    check_columns(future, (*spec.keys, spec.time), location)
    return Table(table.frame, spec, _like(future, table.frame, location), table.notes)


def _like(future: pl.DataFrame, frame: pl.DataFrame, where: str) -> pl.DataFrame:
    """Give the columns of the future the types of the table: the same code may look like a number in a smaller file."""
    casts, problems = [], []
    for name in future.columns:
        wanted, found = frame.schema.get(name, future.schema[name]), future.schema[name]
        if wanted == found or found == pl.Null or (wanted.is_numeric() and found.is_numeric()):
            continue
        if wanted == pl.String and (found.is_integer() or found == pl.Boolean):
            casts.append(pl.col(name).cast(pl.String))
        elif wanted.is_numeric() and found in (pl.String, pl.Boolean):
            problems += _cast_problem(future[name], name, wanted, where)
            casts.append(pl.col(name).cast(wanted, strict=False))
    if problems:
        raise DataError(problems)
    return future.with_columns(casts)


def _cast_problem(values: pl.Series, name: str, wanted: pl.DataType, where: str) -> list[Problem]:
    bad = values.filter(values.cast(wanted, strict=False).is_null() & values.is_not_null())
    if bad.is_empty():
        return []
    what = f"column {name!r} holds text where the table holds numbers"
    return [Problem(what, f"{where}: {', '.join(map(repr, bad.head(3)))}", "use the same values as the table")]
