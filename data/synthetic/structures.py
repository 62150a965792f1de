"""The structures that dermatologists look for in a lesion, each drawn into its pigment maps by one function.

Every function takes the maps, a generator of its own, how plain the structure is (0 to 1) and how atypical.
Criteria after Kittler et al., "Standardization of terminology in dermoscopy", J Am Acad Dermatol 2016.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from hamcache.data.synthetic.fields import Array, Generator, Shape, noise, octaves, smoothstep, stamp, strokes, wander


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

    def __post_init__(self) -> None:
        self.shape: Shape = (len(self.mask), len(self.mask))
        # The lesion's size for counting what is scattered over it, in square millimetres.
        self.area = min(math.pi * (self.radius / self.scale) ** 2, 45)

    def core(self, start: float = 0.0, end: float = 0.3) -> Array:
        """0 nearer to the border than `start` and 1 deeper inside than `end`, both as parts of the radius."""
        return smoothstep(self.inside, start * self.radius, end * self.radius)

    def clouds(self, rng: Generator, cell: float, low: float, high: float, count: int = 4) -> Array:
        """Areas of about `cell` pixels where a random field is above `high`; they fade out towards `low`."""
        return smoothstep(octaves(rng, self.shape, cell, count), low, high)

    def places(self, rng: Generator, count: float, margin: float = 0.0) -> list[list[float]]:
        """About `count` random pixels (x, y) at least `margin` pixels within the border."""
        places = rng.uniform(0, self.shape[0], (round(count) * 5, 2))
        columns, rows = places.astype(int).T
        return places[self.inside[rows, columns] > margin][: round(count)].tolist()

    def spots(
        self,
        rng: Generator,
        places: list[list[float]],
        size: Callable[[], float],
        faintest: float,
        hardness: float = 0.3,
        longest: float | None = None,
    ) -> Array:
        """A map of spots of a random `size`, of values from `faintest` to 1, round or up to `longest` widths long."""
        canvas = np.zeros(self.shape, np.float32)
        for place in places:
            radius, value = size(), rng.uniform(faintest, 1) if faintest < 1 else 1
            ellipse = (rng.uniform(1, longest), rng.uniform(0, math.pi)) if longest else (1.0, 0.0)
            stamp(canvas, place, radius, value, hardness, ellipse)
        return canvas


def network(maps: Maps, rng: Generator, amount: float, atypia: float) -> None:
    """A honeycomb of pigment: even meshes, or, where atypia is high, uneven ones with broad lines that break off."""
    mesh = max(maps.scale * 0.22 * (1 + 0.5 * atypia), 4.0)
    x, y = (axis * (1 / mesh) + (0.4 + 0.15 * atypia) * noise(rng, maps.shape, mesh * 2) for axis in (maps.x, maps.y))
    # Three plane waves at 60 degrees: their sum peaks on a hexagonal lattice, the centres of the cells.
    turn = 2 * math.pi * 2 / math.sqrt(3)
    waves = np.cos(turn * y)
    for slope in (-math.sqrt(3), math.sqrt(3)):
        waves += np.cos(turn * 0.5 * (slope * x + y))
    lines = 1 - smoothstep(waves, -1.5, 1.2)
    place = np.clip(1 + (0.5 + 0.5 * atypia) * noise(rng, maps.shape, maps.radius * 0.4), 0, 2)
    maps.melanin *= np.clip(1 + (0.42 + 0.5 * atypia) * amount * place * (2 * lines - 1), 0.15, 3)


def globules(maps: Maps, rng: Generator, amount: float, atypia: float) -> None:
    """Round brown clumps, of one size or, where atypia is high, of many."""
    places = maps.places(rng, 5 * amount * maps.area)
    clumps = maps.spots(
        rng, places, lambda: max(maps.scale * 0.11 * math.exp(rng.normal(0, 0.15 + 0.5 * atypia)), 1.2), 0.4, 0.35
    )
    maps.melanin += 0.75 * clumps * maps.mask


def blotch(maps: Maps, rng: Generator, amount: float, atypia: float) -> None:
    """Dark areas without structure."""
    maps.melanin += 1.6 * amount * (maps.clouds(rng, maps.radius * 0.6, 0.3, 1.2) * maps.mask)


def streaks(maps: Maps, rng: Generator, amount: float, atypia: float) -> None:
    """Dark lines that radiate over a stretch of the border."""
    lines = []
    centre = maps.shape[0] / 2
    steps = np.arange(1, centre - 1)
    first = rng.uniform(0, 2 * math.pi)
    for angle in first + rng.uniform(0, 4.0, round(40 * amount)):
        cos, sin = math.cos(angle), math.sin(angle)
        within = steps[maps.inside[(centre + steps * sin).astype(int), (centre + steps * cos).astype(int)] > 0]
        reach = (float(within[-1]) if len(within) else maps.radius) - 0.2 * maps.radius
        start = (centre + reach * cos, centre + reach * sin)
        line = wander(rng, start, angle, maps.radius * rng.uniform(0.2, 0.34), steps=4, bend=0.15)
        lines.append((line, maps.scale * rng.uniform(0.05, 0.12), rng.uniform(0.3, 1)))
    maps.melanin += 1.3 * amount * strokes(maps.shape, lines)


def ridges(maps: Maps, rng: Generator, amount: float, atypia: float) -> None:
    """Fissures and ridges, like the surface of a brain."""
    pitch = max(maps.scale * 0.3, 4)
    folds = np.abs(noise(rng, maps.shape, pitch) + 0.3 * noise(rng, maps.shape, pitch * 2))
    maps.melanin *= 1 + 0.75 * amount * (0.5 - 1.1 * smoothstep(folds, 0.0, 1.3))


def nests(maps: Maps, rng: Generator, amount: float, atypia: float) -> None:
    """Blue-grey ovoid nests and dots."""
    places = maps.places(rng, 18 * amount, -0.05 * maps.radius)
    clumps = maps.spots(
        rng, places, lambda: max(maps.scale * 0.36 * rng.uniform(0.45, 1) ** 2, 1.5), 0.35, 0.25, longest=2.4
    )
    clumps *= math.sqrt(amount) * np.clip(1 + 0.3 * noise(rng, maps.shape, maps.scale * 0.15), 0, 1.5)
    maps.deep += 0.7 * clumps
    maps.melanin += 0.4 * clumps


def veil(maps: Maps, rng: Generator, amount: float, atypia: float) -> None:
    """A blue-white haze over part of the lesion."""
    haze = maps.clouds(rng, maps.radius * 0.8, 0.0, 1.1) * maps.core()
    maps.deep += 0.8 * amount * haze
    maps.melanin *= 1 - 0.6 * amount * haze
    maps.white += 0.26 * amount * haze


def regression(maps: Maps, rng: Generator, amount: float, atypia: float) -> None:
    """Scar-like pale areas, with grey pepper in them."""
    loss = maps.clouds(rng, maps.radius * 0.55, 0.2, 1.1) * maps.core(0, 0.2) * amount
    maps.melanin *= 1 - 0.8 * loss
    maps.white += 0.28 * loss
    maps.deep += 0.3 * loss * smoothstep(noise(rng, maps.shape, max(maps.scale * 0.1, 2)), 0.6, 1.6)


def vessels(maps: Maps, rng: Generator, amount: float, atypia: float) -> None:
    """Arborising vessels: bright red stems that branch into thin twigs."""
    lines = []
    for place in maps.places(rng, 7 * amount, -0.1 * maps.radius):
        angle = rng.uniform(0, 2 * math.pi)
        stem = wander(rng, place, angle, maps.radius * rng.uniform(0.6, 1.2), steps=12, bend=0.28)
        width = maps.scale * rng.uniform(0.03, 0.085)
        lines.append((stem, width, 0.9))
        for branch in stem[2:11]:
            turn = angle + rng.choice([-1, 1]) * rng.uniform(0.4, 1.1)
            twig = wander(rng, branch, turn, maps.radius * rng.uniform(0.15, 0.5), steps=6, bend=0.35)
            lines.append((twig, width * 0.45, rng.uniform(0.4, 0.8)))
    maps.blood += (0.4 + 0.7 * amount) * strokes(maps.shape, lines)


def dots(maps: Maps, rng: Generator, amount: float, atypia: float) -> None:
    """Dotted vessels: red points, close together."""
    places = maps.places(rng, 5 * amount * maps.area)
    maps.blood += 0.75 * maps.spots(rng, places, lambda: max(maps.scale * rng.uniform(0.03, 0.07), 1.0), 0.4)


def ulcer(maps: Maps, rng: Generator, amount: float, atypia: float) -> None:
    """An open sore with a red-brown crust."""
    places = maps.places(rng, 3, 0.35 * maps.radius)
    crust = maps.spots(rng, places, lambda: maps.radius * rng.uniform(0.12, 0.3), 1, 0.4, longest=1.6)
    crust *= amount * maps.clouds(rng, max(maps.scale * 0.35, 4), -0.8, 0.5, count=3)
    maps.blood += 1.1 * crust
    maps.melanin += 0.8 * crust


def lacunae(maps: Maps, rng: Generator, amount: float, atypia: float) -> None:
    """Well-bounded pools of blood, red to purple to blue-black, with pale septa between them."""
    darkness = rng.beta(0.7, 1.2)
    size = maps.scale * rng.uniform(0.2, 0.45)
    places = maps.places(rng, min(amount * 5 * (maps.radius / size) ** 2, 220), 0.2 * size)
    pools = maps.spots(rng, places, lambda: max(size * rng.uniform(0.5, 1.3), 1.5), 0.6, 0.4, longest=1.5)
    pools *= smoothstep(maps.inside, -0.1 * size, 0.35 * size)
    pools *= amount * np.clip(1 + 0.25 * octaves(rng, maps.shape, size * 2, 3), 0.3, 1.5)
    maps.blood += (0.8 + 0.6 * darkness) * pools
    maps.deep += 1.5 * darkness**1.5 * pools
    maps.white += 0.25 * amount * darkness * maps.mask * (1 - np.minimum(pools, 1))


def scar(maps: Maps, rng: Generator, amount: float, atypia: float) -> None:
    """The white centre of a dermatofibroma; its pigment stays at the rim."""
    distance = np.sqrt(maps.x * maps.x + maps.y * maps.y) * (1 / maps.radius)
    edge = 0.68 + 0.13 * octaves(rng, maps.shape, maps.radius * 0.4, 4)
    centre = amount * smoothstep(edge - distance, 0, 0.55)
    threads = np.abs(noise(rng, maps.shape, max(maps.scale * 0.22, 3)))
    maps.melanin *= 1 - 0.85 * centre
    maps.deep *= 1 - 0.5 * centre
    maps.white += 0.62 * centre * np.clip(1.1 - 0.35 * threads, 0, 1)


def follicles(maps: Maps, rng: Generator, amount: float, atypia: float) -> None:
    """The strawberry pattern: red between pale follicles with a yellowish plug."""
    rings, plugs = np.zeros((2, *maps.shape), np.float32)
    pitch = max(maps.scale * 0.6, 6)
    for place in maps.places(rng, min(2.4 * (maps.radius / pitch) ** 2, 110)):
        stamp(rings, place, pitch * rng.uniform(0.2, 0.36), rng.uniform(0.4, 1), 0.2)
        stamp(plugs, place, max(pitch * 0.12, 1), rng.uniform(0.2, 1), 0.3)
    body = amount * maps.mask
    maps.blood += 0.3 * body * (1 - rings)
    maps.blood *= 1 - 0.55 * body * rings
    maps.white += 0.3 * body * rings
    maps.melanin += 0.3 * body * plugs


def comedones(maps: Maps, rng: Generator, amount: float, atypia: float) -> None:
    """Comedo-like openings: dark brown plugs."""
    places = maps.places(rng, 0.9 * amount * maps.area, 0.08 * maps.radius)
    maps.melanin += 1.2 * maps.spots(
        rng, places, lambda: max(maps.scale * rng.uniform(0.07, 0.22), 1.2), 0.4, 0.45, longest=1.6
    )


def cysts(maps: Maps, rng: Generator, amount: float, atypia: float) -> None:
    """Milia-like cysts: bright round spots."""
    places = maps.places(rng, 1.3 * amount * maps.area, 0.1 * maps.radius)
    bright = maps.spots(rng, places, lambda: max(maps.scale * rng.uniform(0.06, 0.19), 1.2), 0.5)
    maps.white += 0.6 * bright
    maps.melanin *= 1 - 0.5 * bright


def scale(maps: Maps, rng: Generator, amount: float, atypia: float) -> None:
    """White and yellowish flakes of horn on the surface."""
    flakes = maps.clouds(rng, max(maps.scale * 1.1, 6), 0.2, 1.8) * maps.core(-0.2, 0.2)
    flakes *= np.clip(0.7 + 0.5 * noise(rng, maps.shape, max(maps.scale * 0.09, 1.5)), 0, 1.3)
    maps.white += 0.5 * amount * flakes


# In the order in which they are drawn: what lies above comes later.
STRUCTURES = {
    draw.__name__: draw
    for draw in (
        *(network, globules, blotch, streaks, ridges, nests, veil, regression, vessels),
        *(dots, ulcer, lacunae, scar, follicles, comedones, cysts, scale),
    )
}
