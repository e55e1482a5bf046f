"""Names that come with a request: stores, products, jobs and request ids; nothing else than these patterns passes."""

from __future__ import annotations

import re
import secrets
from typing import Any, NamedTuple

from foretail.serving.errors import refuse

__all__ = ["ID_PATTERN", "JOB_PATTERN", "Pair", "read_job_id", "read_pair", "read_request_id"]

ID_PATTERN = r"[A-Za-z0-9](?:[A-Za-z0-9 ._+-]{0,62}[A-Za-z0-9])?"  # what a store or a product may be called
JOB_PATTERN = r"[A-Za-z0-9][A-Za-z0-9-]{0,63}"
_ID = re.compile(ID_PATTERN)
_JOB = re.compile(JOB_PATTERN)
_REQUEST_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,63}")


class Pair(NamedTuple):
    """A store and a product, as text."""

    store: str
    product: str


def read_pair(store: Any, product: Any, instance: int | None = None) -> Pair:
    """A store and a product that are called as they may be; a store may come as a number, and ``007`` is ``7``.

    Raises
    ------
    RequestError : 400, one of them is not.
    """
    return Pair(_read("store_id", store, instance), _read("product_name", product, instance))


def read_job_id(text: str) -> str:
    """The id of a job.

    Raises
    ------
    RequestError : 404, no job can be called so.
    """
    if not _JOB.fullmatch(text):
        raise refuse(404, "there is no such job", "train_job_id", "GET /training_jobs lists the jobs")
    return text


def read_request_id(text: str) -> str:
    """The caller's name for a request, or a new one where it has none that may stand in a log."""
    return text if _REQUEST_ID.fullmatch(text) else secrets.token_hex(8)


def _read(name: str, value: Any, instance: int | None) -> str:
    text = str(value) if type(value) is int else value
    if not isinstance(text, str) or not _ID.fullmatch(text):
        shown = "nothing" if value is None else repr(value)[:40]
        fix = "letters, digits and, between them, spaces or . _ + -; 64 characters at most"
        raise refuse(400, f"{name} is {shown}", name, fix, instance)
    return str(int(text)) if name == "store_id" and text.isdigit() else text
