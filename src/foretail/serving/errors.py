"""Why a request cannot be answered: every bad instance at once, as problem details (RFC 9457).

400 the request is not what the protocol or the model says (malformed, unknown feature, NaN, wrong type or shape)
401 a token is needed, or another one
403 a page of another site asks
404 there is no such model, version, series or job
409 it cannot be done as things stand (a job that is over cannot be cancelled)
413 the request is larger than the server takes
422 the request is understood and cannot be answered as asked (a date outside the horizon, a stale feature row)
429 too many requests from one address
503 something that the answer needs does not answer (the online store), or the version is not ready
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from foretail.core.errors import ForetailError

__all__ = ["MEDIA_TYPE", "STATUSES", "RequestError", "RequestProblem", "problem_details", "refuse"]

MEDIA_TYPE = "application/problem+json"
STATUSES = (400, 401, 403, 404, 409, 413, 422, 429, 503)
_SHOWN = 20  # problems listed one by one


@dataclass(frozen=True)
class RequestProblem:
    """One thing that is wrong with a request.

    Attributes
    ----------
    status : one of `STATUSES`.
    what, where, fix : as in `foretail.core.errors.Problem`.
    instance : number of the instance, from 0; None for the request as a whole.
    """

    status: int
    what: str
    where: str
    fix: str
    instance: int | None = None

    def __str__(self) -> str:
        at = "" if self.instance is None else f"instance {self.instance}: "
        return f"{at}{self.what}\n  where: {self.where}\n  fix:   {self.fix}"


class RequestError(ForetailError):
    """A request that is refused; carries every problem found.

    Parameters
    ----------
    problems : one `RequestProblem` or several.

    Attributes
    ----------
    status : theirs where they agree; else 503 if one is, else 400 if one is, else 422.
    """

    def __init__(self, problems: RequestProblem | Sequence[RequestProblem]):
        self.problems = (problems,) if isinstance(problems, RequestProblem) else tuple(problems)
        self.status = _one_status({problem.status for problem in self.problems})
        super().__init__("\n".join(str(problem) for problem in self.problems[:_SHOWN]))


def refuse(status: int, what: str, where: str, fix: str, instance: int | None = None) -> RequestError:
    """The error of a single problem."""
    return RequestError(RequestProblem(status, what, where, fix, instance))


def problem_details(error: RequestError) -> dict[str, Any]:
    """The members of the answer.

    Returns
    -------
    ``type, title, status, detail`` of RFC 9457; ``problems``: the first 20, each ``what, where, fix`` and
    ``instance``; ``n_problems``; ``error``: the text again, under the name that clients of KServe's protocols read.
    """
    first = error.problems[0]
    more = f" (and {len(error.problems) - 1} more)" if len(error.problems) > 1 else ""
    detail = f"{first.what}{more}"
    return {
        "type": "about:blank",
        "title": HTTPStatus(error.status).phrase,
        "status": error.status,
        "detail": detail,
        "problems": [_plain(problem) for problem in error.problems[:_SHOWN]],
        "n_problems": len(error.problems),
        "error": str(error),
    }


def _plain(problem: RequestProblem) -> Mapping[str, Any]:
    at = {} if problem.instance is None else {"instance": problem.instance}
    return {**at, "what": problem.what, "where": problem.where, "fix": problem.fix}


def _one_status(statuses: set[int]) -> int:
    if len(statuses) == 1:
        return next(iter(statuses))
    return next((status for status in (503, 400) if status in statuses), 422)
