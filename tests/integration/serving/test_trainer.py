"""The trainer over HTTP with a real worker: jobs are asked for once, followed, cancelled, timed out, and never lost."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import psutil
import pytest
from scripts.services import own
from scripts.services.own import Own
from shop_fleet import FLEET

OVER = ("SUCCEEDED", "STOPPED", "FAILED")
HOSTILE = ("1;reboot", "$(id)", "1' OR '1'='1", "-1", "1.5", "shop", "99999999999", "`x`", "%0a1")


def post(api: Own, path: str, **headers: str) -> httpx.Response:
    return httpx.post(f"{api.url}{path}", headers=headers, timeout=60)


def submit(api: Own, path: str, **headers: str) -> str:
    answer = post(api, path, **headers)
    assert answer.status_code == 202, answer.text
    told = answer.json()
    assert told["status"] == "SUBMITTED"
    return str(told["train_job_id"])


def job(api: Own, job_id: str) -> dict[str, Any]:
    answer = httpx.get(f"{api.url}/training_job_status/{job_id}", timeout=60)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def wait_for(api: Own, job_id: str, *statuses: str, timeout_s: float = 60) -> dict[str, Any]:
    end = time.monotonic() + timeout_s
    while (found := job(api, job_id))["status"] not in (statuses or OVER):
        assert time.monotonic() < end, found
        time.sleep(0.05)
    return found


def served_version(api: Own, store: int, product: str) -> int:
    answer = httpx.get(f"{api.url}/forecast/{store}/{product}", timeout=60)
    assert answer.status_code == 200, answer.text
    return int(answer.json()["api"]["model_version"])


def test_a_series_is_trained_again_and_its_new_version_is_the_one_served(api: Own, worker: Own) -> None:
    before, neighbour = served_version(api, 1, "product_B"), served_version(api, 1, "product_A")
    tag = httpx.get(f"{api.url}/forecast/1/product_B", timeout=60).headers["etag"]
    found = wait_for(api, submit(api, "/1/product_B/train"))
    assert (found["status"], found["progress"]) == ("SUCCEEDED", 1.0), found
    assert found["result"]["model_name"] == "prophet-retail-forecaster-store-1-product_B"
    assert found["result"]["model_version"] == str(before + 1)
    assert served_version(api, 1, "product_B") == before + 1  # at once: whoever read SUCCEEDED reads the new one
    again = httpx.get(f"{api.url}/forecast/1/product_B", headers={"if-none-match": tag}, timeout=60)
    assert again.status_code == 200
    assert served_version(api, 1, "product_A") == neighbour  # the neighbours are left alone


def test_a_version_trained_again_forecasts_beyond_what_is_stored(api: Own, worker: Own) -> None:
    assert wait_for(api, submit(api, "/2/product_A/train"))["status"] == "SUCCEEDED"
    path = "/forecast/2/product_A?begin_date=2024-07-01&end_date=2024-07-21"
    answer = httpx.get(f"{api.url}{path}", timeout=60).json()
    assert len(answer["forecast"]) == 21
    assert all(row["lower_ci"] < row["value"] < row["upper_ci"] for row in answer["forecast"] if row["value"])
    assert answer["api"]["model_version"] == str(served_version(api, 2, "product_A"))


def test_progress_is_followed_as_events(api: Own, worker: Own) -> None:
    job_id = submit(api, "/2/product_B/train")
    events = []
    with httpx.stream("GET", f"{api.url}/training_jobs/{job_id}/events", timeout=60) as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        text = "".join(stream.iter_text())
    for block in text.strip().split("\n\n"):
        kind, data = block.split("\n")
        events.append((kind.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
    assert events[-1][0] == "end"
    assert events[-1][1]["status"] == "SUCCEEDED"
    assert all(kind == "progress" for kind, _ in events[:-1])
    shares = [told["progress"] for _, told in events]
    assert shares == sorted(shares)
    assert events[-1][1] == job(api, job_id)


def test_the_whole_fleet_is_trained_as_it_was_before(api: Own, worker: Own) -> None:
    found = wait_for(api, submit(api, "/train"), timeout_s=120)
    assert found["status"] == "SUCCEEDED", found
    assert found["result"]["n_series"] == 6
    assert found["result"]["counts"]["trained"] == 6
    assert found["kind"] == "fleet"


def test_a_key_gives_the_same_job_also_when_it_is_over(api: Own, worker: Own) -> None:
    key = {"idempotency-key": "the same night"}
    first = submit(api, "/2/product_C/train", **key)
    assert wait_for(api, first)["status"] == "SUCCEEDED"
    assert submit(api, "/2/product_C/train", **key) == first
    assert submit(api, "/2/product_C/train") != first
    assert post(api, "/2/product_C/train", **{"idempotency-key": "x" * 201}).status_code == 400


def test_a_series_without_sales_fails_with_the_reason(api: Own, worker: Own) -> None:
    found = wait_for(api, submit(api, "/77/product_A/train"))
    assert found["status"] == "FAILED"
    assert "store '77', product 'product_A'" in found["reason"]
    assert "result" not in found


def test_a_job_that_is_over_cannot_be_cancelled_and_an_unknown_one_is_not_there(api: Own, worker: Own) -> None:
    job_id = submit(api, "/1/product_C/train")
    wait_for(api, job_id)
    refused = post(api, f"/training_jobs/{job_id}/cancel")
    assert (refused.status_code, refused.json()["detail"]) == (409, "the job is over: SUCCEEDED")
    for path in ("training_job_status/none", "training_jobs/none", "training_jobs/none/events",
                 f"training_job_status/{quote(chr(39))}"):  # fmt: skip
        answer = httpx.get(f"{api.url}/{path}", timeout=60)
        assert (answer.status_code, answer.json()["detail"]) == (404, "there is no such job")
    assert post(api, "/training_jobs/none/cancel").status_code == 404


def test_a_running_job_is_cancelled_and_the_worker_does_the_next(api: Own, worker: Own) -> None:
    job_id = submit(api, "/train")
    wait_for(api, job_id, "RUNNING")
    assert post(api, f"/training_jobs/{job_id}/cancel").json()["status"] == "STOPPED"
    assert wait_for(api, submit(api, "/1/product_A/train"))["status"] == "SUCCEEDED"
    assert job(api, job_id)["status"] == "STOPPED"


def test_a_process_that_is_killed_fails_its_job_and_is_replaced(api: Own, worker: Own) -> None:
    job_id = submit(api, "/train")
    wait_for(api, job_id, "RUNNING")
    (child,) = psutil.Process(worker.pid).children()
    os.kill(child.pid, signal.SIGKILL)
    found = wait_for(api, job_id)
    assert (found["status"], found["reason"]) == ("FAILED", "the process that did it ended with signal SIGKILL")
    assert wait_for(api, submit(api, "/1/product_A/train"))["status"] == "SUCCEEDED"


def test_jobs_are_listed_newest_first(api: Own, worker: Own) -> None:
    job_id = submit(api, "/1/product_A/train")
    wait_for(api, job_id)
    listed = httpx.get(f"{api.url}/training_jobs?limit=1", timeout=60).json()
    assert listed[0]["train_job_id"] == job_id
    assert len(listed) == 1
    some = httpx.get(f"{api.url}/training_jobs?status=SUCCEEDED", timeout=60).json()
    assert {item["status"] for item in some} == {"SUCCEEDED"}
    for query in ("status=LOST", "limit=0", "limit=100000"):
        assert httpx.get(f"{api.url}/training_jobs?{query}", timeout=60).status_code == 400


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_stores_are_refused(api: Own, name: str) -> None:
    assert post(api, f"/{quote(name)}/product_A/train").status_code == 400
    if name not in ("-1", "1.5", "shop", "99999999999"):  # which may be names of products
        assert post(api, f"/1/{quote(name)}/train").status_code == 400


@pytest.fixture(scope="module")
def lonely(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Own]:
    """A trainer over an empty warehouse, without a worker: what is asked for waits."""
    folder = tmp_path_factory.mktemp("lonely")
    words = ("--trainer", "--series-timeout", "2s", "--rate", "0")
    with own.api(folder / "home", "empty", folder / "api.log", *words, environment={"FORETAIL_TOKEN": "s3cret"}) as up:
        yield up


def test_ten_posts_at_once_are_one_job(lonely: Own) -> None:
    gate = threading.Barrier(10)

    def ask(_: int) -> str:
        gate.wait()
        return submit(lonely, "/1/product_A/train", authorization="Bearer s3cret")

    with ThreadPoolExecutor(10) as threads:
        assert len(set(threads.map(ask, range(10)))) == 1
    listed = httpx.get(f"{lonely.url}/training_jobs", timeout=60).json()
    assert Counter(item["kind"] for item in listed) == {"series": 1}


def test_a_job_that_nobody_does_has_failed_with_the_reason(lonely: Own) -> None:
    job_id = submit(lonely, "/2/product_A/train", authorization="Bearer s3cret")
    found = wait_for(lonely, job_id)
    assert found["status"] == "FAILED"
    assert found["reason"].startswith("timed out: no worker took it")


def test_a_waiting_job_is_cancelled(lonely: Own) -> None:
    token = {"authorization": "Bearer s3cret"}
    job_id = submit(lonely, "/train", **token)
    assert post(lonely, f"/training_jobs/{job_id}/cancel").status_code == 401
    stopped = post(lonely, f"/training_jobs/{job_id}/cancel", **token)
    assert (stopped.status_code, stopped.json()["status"]) == (200, "STOPPED")
    assert post(lonely, f"/training_jobs/{job_id}/cancel", **token).json()["status"] == "STOPPED"


def test_who_changes_something_needs_the_token(lonely: Own) -> None:
    for given in ("", "Bearer", "Bearer wrong", "Basic s3cret", "s3cret", "Bearer s3cre", "Bearer s3cret2"):
        answer = post(lonely, "/train", **({"authorization": given} if given else {}))
        assert answer.status_code == 401, given
        assert answer.headers["www-authenticate"] == "Bearer"
        assert "s3cret" not in answer.text
    assert httpx.get(f"{lonely.url}/training_jobs", timeout=60).status_code == 200
    page = {"authorization": "Bearer s3cret", "sec-fetch-site": "cross-site"}
    assert post(lonely, "/train", **page).status_code == 403
    assert "s3cret" not in lonely.log.read_text()


def test_the_trainer_alone_forecasts_nothing(lonely: Own) -> None:
    assert httpx.post(f"{lonely.url}/forecast", json=[], timeout=60).status_code == 404


def test_sigterm_ends_it_in_good_order_though_someone_follows(lonely: Own) -> None:
    job_id = submit(lonely, "/train", authorization="Bearer s3cret")
    with httpx.stream("GET", f"{lonely.url}/training_jobs/{job_id}/events", timeout=60) as stream:
        chunks = stream.iter_text()
        assert "PENDING" in next(chunks)
        began = time.monotonic()
        os.kill(lonely.pid, signal.SIGTERM)
        assert list(chunks) == []
    assert lonely.stop() == 0
    assert time.monotonic() - began < 15


def test_beyond_this_machine_a_token_is_needed(tmp_path: Path) -> None:
    command = [str(own._COMMAND), "serve", "api", "--fleet", FLEET, "--host", "0.0.0.0", "--home", str(tmp_path)]
    plain = {name: value for name, value in os.environ.items() if not name.startswith("FORETAIL_")}
    done = subprocess.run(command, capture_output=True, text=True, env=plain, cwd=tmp_path, timeout=120, check=False)
    assert done.returncode == 2
    assert "the trainer would take jobs from anyone" in done.stderr
    assert "FORETAIL_TOKEN" in done.stderr
