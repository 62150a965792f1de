"""One lesion as a patch of skin: where it absorbs and scatters light, in its own millimetres.

Light that enters skin is thinned by what it meets: melanin (brown when superficial, blue-grey when deep) and blood
(red); keratin and scar tissue scatter it back white. So a lesion is drawn as four maps, and its colour follows from
the Beer-Lambert law: skin colour times exp(-sum of amount times absorption per colour channel).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from data.drawing_fields import Array, enlarge, honeycomb, noise, octaves, smoothstep, stamp, strokes, wander

# Absorption of one unit of each pigment in red, green, blue.
MELANIN = np.array([0.46, 0.95, 1.40], np.float32)
DEEP_MELANIN = np.array([1.25, 1.05, 0.72], np.float32)
BLOOD = np.array([0.12, 1.05, 0.62], np.float32)
WHITE = np.array([0.95, 0.90, 0.88], np.float32)


@dataclass
class Maps:
    """The four pigment maps of a lesion and what places structures in them (arrays [side, side])."""

    rng: np.random.Generator
    scale: float  # pixels per millimetre
    radius: float  # of the lesion, in pixels
    x: Array  # pixels right of the lesion's centre
    y: Array
    inside: Array  # signed distance to the border in pixels, positive inside
    mask: Array  # 1 inside, 0 outside, soft at the border
    melanin: Array
    deep: Array
    blood: Array
    white: Array

    @property
    def shape(self) -> tuple[int, int]:
        return self.mask.shape[0], self.mask.shape[1]

    def places(self, count: int, margin: float = 0.0) -> list[tuple[float, float]]:
        """Up to `count` random pixels (x, y) at least `margin` pixels within the border."""
        side = self.shape[0]
        found = []
        for x, y in self.rng.uniform(0, side, (count * 5, 2)):
            if self.inside[int(y), int(x)] > margin and len(found) < count:
                found.append((float(x), float(y)))
        return found


def draw_lesion(rng: np.random.Generator, traits: Mapping[str, float], skin: Array, scale: float, limit: int) -> Array:
    """Colour of the lesion relative to the skin around it: float32 [side, side, 3], 1 where there is no lesion.

    `skin` is the skin's colour (three numbers in [0, 1]), `scale` the pixels per millimetre, lowered where the patch
    would be wider than `limit` pixels. The patch is `patch_millimetres(traits)` wide.
    """
    maps = _outline(rng, traits, scale, limit)
    _pigment(maps, traits)
    _network(maps, traits)
    _pigmented_structures(maps, traits)
    _keratin(maps, traits)
    _vessels(maps, traits)
    _lacunae(maps, traits)
    _surface(maps, traits)
    colour = np.empty((*maps.shape, 3), np.float32)
    white = np.clip(maps.white, 0, 0.9)
    for channel in range(3):
        density = maps.melanin * MELANIN[channel] + maps.deep * DEEP_MELANIN[channel] + maps.blood * BLOOD[channel]
        target = 0.35 + 0.65 * WHITE[channel] / skin[channel]
        colour[..., channel] = np.exp(-density) * (1 - white) + target * white
    # Fade to plain skin at the patch's edge, so that it leaves no seam.
    edge = np.float32(maps.shape[0] / 2) - np.maximum(np.abs(maps.x), np.abs(maps.y))
    fade = np.clip(edge / np.float32(0.08 * maps.shape[0]), 0, 1)[..., None]
    return 1 + (colour - 1) * fade


def patch_millimetres(traits: Mapping[str, float]) -> float:
    """Width of the square patch that holds a lesion with these traits and its surroundings."""
    return 2 * (1.7 * traits["radius"] + 0.4)


def _outline(rng: np.random.Generator, traits: Mapping[str, float], scale: float, limit: int) -> Maps:
    width = patch_millimetres(traits)
    side = min(round(width * scale), limit)
    scale = side / width
    radius = traits["radius"] * scale
    axis = np.arange(side, dtype=np.float32) + np.float32(0.5 - side / 2)
    x, y = np.broadcast_to(axis, (side, side)), np.broadcast_to(axis[:, None], (side, side))

    # The distance to the border is smooth: computed at quarter size. A main lobe and three more that
    # asymmetry pushes out of it.
    small = math.ceil(side / 4)
    axis = (np.arange(small, dtype=np.float32) + 0.5) * np.float32(side / small) - np.float32(side / 2)
    stretch = 1 + 0.7 * traits["elongation"]
    angle = rng.uniform(0, math.pi)
    cos, sin = math.cos(angle), math.sin(angle)
    along = (axis[None, :] * cos + axis[:, None] * sin) / math.sqrt(stretch)
    across = (axis[:, None] * cos - axis[None, :] * sin) * math.sqrt(stretch)
    asymmetry = traits["asymmetry"]
    inside = radius * (1 - 0.22 * asymmetry) - np.hypot(along, across)
    for turn in rng.uniform(0, 2 * math.pi, 3):
        reach = radius * asymmetry * rng.uniform(0.45, 0.8)
        size = radius * (rng.uniform(0.45, 0.7) - 0.1 * asymmetry)
        lobe = size - np.hypot(along - reach * math.cos(turn), across - reach * math.sin(turn))
        inside = np.maximum(inside, lobe)
    rough = traits["irregularity"]
    inside = inside + radius * (0.05 + 0.22 * rough) * noise(rng, (small, small), radius * 0.8 / 4)
    inside = enlarge(inside, (side, side))
    inside = inside + radius * (0.01 + 0.12 * rough) * noise(rng, (side, side), radius * 0.22)
    inside = inside + radius * 0.06 * rough * noise(rng, (side, side), max(radius * 0.08, 3))
    softness = scale * (0.06 + 1.0 * (1 - traits["sharpness"]) ** 2) * min(1.0, traits["radius"] / 2)
    mask = smoothstep(inside, -softness, softness)
    zero = np.zeros((side, side), np.float32)
    return Maps(rng, scale, radius, x, y, inside, mask, zero, zero.copy(), zero.copy(), zero.copy())


def _pigment(maps: Maps, traits: Mapping[str, float]) -> None:
    """The plain brown and red of the lesion's body, even or in patches, and the red skin around it."""
    rng, variegation = maps.rng, traits["variegation"]
    patches = octaves(rng, maps.shape, maps.radius * 0.7, 4)
    angle = rng.uniform(0, 2 * math.pi)
    slope = (maps.x * np.float32(math.cos(angle)) + maps.y * np.float32(math.sin(angle))) / np.float32(maps.radius)
    uneven = (0.12 + 0.55 * variegation) * patches + 0.6 * traits["asymmetry"] * variegation * slope
    body = maps.mask * np.exp(np.clip(uneven, -2.2, 1.0))
    maps.melanin += np.float32(0.1 + 1.35 * traits["melanin"]) * traits["melanin"] ** 0.35 * body
    red = octaves(rng, maps.shape, maps.radius * 0.5, 3)
    maps.blood += np.float32(0.75 * traits["blood"]) * maps.mask * np.clip(1 + 0.3 * red, 0, 2)
    halo = smoothstep(maps.inside, -0.6 * maps.radius, 0.15 * maps.radius)
    maps.blood += np.float32(0.4 * traits["erythema"]) * halo * np.clip(1 + 0.5 * patches, 0, 2)
    maps.melanin += np.float32(0.22 * traits["waxy"]) * maps.mask
    # The middle of a dermatofibroma is a scar: pigment stays at the rim.
    rim = 1 - 0.75 * traits["scar"] * smoothstep(maps.inside, 0.25 * maps.radius, 0.75 * maps.radius)
    maps.melanin *= rim


