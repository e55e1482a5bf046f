"""What can go wrong with the online store: it does not answer, holds other rows than asked for, or old ones."""

from __future__ import annotations

from foretail.core.errors import DataError, Problem, ServiceError

__all__ = ["OnlineStoreError", "StaleFeatures", "not_served", "unusable"]

_HINTS = (
    (
        ("full", "no space", "disk i/o", "could not extend file"),
        "free space where the database is, then run it again",
    ),
    (("locked", "lock timeout"), "another process is writing: wait for it, then run it again"),
    (("readonly", "read-only", "permission"), "write access to the database is needed"),
    (("not a database", "malformed"), "the file is damaged: move it away, then `feast apply` and `feast materialize`"),
)


class OnlineStoreError(ServiceError):
    """The online store cannot be read or written; what it held before is still there."""


class StaleFeatures(DataError):  # noqa: N818  (it is an answer more than an error)
    """Rows are older than the caller accepts, or not there at all.

    Parameters
    ----------
    problem : the three-part message.
    stale : numbers of the asked rows whose as-of date is too old.
    missing : numbers of the asked rows of which a view holds nothing.
    """

    def __init__(self, problem: Problem, stale: tuple[int, ...], missing: tuple[int, ...]):
        super().__init__(problem)
        self.stale = stale
        self.missing = missing


def unusable(what: str, where: str, error: Exception) -> OnlineStoreError:
    """Say what a database refused, in three parts; the fix follows from what it said."""
    said = str(error).strip().partition("\n")[0] or type(error).__name__
    fix = next((fix for words, fix in _HINTS if any(word in said.lower() for word in words)), "check the database")
    return OnlineStoreError(f"{what}: {said}\n  where: {where}\n  fix:   {fix}; the store is as it was before")


def not_served(table: str, where: str) -> OnlineStoreError:
    """Say that a view has no table in the online store."""
    return OnlineStoreError(
        f"nothing is stored for {table}.\n  where: {where}\n  fix:   `feast apply`, then `feast materialize`"
    )
