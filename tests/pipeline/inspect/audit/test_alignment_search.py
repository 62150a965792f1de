"""The search for alignments finds what a search without short cuts finds."""

import math

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance
from scipy import ndimage
from torch.nn import functional as F

from hamcache.pipeline.inspect.audit import alignment_search
from hamcache.pipeline.inspect.audit.alignment_search import LEAST_OVERLAP, STARTS, search
from hamcache.pipeline.inspect.audit.duplicate_verdicts import LOOK_ALIKE, VERDICTS, verdicts
from hamcache.pipeline.inspect.audit.pixel_alignment import align
from hamcache.pipeline.inspect.audit.textures import Textures, Thumbnails, textures, thumbnail

SIDE = 32


def spots(seed: int) -> Image.Image:
    """Textured skin with a blotch, 160x120."""
    rng = np.random.default_rng(seed)
    noise = sum(ndimage.gaussian_filter(rng.normal(size=(120, 160)), s) * s * 9 for s in (1, 2, 4))
    y, x = np.mgrid[:120, :160]
    grey = 170 + noise - 60 / (1 + np.exp((np.hypot(x - 80, y - 60) - 32) / 3))
    return Image.fromarray(grey.clip(0, 255).astype(np.uint8)).convert("RGB")


COPIES = {
    "left-right": lambda i: i.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    "top-bottom": lambda i: i.transpose(Image.Transpose.FLIP_TOP_BOTTOM),
    "quarter turn": lambda i: i.transpose(Image.Transpose.ROTATE_90),
    "three quarters": lambda i: i.transpose(Image.Transpose.ROTATE_270),
    "transposed": lambda i: i.transpose(Image.Transpose.TRANSPOSE),
    "turned by 30 degrees": lambda i: i.rotate(30, Image.Resampling.BICUBIC).crop((30, 20, 130, 100)),
    "turned by -100 degrees": lambda i: i.rotate(-100, Image.Resampling.BICUBIC).crop((30, 20, 130, 100)),
    "mirrored and cropped": lambda i: i.transpose(Image.Transpose.FLIP_LEFT_RIGHT).crop((24, 6, 160, 110)),
    "darker": lambda i: ImageEnhance.Brightness(i).enhance(0.7),
    "less contrast": lambda i: ImageEnhance.Contrast(i).enhance(0.6),
    "itself": lambda i: i,
}


@pytest.fixture(scope="module")
def images() -> Thumbnails:
    """Four images, and the copies of each after them, in the order of `COPIES`."""
    originals = [spots(seed) for seed in range(4)]
    copies = [how(image) for image in originals for how in COPIES.values()]
    return Thumbnails(np.stack([thumbnail(np.asarray(image)) for image in originals + copies]), {})


def pairs_of(images: Thumbnails) -> np.ndarray:
    """Each image with all copies: its own, and those of the others."""
    return np.array([(a, b) for b in range(4, len(images)) for a in range(4)])


def is_copy(pairs: np.ndarray) -> np.ndarray:
    return pairs[:, 0] == (pairs[:, 1] - 4) // len(COPIES)


