"""Extraction on a Dask cluster that others started: nobody there, lost, of another version, or no Dask at all."""

import socket
import threading
from contextlib import contextmanager
from unittest.mock import patch

import numpy as np
import pytest
from distributed import LocalCluster, get_worker

from hamcache.cache.catalogue import Catalogue
from hamcache.cache.plan import Cell, ChunkTask, Plan
from hamcache.extract import dispatch, scheduler
from hamcache.extract.errors import SchedulerError, WorkerError
from hamcache.extract.versions import OWN, own_version, versions
from hamcache.extract.worker import TaskResult
from tests.extract.conftest import everything


@contextmanager
def a_cluster(workers: int = 1):
    """A Dask scheduler behind an address of its own; its workers are threads of this process, so they start at once."""
    options = {"scheduler_port": 0, "protocol": "tcp", "dashboard_address": None, "silence_logs": 50}
    with LocalCluster(n_workers=workers, threads_per_worker=1, processes=False, **options) as cluster:
        yield cluster


@pytest.fixture(autouse=True)
def quickly(monkeypatch):
    monkeypatch.setattr(dispatch, "LOOK_EVERY", 0.05)


def test_a_scheduler_without_workers_is_said_and_then_one_error(extract, monkeypatch, caplog):
    monkeypatch.setattr(dispatch, "WORKERS_WITHIN", 0.2)
    with a_cluster(workers=0) as cluster, pytest.raises(SchedulerError, match="got none in") as caught:
        extract(scheduler=cluster.scheduler_address)
    assert cluster.scheduler_address in str(caught.value) and "\n" not in str(caught.value)
    assert [record.getMessage()[:19] for record in caplog.records if "Waiting" in record.getMessage()] == [
        "Waiting for workers"
    ]


def test_workers_that_come_late_go_and_come_again_end_right(extract, tmp_path, caplog):
    extract(augmentations=["original"], root=tmp_path / "undisturbed")
    with a_cluster(workers=0) as cluster:
        threading.Timer(0.3, cluster.scale, [1]).start()

        def lose(progress) -> None:
            if progress.done < progress.total:
                cluster.scale(0)
                threading.Timer(0.3, cluster.scale, [1]).start()

        summary = extract(augmentations=["original"], scheduler=cluster.scheduler_address, on_progress=lose)
    assert summary.n_written == 78 and any("Waiting for workers" in record.getMessage() for record in caplog.records)
    one, other = (everything(Catalogue(tmp_path / name)) for name in ("undisturbed", "features"))
    assert all(np.array_equal(one[folder], other[folder]) for folder in one)


def test_a_scheduler_lost_in_mid_run_is_one_error_and_the_rerun_goes_on(extract):
    with a_cluster() as cluster, pytest.raises(SchedulerError, match="connection to it was lost") as caught:
        extract(scheduler=cluster.scheduler_address, on_progress=lambda _: cluster.close())
    assert cluster.scheduler_address in str(caught.value) and "the same command goes on" in str(caught.value)
    summary = extract()
    assert summary.n_reused >= 14 and summary.n_reused + summary.n_written == 78


