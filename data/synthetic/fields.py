"""Building blocks of the drawing: smooth random fields, round stamps and strokes, as float32 arrays.

Smooth things are drawn on a coarse grid and enlarged, which is what makes an image cost milliseconds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

Array = np.ndarray
Line = Sequence[tuple[float, float]]  # the corners (x, y) of a polyline, in pixels


def enlarge(field: Array, shape: tuple[int, int]) -> Array:
    """`field` resized to `shape` (height, width) with bicubic interpolation."""
    image = Image.fromarray(np.ascontiguousarray(field, dtype=np.float32))
    return np.asarray(image.resize((shape[1], shape[0]), Image.Resampling.BICUBIC))


def noise(rng: np.random.Generator, shape: tuple[int, int], cell: float | tuple[float, float]) -> Array:
    """Smooth random field [height, width] of about zero mean and unit deviation ("value noise").

    `cell` is the size in pixels of its features, one number or (vertical, horizontal).
    """
    cell_y, cell_x = cell if isinstance(cell, tuple) else (cell, cell)
    height, width = shape[0] / max(cell_y, 1.0), shape[1] / max(cell_x, 1.0)
    grid = rng.standard_normal((math.ceil(height) + 4, math.ceil(width) + 4), dtype=np.float32)
    # A random offset keeps the grid's corners, where the field is roughest, from always lying at the same place.
    x, y = 1 + rng.random(), 1 + rng.random()
    image = Image.fromarray(grid * np.float32(1.4))
    box = (x, y, x + width, y + height)
    return np.asarray(image.resize((shape[1], shape[0]), Image.Resampling.BICUBIC, box=box))


def octaves(rng: np.random.Generator, shape: tuple[int, int], cell: float, count: int = 3) -> Array:
    """A sum of `count` noises, each of half the feature size and 0.55 times the height of the one before."""
    finest = cell / 2 ** (count - 1)
    coarser = min(max(int(finest / 2), 1), 6)  # no need to add fields up at more pixels than they have detail
    small = (math.ceil(shape[0] / coarser), math.ceil(shape[1] / coarser))
    total = np.zeros(small, np.float32)
    for octave in range(count):
        total += np.float32(0.55**octave) * noise(rng, small, cell / coarser / 2**octave)
    return total if coarser == 1 else enlarge(total, shape)


def smoothstep(field: Array, low: float, high: float) -> Array:
    """0 below `low`, 1 above `high`, a smooth ramp between."""
    ramp = (field - np.float32(low)) * np.float32(1 / (high - low))
    np.clip(ramp, 0, 1, out=ramp)
    return ramp * ramp * (3 - 2 * ramp)


def stamp(
    canvas: Array,
    x: float,
    y: float,
    radius: float,
    value: float,
    *,
    hardness: float = 0.5,
    stretch: float = 1.0,
    angle: float = 0.0,
    ring: float = 0.0,
) -> None:
    """Raises `canvas` to at least `value` on a disc around pixel (x, y), in place.

    `hardness` 0 gives a soft spot and 1 a sharp disc; `stretch` makes it an ellipse turned by `angle`
    (radians); `ring` above 0 empties its middle up to that part of the radius.
    """
    reach = radius * max(stretch, 1.0) * 1.1 + 1.5
    top, bottom = max(int(y - reach), 0), min(int(y + reach) + 2, canvas.shape[0])
    left, right = max(int(x - reach), 0), min(int(x + reach) + 2, canvas.shape[1])
    if top >= bottom or left >= right:
        return
    dy: Array = np.arange(top, bottom, dtype=np.float32)[:, None] + np.float32(0.5 - y)
    dx: Array = np.arange(left, right, dtype=np.float32)[None, :] + np.float32(0.5 - x)
    if stretch != 1.0:
        cos, sin = np.float32(math.cos(angle)), np.float32(math.sin(angle))
        dx, dy = (dx * cos + dy * sin) / np.float32(stretch), dy * cos - dx * sin
    distance = np.sqrt(dx * dx + dy * dy) / np.float32(radius)
    soft = max(1 - hardness, min(1.0, 1.0 / radius))
    disc = np.clip((1 - distance) / soft + 0.15, 0, 1)
    if ring:
        disc = disc * np.clip((distance - ring) / 0.2, 0, 1)
    window = canvas[top:bottom, left:right]
    np.maximum(window, np.float32(value) * disc, out=window)


def strokes(shape: tuple[int, int], lines: Sequence[tuple[Line, float, float]]) -> Array:
    """Field [height, width] in [0, 1] with the given (line, width in pixels, value in [0, 1]) drawn smoothly."""
    image = Image.new("L", (shape[1] * 2, shape[0] * 2))
    pen = ImageDraw.Draw(image)
    for line, width, value in lines:
        # Below one pixel a line can't get thinner on the grid, so it gets fainter.
        shade = int(255 * value * min(1.0, 2 * width))
        corners = [(2 * x, 2 * y) for x, y in line]
        pen.line(corners, fill=shade, width=max(1, round(2 * width)), joint="curve")
    return np.asarray(image.reduce(2), dtype=np.float32) / np.float32(255)


def wander(
    rng: np.random.Generator, x: float, y: float, angle: float, length: float, *, steps: int = 8, bend: float = 0.25
) -> list[tuple[float, float]]:
    """A curved line of `length` pixels from (x, y), which sets off at `angle` and turns a little at each step."""
    line = [(x, y)]
    turn = rng.normal(0, bend)
    for wobble in rng.normal(0, bend, steps):
        angle += 0.5 * turn + wobble
        x, y = x + math.cos(angle) * length / steps, y + math.sin(angle) * length / steps
        line.append((x, y))
    return line


def honeycomb(x: Array, y: Array) -> Array:
    """The lines of a honeycomb with cells of size 1 as a field in [0, 1]: 1 on the lines, 0 inside the cells.

    Three plane waves at 60 degrees: their sum peaks on a hexagonal lattice, the cells' centres.
    """
    turn = np.float32(2 * math.pi * 2 / math.sqrt(3))
    waves = np.cos(turn * y)
    for sign in (-1.0, 1.0):
        waves += np.cos(turn * np.float32(0.5) * (np.float32(sign * math.sqrt(3)) * x + y))
    return 1 - smoothstep(waves, -1.5, 1.2)
