"""Alignment of small images: find how one lies on the other, and compare the details that overlap.

First a search over rotations, mirrorings and magnifications, with all shifts at once (cross-correlation by FFT), then a
refinement of the best ones as affine maps (Lucas and Kanade 1981, in the Gauss-Newton form), then the mean local
correlation of fine details. Two similar things can be brought to overlap, but then their details do not agree.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cache

import numpy as np
import torch
from torch.nn import functional as F

from hamcache.pipeline.inspect.audit.alignment_search import LEAST_OVERLAP, STARTS, search
from hamcache.pipeline.inspect.audit.textures import (
    COARSE_BAND,
    FINE_BAND,
    SIDE,
    Textures,
    Thumbnails,
    blur_matrix,
    textures,
)

BLOCK = 64
"""Pairs aligned at a time. Part of the result: another number rounds sums differently."""
_COARSE, _MIDDLE = 32, 48  # pixels of the search and of the first refinement
_PROMISING = 0.3  # correlation after the first refinement that makes the second worth its while
_FAR = 0.5  # share of the score that matters below which the second refinement is not worth its while
_NEIGHBOURHOOD = 4.0  # pixels of the local correlation


@dataclass(frozen=True, eq=False)
class Alignment:
    """Place of the second image of each pair on the first.

    Attributes:
        score: float32 `[n]`: mean local correlation of the details that overlap: near 1 for copies, 0.4 and more where
            much is the same, below 0.2 for images that have nothing to do with each other.
        overlap: float32 `[n]`: share of the smaller one that overlaps.
        mirrored: bool `[n]`.
        angle: float32 `[n]`: degrees, -180 to 180.
        scale: float32 `[n]`: magnification of the first against the second.
    """

    score: np.ndarray
    overlap: np.ndarray
    mirrored: np.ndarray
    angle: np.ndarray
    scale: np.ndarray

    def __len__(self) -> int:
        return len(self.score)

    def take(self, rows: np.ndarray) -> "Alignment":
        """Some of the pairs, in this order."""
        return Alignment(**{field.name: getattr(self, field.name)[rows] for field in fields(self)})


def align(thumbnails: Thumbnails, pairs: np.ndarray, least: float = 0.0) -> Alignment:
    """Align pairs of images.

    Args:
        thumbnails: The images.
        pairs: int `[n, 2]`: numbers of thumbnails. Those with the same second image had better follow each other.
        least: Score that matters: a pair that is far from it before its last refinement is left as it is then.
    """
    blocks = [pairs[start : start + BLOCK] for start in range(0, len(pairs), BLOCK)]
    return joined([_align(thumbnails, block, least) for block in blocks])


def joined(alignments: Sequence[Alignment]) -> Alignment:
    """Alignments of pairs that stand one after the other; of none where there are none."""
    names = [field.name for field in fields(Alignment)]
    empty = {name: np.empty(0, bool if name == "mirrored" else np.float32) for name in names}
    return Alignment(**{name: np.concatenate([empty[name], *(getattr(a, name) for a in alignments)]) for name in names})


def _align(thumbnails: Thumbnails, pairs: np.ndarray, least: float) -> Alignment:
    n = len(pairs)

    def prepared(side: int, rows: torch.Tensor, band: float = COARSE_BAND) -> tuple[Textures, Textures]:
        a, b = (_textures(thumbnails, images, side, band) for images in pairs[rows.numpy()].T)
        return a, b

    (first, a), (second, b) = (_each_once(thumbnails, side, _COARSE) for side in pairs.T)
    maps = search(a, b, first, second)
    a, b = prepared(_MIDDLE, torch.arange(n).repeat_interleave(STARTS))
    maps, likeness = _refine(a, b, maps.flatten(0, 1), steps=10)
    best = likeness.reshape(n, STARTS).argmax(dim=1)
    maps = maps.reshape(n, STARTS, 2, 3)[torch.arange(n), best]
    likeness = likeness.reshape(n, STARTS)[torch.arange(n), best]

    score, overlap = torch.zeros(n), torch.zeros(n)

    def judge(rows: torch.Tensor) -> None:
        a, b = prepared(SIDE, rows, FINE_BAND)
        score[rows], overlap[rows] = _agreement(a, b, maps[rows])

    promising = torch.nonzero(likeness > _PROMISING)[:, 0]
    judge(promising)
    near = promising[score[promising] >= _FAR * least] if least else promising
    maps[near], _ = _refine(*prepared(SIDE, near), maps[near], steps=8)
    judge(near)
    linear = maps[:, :, :2]
    determinant = torch.linalg.det(linear)
    return Alignment(
        score=score.numpy(),
        overlap=overlap.numpy(),
        mirrored=(determinant < 0).numpy(),
        angle=torch.rad2deg(torch.atan2(linear[:, 1, 0], linear[:, 1, 1])).numpy(),
        scale=determinant.abs().sqrt().numpy(),
    )


def _each_once(
    thumbnails: Thumbnails, images: np.ndarray, side: int, band: float = COARSE_BAND
) -> tuple[torch.Tensor, Textures]:
    """The textures of some images, each once, and the number of each image's in them."""
    once, numbers = np.unique(images, return_inverse=True)
    return torch.from_numpy(numbers), textures(thumbnails, once, side, band)


def _textures(thumbnails: Thumbnails, images: np.ndarray, side: int, band: float) -> Textures:
    numbers, once = _each_once(thumbnails, images, side, band)
    return once.take(numbers)


