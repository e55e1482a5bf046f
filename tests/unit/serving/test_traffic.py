"""Who answers: references, shares of traffic, versions by name; the log of requests."""

import json
from pathlib import Path

import pytest

from foretail.core.errors import UsageError
from foretail.serving.errors import RequestError
from foretail.serving.requestlog import RequestLog
from foretail.serving.traffic import Canary, Route
from foretail.serving.versions import Reference, Slot


def slot(version, number):
    """A place with a version in it; what is in it is never asked here."""
    made = Slot(Reference("sales", version))
    made.number = number
    made.scorer = made if number else None
    return made


@pytest.mark.parametrize(
    ("text", "reference"),
    [
        ("sales", Reference("sales", "champion")),
        ("sales@challenger", Reference("sales", "challenger")),
        ("sales/3", Reference("sales", "3")),
        ("sales=/mnt/models", Reference("sales", "models", Path("/mnt/models"))),
    ],
)
def test_a_reference_is_a_name_and_a_version_or_a_folder(text, reference):
    assert Reference.parse(text) == reference


@pytest.mark.parametrize("text", ["", "@champion", "sales@", "sales/", "a/b=/mnt"])
def test_a_reference_without_a_name_or_version_is_refused(text):
    with pytest.raises(UsageError, match="NAME@alias"):
        Reference.parse(text)


@pytest.mark.parametrize("text", ["challenger", "challenger=", "=10", "challenger=101", "challenger=-1", "a=nan"])
def test_a_share_is_an_alias_and_a_percentage(text):
    with pytest.raises(UsageError, match="challenger=10"):
        Canary.parse(text)


@pytest.mark.parametrize(("percent", "n"), [(0, 0), (1, 2), (10, 20), (33.5, 67), (100, 200)])
def test_the_canary_gets_exactly_its_share(percent, n):
    canary = slot("challenger", "2")
    route = Route([slot("champion", "1"), canary], (canary, percent))
    assert sum(route.choose() is canary for _ in range(200)) == n


def test_a_canary_without_a_version_gets_nothing():
    canary = slot("challenger", "")
    route = Route([slot("champion", "1"), canary], (canary, 100))
    assert route.choose().number == "1"


def test_versions_are_found_by_alias_and_number():
    route = Route([slot("champion", "1"), slot("2", "2")])
    assert [route.choose(name).number for name in ("", "champion", "1", "2")] == ["1", "1", "1", "2"]
    with pytest.raises(RequestError) as error:
        route.choose("3")
    assert error.value.status == 404
    assert "1, 2, champion" in error.value.problems[0].fix


def test_an_alias_without_a_version_is_503():
    route = Route([slot("champion", "1"), slot("challenger", "")])
    with pytest.raises(RequestError) as error:
        route.choose("challenger")
    assert error.value.status == 503


def test_the_log_holds_every_request_once_it_is_closed(tmp_path):
    log = RequestLog(str(tmp_path / "requests.jsonl"))
    for i in range(1000):
        log.put((1.5, f"r{i}", "sales", "1", "v1", 200, i, 0.12345))
    log.close()
    lines = [json.loads(line) for line in (tmp_path / "requests.jsonl").read_text().splitlines()]
    assert [line["request_id"] for line in lines] == [f"r{i}" for i in range(1000)]
    assert lines[7] == {
        "time": "1970-01-01T00:00:01.500+00:00", "request_id": "r7", "model": "sales", "version": "1",
        "protocol": "v1", "status": 200, "instances": 7, "ms": 0.123,
    }  # fmt: skip


def test_a_log_that_cannot_be_opened_is_told(tmp_path):
    with pytest.raises(UsageError, match="request log"):
        RequestLog(str(tmp_path / "none" / "requests.jsonl"))