def test_a_server_that_is_no_dask_scheduler_is_one_error(extract, monkeypatch):
    monkeypatch.setattr(scheduler, "CONNECT_TIMEOUT", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes the connection, never answers
        addresses = [f"tcp://127.0.0.1:{silent.getsockname()[1]}", "nonsense", "nosuch://host:1", "tcp://127.0.0.1:9"]
        for address in addresses:
            with pytest.raises(SchedulerError, match="dask scheduler") as caught:
                extract(scheduler=address)
            assert address in str(caught.value)
    with a_cluster() as cluster:
        (worker,) = cluster.workers.values()
        with pytest.raises(SchedulerError, match="Worker is there"):
            extract(scheduler=worker.address)


def there(**changes: str):
    """Stands for `versions`: of the worker where Dask's thread asks, of this process else."""
    return versions() | (changes if threading.current_thread() is not threading.main_thread() else {})


def other_code():
    return there(**{OWN: "0.1.0 (code 00000000)"})


def other_library():
    return there(pillow="1.0")


def no_code():
    if threading.current_thread() is not threading.main_thread():
        raise ModuleNotFoundError("No module named 'hamcache'")
    return versions()


@pytest.mark.parametrize("answer", [other_code, no_code])
def test_workers_with_another_hamcache_or_none_are_refused_before_anything_runs(extract, tmp_path, monkeypatch, answer):
    monkeypatch.setattr(dispatch, "versions", answer)
    with a_cluster() as cluster, pytest.raises(WorkerError, match="Expected hamcache") as caught:
        extract(scheduler=cluster.scheduler_address)
    assert "\n" not in str(caught.value)
    assert [store.n_views for store in Catalogue(tmp_path / "features").stores()] == [0]


def test_a_task_refuses_to_run_where_hamcache_is_another_or_the_images_are_not(ham10000_table):
    with pytest.raises(WorkerError, match=r"got one with 0\.1\.0"):
        dispatch.run_elsewhere("another", None, None, {})
    with pytest.raises(WorkerError, match="no such folder"):
        dispatch.run_elsewhere(own_version(), None, None, {"a": "/no/such/folder/a.jpg"})


def test_workers_with_other_libraries_are_named_once(extract, monkeypatch, caplog):
    monkeypatch.setattr(dispatch, "versions", other_library)
    with a_cluster() as cluster:
        assert extract(scheduler=cluster.scheduler_address).n_written == 78
    assert [record.getMessage().count("pillow 1.0") for record in caplog.records if "last bits" in record.msg] == [1]


def quick(job, tasks, paths):
    """Stands for `run_tasks`."""
    assert set(paths) == {image_id for task in tasks for image_id in task.image_ids}
    return [TaskResult(1, 1, (), {task.image_ids[0]: "00"}, seconds=0.1) for task in tasks]


def test_dask_is_handed_a_few_tasks_at_a_time_that_join_chunks_where_these_are_small(monkeypatch):
    monkeypatch.setattr(dispatch, "run_tasks", quick)
    tasks = tuple(ChunkTask((f"i{n}",), (Cell("store", n, 0, (0,)),)) for n in range(200))
    seen, held = [], []

    def on_result(task, result) -> None:
        assert list(result.digests) == list(task.image_ids)
        seen.append(task)
        held.append(len(client.futures))

    paths = {task.image_ids[0]: "file" for task in tasks}
    with scheduler.dask_client(2) as client, patch.object(client, "submit", wraps=client.submit) as submit:
        dispatch.run_plan(Plan(tasks, 200), None, paths, client, on_result)
    assert sorted(seen, key=tasks.index) == list(tasks) and max(held) <= 2 * dispatch.WINDOW
    sizes = [len(call.args[2]) for call in submit.call_args_list]
    assert sizes[0] == sizes[-1] == 1 and 5 < max(sizes) <= 10 and sum(sizes) == 200


def die(*arguments):
    """Stands for a task that takes its worker with it."""
    worker = get_worker()
    worker.loop.add_callback(worker.close, reason="test", nanny=False)
    threading.Event().wait(0.5)


def test_a_task_that_kills_its_workers_is_one_error_that_names_its_images(extract, monkeypatch):
    import dask

    monkeypatch.setattr(dispatch, "run_elsewhere", die)
    with dask.config.set({"distributed.scheduler.allowed-failures": 0}), a_cluster() as cluster:
        cluster.scheduler.allowed_failures = 0
        with pytest.raises(WorkerError, match="ISIC_") as caught:
            extract(scheduler=cluster.scheduler_address)
    assert "died on" in str(caught.value) and "\n" not in str(caught.value)


def no_thread(*arguments):
    raise RuntimeError("can't start new thread")


def test_a_task_that_dask_lost_for_want_of_a_thread_is_not_waited_for(extract, monkeypatch):
    monkeypatch.setattr(dispatch, "IDLE_AT_MOST", 0.3)
    monkeypatch.setattr("distributed.threadpoolexecutor.ThreadPoolExecutor._adjust_thread_count", no_thread)
    with pytest.raises((MemoryError, RuntimeError), match="thread"):
        extract()
