"""init: guess the spec of a table and write it down, to be read and corrected by its owner."""

from __future__ import annotations

from foretail.core.settings import Settings
from foretail.pipelines.check import open_request
from foretail.pipelines.request import Request

__all__ = ["init_table"]


def init_table(request: Request, settings: Settings) -> str:
    """The spec of a table as a TOML document; what was guessed stands above it as comments.

    Parameters
    ----------
    request : the table and whatever is known of it already.
    settings : where the known layouts are.

    Raises
    ------
    DataError : the table cannot be read, or a column named is not in it.
    """
    table = open_request(request, settings)
    notes = [f"# {line}" for note in table.notes for line in note.splitlines()]
    head = [
        "# A dataset spec: what the columns of a table of sales mean. Correct it, then give it to --spec.",
        '# With the place of the table in it (table = "…", relative to this file) it can be run by itself.',
        *notes,
        "",
    ]
    return "\n".join(head) + "\n" + table.spec.to_toml()
