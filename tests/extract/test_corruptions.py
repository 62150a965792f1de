from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_sample_image

from hamcache.configs.defaults import CORRUPTIONS
from hamcache.data.errors import BadImageError
from hamcache.extract.corruptions import PARAMETERS, SEVERITIES, SIDE, corrupt, write_corrupted
from hamcache.extract.errors import CorruptionError


@pytest.fixture(scope="module")
def flower() -> Image.Image:
    return Image.fromarray(load_sample_image("flower.jpg")).resize((160, 120))


def distance(one: Image.Image, other: Image.Image) -> float:
    return float(np.abs(np.asarray(one, dtype=float) - np.asarray(other, dtype=float)).mean())


@pytest.mark.parametrize("corruption", CORRUPTIONS)
def test_each_severity_is_further_from_the_original_than_the_one_before(flower, corruption) -> None:
    steps = [distance(flower, corrupt(flower, corruption, severity, "a")) for severity in SEVERITIES]
    assert steps == sorted(steps) and steps[0] > 0.5 and steps[-1] > 1.5 * steps[0]


@pytest.mark.parametrize("corruption", CORRUPTIONS)
def test_a_corrupted_image_depends_on_its_name_and_on_nothing_else(flower, corruption) -> None:
    before = [corrupt(flower, corruption, severity, "a").tobytes() for severity in (2, 4)]
    corrupt(flower, corruption, 3, "b")
    assert [corrupt(flower, corruption, severity, "a").tobytes() for severity in (4, 2)] == before[::-1]


def test_noise_is_another_for_each_image_but_one_pattern_over_the_severities(flower) -> None:
    grey = Image.new("RGB", (64, 48), (128, 128, 128))
    noise = {i: np.asarray(corrupt(grey, "noise", 1, i), dtype=float) - 128 for i in ("a", "b")}
    assert abs(np.corrcoef(noise["a"].ravel(), noise["b"].ravel())[0, 1]) < 0.05
    harder = np.asarray(corrupt(grey, "noise", 3, "a"), dtype=float) - 128
    assert np.corrcoef(noise["a"].ravel(), harder.ravel())[0, 1] > 0.95
    assert noise["a"].std() == pytest.approx(255 * 0.04, rel=0.05)


def test_some_images_become_brighter_and_others_darker(flower) -> None:
    means = [np.asarray(corrupt(flower, "brightness", 5, str(n))).mean() for n in range(20)]
    own = np.asarray(flower).mean()
    assert min(means) < 0.6 * own and max(means) > 1.2 * own


def test_a_large_image_is_reduced_first_and_blurred_in_proportion() -> None:
    flower = Image.fromarray(load_sample_image("flower.jpg"))
    assert min(corrupt(flower, "jpeg", 1, "a").size) == SIDE
    small = corrupt(flower.resize((160, 107)), "blur", 4, "a").resize((320, 214))
    large = corrupt(flower.resize((320, 214)), "blur", 4, "a")
    assert distance(small, large) < 2


def test_unknown_corruptions_and_severities_are_refused_with_the_nearest_name(flower) -> None:
    assert tuple(PARAMETERS) == CORRUPTIONS
    with pytest.raises(CorruptionError, match="did you mean 'blur'"):
        corrupt(flower, "blurr", 1, "a")
    with pytest.raises(CorruptionError, match="from 1 to 5, got 6"):
        corrupt(flower, "blur", 6, "a")


def test_a_written_copy_has_the_pixels_and_a_bad_file_its_reason(flower, tmp_path: Path) -> None:
    flower.save(tmp_path / "a.png")
    write_corrupted(tmp_path / "a.png", tmp_path / "x.png", "noise", 2)
    assert Image.open(tmp_path / "x.png").tobytes() == corrupt(flower, "noise", 2, "x").tobytes()
    (tmp_path / "b.png").write_text("none")
    with pytest.raises(BadImageError):
        write_corrupted(tmp_path / "b.png", tmp_path / "y.png", "noise", 2)
