"""The structures that dermatologists look for in a lesion, each drawn into its pigment maps by one function.

Every function takes the maps, a generator of its own, how plain the structure is (0 to 1) and how atypical.
Criteria after Kittler et al., "Standardization of terminology in dermoscopy", J Am Acad Dermatol 2016.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from hamcache.data.synthetic.fields import Array, honeycomb, noise, octaves, smoothstep, stamp, strokes, wander

Generator = np.random.Generator


@dataclass
class Maps:
    """The four pigment maps of a lesion and what places structures in them (all [side, side], float32)."""

    scale: float  # pixels per millimetre
    radius: float  # of the lesion, in pixels
    x: Array  # pixels right of the lesion's centre
    y: Array  # pixels below it
    inside: Array  # signed distance to the border in pixels, positive inside
    mask: Array  # 1 inside, 0 outside, soft at the border
    melanin: Array
    deep: Array
    blood: Array
    white: Array

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the maps."""
        return self.mask.shape[0], self.mask.shape[1]

    @property
    def area(self) -> float:
        """The lesion's size for counting what is scattered over it, in square millimetres, at most 45."""
        return min(math.pi * (self.radius / self.scale) ** 2, 45)

    def empty(self) -> Array:
        """A new map without anything."""
        return np.zeros(self.shape, np.float32)

    def core(self, start: float = 0.0, end: float = 0.3) -> Array:
        """0 nearer to the border than `start` and 1 deeper inside than `end`, both as parts of the radius."""
        return smoothstep(self.inside, start * self.radius, end * self.radius)

    def places(self, rng: Generator, count: float, margin: float = 0.0) -> list[tuple[float, float]]:
        """About `count` random pixels (x, y) at least `margin` pixels within the border."""
        found: list[tuple[float, float]] = []
        for x, y in rng.uniform(0, self.shape[0], (round(count) * 5, 2)):
            if self.inside[int(y), int(x)] > margin and len(found) < round(count):
                found.append((float(x), float(y)))
        return found


def network(maps: Maps, rng: Generator, amount: float, atypia: float) -> None:
    """A honeycomb of pigment: even meshes, or, where atypia is high, uneven ones with broad lines that break off."""
    mesh = max(maps.scale * 0.22 * (1 + 0.5 * atypia), 4.0)
    bend = np.float32(0.4 + 0.15 * atypia)
    shift = [bend * noise(rng, maps.shape, mesh * 2) for _ in range(2)]
    lines = honeycomb(maps.x * np.float32(1 / mesh) + shift[0], maps.y * np.float32(1 / mesh) + shift[1])
    place = np.clip(1 + np.float32(0.5 + 0.5 * atypia) * noise(rng, maps.shape, maps.radius * 0.4), 0, 2)
    strength = np.float32((0.42 + 0.5 * atypia) * amount)
    maps.melanin *= np.clip(1 + strength * place * (2 * lines - 1), 0.15, 3)


def globules(maps: Maps, rng: Generator, amount: float, atypia: float) -> None:
    """Round brown clumps, of one size or, where atypia is high, of many."""
    spots = maps.empty()
    for x, y in maps.places(rng, 5 * amount * maps.area):
        size = max(maps.scale * 0.11 * math.exp(rng.normal(0, 0.15 + 0.5 * atypia)), 1.2)
        stamp(spots, x, y, size, rng.uniform(0.4, 1), hardness=0.35)
    maps.melanin += np.float32(0.75) * spots * maps.mask


def blotch(maps: Maps, rng: Generator, amount: float, atypia: float) -> None:
    """Dark areas without structure."""
    dark = smoothstep(octaves(rng, maps.shape, maps.radius * 0.6, 4), 0.3, 1.2) * maps.mask
    maps.melanin += np.float32(1.6 * amount) * dark


def streaks(maps: Maps, rng: Generator, amount: float, atypia: float) -> None:
    """Dark lines that radiate over a stretch of the border."""
    lines = []
    centre = maps.shape[0] / 2
    first = rng.uniform(0, 2 * math.pi)
    for angle in first + rng.uniform(0, 4.0, round(40 * amount)):
        start = _reach(maps, angle) - 0.2 * maps.radius
        x, y = centre + start * math.cos(angle), centre + start * math.sin(angle)
        line = wander(rng, x, y, angle, maps.radius * rng.uniform(0.2, 0.34), steps=4, bend=0.15)
        lines.append((line, maps.scale * rng.uniform(0.05, 0.12), rng.uniform(0.3, 1)))
    maps.melanin += np.float32(1.3 * amount) * strokes(maps.shape, lines)


def _reach(maps: Maps, angle: float) -> float:
    """Distance in pixels from the centre to the outermost border in the direction `angle`."""
    centre = maps.shape[0] / 2
    steps = np.arange(1, centre - 1)
    rows = (centre + steps * math.sin(angle)).astype(int)
    columns = (centre + steps * math.cos(angle)).astype(int)
    within = np.nonzero(maps.inside[rows, columns] > 0)[0]
    return float(steps[within[-1]]) if len(within) else maps.radius


