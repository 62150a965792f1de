"""Turns on a GPU, with streams that stand for its own."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext

import pytest

from hamcache.extract import forward
from hamcache.extract.forward import batch_size


class Stream:
    def wait_stream(self, other) -> None:
        assert other == "where networks are loaded"


@pytest.fixture
def gpu(monkeypatch):
    """Streams that were used, by the thread that used them."""
    used = []
    monkeypatch.setattr("torch.cuda.Stream", Stream)
    monkeypatch.setattr("torch.cuda.current_stream", lambda: "where networks are loaded")
    monkeypatch.setattr("torch.cuda.stream", lambda stream: nullcontext(used.append(stream)))
    yield used
    for _ in range(2):  # else another test would meet a stream that is none
        forward._streams.get_nowait()
        forward._streams.put(None)


def test_a_gpu_has_two_batches_at_a_time_and_no_error_costs_a_turn(gpu):
    here, most, lock = set(), [], threading.Lock()

    def compute(number: int) -> None:
        with forward._turn("cuda"):
            with lock:
                here.add(number)
                most.append(len(here))
            time.sleep(0.01)
            with lock:
                here.remove(number)
            if number % 3 == 0:
                raise ZeroDivisionError

    with ThreadPoolExecutor(6) as pool:
        failed = [future.exception() is not None for future in [pool.submit(compute, n) for n in range(12)]]
    assert max(most) == 2 and len(set(gpu)) == 2 and sum(failed) == 4


def test_a_batch_has_one_size_for_each_kind_of_device():
    assert (batch_size("cpu"), batch_size("cuda")) == (16, 64)
