"""One lesion as a patch of skin: its outline, its pigments, and from them its colour.

Light that enters skin is thinned by what it meets: melanin (brown when superficial, blue-grey when deep) and blood
(red); keratin and scar tissue scatter it back white. So a lesion is drawn as four maps, and its colour follows from
the Beer-Lambert law: skin colour times exp(-sum of amount times absorption per colour channel).
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from hamcache.data.synthetic.fields import Array, enlarge, noise, octaves, smoothstep
from hamcache.data.synthetic.structures import STRUCTURES, Maps

# Absorption of one unit of each pigment in red, green, blue.
MELANIN = np.array([0.46, 0.95, 1.40], np.float32)
DEEP_MELANIN = np.array([1.25, 1.05, 0.72], np.float32)
BLOOD = np.array([0.12, 1.05, 0.62], np.float32)
WHITE = np.array([0.95, 0.90, 0.88], np.float32)  # the colour of keratin and scars

_FAINT = 0.05  # a structure whose trait is below this is not there


def draw_lesion(rng: np.random.Generator, traits: Mapping[str, float], skin: Array, scale: float, limit: int) -> Array:
    """Colour of the lesion relative to the skin around it: float32 [3, side, side], 1 where there is no lesion.

    `skin` is the skin's colour (three numbers in [0, 1]), `scale` the pixels per millimetre, lowered where the patch
    would be wider than `limit` pixels. The patch is `patch_millimetres(traits)` wide.
    """
    # A generator for each structure: whether one is there does not change how the others are drawn.
    streams = dict(zip(("outline", "body", *STRUCTURES), rng.spawn(2 + len(STRUCTURES)), strict=True))
    maps = _outline(streams["outline"], traits, scale, limit)
    _fill(maps, streams["body"], traits)
    for trait, draw in STRUCTURES.items():
        if traits[trait] > _FAINT:
            draw(maps, streams[trait], traits[trait], traits["atypia"])
    white = np.clip(maps.white, 0, 0.9)
    # Fade to plain skin at the patch's edge, so that it leaves no seam.
    edge = np.float32(maps.shape[0] / 2) - np.maximum(np.abs(maps.x), np.abs(maps.y))
    fade = np.clip(edge * np.float32(12 / maps.shape[0]), 0, 1)
    colour = np.empty((3, *maps.shape), np.float32)
    for channel in range(3):
        density = maps.melanin * MELANIN[channel] + maps.deep * DEEP_MELANIN[channel] + maps.blood * BLOOD[channel]
        target = 0.35 + 0.65 * WHITE[channel] / skin[channel]
        seen = np.exp(-density) * (1 - white) + target * white
        colour[channel] = 1 + (seen - 1) * fade
    return colour


def patch_millimetres(traits: Mapping[str, float]) -> float:
    """Width of the square patch that holds a lesion with these traits and its surroundings."""
    return 2 * (1.7 * traits["radius"] + 0.4)


def _outline(rng: np.random.Generator, traits: Mapping[str, float], scale: float, limit: int) -> Maps:
    """Where the lesion lies: an ellipse, lobes that asymmetry pushes out of it, and an uneven border."""
    width = patch_millimetres(traits)
    side = min(round(width * scale), limit)
    scale = side / width
    radius = traits["radius"] * scale
    asymmetry, rough = traits["asymmetry"], traits["irregularity"]

    # All but the finest unevenness is smooth, so it is computed at a quarter of the size.
    small = math.ceil(side / 4)
    axis = (np.arange(small, dtype=np.float32) + 0.5) * np.float32(side / small) - np.float32(side / 2)
    stretch = 1 + 0.7 * traits["elongation"]
    angle = rng.uniform(0, math.pi)
    cos, sin = math.cos(angle), math.sin(angle)
    along = (axis[None, :] * cos + axis[:, None] * sin) / math.sqrt(stretch)
    across = (axis[:, None] * cos - axis[None, :] * sin) * math.sqrt(stretch)
    inside = radius * (1 - 0.22 * asymmetry) - np.hypot(along, across)
    for turn in rng.uniform(0, 2 * math.pi, 3):
        reach = radius * asymmetry * rng.uniform(0.45, 0.8)
        size = radius * (rng.uniform(0.45, 0.7) - 0.1 * asymmetry)
        lobe = size - np.hypot(along - reach * math.cos(turn), across - reach * math.sin(turn))
        inside = np.maximum(inside, lobe)
    shape, cell = (small, small), radius * small / side
    inside = inside + radius * (0.035 + 0.15 * rough) * noise(rng, shape, 0.8 * cell)
    inside = inside + radius * (0.01 + 0.10 * rough) * noise(rng, shape, 0.3 * cell)
    uneven = np.exp(0.6 * noise(rng, shape, 0.6 * cell))

    shape = (side, side)
    fine = noise(rng, shape, max(scale * 0.22, 3)) + 0.6 * noise(rng, shape, max(scale * 0.1, 2))
    distance = enlarge(inside, shape) + np.float32(scale * (0.02 + 0.07 * rough)) * fine
    # How far the border fades differs along it.
    softness = scale * (0.15 + 0.9 * (1 - traits["sharpness"]) ** 2) * min(1.0, traits["radius"] / 2)
    mask = smoothstep(distance / enlarge(np.float32(softness) * uneven, shape), -1, 1)
    axis = np.arange(side, dtype=np.float32) + np.float32(0.5 - side / 2)
    x, y = np.broadcast_to(axis, shape), np.broadcast_to(axis[:, None], shape)
    melanin, deep, blood, white = np.zeros((4, *shape), np.float32)
    return Maps(scale, radius, x, y, distance, mask, melanin, deep, blood, white)


def _fill(maps: Maps, rng: np.random.Generator, traits: Mapping[str, float]) -> None:
    """The plain brown and red of the lesion's body, even or in patches, and the red skin around it."""
    variegation, radius, scale = traits["variegation"], maps.radius, maps.scale
    patches = octaves(rng, maps.shape, radius * 0.7, 4)
    grain = noise(rng, maps.shape, max(scale * 0.12, 1.5)) + noise(rng, maps.shape, max(scale * 0.3, 3))
    angle = rng.uniform(0, 2 * math.pi)
    slope = (maps.x * np.float32(math.cos(angle)) + maps.y * np.float32(math.sin(angle))) * np.float32(1 / radius)
    uneven = np.float32(0.12 + 0.55 * variegation) * patches + np.float32(0.12) * grain
    uneven += np.float32(0.6 * traits["asymmetry"] * variegation) * slope
    uneven += np.float32(rng.normal(0.1, 0.25)) * maps.core(0, 0.9)  # darker or paler towards the middle
    body = maps.mask * np.exp(np.clip(uneven, -2.2, 1.0))
    amount = (0.1 + 1.35 * traits["melanin"]) * traits["melanin"] ** 0.35 + 0.22 * traits["waxy"]
    maps.melanin += np.float32(amount) * body
    red = np.clip(1 + 0.45 * octaves(rng, maps.shape, radius * 0.45, 3) + 0.1 * grain, 0, 2)
    maps.blood += np.float32(0.6 * traits["blood"]) * maps.mask * red
    if traits["erythema"] > _FAINT:
        halo = smoothstep(maps.inside, -0.6 * radius, 0.15 * radius)
        maps.blood += np.float32(0.32 * traits["erythema"]) * halo * red
