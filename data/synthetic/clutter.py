"""Everything between the lesion and the camera: hairs, gel bubbles, ruler ticks, glare, the lens's dark corners."""

import math

import numpy as np

from hamcache.data.synthetic.fields import Array, Generator, Shape, enlarge, noise, smoothstep, stamp, strokes, wander


def add_hairs(image: Array, rng: Generator, count: int) -> None:
    """Darken `image` [3, height, width] in place along `count` hairs, most of them lying in one direction."""
    height, width = image.shape[1:]
    direction, thick = rng.uniform(0, 2 * math.pi), rng.uniform(0.6, 2.2) * (height / 450)
    lines = []
    for _ in range(count):
        start = rng.uniform(-0.1, 1.1) * width, rng.uniform(-0.1, 1.1) * height
        line = wander(rng, start, direction + rng.normal(0, 0.6), rng.uniform(0.15, 0.8) * height, steps=12, bend=0.07)
        lines.append((line, thick * rng.uniform(0.6, 1.3), rng.uniform(0.5, 1)))
    colour = np.array((0.13, 0.08, 0.07), np.float32)[:, None, None] * rng.uniform(0.6, 2.4)
    image += strokes((height, width), lines) * 0.85 * (colour - image)


def add_bubbles(shine: Array, rng: Generator) -> None:
    """Add the bright rims of a few air bubbles in the gel to `shine` [height, width], in place."""
    height, width = shine.shape
    centre = rng.uniform(0, width), rng.uniform(0, height)
    for _ in range(rng.integers(1, 7)):
        x, y = rng.normal(centre, 0.12 * height).tolist()
        radius = max(height * rng.uniform(0.006, 0.022), 2)
        stamp(shine, (x, y), radius, rng.uniform(0.1, 0.3), hardness=0.8, ring=0.7)
        stamp(shine, (x - 0.3 * radius, y - 0.3 * radius), radius * 0.25, 0.4)


def add_ruler(image: Array, rng: Generator) -> None:
    """Draw the black ticks of the dermatoscope's scale across a corner, in place."""
    height, width = image.shape[1:]
    step, angle = height / 12 * rng.uniform(0.55, 0.9), rng.uniform(0.4, 1.2)
    right, bottom = rng.integers(0, 2, 2)
    reach = rng.uniform(0.08, 0.3) * height
    lines = []
    for tick in range(-12, 12):
        x, y = reach - tick * step * math.sin(angle), reach + tick * step * math.cos(angle)
        length = height * (0.05 if tick % 5 == 0 else 0.03)
        ends = (x, y), (x + length * math.cos(angle), y + length * math.sin(angle))
        line = [(width - x if right else x, height - y if bottom else y) for x, y in ends]
        lines.append((line, height / 450 * 2.4, 1.0))
    image *= 1 - 0.9 * strokes((height, width), lines)


def glare(rng: Generator, shape: Shape, strength: float) -> Array:
    """Light to add [height, width]: a faint haze of reflecting gel and a few sparks on the ridges of the skin."""
    height, width = shape
    haze = smoothstep(noise(rng, (max(height // 6, 4), max(width // 6, 4)), height / 18), 0.9, 2.4)
    light = np.array(enlarge(haze * (0.18 * strength), shape))
    if rng.random() < 0.35:
        centre = rng.uniform(0.2, 0.8) * width, rng.uniform(0.2, 0.8) * height
        for _ in range(rng.integers(3, 24)):
            place = rng.normal(centre, 0.1 * height).tolist()
            radius, value = max(height * rng.uniform(0.0015, 0.004), 0.9), rng.uniform(0.15, 0.5)
            stamp(light, place, radius, value, 0.6, (rng.uniform(1, 3), rng.uniform(0, math.pi)))
    return light


def lighting(rng: Generator, shape: Shape, poor: float) -> Array:
    """Factor [height, width]: a lamp that is brighter on one side, and corners that the round lens leaves dark."""
    height, width = shape
    small = (max(height // 4, 4), max(width // 4, 4))
    y = np.linspace(-0.5, 0.5, small[0], dtype=np.float32)[:, None]
    x = np.linspace(-0.5, 0.5, small[1], dtype=np.float32)[None, :] * (width / height)
    angle, slope = rng.uniform(0, 2 * math.pi), rng.normal(0, 0.06 + 0.16 * poor)
    light = 1 + slope * (x * math.cos(angle) + y * math.sin(angle))
    distance = np.hypot(x - rng.normal(0, 0.03), y - rng.normal(0, 0.03))
    light -= rng.uniform(0.05, 0.3) * distance * distance
    if rng.random() < 0.22:
        edge = rng.uniform(0.6, 0.82)
        light *= 1 - rng.uniform(0.9, 1) * smoothstep(distance, edge - 0.05, edge + 0.02)
    return enlarge(light, shape)
