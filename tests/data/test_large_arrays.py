import errno
import gc
import os
from pathlib import Path

import numpy as np
import pytest

from hamcache.data import large_arrays
from hamcache.data.errors import NoMemoryError
from hamcache.data.large_arrays import large_array, rows_of


@pytest.fixture
def little_memory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(large_arrays, "free_memory", lambda: 4000)
    monkeypatch.setenv("TMPDIR", str(tmp_path))


def test_what_fits_is_an_array_in_memory() -> None:
    assert type(large_array((3, 2, 5))) is np.ndarray and large_array((0, 5)).shape == (0, 5)


@pytest.mark.usefixtures("little_memory")
def test_what_does_not_fit_lies_in_a_file_without_a_name_that_goes_with_it(tmp_path: Path) -> None:
    array = large_array((100, 1, 5))
    assert isinstance(array, np.memmap) and array.dtype == np.float32 and list(tmp_path.iterdir()) == []
    array[:] = np.arange(500).reshape(100, 1, 5)
    assert array[99, 0, 4] == 499 and array.sum() == 499 * 250
    free = os.statvfs(tmp_path).f_bavail
    del array
    gc.collect()
    assert list(tmp_path.iterdir()) == [] and os.statvfs(tmp_path).f_bavail >= free - 10_000


@pytest.mark.usefixtures("little_memory")
def test_rows_of_a_mapped_array_are_those_of_one_in_memory() -> None:
    values = np.random.default_rng(0).normal(size=(300, 2, 4)).astype(np.float32)
    array = large_array(values.shape)
    array[:] = values
    rows = np.random.default_rng(1).permutation(300)[:200]
    chosen = rows_of(array, rows)
    assert isinstance(chosen, np.memmap) and np.array_equal(chosen, values[rows])


@pytest.mark.usefixtures("little_memory")
def test_a_disk_without_room_is_one_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(NoMemoryError, match=r"Expected 0.0 GB .* in a temporary file in .*TMPDIR"):
        large_array((1000, 2))
