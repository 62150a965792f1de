"""The most promising ways in which one small image may lie on another: turned, mirrored, magnified and shifted.

All shifts at once by cross-correlation (FFT), for each of a hundred turns, mirrorings and magnifications. Quarter turns
and mirrorings move pixels without changing them, so eight spectra of the first image and twenty of the second give them
all. Every correlation is first looked at with its lower frequencies; only the best are computed in full.
"""

import math
from dataclasses import dataclass
from functools import cache

import torch
from torch.nn import functional as F

from hamcache.pipeline.inspect.audit.textures import Textures

STARTS = 3
"""Maps that are found for each pair."""
LEAST_OVERLAP = 0.4
"""Share of the smaller image that has to overlap."""
_PADDED, _GLANCED = 48, 32  # pixels of the FFT, in full and of the first look
_TURNS = 16
_SCALES = (0.64, 0.8, 1.0, 1.25, 1.5625)
_MIRRORED_SCALES = (0.8, 1.0, 1.25)
_SECOND_LOOK = 12  # maps of each pair that are correlated in full


@dataclass(frozen=True, eq=False)
class _Starts:
    """The linear maps of the search, each a warp of the second image after a symmetry of the first.

    Attributes:
        warps: float32 `[warps, 2, 2]`: turns of less than a quarter, and magnifications.
        symmetries: Quarter turns, and whether mirrored before.
        warp, symmetry: int64 `[starts]`: numbers of both.
        linear: float32 `[starts, 2, 2]`: the product.
    """

    warps: torch.Tensor
    symmetries: list[tuple[int, bool]]
    warp: torch.Tensor
    symmetry: torch.Tensor
    linear: torch.Tensor


@cache
def _starts() -> _Starts:
    """All turns by sixteenths; mirrored copies are turned by eighths, and magnified little."""
    symmetries = [(turns, mirrored) for mirrored in (False, True) for turns in range(4)]
    steps = [(scale, turn) for scale in _SCALES for turn in range(_TURNS // 4)]
    warps = torch.stack([scale * _turned(2 * math.pi * turn / _TURNS) for scale, turn in steps])
    numbers = [
        (warp, symmetry)
        for warp, (scale, turn) in enumerate(steps)
        for symmetry, (_, mirrored) in enumerate(symmetries)
        if not mirrored or (turn % 2 == 0 and scale in _MIRRORED_SCALES)
    ]
    warp, symmetry = torch.tensor(numbers).unbind(dim=1)
    moves = [_turned(turns * math.pi / 2).round() for turns, _ in symmetries]
    for move, (_, mirrored) in zip(moves, symmetries, strict=True):
        move[:, 0] *= -1 if mirrored else 1
    return _Starts(warps, symmetries, warp, symmetry, warps[warp] @ torch.stack(moves)[symmetry])


def _turned(angle: float) -> torch.Tensor:
    return torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])


def search(a: Textures, b: Textures, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """The most promising maps from places in one image of each pair to places in the other.

    Places run from -1 to 1 over each side, as in `torch.nn.functional.grid_sample`.

    Args:
        a, b: Images, each once.
        first, second: int64 `[n]`: the pairs, numbers of `a` and of `b`.

    Returns:
        float32 `[n, STARTS, 2, 3]`.
    """
    starts, n = _starts(), len(first)
    moved = torch.stack([_moved(a, turns, mirrored) for turns, mirrored in starts.symmetries])
    a_hat = _spectra(moved[:, :, 0], moved[:, :, 1])
    warped = _warped(b, starts.warps)
    b_hat = _spectra(warped[:, :, 0], warped[:, :, 1]).conj().resolve_conj()
    a_whole = (a.detail**2).sum((1, 2))
    b_whole = (warped[:, :, 0] ** 2).sum((2, 3))
    least = LEAST_OVERLAP * torch.minimum(a_whole[first], b_whole[:, second])

    a_low, b_low = _low(a_hat), _low(b_hat)
    glances = []
    for warp, symmetry in zip(starts.warp, starts.symmetry, strict=True):
        cosine = _cosines(a_low[symmetry, first], b_low[warp, second], least[warp] * (_PADDED / _GLANCED) ** 2)
        glances.append(cosine.flatten(1).amax(dim=1))
    chosen = torch.stack(glances, dim=1).topk(_SECOND_LOOK, dim=1).indices

    scores, shifts = [], []
    for start in chosen.unbind(dim=1):
        warp, symmetry = starts.warp[start], starts.symmetry[start]
        cosine = _cosines(a_hat[symmetry, first], b_hat[warp, second], least[warp, torch.arange(n)])
        score, place = cosine.flatten(1).max(dim=1)
        shift = torch.stack([place % _PADDED, place // _PADDED], dim=1)
        shifts.append(torch.where(shift > _PADDED // 2, shift - _PADDED, shift).float() * (2 / a.side))
        scores.append(score)
    best = torch.stack(scores, dim=1).topk(STARTS, dim=1).indices
    start = chosen.gather(1, best)
    shift = torch.stack(shifts, dim=1)[torch.arange(n)[:, None], best]
    # The shift was found between the first image after the symmetry and the warped second one.
    away = -(starts.warps[starts.warp[start]] @ shift[..., None])
    return torch.cat([starts.linear[start], away], dim=3)


def _moved(a: Textures, turns: int, mirrored: bool) -> torch.Tensor:
    """Images after a symmetry, `[n, 2, side, side]`."""
    channels = torch.stack([a.detail, a.valid], dim=1)
    return torch.rot90(channels.flip(3) if mirrored else channels, -turns, dims=(2, 3))


def _warped(b: Textures, warps: torch.Tensor) -> torch.Tensor:
    """Images after each warp, `[warps, n, 2, side, side]`."""
    channels = torch.stack([b.detail, b.valid], dim=1)
    size = [len(warps), 1, b.side, b.side]
    grids = F.affine_grid(F.pad(warps, (0, 1)), size, align_corners=False)
    return torch.stack(
        [F.grid_sample(channels, grid.expand(len(b), -1, -1, -1), align_corners=False) for grid in grids]
    )


def _spectra(detail: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    """Spectra of the details, of their energy and of where they are valid: `[..., 3, _PADDED, _PADDED // 2 + 1]`."""
    return torch.fft.rfft2(torch.stack([detail, detail**2, valid], dim=2), s=(_PADDED, _PADDED))


def _low(spectra: torch.Tensor) -> torch.Tensor:
    """The lower frequencies along each side."""
    rows = torch.cat([torch.arange(_GLANCED // 2), torch.arange(_PADDED - _GLANCED // 2, _PADDED)])
    return spectra[..., rows, : _GLANCED // 2 + 1].contiguous()


def _cosines(a: torch.Tensor, b: torch.Tensor, least: torch.Tensor) -> torch.Tensor:
    """Correlation at every shift, float32 `[n, size, size]`; negative where hardly anything overlaps.

    Args:
        a: Spectra of the details, energies and valid places of the first image.
        b: Of the second image, conjugate.
        least: Energy that has to overlap, `[n]`.
    """
    size = a.shape[-2]
    other = torch.stack([b[:, 0], b[:, 2], b[:, 1]], dim=1)  # energy of one where the other is valid
    product, of_a, of_b = torch.fft.irfft2(a * other, s=(size, size)).unbind(dim=1)
    norm = (of_a.clamp_(min=0) * of_b.clamp_(min=0)).sqrt_()
    few = norm <= least[:, None, None]
    return product.div_(norm.clamp_(min=1e-3)).masked_fill_(few, -1)
