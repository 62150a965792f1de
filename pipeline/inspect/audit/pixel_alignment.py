"""Alignment of small images: find how one lies on the other, and compare the details that overlap.

First a search over rotations, mirrorings and magnifications, with all shifts at once (cross-correlation by FFT), then a
refinement of the best ones as affine maps (Lucas and Kanade 1981, in the Gauss-Newton form), then the mean local
correlation of fine details. Two similar things can be brought to overlap, but then their details do not agree.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch.nn import functional as F

from hamcache.pipeline.inspect.audit.textures import FINE_BAND, SIDE, Textures, Thumbnails, blur_matrix, textures

BLOCK = 64
"""Pairs aligned at a time. Part of the result: another number rounds sums differently."""
_COARSE, _MIDDLE = 32, 48  # pixels of the search and of the first refinement
_PADDED = 48  # pixels of the search's FFT
_TURNS = 16
_SCALES = (0.64, 0.8, 1.0, 1.25, 1.5625)
_STARTS = 3  # alignments that are refined, for each pair
_PROMISING = 0.3  # correlation after the first refinement that makes the second worth its while
_LEAST_OVERLAP = 0.4  # of the smaller image
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


def align(thumbnails: Thumbnails, pairs: np.ndarray) -> Alignment:
    """Align pairs of images.

    Args:
        thumbnails: The images.
        pairs: int `[n, 2]`: numbers of thumbnails.
    """
    return joined([_align(thumbnails, pairs[start : start + BLOCK]) for start in range(0, len(pairs), BLOCK)])


def joined(alignments: Sequence[Alignment]) -> Alignment:
    """Alignments of pairs that stand one after the other; of none where there are none."""
    names = [field.name for field in fields(Alignment)]
    empty = {name: np.empty(0, bool if name == "mirrored" else np.float32) for name in names}
    return Alignment(**{name: np.concatenate([empty[name], *(getattr(a, name) for a in alignments)]) for name in names})


def _align(thumbnails: Thumbnails, pairs: np.ndarray) -> Alignment:
    first, second = pairs[:, 0], pairs[:, 1]
    maps = _search(textures(thumbnails, first, _COARSE), textures(thumbnails, second, _COARSE))
    n, starts = maps.shape[:2]
    repeated = torch.arange(n).repeat_interleave(starts)
    a, b = textures(thumbnails, first, _MIDDLE), textures(thumbnails, second, _MIDDLE)
    maps, likeness = _refine(a.take(repeated), b.take(repeated), maps.flatten(0, 1), steps=10)
    best = likeness.reshape(n, starts).argmax(dim=1)
    maps = maps.reshape(n, starts, 2, 3)[torch.arange(n), best]
    likeness = likeness.reshape(n, starts)[torch.arange(n), best]

    promising = torch.nonzero(likeness > _PROMISING)[:, 0]
    score, overlap = torch.zeros(n), torch.zeros(n)
    if len(promising):
        rows = promising.numpy()
        a, b = textures(thumbnails, first[rows]), textures(thumbnails, second[rows])
        maps[promising], _ = _refine(a, b, maps[promising], steps=8)
        a, b = (textures(thumbnails, side[rows], band=FINE_BAND) for side in (first, second))
        score[promising], overlap[promising] = _agreement(a, b, maps[promising])
    linear = maps[:, :, :2]
    determinant = torch.linalg.det(linear)
    return Alignment(
        score=score.numpy(),
        overlap=overlap.numpy(),
        mirrored=(determinant < 0).numpy(),
        angle=torch.rad2deg(torch.atan2(linear[:, 1, 0], linear[:, 1, 1])).numpy(),
        scale=determinant.abs().sqrt().numpy(),
    )


def _starts() -> torch.Tensor:
    """Turns and magnifications of the search, float32 `[starts, 2, 2]`; mirrored copies are turned by eighths only."""
    maps = []
    for scale in _SCALES:
        for turn in range(_TURNS):
            angle = 2 * math.pi * turn / _TURNS
            c, s = scale * math.cos(angle), scale * math.sin(angle)
            maps.append([[c, -s], [s, c]])
            if turn % 2 == 0 and 0.7 < scale < 1.4:
                maps.append([[-c, -s], [-s, c]])
    return torch.tensor(maps)


def _search(a: Textures, b: Textures) -> torch.Tensor:
    """The most promising maps from places in `a` to places in `b`, float32 `[n, _STARTS, 2, 3]`.

    Places run from -1 to 1 over each side, as in `torch.nn.functional.grid_sample`.
    """
    n, size = len(a), (_PADDED, _PADDED)
    a_hat, a_energy, a_valid = (torch.fft.rfft2(x, s=size) for x in (a.detail, a.detail**2, a.valid))
    whole = (a.detail**2).sum((1, 2))
    scores, maps = [], []
    for linear in _starts():
        moved = _warp(b, torch.cat([linear, torch.zeros(2, 1)], dim=1).expand(n, 2, 3))
        b_hat, b_energy, b_valid = (
            torch.fft.rfft2(x, s=size).conj() for x in (moved.detail, moved.detail**2, moved.valid)
        )
        product = torch.fft.irfft2(a_hat * b_hat, s=size)
        energies = [torch.fft.irfft2(x, s=size).clamp(min=0).sqrt() for x in (a_energy * b_valid, a_valid * b_energy)]
        norm = energies[0] * energies[1]
        enough = norm > _LEAST_OVERLAP * torch.minimum(whole, (moved.detail**2).sum((1, 2)))[:, None, None]
        cosine = torch.where(enough, product / norm.clamp(min=1e-3), torch.tensor(-1.0))
        score, place = cosine.flatten(1).max(dim=1)
        shift = torch.stack([place % _PADDED, place // _PADDED], dim=1)
        shift = torch.where(shift > _PADDED // 2, shift - _PADDED, shift).float() * (2 / a.side)
        scores.append(score)
        maps.append(torch.cat([linear.expand(n, 2, 2), -(shift @ linear.T)[:, :, None]], dim=2))
    best = torch.stack(scores, dim=1).topk(_STARTS, dim=1).indices
    return torch.stack(maps, dim=1)[torch.arange(n)[:, None], best]


def _refine(a: Textures, b: Textures, maps: torch.Tensor, steps: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Gauss-Newton steps on all six numbers of each map; the best map on the way, and its correlation."""
    n, side = len(a), a.side
    at = (torch.arange(side) + 0.5) * 2 / side - 1
    y, x = torch.meshgrid(at, at, indexing="ij")
    basis = torch.stack([x, y, torch.ones_like(x)])
    slope_x, slope_y = torch.zeros_like(b.detail), torch.zeros_like(b.detail)
    slope_x[:, :, 1:-1] = (b.detail[:, :, 2:] - b.detail[:, :, :-2]) * (side / 4)
    slope_y[:, 1:-1] = (b.detail[:, 2:] - b.detail[:, :-2]) * (side / 4)
    channels = torch.stack([b.detail, b.valid, slope_x, slope_y], dim=1)
    best, best_maps = _correlation(a, b, maps), maps
    for _ in range(steps):
        grid = F.affine_grid(maps, [n, 1, side, side], align_corners=False)
        detail, valid, along_x, along_y = F.grid_sample(channels, grid, align_corners=False).unbind(dim=1)
        slopes = torch.cat([along_x[:, None] * basis, along_y[:, None] * basis], dim=1).flatten(2)
        weighted = slopes * (a.valid * valid).flatten(1)[:, None]
        curvature = weighted @ slopes.transpose(1, 2)
        damping = 1e-3 * curvature.diagonal(dim1=1, dim2=2).mean(dim=1) + 1e-3
        pull = weighted @ (a.detail - detail).flatten(1)[:, :, None]
        step = torch.linalg.solve(curvature + damping[:, None, None] * torch.eye(6), pull)
        maps = maps + step.clamp(-0.1, 0.1).reshape(n, 2, 3)
        likeness = _correlation(a, b, maps)
        better = likeness > best
        best = torch.where(better, likeness, best)
        best_maps = torch.where(better[:, None, None], maps, best_maps)
    return best_maps, best


