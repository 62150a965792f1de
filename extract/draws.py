"""Draws: what happens to an image in a view. `extract.kernels` does it.

A draw depends on nothing but its name: seed, augmentation, image and view. So any worker, in any order, in any thread
draws the same, and every backbone sees the same view.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass

import numpy as np

from hamcache.extract.augmentations import Augmentation, Constancy, HairRemoval, OwnFunction


@dataclass(frozen=True)
class Preparation:
    """Preparation of the whole image before it is moved, in this order.

    Attributes:
        canvas: see `ViewDraw`.
        hair_removal, constancy: as declared.
        hairs: number of hairs that are drawn.
        function: a function of one's own.
        name: seed, augmentation, image and view, for what draws numbers of its own; None where nothing does.
    """

    canvas: int = 0
    hair_removal: HairRemoval | None = None
    constancy: Constancy | None = None
    hairs: int = 0
    function: OwnFunction | None = None
    name: tuple[int, str, str, int] | None = None

    def generator(self, step: str) -> np.random.Generator:
        """The generator of a step that draws numbers of its own."""
        assert self.name is not None
        return generator_named(*self.name, step)


@dataclass(frozen=True)
class ViewDraw:
    """One view, fully determined: what happens to the image, in this order.

    Attributes:
        preparation: what is done to the whole image before; None for nothing.
        symmetry: 0 to 7: mirrored left-right if bit 0 is set, top-bottom if bit 1, transposed if bit 2.
        canvas: the short side is reduced to this many pixels if it is longer; 0 for never.
        angle: rotation in degrees, clockwise.
        scale: magnification.
        shift: translation, as shares of width and height.
        corners: what fills the corners: `black` or `reflect`.
        brightness, contrast, saturation: factors. hue: shift as a share of the colour circle.
        blur: sigma in thousandths of the short side; 0 for none.
    """

    preparation: Preparation | None = None
    symmetry: int = 0
    canvas: int = 0
    angle: float = 0.0
    scale: float = 1.0
    shift: tuple[float, float] = (0.0, 0.0)
    corners: str = "black"
    brightness: float = 1.0
    contrast: float = 1.0
    saturation: float = 1.0
    hue: float = 0.0
    blur: float = 0.0


PLAIN = ViewDraw()


def generator_for(seed: int, augmentation: str, image_id: str, view: int) -> np.random.Generator:
    """The generator of a view, keyed by its name and by nothing else."""
    return generator_named(seed, augmentation, image_id, view)


def generator_named(*words: object) -> np.random.Generator:
    """A counter-based generator (Philox) keyed by some words and by nothing else."""
    name = "\0".join(map(str, words)).encode()
    key = int.from_bytes(hashlib.blake2b(name, digest_size=16).digest(), "little")
    return np.random.Generator(np.random.Philox(key=key))


def draw_view(augmentation: Augmentation, seed: int, image_id: str, view: int) -> ViewDraw:
    """Draw view number `view` of an image under an augmentation."""
    counted = {None: 1, "flips": 4, "dihedral": 8}[augmentation.symmetry]
    symmetry = view % counted
    if augmentation.starts_plain:
        return ViewDraw(symmetry=symmetry)
    # Every number is drawn, used or not, so that changing one step leaves the other steps' draws alone.
    name = (seed, augmentation.name, image_id, view)
    u = generator_for(*name).random(13)
    preparation = _preparation(augmentation, name, u[11:])
    if not augmentation.is_random:
        return ViewDraw(preparation, symmetry, augmentation.canvas)
    if augmentation.flip:
        symmetry = int(u[0] < augmentation.flip.horizontal) + 2 * int(u[1] < augmentation.flip.vertical)
    affine, color, blur = augmentation.affine, augmentation.color, augmentation.blur
    return ViewDraw(
        preparation=preparation,
        symmetry=symmetry,
        canvas=augmentation.canvas,
        angle=affine.degrees * _signed(u[2]) if affine else 0.0,
        scale=math.exp(_between(u[3], math.log(affine.scale[0]), math.log(affine.scale[1]))) if affine else 1.0,
        shift=(affine.translate * _signed(u[4]), affine.translate * _signed(u[5])) if affine else (0.0, 0.0),
        corners=affine.corners if affine else "black",
        brightness=1 + color.brightness * _signed(u[6]) if color else 1.0,
        contrast=1 + color.contrast * _signed(u[7]) if color else 1.0,
        saturation=1 + color.saturation * _signed(u[8]) if color else 1.0,
        hue=color.hue * _signed(u[9]) if color else 0.0,
        blur=_between(u[10] / blur.probability, *blur.sigma) if blur and u[10] < blur.probability else 0.0,
    )


def _preparation(augmentation: Augmentation, name: tuple[int, str, str, int], u: np.ndarray) -> Preparation | None:
    """The preparation of one view; equal for views that do the same, so that it is done once."""
    hairs = augmentation.hairs
    is_hairy = hairs is not None and u[0] < hairs.probability
    made = Preparation(
        canvas=augmentation.canvas,
        hair_removal=augmentation.hair_removal,
        constancy=augmentation.constancy,
        hairs=int(_between(u[1], hairs.count[0], hairs.count[1] + 1)) if hairs is not None and is_hairy else 0,
        function=augmentation.function,
        name=name if is_hairy or augmentation.function else None,
    )
    return None if made == Preparation(augmentation.canvas) else made


def _signed(u: float) -> float:
    return 2 * float(u) - 1


def _between(u: float, low: float, high: float) -> float:
    return low + (high - low) * float(u)