def _refine(a: Textures, b: Textures, maps: torch.Tensor, steps: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Gauss-Newton steps on all six numbers of each map; the best map on the way, and its correlation."""
    side = a.side
    slope_x, slope_y = torch.zeros_like(b.detail), torch.zeros_like(b.detail)
    slope_x[:, :, 1:-1] = (b.detail[:, :, 2:] - b.detail[:, :, :-2]) * (side / 4)
    slope_y[:, 1:-1] = (b.detail[:, 2:] - b.detail[:, :-2]) * (side / 4)
    channels = torch.stack([b.detail, b.valid, slope_x, slope_y], dim=1)
    monomials, curvature_of = _monomials(side)
    best, best_maps = torch.full((len(a),), -2.0), maps
    for step in range(steps + 1):
        detail, valid, along_x, along_y = _sampled(channels, maps)
        both = a.valid * valid
        likeness = _correlation(a, b, Textures(detail, both), maps)
        better = likeness > best
        best = torch.where(better, likeness, best)
        best_maps = torch.where(better[:, None, None], maps, best_maps)
        if step == steps:
            break
        pull_x, pull_y = both * along_x, both * along_y
        error = a.detail - detail
        products = [pull_x * along_x, pull_x * along_y, pull_y * along_y, pull_x * error, pull_y * error]
        moments = torch.stack(products, dim=1).flatten(2) @ monomials  # of x, y, 1, xx, xy, yy
        curvature = moments[:, :3].flatten(1)[:, curvature_of]
        damping = 1e-3 * curvature.diagonal(dim1=1, dim2=2).mean(dim=1) + 1e-3
        pull = moments[:, 3:, :3].reshape(-1, 6, 1)
        change = torch.linalg.solve(curvature + damping[:, None, None] * torch.eye(6), pull)
        maps = maps + change.clamp(-0.1, 0.1).reshape(-1, 2, 3)
    return best_maps, best


@cache
def _monomials(side: int) -> tuple[torch.Tensor, torch.Tensor]:
    """`x, y, 1, xx, xy, yy` of every place, `[side * side, 6]`; and where each entry of the 6x6 curvature is found.

    The curvature is that of the three numbers of x and the three of y: products of slopes (xx, xy, yy) by monomials.
    """
    at = _places(side)
    y, x = (grid.flatten() for grid in torch.meshgrid(at, at, indexing="ij"))
    of_products = torch.tensor([[3, 4, 0], [4, 5, 1], [0, 1, 2]])
    rows = [torch.cat([of_products + 6 * left, of_products + 6 * right], dim=1) for left, right in ((0, 1), (1, 2))]
    return torch.stack([x, y, torch.ones_like(x), x * x, x * y, y * y], dim=1), torch.cat(rows)


def _places(side: int) -> torch.Tensor:
    """Centres of pixels, from -1 to 1."""
    return (torch.arange(side) + 0.5) * 2 / side - 1


def _sampled(channels: torch.Tensor, maps: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Channels `[n, c, side, side]` as they lie on the other image, one after the other."""
    at = _places(channels.shape[-1])
    grid = (
        maps[:, None, None, :, 0] * at[:, None] + (maps[:, None, :, 1] * at[:, None] + maps[:, None, :, 2])[:, :, None]
    )
    return F.grid_sample(channels, grid, align_corners=False).unbind(dim=1)


def _warp(b: Textures, maps: torch.Tensor) -> Textures:
    """`b` as it lies on the other image."""
    return Textures(*_sampled(torch.stack([b.detail, b.valid], dim=1), maps))


def _correlation(a: Textures, b: Textures, both: Textures, maps: torch.Tensor) -> torch.Tensor:
    """Correlation where both are valid, float32 `[n]`; -1 where they hardly overlap or the map is a distortion.

    Args:
        a, b: The images.
        both: `b` as it lies on `a`, and the share of each pixel that is valid in both.
        maps: Where it lies.
    """
    weighted = both.valid * a.detail
    product = (weighted * both.detail).sum((1, 2))
    norm = ((weighted * a.detail).sum((1, 2)) * (both.valid * both.detail**2).sum((1, 2))).sqrt()
    least, most = _stretches(maps)
    sound = (most < 2) & (least > 0.5) & (most < 1.3 * least)
    sound &= both.valid.sum((1, 2)) > LEAST_OVERLAP * _smaller(a, b, maps)
    return torch.where(sound, product / norm.clamp(min=1e-3), torch.tensor(-1.0))


def _stretches(maps: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The two singular values of each linear map, the smaller one first."""
    (a, b), (c, d) = (row.unbind(dim=1) for row in maps[:, :, :2].unbind(dim=1))
    total, difference = torch.hypot(a + d, b - c), torch.hypot(a - d, b + c)
    return (total - difference).abs() / 2, (total + difference) / 2


def _smaller(a: Textures, b: Textures, maps: torch.Tensor) -> torch.Tensor:
    """Area of the smaller image, in pixels of `a`, wherever the map puts the other."""
    magnified = torch.linalg.det(maps[:, :, :2]).abs().clamp(min=1e-3)
    return torch.minimum(a.valid.sum((1, 2)), b.valid.sum((1, 2)) / magnified).clamp(min=1)


def _agreement(a: Textures, b: Textures, maps: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean local correlation and share of overlap: every place counts the same, however strong its edges are."""
    moved = _warp(b, maps)
    both = a.valid * moved.valid
    blurring = blur_matrix(SIDE, _NEIGHBOURHOOD)

    def local(x: torch.Tensor) -> torch.Tensor:
        return blurring @ (both * x) @ blurring

    norm = (local(a.detail**2) * local(moved.detail**2)).sqrt()
    correlation = local(a.detail * moved.detail) / (norm + 1e-3)
    area = both.sum((1, 2))
    overlap = area / _smaller(a, b, maps)
    score = (correlation * both).sum((1, 2)) / area.clamp(min=1)
    return torch.where(overlap > LEAST_OVERLAP, score, torch.zeros_like(score)), overlap.clamp(max=1)
