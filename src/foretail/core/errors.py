"""The errors a user can meet, in one tree; each message says what is wrong, where, and what to do.

ForetailError                 exit 1
├── UsageError                exit 2   an option or a name that does not exist, or does not fit another one
├── DataError                 exit 3   the table cannot be used as it is
├── ForecastError             exit 1   every family failed, or a model cannot be used here
├── RegistryError             exit 1   a version, alias or bundle that is not there or not whole
│   └── PromotionRefused      exit 4   the gate said no
├── ServiceError              exit 1   a database or a cluster does not answer, or went away
└── MissingExtraError         exit 1   an optional package is not installed
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = [
    "DataError",
    "ForecastError",
    "ForetailError",
    "MissingExtraError",
    "Problem",
    "PromotionRefused",
    "RegistryError",
    "ServiceError",
    "UsageError",
    "nearest",
]


class ForetailError(Exception):
    """Base of all errors that foretail raises on purpose; any of them comes back whole from another process."""

    exit_code = 1

    def __reduce__(self) -> tuple[Callable[..., ForetailError], tuple[Any, ...]]:
        """Rebuilt without the constructor: its parameters are not what an exception keeps in ``args``."""
        return _rebuilt, (type(self), self.args, self.__dict__)


class UsageError(ForetailError):
    """What was asked for cannot be: an unknown name, option or combination."""

    exit_code = 2


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with a table.

    Attributes
    ----------
    what : what is wrong, one sentence.
    where : the column, the number of rows or series, the first examples.
    fix : what the user can do about it.
    """

    what: str
    where: str
    fix: str

    def __str__(self) -> str:
        return f"{self.what}\n  where: {self.where}\n  fix:   {self.fix}"


class DataError(ForetailError):
    """A table that cannot be used as it is; carries every problem found, not only the first.

    Parameters
    ----------
    problems : one `Problem` or several.
    """

    exit_code = 3

    def __init__(self, problems: Problem | Sequence[Problem]):
        self.problems = (problems,) if isinstance(problems, Problem) else tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class ForecastError(ForetailError):
    """No family could forecast, or a model does not fit the panel it was given."""


class RegistryError(ForetailError):
    """A model version, alias or bundle that does not exist or is not whole."""


class PromotionRefused(RegistryError):  # noqa: N818  (it is an answer more than an error)
    """The gate refused a version; the message holds the table it decided on."""

    exit_code = 4


class ServiceError(ForetailError):
    """A service that foretail works on (a database, a cluster) does not answer, or went away in the middle."""


class MissingExtraError(ForetailError):
    """An optional package is needed.

    Parameters
    ----------
    package : the import name that failed.
    extra : the extra of foretail that brings it, for the install hint.
    """

    def __init__(self, package: str, extra: str):
        super().__init__(f"{package} is not installed.\n  fix:   pip install 'foretail[{extra}]'")


def nearest(name: str, known: Iterable[str]) -> str:
    """Say which names are known and which one was probably meant, for an error message."""
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return f"{hint}known: {', '.join(known) or 'none'}"


def _rebuilt(kind: type[ForetailError], arguments: tuple[Any, ...], state: dict[str, Any]) -> ForetailError:
    error = kind.__new__(kind, *arguments)
    error.__dict__.update(state)
    return error