def _network(maps: Maps, traits: Mapping[str, float]) -> None:
    """A honeycomb of pigment: even meshes, or, where atypia is high, uneven ones with broad lines that break off."""
    rng, atypia = maps.rng, traits["atypia"]
    mesh = max(maps.scale * 0.27 * (1 + 0.6 * atypia), 4.5)
    bend = 0.38 + 0.35 * atypia
    shift = [bend * noise(rng, maps.shape, mesh * 2.5) for _ in range(2)]
    lines = honeycomb(maps.x / mesh + shift[0], maps.y / mesh + shift[1])
    strength = traits["network"] * np.clip(1 + (0.5 + 0.5 * atypia) * noise(rng, maps.shape, maps.radius * 0.4), 0, 2)
    maps.melanin *= np.clip(1 + (0.5 + 0.5 * atypia) * strength * (2 * lines - 1), 0.15, 3)


def _pigmented_structures(maps: Maps, traits: Mapping[str, float]) -> None:
    """Globules, blotches, streaks at the border, blue-white veil, blue-grey nests, white regression."""
    rng, scale, radius = maps.rng, maps.scale, maps.radius
    spots = np.zeros(maps.shape, np.float32)
    area = (radius / scale) ** 2
    uneven = 0.15 + 0.5 * traits["atypia"]
    for x, y in maps.places(round(min(traits["globules"] * 14 * area, 160))):
        size = scale * 0.11 * math.exp(rng.normal(0, uneven))
        stamp(spots, x, y, max(size, 1.2), rng.uniform(0.5, 1), hardness=0.4)
    maps.melanin += np.float32(0.85) * spots * np.sqrt(np.clip(maps.mask, 0, 1))
    dark = smoothstep(octaves(rng, maps.shape, radius * 0.6, 3), 0.5, 1.1) * maps.mask
    maps.melanin += np.float32(1.5 * traits["blotch"]) * dark

    lines = []
    if traits["streaks"] > 0.15:
        centre = maps.shape[0] / 2
        for angle in rng.uniform(0, 2 * math.pi, 1) + rng.uniform(0, 4.5, round(45 * traits["streaks"])):
            start = _border_along(maps, angle) - 0.18 * radius
            x, y = centre + start * math.cos(angle), centre + start * math.sin(angle)
            line = wander(rng, x, y, angle, radius * rng.uniform(0.2, 0.36), steps=4, bend=0.12)
            lines.append((line, scale * 0.1, rng.uniform(0.5, 1)))
        maps.melanin += np.float32(1.5 * traits["streaks"]) * strokes(maps.shape, lines)

    veil = smoothstep(octaves(rng, maps.shape, radius * 0.8, 3), 0.1, 0.9) * smoothstep(maps.inside, 0, 0.3 * radius)
    maps.deep += np.float32(0.85 * traits["veil"]) * veil
    maps.melanin *= 1 - np.float32(0.6 * traits["veil"]) * veil
    maps.white += np.float32(0.28 * traits["veil"]) * veil

    nests = np.zeros(maps.shape, np.float32)
    for x, y in maps.places(round(18 * traits["nests"]), -0.05 * radius):
        size = scale * rng.uniform(0.09, 0.36)
        stamp(nests, x, y, max(size, 1.5), rng.uniform(0.5, 1), hardness=0.45, stretch=rng.uniform(1, 2.2),
              angle=rng.uniform(0, math.pi))  # fmt: skip
    maps.deep += np.float32(0.8) * nests * traits["nests"] ** 0.5
    maps.melanin += np.float32(0.35) * nests * traits["nests"] ** 0.5

    pale = smoothstep(octaves(rng, maps.shape, radius * 0.55, 3), 0.25, 0.9) * smoothstep(maps.inside, 0, 0.2 * radius)
    loss = np.float32(traits["regression"]) * pale
    maps.melanin *= 1 - 0.85 * loss
    maps.white += 0.3 * loss
    maps.deep += 0.15 * loss * (noise(rng, maps.shape, max(scale * 0.1, 2)) > 0.8)


