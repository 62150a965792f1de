from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hamcache.data.errors import BadImageError
from hamcache.pipeline.use.predict.image_sources import find_sources


@pytest.fixture
def album(tmp_path: Path) -> Path:
    for name in ("b.jpg", "a.png", "inner/c.jpg", "x[1].jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (12, 10), "brown").save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / ".hidden.jpg").write_text("hidden")
    return tmp_path


def names(*images: object) -> list[str]:
    return [Path(source.name).name for source in find_sources(images)]  # type: ignore[arg-type]


def why(image: object) -> str:
    (source,) = find_sources([image])  # type: ignore[list-item]
    with pytest.raises(BadImageError) as error:
        source.decode()
    return str(error.value)


def test_files_folders_and_patterns_become_images_in_the_order_given(album: Path) -> None:
    assert names(album / "b.jpg", album) == ["b.jpg", "a.png", "x[1].jpg", "c.jpg"]
    assert names(f"{album}/*.jpg") == ["b.jpg", "x[1].jpg"]
    assert names(f"{album}/**/c.*") == ["c.jpg"]
    assert names(f"{album}/inne?") == ["c.jpg"]
    assert names(f"{album}/x[1].jpg") == ["x[1].jpg"]
    assert names(album / "a.png", album / "a.png", str(album / "a.png")) == ["a.png"]


def test_image_ids_are_file_names_without_suffix(album: Path) -> None:
    assert [source.image_id for source in find_sources([album])] == ["a", "b", "x[1]", "c"]


def test_what_is_no_image_says_why(album: Path, tmp_path: Path) -> None:
    (tmp_path / "void").mkdir()
    (tmp_path / "void.jpg").touch()
    assert why(album / "gone.jpg") == "file missing"
    assert why(f"{album}/*.gif") == "no file fits this pattern"
    assert why(tmp_path / "void") == "no image files in this folder"
    assert why(tmp_path / "void.jpg") == "empty file"
    assert why(album / "notes.txt").startswith("not an image of a kind that is read here")
    assert why("/dev/zero") == "not a file, but a device"
    assert "too long" in why("a" * 300)
    assert "embedded null" in why("a\0.jpg")
    assert why("~nobody-of-this-name/a.jpg") == "file missing"


def test_opened_images_keep_their_files_names_or_get_one_of_their_own(album: Path) -> None:
    opened, made = Image.open(album / "b.jpg"), Image.new("L", (10, 10), 7)
    first, second = find_sources([opened, made])
    assert (Path(first.name).name, first.image_id) == ("b.jpg", "b")
    assert second.name == "image 2" and find_sources([made.copy()])[0].image_id == second.image_id
    assert find_sources([Image.new("L", (10, 10), 8)])[0].image_id != second.image_id
    np.testing.assert_array_equal(second.decode(), np.full((3, 10, 10), 7))


def test_a_broken_opened_image_is_an_error_of_its_own(album: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (60, 60, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(album / "whole.jpg")
    whole = (album / "whole.jpg").read_bytes()
    (album / "half.jpg").write_bytes(whole[: len(whole) // 2])
    assert "can't be decoded" in why(Image.open(album / "half.jpg"))
