"""Building blocks of the drawing: smooth random fields, round stamps and strokes, as float32 arrays.

Smooth things are drawn on a coarse grid and enlarged, which is what makes an image cost milliseconds.
"""

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

Array = np.ndarray
Generator = np.random.Generator
Shape = tuple[int, int]  # height and width
Point = Sequence[float]  # x and y in pixels


def enlarge(field: Array, shape: Shape) -> Array:
    """`field` resized to `shape` with bicubic interpolation, read-only."""
    image = Image.fromarray(np.ascontiguousarray(field, dtype=np.float32))
    return np.asarray(image.resize(shape[::-1], Image.Resampling.BICUBIC))


def noise(rng: Generator, shape: Shape, cell: float | tuple[float, float]) -> Array:
    """Smooth random field [height, width] of about zero mean and unit deviation ("value noise").

    `cell` is the size in pixels of its features, one number or (vertical, horizontal).
    """
    cells = cell if isinstance(cell, tuple) else (cell, cell)
    height, width = (side / max(length, 1.0) for side, length in zip(shape, cells, strict=True))
    grid = rng.standard_normal((math.ceil(height) + 4, math.ceil(width) + 4), dtype=np.float32)
    # A random offset keeps the grid's corners, where the field is roughest, from always lying at the same place.
    x, y = 1 + rng.random(), 1 + rng.random()
    box = (x, y, x + width, y + height)
    return np.asarray(Image.fromarray(grid * 1.4).resize(shape[::-1], Image.Resampling.BICUBIC, box=box))


def octaves(rng: Generator, shape: Shape, cell: float, count: int = 3) -> Array:
    """A sum of `count` noises, each of half the feature size and 0.55 times the height of the one before."""
    # There is no need to add fields up at more pixels than they have detail.
    coarser = min(max(int(cell / 2**count), 1), 6)
    small = (math.ceil(shape[0] / coarser), math.ceil(shape[1] / coarser))
    total = np.zeros(small, np.float32)
    for octave in range(count):
        total += 0.55**octave * noise(rng, small, cell / coarser / 2**octave)
    return enlarge(total, shape)


def smoothstep(field: Array, low: float, high: float) -> Array:
    """0 below `low`, 1 above `high`, a smooth ramp between."""
    ramp = np.clip((field - low) * (1 / (high - low)), 0, 1)
    return ramp * ramp * (3 - 2 * ramp)


def stamp(
    canvas: Array,
    place: Point,
    radius: float,
    value: float,
    hardness: float = 0.5,
    ellipse: tuple[float, float] = (1.0, 0.0),
    ring: float = 0.0,
) -> None:
    """Raise `canvas` to at least `value` on a disc around a pixel, in place.

    `hardness` 0 gives a soft spot and 1 a sharp disc; `ellipse` is the length of its long axis in widths and the angle
    of it in radians; `ring` above 0 empties the middle up to that part of the radius.
    """
    (x, y), (stretch, angle) = place, ellipse
    reach = radius * max(stretch, 1.0) * 1.1 + 1.5
    top, bottom = max(int(y - reach), 0), min(int(y + reach) + 2, canvas.shape[0])
    left, right = max(int(x - reach), 0), min(int(x + reach) + 2, canvas.shape[1])
    if top >= bottom or left >= right:
        return
    dy: Array = np.arange(top, bottom, dtype=np.float32)[:, None] + (0.5 - y)
    dx: Array = np.arange(left, right, dtype=np.float32)[None, :] + (0.5 - x)
    if stretch != 1.0:
        cos, sin = math.cos(angle), math.sin(angle)
        dx, dy = (dx * cos + dy * sin) / stretch, dy * cos - dx * sin
    distance = np.sqrt(dx * dx + dy * dy) / radius
    disc = np.clip((1 - distance) / max(1 - hardness, min(1.0, 1.0 / radius)) + 0.15, 0, 1)
    if ring:
        disc = disc * np.clip((distance - ring) / 0.2, 0, 1)
    window = canvas[top:bottom, left:right]
    np.maximum(window, value * disc, out=window)


def strokes(shape: Shape, lines: Sequence[tuple[Sequence[Point], float, float]]) -> Array:
    """Field [height, width] in [0, 1] with the given (corners, width in pixels, value in [0, 1]) drawn smoothly."""
    image = Image.new("L", (shape[1] * 2, shape[0] * 2))
    pen = ImageDraw.Draw(image)
    for line, width, value in lines:
        shade = int(255 * value * min(1.0, 2 * width))  # below one pixel a line gets fainter instead of thinner
        corners = [(2 * x, 2 * y) for x, y in line]
        pen.line(corners, fill=shade, width=max(1, round(2 * width)), joint="curve")
    return np.asarray(image.reduce(2), dtype=np.float32) / 255


def wander(rng: Generator, start: Point, angle: float, length: float, steps: int, bend: float) -> list[Point]:
    """A curved line of `length` pixels, which sets off at `angle` and turns a little at each step."""
    line = [start]
    turn = rng.normal(0, bend)
    for wobble in rng.normal(0, bend, steps):
        angle += 0.5 * turn + wobble
        x, y = line[-1]
        line.append((x + math.cos(angle) * length / steps, y + math.sin(angle) * length / steps))
    return line
