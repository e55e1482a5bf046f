"""Which features an instance may give a value of its own, and what is wrong with a value; nothing is ever imputed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from foretail.core.errors import nearest
from foretail.forecasts.known_values import Overridable, Unreadable, known_covariates, shortened
from foretail.serving.errors import RequestProblem

__all__ = ["Overridable", "known_covariates", "read_overrides", "unknown_feature"]

_LONGEST_NAME = 40  # characters of a name in a message


def unknown_feature(name: Any, known: Mapping[str, Overridable], i: int) -> RequestProblem:
    """The problem of an override that names no feature of the model."""
    label = name[:_LONGEST_NAME] if isinstance(name, str) else shortened(name)
    what = f"{label!r} is no feature that can be overridden"
    return RequestProblem(400, what, f"overrides of instance {i}", nearest(str(label), known), i)


def read_overrides(
    given: Mapping[str, Any], horizon: int, known: Mapping[str, Overridable], i: int
) -> Iterator[tuple[Overridable, Sequence[float | str]] | RequestProblem]:
    """Each override with the value of each step, or what is wrong with it.

    Parameters
    ----------
    i : number of the instance.
    """
    for name, value in given.items():
        feature = known.get(name)
        if feature is None:
            yield unknown_feature(name, known, i)
            continue
        try:
            yield feature, [feature.read(item) for item in feature.steps(value, horizon)]
        except Unreadable as error:
            yield RequestProblem(400, f"{name} {error.what}", f"overrides of instance {i}", error.fix, i)