def plain_search(a: Textures, b: Textures) -> torch.Tensor:
    """Best correlation of each start and its map, `[n, starts, 7]`: every warp by itself, every shift in full."""
    size, found = (48, 48), []

    def spectra(image: Textures) -> tuple[torch.Tensor, ...]:
        return tuple(torch.fft.rfft2(x, s=size) for x in (image.detail, image.detail**2, image.valid))

    a_hat, whole = spectra(a), (a.detail**2).sum((1, 2))
    for scale in (0.64, 0.8, 1.0, 1.25, 1.5625):
        for turn in range(16):
            c, s = (scale * f(2 * math.pi * turn / 16) for f in (math.cos, math.sin))
            maps = [[[c, -s], [s, c]]] + [[[-c, -s], [-s, c]]] * (turn % 2 == 0 and 0.7 < scale < 1.4)
            for linear in torch.tensor(maps):
                grid = F.affine_grid(F.pad(linear, (0, 1)).expand(len(b), 2, 3), [len(b), 1, SIDE, SIDE], False)
                moved = F.grid_sample(torch.stack([b.detail, b.valid], dim=1), grid, align_corners=False)
                w = Textures(moved[:, 0], moved[:, 1])
                w_hat = [x.conj() for x in spectra(w)]
                products = [(0, 0), (1, 2), (2, 1)]
                product, of_a, of_b = (torch.fft.irfft2(a_hat[i] * w_hat[j], s=size) for i, j in products)
                norm = (of_a.clamp(min=0) * of_b.clamp(min=0)).sqrt()
                least = LEAST_OVERLAP * torch.minimum(whole, (w.detail**2).sum((1, 2)))
                cosine = torch.where(norm > least[:, None, None], product / norm.clamp(min=1e-3), torch.tensor(-1.0))
                score, place = cosine.flatten(1).max(dim=1)
                shift = torch.stack([place % 48, place // 48], dim=1)
                shift = torch.where(shift > 24, shift - 48, shift).float() * (2 / SIDE)
                full = torch.cat([linear.expand(len(b), 2, 2), -(shift @ linear.T)[:, :, None]], dim=2)
                found.append(torch.cat([score[:, None], full.flatten(1)], dim=1))
    return torch.stack(found, dim=1)


def test_the_search_finds_the_best_maps_of_a_search_without_short_cuts(images: Thumbnails) -> None:
    pairs = pairs_of(images)
    a, b = (textures(images, side, SIDE) for side in pairs.T)
    found = plain_search(a, b)
    order = found[:, :, 0].argsort(dim=1, descending=True)[:, :STARTS]
    expected = found[torch.arange(len(pairs))[:, None], order, 1:].reshape(-1, STARTS, 2, 3)
    maps = search(a, b, torch.arange(len(pairs)), torch.arange(len(pairs)))
    copies = is_copy(pairs)
    torch.testing.assert_close(maps[copies, 0], expected[copies, 0], atol=1e-4, rtol=0)
    same = ((maps - expected).abs() < 1e-4).flatten(1).all(dim=1)
    assert same.float().mean() > 0.9, "strangers may differ in a start that leads nowhere"


def test_a_search_that_looks_twice_at_everything_is_the_search_without_short_cuts(
    images: Thumbnails, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alignment_search, "_SECOND_LOOK", 104)
    pairs = pairs_of(images)[::5]
    a, b = (textures(images, side, SIDE) for side in pairs.T)
    found = plain_search(a, b)
    assert found.shape[1] == 104
    best = found[torch.arange(len(pairs)), found[:, :, 0].argmax(dim=1), 1:].reshape(-1, 2, 3)
    maps = search(a, b, torch.arange(len(pairs)), torch.arange(len(pairs)))
    torch.testing.assert_close(maps[:, 0], best, atol=1e-4, rtol=0)


def test_verdicts_are_the_same_where_pairs_that_are_far_from_one_are_left_early(images: Thumbnails) -> None:
    pairs = pairs_of(images)
    in_full, early = align(images, pairs), align(images, pairs, VERDICTS[LOOK_ALIKE])
    assert list(verdicts(early.score)) == list(verdicts(in_full.score))
    listed = in_full.score >= VERDICTS[LOOK_ALIKE]
    assert (listed == is_copy(pairs)).all()
    np.testing.assert_allclose(early.score[listed], in_full.score[listed], atol=1e-4)
    assert not np.allclose(early.score[~listed], in_full.score[~listed], atol=1e-4)


def test_an_image_of_many_pairs_is_one_row_of_the_search(images: Thumbnails) -> None:
    pairs = pairs_of(images)[:12]
    a, b = (textures(images, side, SIDE) for side in pairs.T)
    numbers = [np.unique(side, return_inverse=True) for side in pairs.T]
    once = [textures(images, rows, SIDE) for rows, _ in numbers]
    first, second = (torch.from_numpy(at) for _, at in numbers)
    each = torch.arange(len(pairs))
    torch.testing.assert_close(search(*once, first, second), search(a, b, each, each), atol=1e-4, rtol=0)
