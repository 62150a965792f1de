import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from hamcache.extract.decode import decode_image
from hamcache.heads.nets.decoded import ahead, decode_all, in_memory


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    """Five images of different sizes."""
    rng = np.random.default_rng(0)
    paths = {}
    for number, (width, height) in enumerate([(40, 30), (64, 48), (30, 40), (9, 8), (100, 20)]):
        path = tmp_path / "images" / f"i{number}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8)).save(path)
        paths[f"i{number}"] = str(path)
    return paths


def digests(paths: dict[str, str]) -> dict[str, str]:
    return {image_id: hashlib.sha256(Path(path).read_bytes()).hexdigest() for image_id, path in paths.items()}


def plain(path: str) -> torch.Tensor:
    return decode_image(Path(path).read_bytes())


def test_images_are_kept_bit_by_bit_whatever_their_size(files: dict[str, str], tmp_path: Path) -> None:
    images = decode_all(files, digests(files), tmp_path / "store", None)
    assert images.ids == sorted(files) and len(images) == 5 and not images.bad
    for image_id, path in files.items():
        assert torch.equal(images[image_id], plain(path))


def test_only_images_larger_than_stored_side_are_reduced(files: dict[str, str], tmp_path: Path) -> None:
    images = decode_all(files, digests(files), tmp_path / "store", 24)
    assert [tuple(images[image_id].shape[1:]) for image_id in images.ids] == [
        (24, 32),
        (24, 32),
        (32, 24),
        (8, 9),
        (20, 100),
    ]
    assert torch.equal(images["i4"], plain(files["i4"]))


def test_images_are_decoded_once(files: dict[str, str], tmp_path: Path) -> None:
    first = decode_all(files, digests(files), tmp_path / "store", None)
    kept = {image_id: first[image_id] for image_id in files}
    known = digests(files)
    for path in files.values():
        Path(path).unlink()
    seen: list[int] = []
    again = decode_all(files, known, tmp_path / "store", None, lambda done, total: seen.append(done))
    assert not seen and all(torch.equal(again[image_id], kept[image_id]) for image_id in files)


def test_a_changed_image_is_decoded_again(files: dict[str, str], tmp_path: Path) -> None:
    decode_all(files, digests(files), tmp_path / "store", None)
    Image.new("RGB", (12, 10), "red").save(files["i1"])
    images = decode_all(files, digests(files), tmp_path / "store", None)
    assert images["i1"].shape == (3, 10, 12)


def test_a_bad_image_costs_that_image_only(files: dict[str, str], tmp_path: Path) -> None:
    Path(files["i2"]).write_bytes(Path(files["i2"]).read_bytes()[:60])
    known = digests(files)
    Path(files["i3"]).unlink()
    for _ in range(2):
        images = decode_all(files, known, tmp_path / "store", None)
        assert images.ids == ["i0", "i1", "i4"]
        assert "can't be decoded" in images.bad["i2"] and images.bad["i3"] == "file missing"
        assert torch.equal(images["i4"], plain(files["i4"]))


def test_an_interrupted_decoding_leaves_nothing_that_passes_for_whole(files: dict[str, str], tmp_path: Path) -> None:
    def interrupt(done: int, total: int) -> None:
        if done == 3:
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        decode_all(files, digests(files), tmp_path / "store", None, interrupt)
    assert list((tmp_path / "store").iterdir()) == []
    assert len(decode_all(files, digests(files), tmp_path / "store", None)) == 5


def test_images_in_memory_are_read_like_those_on_disk(files: dict[str, str], tmp_path: Path) -> None:
    on_disk = decode_all(files, digests(files), tmp_path / "store", None)
    images = in_memory({image_id: plain(path) for image_id, path in files.items()})
    assert all(torch.equal(images[image_id], on_disk[image_id]) for image_id in files)
    assert len(in_memory({})) == 0


def test_threads_keep_the_order_and_pass_errors_on() -> None:
    assert list(ahead(lambda n: n * n, range(200), threads=4, waiting=7)) == [n * n for n in range(200)]

    def fail(number: int) -> int:
        if number == 5:
            raise ValueError("five")
        return number

    taken = []
    with pytest.raises(ValueError, match="five"):
        for made in ahead(fail, range(100), threads=3):
            taken.append(made)
    assert taken == [0, 1, 2, 3, 4]
