"""Sweeps over the small data set of `tests/pipeline/conftest.py`, and one Ray cluster for all tests that need Ray."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from hamcache.pipeline.studies.sweeps.ray_cluster import QUIET

ROOT = Path(__file__).parents[3]
MLP = {"name": "mlp", "max_epochs": 4, "patience": 4, "batch_size": 32}


@pytest.fixture(scope="session")
def cluster() -> Iterator[str]:
    """The address of a Ray cluster on this machine, in an environment that is as quiet as our own clusters'."""
    folder = Path(tempfile.mkdtemp(prefix="rt"))
    environment = {**os.environ, **QUIET}
    ray = [str(Path(sys.executable).parent / "ray")]
    words = ["start", "--head", "--port=0", "--num-cpus=2", "--include-dashboard=false", "--block"]
    words += [f"--temp-dir={folder}", "--object-store-memory=200000000", "--disable-usage-stats"]
    process = subprocess.Popen(
        [*ray, *words], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert process.stdout is not None
    for line in process.stdout:
        if "--address=" in line:
            address = line.split("--address=")[1].split()[0].strip("'\"")
            break
    else:
        pytest.fail("Ray did not start")
    yield address
    process.terminate()
    process.wait(30)
    shutil.rmtree(folder, ignore_errors=True)