def veil(maps: Maps, rng: Generator, amount: float, atypia: float) -> None:
    """A blue-white haze over part of the lesion."""
    haze = smoothstep(octaves(rng, maps.shape, maps.radius * 0.8, 4), 0.0, 1.1) * maps.core()
    maps.deep += np.float32(0.8 * amount) * haze
    maps.melanin *= 1 - np.float32(0.6 * amount) * haze
    maps.white += np.float32(0.26 * amount) * haze


def regression(maps: Maps, rng: Generator, amount: float, atypia: float) -> None:
    """Scar-like pale areas, with grey pepper in them."""
    loss = smoothstep(octaves(rng, maps.shape, maps.radius * 0.55, 4), 0.2, 1.1) * maps.core(0, 0.2)
    loss *= np.float32(amount)
    pepper = smoothstep(noise(rng, maps.shape, max(maps.scale * 0.1, 2)), 0.6, 1.6)
    maps.melanin *= 1 - np.float32(0.8) * loss
    maps.white += np.float32(0.28) * loss
    maps.deep += np.float32(0.3) * loss * pepper


def nests(maps: Maps, rng: Generator, amount: float, atypia: float) -> None:
    """Blue-grey ovoid nests and dots."""
    clumps = maps.empty()
    for x, y in maps.places(rng, 18 * amount, -0.05 * maps.radius):
        size = max(maps.scale * 0.36 * rng.uniform(0.45, 1) ** 2, 1.5)
        stamp(clumps, x, y, size, rng.uniform(0.35, 1), hardness=0.25, stretch=rng.uniform(1, 2.4),
              angle=rng.uniform(0, math.pi))  # fmt: skip
    clumps *= np.float32(math.sqrt(amount)) * np.clip(1 + 0.3 * noise(rng, maps.shape, maps.scale * 0.15), 0, 1.5)
    maps.deep += np.float32(0.7) * clumps
    maps.melanin += np.float32(0.4) * clumps


def ridges(maps: Maps, rng: Generator, amount: float, atypia: float) -> None:
    """Fissures and ridges, like the surface of a brain."""
    pitch = max(maps.scale * 0.3, 4)
    folds = np.abs(noise(rng, maps.shape, pitch) + 0.3 * noise(rng, maps.shape, pitch * 2))
    maps.melanin *= 1 + np.float32(0.75 * amount) * (0.5 - 1.1 * smoothstep(folds, 0.0, 1.3))


def cysts(maps: Maps, rng: Generator, amount: float, atypia: float) -> None:
    """Milia-like cysts: bright round spots."""
    bright = maps.empty()
    for x, y in maps.places(rng, 1.3 * amount * maps.area, 0.1 * maps.radius):
        stamp(bright, x, y, max(maps.scale * rng.uniform(0.06, 0.19), 1.2), rng.uniform(0.5, 1), hardness=0.3)
    maps.white += np.float32(0.6) * bright
    maps.melanin *= 1 - np.float32(0.5) * bright


def comedones(maps: Maps, rng: Generator, amount: float, atypia: float) -> None:
    """Comedo-like openings: dark brown plugs."""
    plugs = maps.empty()
    for x, y in maps.places(rng, 0.9 * amount * maps.area, 0.08 * maps.radius):
        stamp(plugs, x, y, max(maps.scale * rng.uniform(0.07, 0.22), 1.2), rng.uniform(0.4, 1), hardness=0.45,
              stretch=rng.uniform(1, 1.6), angle=rng.uniform(0, math.pi))  # fmt: skip
    maps.melanin += np.float32(1.2) * plugs


def vessels(maps: Maps, rng: Generator, amount: float, atypia: float) -> None:
    """Arborising vessels: bright red stems that branch into thin twigs."""
    lines = []
    for x, y in maps.places(rng, 7 * amount, -0.1 * maps.radius):
        angle = rng.uniform(0, 2 * math.pi)
        stem = wander(rng, x, y, angle, maps.radius * rng.uniform(0.6, 1.2), steps=12, bend=0.28)
        width = maps.scale * rng.uniform(0.03, 0.085)
        lines.append((stem, width, 0.9))
        for x_branch, y_branch in stem[2:11]:
            turn = angle + rng.choice([-1, 1]) * rng.uniform(0.4, 1.1)
            twig = wander(rng, x_branch, y_branch, turn, maps.radius * rng.uniform(0.15, 0.5), steps=6, bend=0.35)
            lines.append((twig, width * 0.45, rng.uniform(0.4, 0.8)))
    maps.blood += np.float32(0.4 + 0.7 * amount) * strokes(maps.shape, lines)


def dots(maps: Maps, rng: Generator, amount: float, atypia: float) -> None:
    """Dotted vessels: red points, close together."""
    points = maps.empty()
    for x, y in maps.places(rng, 5 * amount * maps.area):
        stamp(points, x, y, max(maps.scale * rng.uniform(0.03, 0.07), 1.0), rng.uniform(0.4, 1), hardness=0.3)
    maps.blood += np.float32(0.75) * points


