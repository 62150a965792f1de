"""What lies between the lesion and the camera: hairs, gel bubbles, ruler ticks, glare, the lens's dark corners."""

from __future__ import annotations

import math

import numpy as np

from hamcache.data.synthetic.fields import Array, enlarge, noise, smoothstep, stamp, strokes, wander


def add_hairs(image: Array, rng: np.random.Generator, count: int) -> None:
    """Darkens `image` [3, height, width] in place along `count` hairs, most of them lying in one direction."""
    height, width = image.shape[1:]
    unit = height / 450
    direction = rng.uniform(0, 2 * math.pi)
    thick = rng.uniform(0.6, 2.2) * unit
    lines = []
    for _ in range(count):
        x, y = rng.uniform(-0.1, 1.1) * width, rng.uniform(-0.1, 1.1) * height
        angle = direction + rng.normal(0, 0.6)
        line = wander(rng, x, y, angle, rng.uniform(0.15, 0.8) * height, steps=12, bend=0.07)
        lines.append((line, thick * rng.uniform(0.6, 1.3), rng.uniform(0.5, 1)))
    cover = strokes((height, width), lines) * np.float32(0.85)
    colour = np.array((0.13, 0.08, 0.07), np.float32) * np.float32(rng.uniform(0.6, 2.4))
    image += cover * (colour[:, None, None] - image)


def add_bubbles(shine: Array, rng: np.random.Generator) -> None:
    """Adds the bright rims of a few air bubbles in the gel to `shine` [height, width], in place."""
    height, width = shine.shape
    x, y = rng.uniform(0, width), rng.uniform(0, height)
    for _ in range(rng.integers(1, 7)):
        place = rng.normal((x, y), 0.12 * height)
        radius = max(height * rng.uniform(0.006, 0.022), 2)
        stamp(shine, float(place[0]), float(place[1]), radius, rng.uniform(0.1, 0.3), hardness=0.8, ring=0.7)
        stamp(shine, float(place[0]) - 0.3 * radius, float(place[1]) - 0.3 * radius, radius * 0.25, 0.4)


def add_ruler(image: Array, rng: np.random.Generator) -> None:
    """Draws the black ticks of the dermatoscope's scale across a corner, in place."""
    height, width = image.shape[1:]
    step = height / 12 * rng.uniform(0.55, 0.9)
    angle = rng.uniform(0.4, 1.2)
    right, bottom = rng.integers(0, 2, 2)
    reach = rng.uniform(0.08, 0.3) * height
    lines = []
    for tick in np.arange(-12, 12):
        along = tick * step
        length = height * (0.05 if tick % 5 == 0 else 0.03)
        x, y = reach - along * math.sin(angle), reach + along * math.cos(angle)
        x_end, y_end = x + length * math.cos(angle), y + length * math.sin(angle)
        line = [(width - x if right else x, height - y if bottom else y)]
        line.append((width - x_end if right else x_end, height - y_end if bottom else y_end))
        lines.append((line, height / 450 * 2.4, 1.0))
    image *= 1 - np.float32(0.9) * strokes((height, width), lines)


def glare(rng: np.random.Generator, shape: tuple[int, int], strength: float) -> Array:
    """Light to add [height, width]: a faint haze of reflecting gel and a few sparks on the ridges of the skin."""
    height, width = shape
    small = (max(height // 6, 4), max(width // 6, 4))
    haze = smoothstep(noise(rng, small, height / 18), 0.9, 2.4) * np.float32(0.18 * strength)
    light = np.array(enlarge(haze, shape))
    if rng.random() < 0.35:
        x, y = rng.uniform(0.2, 0.8) * width, rng.uniform(0.2, 0.8) * height
        for _ in range(rng.integers(3, 24)):
            place = rng.normal((x, y), 0.1 * height)
            radius = max(height * rng.uniform(0.0015, 0.004), 0.9)
            stamp(light, float(place[0]), float(place[1]), radius, rng.uniform(0.15, 0.5), hardness=0.6,
                  stretch=rng.uniform(1, 3), angle=rng.uniform(0, math.pi))  # fmt: skip
    return light


def lighting(rng: np.random.Generator, shape: tuple[int, int], poor: float) -> Array:
    """Factor [height, width]: a lamp that is brighter on one side, and corners that the round lens leaves dark."""
    height, width = shape
    small = (max(height // 4, 4), max(width // 4, 4))
    y = np.linspace(-0.5, 0.5, small[0], dtype=np.float32)[:, None]
    x = np.linspace(-0.5, 0.5, small[1], dtype=np.float32)[None, :] * np.float32(width / height)
    angle = rng.uniform(0, 2 * math.pi)
    slope = rng.normal(0, 0.06 + 0.16 * poor)
    light = 1 + np.float32(slope) * (x * np.float32(math.cos(angle)) + y * np.float32(math.sin(angle)))
    distance = np.hypot(x - np.float32(rng.normal(0, 0.03)), y - np.float32(rng.normal(0, 0.03)))
    light -= np.float32(rng.uniform(0.05, 0.3)) * distance * distance
    if rng.random() < 0.22:
        edge = rng.uniform(0.6, 0.82)
        light *= 1 - np.float32(rng.uniform(0.9, 1)) * smoothstep(distance, edge - 0.05, edge + 0.02)
    return enlarge(light, shape)
