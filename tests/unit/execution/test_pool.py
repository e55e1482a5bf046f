"""The pool answers every row once, whatever happens to the workers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foretail.execution.laid import Laid, laid
from foretail.execution.pool import Chunk, Outcome, Pool, chunks, cut, warm_pool

sys.path.insert(0, str(Path(__file__).parent))
import pool_jobs  # importable by this name in the workers too, which inherit sys.path


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    with Pool(2) as two:
        yield two


def rows_of(outcomes: list[Outcome]) -> list[int]:
    return sorted(row for outcome in outcomes for row in range(outcome.start, outcome.start + outcome.n))


def assembled(outcomes: list[Outcome], n: int) -> np.ndarray:
    result = np.full(n, np.nan)
    for outcome in outcomes:
        if not outcome.is_failed:
            result[outcome.start : outcome.start + outcome.n] = outcome.value
    return result


@given(st.integers(0, 500), st.integers(1, 9), st.integers(1, 6))
def test_slices_cover_every_row_once_and_are_even(n: int, n_workers: int, per_worker: int) -> None:
    parts = chunks(n, n_workers, per_worker)
    assert [row for part in parts for row in range(n)[part]] == list(range(n))
    sizes = [part.stop - part.start for part in parts]
    assert len(parts) == min(n, n_workers * per_worker)
    assert not sizes or max(sizes) - min(sizes) <= 1


def test_arrays_of_different_length_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\[2, 3\]"):
        cut([np.zeros(2), np.zeros(3)], 2)


@pytest.mark.parametrize("n_workers", [1, 2])
def test_every_row_is_answered(n_workers: int) -> None:
    values = np.arange(101.0)
    with Pool(n_workers) as pool:
        outcomes = list(pool.map(pool_jobs.double, cut([values], 2)))
    assert rows_of(outcomes) == list(range(101))
    np.testing.assert_array_equal(assembled(outcomes, 101), values * 2)


def test_several_arrays_and_fixed_arguments(pool: Pool) -> None:
    work = cut([np.arange(5.0), list("abcde")], 2)
    outcomes = sorted(pool.map(partial(pool_jobs.two_arrays, factor=3), work), key=lambda outcome: outcome.start)
    assert [text for outcome in outcomes for text in outcome.value] == ["a:0", "b:3", "c:6", "d:9", "e:12"]


@pytest.mark.parametrize("n_workers", [1, 2])
def test_a_bad_row_costs_only_itself(n_workers: int) -> None:
    values = np.arange(40.0)
    values[[7, 8, 39]] = [-7, -8, -39]
    with Pool(n_workers) as pool:
        outcomes = list(pool.map(pool_jobs.double_unless_negative, cut([values], 2)))
    assert rows_of(outcomes) == list(range(40))
    failed = {outcome.start: outcome.reason for outcome in outcomes if outcome.is_failed}
    assert failed == {row: f"PickyError: row -{row} needs history" for row in (7, 8, 39)}
    np.testing.assert_array_equal(assembled(outcomes, 40), np.where(values < 0, np.nan, values * 2))


def test_a_row_that_kills_its_worker_costs_only_itself(pool: Pool) -> None:
    values = np.arange(24.0)
    values[13] = -1
    outcomes = list(pool.map(pool_jobs.double_unless_deadly, cut([values], 2, per_worker=3)))
    assert rows_of(outcomes) == list(range(24))
    assert [outcome.start for outcome in outcomes if outcome.is_failed] == [13]
    assert "worker process died" in next(outcome.reason for outcome in outcomes if outcome.is_failed)
    again = list(pool.map(pool_jobs.double, cut([values], 2)))
    assert rows_of(again) == list(range(24))
    assert not any(outcome.is_failed for outcome in again)


@pytest.mark.parametrize("n_workers", [1, 2])
def test_a_passing_failure_is_tried_again(n_workers: int, tmp_path: Path) -> None:
    with Pool(n_workers) as pool:
        job = partial(pool_jobs.fail_once, marker=tmp_path / "marker")
        outcomes = list(pool.map(job, [Chunk(0, (np.zeros(3),)), Chunk(3, (np.zeros(3),))]))
    assert (tmp_path / "marker").exists()
    assert sorted((outcome.start, outcome.n, outcome.reason) for outcome in outcomes) == [(0, 3, None), (3, 3, None)]


def test_a_result_that_cannot_travel_is_a_reason(pool: Pool) -> None:
    outcomes = list(pool.map(pool_jobs.unpicklable, cut([np.arange(2.0)], 2)))
    assert rows_of(outcomes) == [0, 1]
    assert all("pickle" in str(outcome.reason).lower() for outcome in outcomes)


def test_workers_stay_warm_and_have_one_thread_each(pool: Pool) -> None:
    before = os.environ.get("OMP_NUM_THREADS")
    calls = [list(pool.map(pool_jobs.process_and_threads, cut([np.arange(8.0)], 2))) for _ in range(2)]
    first, second = ({outcome.value for outcome in outcomes} for outcomes in calls)
    assert {pid for pid, _, _ in second} <= {pid for pid, _, _ in first} and len(first) <= 2
    assert os.getpid() not in {pid for pid, _, _ in first}
    assert {(omp, polars) for _, omp, polars in first} == {("1", 1)}
    assert os.environ.get("OMP_NUM_THREADS") == before


def test_little_work_stays_in_this_process(pool: Pool) -> None:
    outcomes = list(pool.map(pool_jobs.double, cut([np.arange(3.0)], 2), min_rows=10))
    assert rows_of(outcomes) == [0, 1, 2]
    with Pool(2) as fresh:
        assert list(fresh.map(pool_jobs.double, [])) == []
        list(fresh.map(pool_jobs.double, cut([np.arange(3.0)], 2), min_rows=10))
        assert fresh._executor is None


def test_a_function_that_workers_cannot_import_is_refused(pool: Pool) -> None:
    with pytest.raises(TypeError, match="cannot import"):
        pool.map(lambda values: values, cut([np.arange(4.0)], 2))


def test_leaving_early_keeps_the_pool_usable(pool: Pool) -> None:
    outcomes = pool.map(pool_jobs.double, cut([np.arange(64.0)], 2))
    next(outcomes)
    outcomes.close()
    assert rows_of(list(pool.map(pool_jobs.double, cut([np.arange(9.0)], 2)))) == list(range(9))


def test_the_warm_pool_is_shared_and_never_nested(pool: Pool) -> None:
    assert warm_pool(2) is warm_pool(2)
    outcomes = list(pool.map(pool_jobs.workers_of_the_warm_pool, cut([np.arange(4.0)], 2)))
    assert [outcome.value for outcome in outcomes] == [1] * len(outcomes)


SCRIPT = """
import sys
sys.path.insert(0, {folder!r})
import numpy as np, pool_jobs
from foretail.execution.laid import Laid, laid
from foretail.execution.pool import Pool, cut
pool = Pool(2)
print(len(list(pool.map(pool_jobs.double, cut([np.arange(8.0)], 2)))), flush=True)
print(*pool._executor._processes, flush=True)
list(pool.map(pool_jobs.sleep_long, cut([np.arange(8.0)], 2)))
"""


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_workers_end_with_their_parent(how: signal.Signals) -> None:
    """The script has no ``__main__`` guard: workers must not run it again either."""
    script = textwrap.dedent(SCRIPT.format(folder=str(Path(__file__).parent)))
    process = subprocess.Popen(
        [sys.executable, "-c", script],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "8\n"
        workers = [psutil.Process(int(pid)) for pid in process.stdout.readline().split()]
        assert len(workers) == 2
        time.sleep(0.3)
        if how == signal.SIGINT:
            os.killpg(process.pid, how)  # what a terminal does on Ctrl-C
        else:
            process.kill()
        process.wait(timeout=20)
        gone, alive = psutil.wait_procs(workers, timeout=20)
        assert len(gone) == 2 and not alive
    finally:
        process.kill()
        process.communicate()


def test_a_script_without_guard_runs_once(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    text = SCRIPT.format(folder=str(Path(__file__).parent)).replace("sleep_long", "double")
    script.write_text(textwrap.dedent(text) + "pool.close()\n")
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines()[0] == "8"
    assert len(done.stdout.splitlines()) == 2
    assert done.stderr == ""


@pytest.fixture
def table() -> np.ndarray:
    """Larger than what travels with every chunk."""
    return np.arange(40.0).repeat(10_000).reshape(40, 10_000)


def test_large_arrays_travel_by_a_file_that_is_gone_in_the_end(pool: Pool, table: np.ndarray) -> None:
    with laid(partial(pool_jobs.times_of_table, table=table)) as travelling:
        assert isinstance(travelling, Laid)
        assert Path(travelling.path).stat().st_size >= table.nbytes
        assert len(travelling.head) < 10_000
    assert not Path(travelling.path).exists()
    before = table.copy()
    function = partial(pool_jobs.times_of_table, table=table)
    found = assembled(list(pool.map(function, cut([np.arange(40)], 2))), 40)
    np.testing.assert_array_equal(found, 2 * np.arange(40.0))  # nobody sees what another chunk wrote
    np.testing.assert_array_equal(table, before)


def test_large_arrays_outlive_a_worker(table: np.ndarray, tmp_path: Path) -> None:
    function = partial(pool_jobs.first_deadly_then_times_of_table, table=table, marker=tmp_path / "died")
    with Pool(2) as own:
        found = assembled(list(own.map(function, cut([np.arange(40)], 2))), 40)
    np.testing.assert_array_equal(found, 2 * np.arange(40.0))


def test_without_a_folder_for_files_arrays_travel_themselves(
    table: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    function = partial(pool_jobs.times_of_table, table=table)
    with laid(function) as travelling:
        assert isinstance(travelling, bytes)
        assert len(travelling) >= table.nbytes


def test_without_room_for_files_arrays_travel_themselves(table: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("foretail.execution.laid._written", _no_room)
    with laid(partial(pool_jobs.times_of_table, table=table)) as travelling:
        assert isinstance(travelling, bytes)


def _no_room(*_: object) -> None:
    raise OSError(28, "No space left on device")


def test_small_functions_travel_as_they_are() -> None:
    with laid(partial(pool_jobs.times_of_table, table=np.zeros((40, 1)))) as travelling:
        assert isinstance(travelling, bytes)