def _warp(b: Textures, maps: torch.Tensor) -> Textures:
    """`b` as it lies on the other image."""
    grid = F.affine_grid(maps, [len(b), 1, b.side, b.side], align_corners=False)
    detail, valid = F.grid_sample(torch.stack([b.detail, b.valid], dim=1), grid, align_corners=False).unbind(dim=1)
    return Textures(detail, valid)


def _correlation(a: Textures, b: Textures, maps: torch.Tensor) -> torch.Tensor:
    """Correlation where both are valid, float32 `[n]`; -1 where they hardly overlap or the map is a distortion."""
    moved = _warp(b, maps)
    both = a.valid * moved.valid
    product = (both * a.detail * moved.detail).sum((1, 2))
    norm = ((both * a.detail**2).sum((1, 2)) * (both * moved.detail**2).sum((1, 2))).sqrt()
    stretch = torch.linalg.svdvals(maps[:, :, :2])
    sound = (stretch[:, 0] < 2) & (stretch[:, 1] > 0.5) & (stretch[:, 0] < 1.3 * stretch[:, 1])
    sound &= both.sum((1, 2)) > _LEAST_OVERLAP * _smaller(a, b, maps)
    return torch.where(sound, product / norm.clamp(min=1e-3), torch.tensor(-1.0))


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
    return torch.where(overlap > _LEAST_OVERLAP, score, torch.zeros_like(score)), overlap.clamp(max=1)