def ulcer(maps: Maps, rng: Generator, amount: float, atypia: float) -> None:
    """An open sore with a red-brown crust."""
    crust = maps.empty()
    for x, y in maps.places(rng, 3, 0.35 * maps.radius):
        stamp(crust, x, y, maps.radius * rng.uniform(0.12, 0.3), 1, hardness=0.4, stretch=rng.uniform(1, 1.6),
              angle=rng.uniform(0, math.pi))  # fmt: skip
    crust *= np.float32(amount) * smoothstep(octaves(rng, maps.shape, max(maps.scale * 0.35, 4), 3), -0.8, 0.5)
    maps.blood += np.float32(1.1) * crust
    maps.melanin += np.float32(0.8) * crust


def lacunae(maps: Maps, rng: Generator, amount: float, atypia: float) -> None:
    """Well-bounded pools of blood, red to purple to blue-black, with pale septa between them."""
    darkness = rng.beta(0.7, 1.2)
    size = maps.scale * rng.uniform(0.2, 0.45)
    pools = maps.empty()
    count = min(amount * 5 * (maps.radius / size) ** 2, 220)
    for x, y in maps.places(rng, count, 0.2 * size):
        stamp(pools, x, y, max(size * rng.uniform(0.5, 1.3), 1.5), rng.uniform(0.6, 1), hardness=0.4,
              stretch=rng.uniform(1, 1.5), angle=rng.uniform(0, math.pi))  # fmt: skip
    pools *= smoothstep(maps.inside, -0.1 * size, 0.35 * size)
    pools *= np.float32(amount) * np.clip(1 + 0.25 * octaves(rng, maps.shape, size * 2, 3), 0.3, 1.5)
    maps.blood += np.float32(0.8 + 0.6 * darkness) * pools
    maps.deep += np.float32(1.5 * darkness**1.5) * pools
    maps.white += np.float32(0.25 * amount * darkness) * maps.mask * (1 - np.minimum(pools, 1))


def scar(maps: Maps, rng: Generator, amount: float, atypia: float) -> None:
    """The white centre of a dermatofibroma; its pigment stays at the rim."""
    distance = np.sqrt(maps.x * maps.x + maps.y * maps.y) * np.float32(1 / maps.radius)
    edge = np.float32(0.68) + np.float32(0.13) * octaves(rng, maps.shape, maps.radius * 0.4, 4)
    centre = np.float32(amount) * smoothstep(edge - distance, 0, 0.55)
    threads = np.abs(noise(rng, maps.shape, max(maps.scale * 0.22, 3)))
    maps.melanin *= 1 - np.float32(0.85) * centre
    maps.deep *= 1 - np.float32(0.5) * centre
    maps.white += np.float32(0.62) * centre * np.clip(1.1 - 0.35 * threads, 0, 1)


def scale(maps: Maps, rng: Generator, amount: float, atypia: float) -> None:
    """White and yellowish flakes of horn on the surface."""
    flakes = smoothstep(octaves(rng, maps.shape, max(maps.scale * 1.1, 6), 4), 0.2, 1.8) * maps.core(-0.2, 0.2)
    flakes *= np.clip(0.7 + 0.5 * noise(rng, maps.shape, max(maps.scale * 0.09, 1.5)), 0, 1.3)
    maps.white += np.float32(0.5 * amount) * flakes


def follicles(maps: Maps, rng: Generator, amount: float, atypia: float) -> None:
    """The strawberry pattern: red between pale follicles with a yellowish plug."""
    rings, plugs = maps.empty(), maps.empty()
    pitch = max(maps.scale * 0.6, 6)
    for x, y in maps.places(rng, min(2.4 * (maps.radius / pitch) ** 2, 110)):
        stamp(rings, x, y, pitch * rng.uniform(0.2, 0.36), rng.uniform(0.4, 1), hardness=0.2)
        stamp(plugs, x, y, max(pitch * 0.12, 1), rng.uniform(0.2, 1), hardness=0.3)
    body = np.float32(amount) * maps.mask
    maps.blood += np.float32(0.3) * body * (1 - rings)
    maps.blood *= 1 - np.float32(0.55) * body * rings
    maps.white += np.float32(0.3) * body * rings
    maps.melanin += np.float32(0.3) * body * plugs


# In the order in which they are drawn: what lies above comes later.
STRUCTURES: dict[str, Callable[[Maps, Generator, float, float], None]] = {
    "network": network,
    "globules": globules,
    "blotch": blotch,
    "streaks": streaks,
    "ridges": ridges,
    "nests": nests,
    "veil": veil,
    "regression": regression,
    "vessels": vessels,
    "dots": dots,
    "ulcer": ulcer,
    "lacunae": lacunae,
    "scar": scar,
    "follicles": follicles,
    "comedones": comedones,
    "cysts": cysts,
    "scale": scale,
}
