"""One lesion as a patch of skin: its outline, its pigments, and from them its colour.

Light that enters skin is thinned by what it meets: melanin (brown when superficial, blue-grey when deep) and blood
(red); keratin and scar tissue scatter it back white. So a lesion is drawn as four maps, and its colour follows from
the Beer-Lambert law: skin colour times exp(-sum of amount times absorption per colour channel).
"""

import math
from collections.abc import Mapping

import numpy as np

from hamcache.data.synthetic.fields import Array, Generator, enlarge, noise, octaves, smoothstep
from hamcache.data.synthetic.structures import STRUCTURES, Maps

# Absorption of one unit of each pigment in red, green, blue; the colour of keratin and scars: all [3, 1, 1].
MELANIN, DEEP_MELANIN, BLOOD, WHITE = np.array(
    [(0.46, 0.95, 1.40), (1.25, 1.05, 0.72), (0.12, 1.05, 0.62), (0.95, 0.90, 0.88)], np.float32
)[:, :, None, None]

_FAINT = 0.05  # a structure whose trait is below this is not there


def draw_lesion(rng: Generator, traits: Mapping[str, float], skin: Array, scale: float, limit: int) -> Array:
    """Colour of the lesion relative to the skin around it: float32 [3, side, side], 1 where there is no lesion.

    `skin` is the skin's colour (three numbers in [0, 1]), `scale` the pixels per millimetre, lowered where the patch
    would be wider than `limit` pixels. The patch is `patch_millimetres(traits)` wide.
    """
    # A generator for each structure: whether one is there does not change how the others are drawn.
    outline, body, *streams = rng.spawn(2 + len(STRUCTURES))
    maps = _outline(outline, traits, scale, limit)
    _fill(maps, body, traits)
    for (trait, draw), stream in zip(STRUCTURES.items(), streams, strict=True):
        if traits[trait] > _FAINT:
            draw(maps, stream, traits[trait], traits["atypia"])
    white = np.clip(maps.white, 0, 0.9)
    density = maps.melanin * MELANIN + maps.deep * DEEP_MELANIN + maps.blood * BLOOD
    seen = np.exp(-density) * (1 - white) + (0.35 + 0.65 * WHITE / skin[:, None, None]) * white
    # Fade to plain skin at the patch's edge, so that it leaves no seam.
    edge = maps.shape[0] / 2 - np.maximum(np.abs(maps.x), np.abs(maps.y))
    return 1 + (seen - 1) * np.clip(edge * (12 / maps.shape[0]), 0, 1)


def patch_millimetres(traits: Mapping[str, float]) -> float:
    """Width of the square patch that holds a lesion with these traits and its surroundings."""
    return 2 * (1.7 * traits["radius"] + 0.4)


def _outline(rng: Generator, traits: Mapping[str, float], scale: float, limit: int) -> Maps:
    """Place and border of the lesion: an ellipse, lobes that asymmetry pushes out of it, and an uneven border."""
    width = patch_millimetres(traits)
    side = min(round(width * scale), limit)
    scale = side / width
    radius = traits["radius"] * scale
    asymmetry, rough = traits["asymmetry"], traits["irregularity"]

    # All but the finest unevenness is smooth, so it is computed at a quarter of the size.
    small = math.ceil(side / 4)
    axis = (np.arange(small, dtype=np.float32) + 0.5) * (side / small) - side / 2
    stretch = math.sqrt(1 + 0.7 * traits["elongation"])
    angle = rng.uniform(0, math.pi)
    cos, sin = math.cos(angle), math.sin(angle)
    along = (axis[None, :] * cos + axis[:, None] * sin) / stretch
    across = (axis[:, None] * cos - axis[None, :] * sin) * stretch
    inside = radius * (1 - 0.22 * asymmetry) - np.hypot(along, across)
    for turn in rng.uniform(0, 2 * math.pi, 3):
        reach = radius * asymmetry * rng.uniform(0.45, 0.8)
        size = radius * (rng.uniform(0.45, 0.7) - 0.1 * asymmetry)
        inside = np.maximum(inside, size - np.hypot(along - reach * math.cos(turn), across - reach * math.sin(turn)))
    shape, cell = (small, small), radius * small / side
    inside = inside + radius * (0.035 + 0.15 * rough) * noise(rng, shape, 0.8 * cell)
    inside = inside + radius * (0.01 + 0.10 * rough) * noise(rng, shape, 0.3 * cell)
    uneven = np.exp(0.6 * noise(rng, shape, 0.6 * cell))

    shape = (side, side)
    fine = noise(rng, shape, max(scale * 0.22, 3)) + 0.6 * noise(rng, shape, max(scale * 0.1, 2))
    distance = enlarge(inside, shape) + scale * (0.02 + 0.07 * rough) * fine
    # How far the border fades differs along it.
    softness = scale * (0.15 + 0.9 * (1 - traits["sharpness"]) ** 2) * min(1.0, traits["radius"] / 2)
    mask = smoothstep(distance / enlarge(softness * uneven, shape), -1, 1)
    axis = np.arange(side, dtype=np.float32) + (0.5 - side / 2)
    x, y = np.broadcast_to(axis, shape), np.broadcast_to(axis[:, None], shape)
    return Maps(scale, radius, x, y, distance, mask, *np.zeros((4, *shape), np.float32))


def _fill(maps: Maps, rng: Generator, traits: Mapping[str, float]) -> None:
    """The plain brown and red of the lesion's body, even or in patches, and the red skin around it."""
    variegation, radius, scale = traits["variegation"], maps.radius, maps.scale
    patches = octaves(rng, maps.shape, radius * 0.7, 4)
    grain = noise(rng, maps.shape, max(scale * 0.12, 1.5)) + noise(rng, maps.shape, max(scale * 0.3, 3))
    angle = rng.uniform(0, 2 * math.pi)
    slope = (maps.x * math.cos(angle) + maps.y * math.sin(angle)) * (1 / radius)
    uneven = (0.12 + 0.55 * variegation) * patches + 0.12 * grain
    uneven += 0.6 * traits["asymmetry"] * variegation * slope
    uneven += rng.normal(0.1, 0.25) * maps.core(0, 0.9)  # darker or paler towards the middle
    body = maps.mask * np.exp(np.clip(uneven, -2.2, 1.0))
    maps.melanin += ((0.1 + 1.35 * traits["melanin"]) * traits["melanin"] ** 0.35 + 0.22 * traits["waxy"]) * body
    red = np.clip(1 + 0.45 * octaves(rng, maps.shape, radius * 0.45, 3) + 0.1 * grain, 0, 2)
    maps.blood += 0.6 * traits["blood"] * maps.mask * red
    if traits["erythema"] > _FAINT:
        maps.blood += 0.32 * traits["erythema"] * smoothstep(maps.inside, -0.6 * radius, 0.15 * radius) * red