def _border_along(maps: Maps, angle: float) -> float:
    """Distance in pixels from the centre to the outermost border in the direction `angle`."""
    centre = maps.shape[0] / 2
    steps = np.arange(1, centre - 1)
    rows = (centre + steps * math.sin(angle)).astype(int)
    columns = (centre + steps * math.cos(angle)).astype(int)
    within = np.nonzero(maps.inside[rows, columns] > 0)[0]
    return float(steps[within[-1]]) if len(within) else maps.radius


def _keratin(maps: Maps, traits: Mapping[str, float]) -> None:
    """Seborrhoeic keratosis: milia-like cysts (bright), comedo-like openings (dark), brain-like ridges."""
    rng, scale = maps.rng, maps.scale
    area = min((maps.radius / scale) ** 2, 14)
    if traits["ridges"] > 0.1:
        pitch = max(scale * 0.42, 5)
        folds = np.abs(noise(rng, maps.shape, pitch) + 0.3 * noise(rng, maps.shape, pitch * 2))
        maps.melanin *= 1 + np.float32(1.1 * traits["ridges"]) * (1 - 2 * smoothstep(folds, 0.05, 0.8))
    bright, dark = np.zeros(maps.shape, np.float32), np.zeros(maps.shape, np.float32)
    for x, y in maps.places(round(4 * traits["cysts"] * area), 0.1 * maps.radius):
        stamp(bright, x, y, max(scale * rng.uniform(0.06, 0.17), 1.2), rng.uniform(0.5, 1), hardness=0.35)
    for x, y in maps.places(round(3 * traits["comedones"] * area), 0.08 * maps.radius):
        stamp(dark, x, y, max(scale * rng.uniform(0.07, 0.2), 1.2), rng.uniform(0.6, 1), hardness=0.6,
              stretch=rng.uniform(1, 1.5), angle=rng.uniform(0, math.pi))  # fmt: skip
    maps.white += 0.5 * bright
    maps.melanin *= 1 - 0.5 * bright
    maps.melanin += 1.5 * dark


