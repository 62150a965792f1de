"""Alignment at pixels: copies are recognised however they lie, similar things are not taken for the same."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from scipy import ndimage

from hamcache.pipeline.inspect.audit import duplicate_verdicts as pixels
from hamcache.pipeline.inspect.audit.duplicate_verdicts import (
    LOOK_ALIKE,
    SAME_LESION,
    SAME_PICTURE,
    VERDICTS,
    align_all,
    known_pairs,
    least_scores,
    verdicts,
)
from hamcache.pipeline.inspect.audit.pixel_alignment import align
from hamcache.pipeline.inspect.audit.textures import SIDE, Thumbnails, read_thumbnails, textures, thumbnail


def skin(seed: int, size: tuple[int, int] = (200, 150)) -> Image.Image:
    """A blotch with dots on textured skin."""
    rng = np.random.default_rng(seed)
    noise = sum(ndimage.gaussian_filter(rng.normal(size=size[::-1]), s) * s * 5 for s in (1.5, 3, 6))
    y, x = np.mgrid[: size[1], : size[0]]
    blotch = 70 / (1 + np.exp((np.hypot((x - size[0] / 2) * 0.8, y - size[1] / 2) - 38) / 2))
    pixels = np.stack([205 - blotch + noise, 165 - blotch + noise, 150 - blotch + noise], axis=2)
    image = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
    pen = ImageDraw.Draw(image)
    for _ in range(14):
        at = rng.uniform((60, 40), (140, 110))
        pen.ellipse([*(at - 2), *(at + 3)], fill=(70, 40, 40))
    return image


def thumbnails(*images: Image.Image) -> Thumbnails:
    return Thumbnails(np.stack([thumbnail(np.asarray(image)) for image in images]), {})


def cropped(image: Image.Image, left: float, top: float, right: float, bottom: float) -> Image.Image:
    width, height = image.size
    box = (round(left * width), round(top * height), round(width * (1 - right)), round(height * (1 - bottom)))
    return image.crop(box)


def compressed(image: Image.Image, folder: Path) -> Image.Image:
    image.save(folder / "image.jpg", quality=85)
    return Image.open(folder / "image.jpg")


COPIES = {
    "left-right": lambda i: i.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    "top-bottom": lambda i: i.transpose(Image.Transpose.FLIP_TOP_BOTTOM),
    "quarter turn": lambda i: i.transpose(Image.Transpose.ROTATE_90),
    "transposed": lambda i: i.transpose(Image.Transpose.TRANSPOSE),
    "transverse": lambda i: i.transpose(Image.Transpose.TRANSVERSE),
    "shifted": lambda i: cropped(i, 0.08, 0.05, 0, 0),
    "cropped": lambda i: cropped(i, 0.1, 0.1, 0.1, 0.1),
    "smaller": lambda i: i.resize((150, 112), Image.Resampling.LANCZOS),
    "brighter": lambda i: i.point(lambda v: min(255, int(v * 1.2))),
}


@pytest.mark.parametrize("how", COPIES)
def test_a_copy_is_the_same_picture(how: str, tmp_path: Path) -> None:
    images = [skin(seed) for seed in range(3)]
    both = thumbnails(*images, *(compressed(COPIES[how](image), tmp_path) for image in images))
    found = align(both, np.array([[n, n + 3] for n in range(3)]))
    assert (found.score >= VERDICTS[SAME_PICTURE]).all(), found.score
    assert found.mirrored.all() == (how in ("left-right", "top-bottom", "transposed", "transverse"))


def test_the_alignment_says_how_the_picture_was_turned_and_magnified() -> None:
    image = skin(0, (300, 300))
    turned = cropped(image.rotate(20, Image.Resampling.BICUBIC), 0.2, 0.2, 0.2, 0.2)
    found = align(thumbnails(image, turned), np.array([[0, 1]]))
    assert found.score[0] > VERDICTS[SAME_LESION]
    assert abs(abs(found.angle[0]) - 20) < 1.5 and not found.mirrored[0]
    assert found.scale[0] == pytest.approx(1 / 0.6, rel=0.03)
    assert 0.9 < found.overlap[0] <= 1


def test_two_things_of_one_outline_are_not_the_same() -> None:
    both = thumbnails(*(skin(seed) for seed in range(8)))
    pairs = np.array([[a, b] for a in range(8) for b in range(a)])
    assert align(both, pairs).score.max() < VERDICTS[LOOK_ALIKE]


def test_the_dark_rim_of_an_instrument_does_not_count() -> None:
    y, x = np.mgrid[:150, :200]
    inside = np.hypot(x - 100, y - 75)[:, :, None] < 85
    rimmed = [Image.fromarray(np.where(inside, np.asarray(skin(seed)), 5).astype(np.uint8)) for seed in (0, 1)]
    both = thumbnails(*rimmed)
    assert (both.grey[:, SIDE // 2 - 35, 4] == 0).all() and (both.grey[:, SIDE // 2, SIDE // 2] > 0).all()
    assert align(both, np.array([[0, 1]])).score[0] < VERDICTS[SAME_LESION]
    dark = thumbnail(np.full((60, 80, 3), 3, np.uint8))
    assert (dark > 0).sum() == 96 * 72  # a dark image is no rim


def test_more_is_asked_for_where_random_images_agree() -> None:
    assert least_scores(np.array([0.1, 0.19])) == VERDICTS
    smooth = least_scores(np.array([0.2, 0.5, 0.5, 0.99]))
    assert list(verdicts(np.array([0.95, 0.7, 0.55, 0.45]), smooth)) == [SAME_PICTURE, SAME_LESION, LOOK_ALIKE, ""]
    assert least_scores(np.empty(0)) == VERDICTS


def test_textures_have_mean_zero_and_unit_variance_where_they_are_valid() -> None:
    both = thumbnails(skin(0), skin(1))
    for side in (32, 48, SIDE):
        found = textures(both, np.array([0, 1, 1]), side)
        assert found.detail.shape == (3, side, side) and found.side == side
        assert torch.equal(found.detail[1], found.detail[2])
        inside = found.detail[found.valid > 0]
        assert abs(float(inside.mean())) < 0.15 and 0.6 < float(inside.std()) < 1.3
        assert (found.detail[found.valid == 0] == 0).all()


def test_blocks_of_pairs_do_not_change_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    both = thumbnails(*(skin(seed) for seed in range(6)))
    pairs = np.array([[a, b] for a in range(6) for b in range(a)] * 9)
    done: list[int] = []
    whole = align_all(both, pairs, workers=1)
    monkeypatch.setattr(pixels, "_TASK", 64)
    split = align_all(both, pairs, workers=1, on_progress=done.append)
    np.testing.assert_array_equal(whole.score, split.score)
    np.testing.assert_allclose(whole.score, align(both, pairs).score, atol=1e-4)  # pairs in another order
    np.testing.assert_array_equal(whole.angle, split.angle)
    assert done == [64, 128, 135]
    assert len(align_all(both, np.empty((0, 2), np.int64))) == 0


def test_an_image_that_cannot_be_read_is_like_nothing(tmp_path: Path) -> None:
    skin(0).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"no image")
    found = read_thumbnails([str(tmp_path / f"{name}.png") for name in "abc"])
    assert sorted(found.bad) == [1, 2] and "not an image" in found.bad[1]
    assert align(found, np.array([[0, 1], [1, 2], [0, 0]])).score.round(2).tolist() == [0, 0, 1]


def test_a_verdict_begins_at_its_score() -> None:
    least = list(VERDICTS.values())
    assert list(verdicts(np.array([1.0, *least, 0.2, -1]))) == [SAME_PICTURE, *VERDICTS, "", ""]


def test_known_pairs_are_of_one_group_and_of_two() -> None:
    groups = np.repeat(np.arange(200), np.tile([1, 2, 3, 1], 50))
    same, strangers = known_pairs(groups, 60, seed=0)
    assert (groups[same[:, 0]] == groups[same[:, 1]]).all() and (same[:, 0] < same[:, 1]).all()
    assert len(set(groups[same[:, 0]])) == len(same) == 60
    assert (groups[strangers[:, 0]] != groups[strangers[:, 1]]).all() and len(strangers) == 60
    assert (known_pairs(groups, 60, seed=0)[0] == same).all() and (known_pairs(groups, 60, seed=1)[0] != same).any()
    none, some = known_pairs(np.arange(5), 10, seed=0)
    assert none.shape == (0, 2) and len(some) > 0
