"""Extraction into S3: two writers at once, and a server that goes away while they write."""

import os
import subprocess
import sys
import uuid

import numpy as np
import pytest

from hamcache.cache import outages
from hamcache.cache.catalogue import Catalogue
from hamcache.cache.errors import RootUnreachableError
from hamcache.cache.verify import verify
from tests.extract.conftest import everything

OVERLAPPING = """
import sys
from pathlib import Path
from hamcache.data.digests import file_digests
from hamcache.data.ham10000 import read_table
from hamcache.extract.augmentations import get_augmentation
from hamcache.extract.backbones import BackboneSpec
from hamcache.extract.fill import ExtractionRequest, run_extraction
folder, root, first, last = sys.argv[1:]
table = read_table(Path(folder))
table = table.subset(list(table.frame["image_id"])[int(first) : int(last)])
net = (BackboneSpec("random/test_resnet.r160_in1k"), "pre_logits")
request = ExtractionRequest(table, file_digests(table), [net], [get_augmentation("original")], 2)
print("ready", flush=True)
sys.stdin.readline()
run_extraction(request, root, workers=2)
"""


def start(folder, root, first: int, last: int) -> subprocess.Popen:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", OVERLAPPING, str(folder), str(root), str(first), str(last)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, env=environment, text=True, **pipes)


@pytest.fixture
def prefix(s3, monkeypatch) -> str:
    monkeypatch.setattr(outages, "FIRST_PAUSE", 0.05)
    return f"s3://bucket/{uuid.uuid4().hex}"


def assert_same(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> None:
    assert one.keys() == other.keys() and all(np.array_equal(one[folder], other[folder]) for folder in one)


def test_two_processes_on_one_prefix_lose_no_vector_and_write_none_wrong(
    extract, ham10000_folder, ham10000_table, prefix, tmp_path
):
    other = start(ham10000_folder, prefix, 0, 50)
    extract(augmentations=["original"], views=2)
    assert other.stdout.readline() == "ready\n"
    other.stdin.write("\n")
    other.stdin.flush()
    table = ham10000_table.subset(list(ham10000_table.frame["image_id"])[20:])
    extract(table=table, augmentations=["original"], views=2, root=prefix)
    assert (other.communicate()[1], other.returncode) == ("", 0)
    alone, together = (Catalogue(root).stores()[0] for root in (tmp_path / "features", prefix))
    assert np.array_equal(together.read(alone.image_ids, [0, 1]), alone.read(alone.image_ids, [0, 1]))
    assert list(verify(together)) == [] and together.bounds == (78, 2)
    assert extract(augmentations=["original"], views=2, root=prefix).n_written == 0


def test_a_server_that_comes_back_costs_time_only(extract, s3, prefix, tmp_path):
    extract(augmentations=["original"], views=2)
    away = []

    def leave(progress) -> None:
        if not away:
            away.append(s3.away(0.5))
            away[0].__enter__()

    try:
        extract(augmentations=["original"], views=2, root=prefix, on_progress=leave)
    finally:
        away[0].__exit__(None, None, None)
    assert_same(everything(Catalogue(prefix)), everything(Catalogue(tmp_path / "features")))


def test_a_server_that_stays_away_is_one_error_and_the_rerun_goes_on(extract, s3, prefix, tmp_path, monkeypatch):
    monkeypatch.setattr(outages, "LONGEST_OUTAGE", 0.2)
    extract(augmentations=["original"], views=2)
    with pytest.raises(RootUnreachableError, match="the same command goes on"):
        extract(augmentations=["original"], views=2, root=prefix, workers=1, on_progress=lambda _: s3.stop())
    s3.start()
    summary = extract(augmentations=["original"], views=2, root=prefix)
    assert summary.n_reused >= 14 and summary.n_reused + summary.n_written == 156
    assert_same(everything(Catalogue(prefix)), everything(Catalogue(tmp_path / "features")))