def _vessels(maps: Maps, traits: Mapping[str, float]) -> None:
    """Arborising vessels (thick stems that branch into thin twigs), dotted vessels, and an ulcer's crust."""
    rng, scale = maps.rng, maps.scale
    lines: list[tuple[list[tuple[float, float]], float, float]] = []
    for x, y in maps.places(round(7 * traits["vessels"]), -0.1 * maps.radius):
        angle = rng.uniform(0, 2 * math.pi)
        trunk = wander(rng, x, y, angle, maps.radius * rng.uniform(0.7, 1.3), steps=12, bend=0.28)
        width = scale * rng.uniform(0.05, 0.1)
        lines.append((trunk, width, 0.9))
        for x_branch, y_branch in trunk[2:11]:
            turn = angle + rng.choice([-1, 1]) * rng.uniform(0.4, 1.1)
            twig = wander(rng, x_branch, y_branch, turn, maps.radius * rng.uniform(0.2, 0.5), steps=6, bend=0.35)
            lines.append((twig, width * 0.5, 0.75))
    if lines:
        maps.blood += np.float32(0.5 + 0.9 * traits["vessels"]) * strokes(maps.shape, lines)
    dots = np.zeros(maps.shape, np.float32)
    area = min((maps.radius / scale) ** 2, 14)
    for x, y in maps.places(round(13 * traits["dots"] * area)):
        stamp(dots, x, y, max(scale * rng.uniform(0.035, 0.07), 1.0), rng.uniform(0.5, 1), hardness=0.4)
    maps.blood += 0.9 * dots
    if traits["ulcer"] > 0.2:
        crust = np.zeros(maps.shape, np.float32)
        for x, y in maps.places(3, 0.35 * maps.radius):
            stamp(crust, x, y, maps.radius * rng.uniform(0.12, 0.3), 1, hardness=0.5, stretch=rng.uniform(1, 1.6),
                  angle=rng.uniform(0, math.pi))  # fmt: skip
        crust *= smoothstep(octaves(rng, maps.shape, max(scale * 0.35, 4), 3), -0.8, 0.3)
        maps.blood += np.float32(1.3 * traits["ulcer"]) * crust
        maps.melanin += np.float32(0.8 * traits["ulcer"]) * crust


def _lacunae(maps: Maps, traits: Mapping[str, float]) -> None:
    """Well-bounded pools of blood, red to purple to blue-black, with pale septa between them."""
    amount = traits["lacunae"]
    rng, scale = maps.rng, maps.scale
    darkness = rng.beta(0.7, 1.4)
    size = scale * rng.uniform(0.2, 0.42)
    pools = np.zeros(maps.shape, np.float32)
    count = round(min(amount * 3.2 * (maps.radius / size) ** 2, 130))
    for x, y in maps.places(count, 0.25 * size):
        stamp(pools, x, y, max(size * rng.uniform(0.6, 1.3), 1.5), rng.uniform(0.65, 1), hardness=0.55,
              stretch=rng.uniform(1, 1.3), angle=rng.uniform(0, math.pi))  # fmt: skip
    pools *= smoothstep(maps.inside, -0.1 * size, 0.3 * size)
    maps.blood += np.float32(amount * (0.95 + 0.7 * darkness)) * pools
    maps.deep += np.float32(amount * 1.3 * darkness**1.5) * pools
    maps.white += np.float32(0.22 * amount * darkness) * maps.mask * (1 - pools)


def _surface(maps: Maps, traits: Mapping[str, float]) -> None:
    """What lies white on or in the lesion: the central scar, scale, and the strawberry pattern of follicles."""
    rng, scale, radius = maps.rng, maps.scale, maps.radius
    distance = np.sqrt(maps.x**2 + maps.y**2) / np.float32(radius)
    wobble = 0.14 * octaves(rng, maps.shape, radius * 0.4, 3)
    threads = np.abs(noise(rng, maps.shape, max(scale * 0.3, 4)))
    scar = smoothstep(0.68 + wobble - distance, 0, 0.5) * np.clip(1.1 - 0.35 * threads, 0, 1)
    maps.white += np.float32(0.62 * traits["scar"]) * scar
    maps.deep *= 1 - np.float32(0.5 * traits["scar"]) * scar
    flakes = smoothstep(octaves(rng, maps.shape, max(scale * 0.7, 6), 4), 0.75, 1.35)
    maps.white += np.float32(0.6 * traits["scale"]) * flakes * smoothstep(maps.inside, -0.2 * radius, 0.2 * radius)
    if traits["follicles"] > 0.12:
        rings, plugs = np.zeros(maps.shape, np.float32), np.zeros(maps.shape, np.float32)
        pitch = max(scale * 0.62, 6)
        for x, y in maps.places(round(min(2.4 * (radius / pitch) ** 2, 110))):
            stamp(rings, x, y, pitch * rng.uniform(0.24, 0.36), rng.uniform(0.6, 1), hardness=0.4)
            stamp(plugs, x, y, max(pitch * 0.12, 1), rng.uniform(0.4, 1), hardness=0.4)
        body = np.float32(traits["follicles"]) * maps.mask
        maps.blood += 0.5 * body * (1 - rings)
        maps.blood *= 1 - 0.6 * body * rings
        maps.white += 0.4 * body * rings
        maps.melanin += 0.35 * body * plugs
