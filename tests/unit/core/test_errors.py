"""The error tree: exit codes, three-part messages, every problem at once."""

import pickle

import pytest

from foretail.core import errors
from foretail.core.errors import (
    DataError,
    ForecastError,
    ForetailError,
    MissingExtraError,
    Problem,
    PromotionRefused,
    RegistryError,
    ServiceError,
    UsageError,
    nearest,
)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ForetailError, 1),
        (UsageError, 2),
        (DataError, 3),
        (ForecastError, 1),
        (RegistryError, 1),
        (PromotionRefused, 4),
        (ServiceError, 1),
        (MissingExtraError, 1),
    ],
)
def test_exit_codes(error, code):
    assert error.exit_code == code
    assert issubclass(error, ForetailError)


def test_a_refused_promotion_is_a_registry_error():
    assert issubclass(PromotionRefused, RegistryError)


def test_the_drawn_tree_names_every_error():
    for name in errors.__all__:
        if isinstance(getattr(errors, name), type) and issubclass(getattr(errors, name), ForetailError):
            assert name in errors.__doc__


def test_a_problem_has_three_parts():
    assert str(Problem("the column is empty", "sales", "drop it")) == (
        "the column is empty\n  where: sales\n  fix:   drop it"
    )


def test_a_data_error_tells_every_problem():
    first, second = Problem("a", "b", "c"), Problem("d", "e", "f")
    error = DataError([first, second])
    assert error.problems == (first, second)
    assert str(error) == f"{first}\n{second}"
    assert DataError(first).problems == (first,)


def test_a_missing_package_says_how_to_get_it():
    assert "pip install 'foretail[s3]'" in str(MissingExtraError("s3fs", "s3"))


@pytest.mark.parametrize(
    "error",
    [DataError([Problem("a", "b", "c"), Problem("d", "e", "f")]), MissingExtraError("s3fs", "s3"), UsageError("no")],
)
def test_an_error_comes_back_whole_from_another_process(error):
    back = pickle.loads(pickle.dumps(error))
    assert (type(back), str(back), vars(back)) == (type(error), str(error), vars(error))


def test_nearest_lists_the_known_and_proposes_one():
    assert nearest("horizn", ["time", "horizon"]) == "did you mean 'horizon'? known: horizon, time"
    assert nearest("xyz", ["time"]) == "known: time"
    assert nearest("xyz", []) == "known: none"
