import subprocess
import sys

import pytest

from hamcache.extract import allocator

COMPARISON = """
import resource
import torch
from torch import nn
from hamcache.extract.allocator import keep_memory

torch.set_num_threads(1)
torch.manual_seed(0)
network = nn.Sequential(nn.Conv2d(3, 48, 1), nn.ReLU(), nn.Conv2d(48, 8, 1))
images = torch.rand(16, 3, 112, 112)

@torch.inference_mode()
def pages_and_features():
    features = network(images)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(4):
        features = network(images)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before, features

faulted, left_alone = pages_and_features()
assert keep_memory() and keep_memory()
pages_and_features()
still_faulted, kept = pages_and_features()
assert torch.equal(left_alone, kept)
print(faulted, still_faulted)
"""


def test_memory_that_is_kept_is_not_faulted_in_again_and_changes_no_bit():
    if not allocator.keep_memory():
        pytest.skip("not glibc")
    done = subprocess.run([sys.executable, "-c", COMPARISON], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    faulted, still_faulted = map(int, done.stdout.split())
    assert faulted > 10_000 and still_faulted < faulted / 10


def test_nothing_happens_where_the_c_library_is_another(monkeypatch):
    def no_such_name(name):
        raise ValueError(name)

    monkeypatch.setattr(allocator.os, "confstr", no_such_name)
    monkeypatch.setattr(allocator.ctypes, "CDLL", lambda _: pytest.fail("mallopt of another library"))
    assert allocator.keep_memory.__wrapped__() is False
