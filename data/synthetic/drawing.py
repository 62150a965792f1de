"""Draws photographs of made-up skin lesions: numpy and Pillow only, a few hundredths of a second each.

`Lesion` is what stays the same between photographs (the lesion, its skin, its hairiness); `Lesion.photograph` is
what differs (framing, light, colours, focus, hairs, gel). Both are drawn from generators keyed by the seed, the
lesion's number and the photograph's number alone, so any order and any number of threads give the same pixels.
Images are worked on as one float32 array a colour channel, [3, height, width], 0 black and 1 white.
"""

from __future__ import annotations

import math

import numpy as np
from PIL import Image, ImageFilter

from hamcache.data.synthetic.clutter import add_bubbles, add_hairs, add_ruler, glare, lighting
from hamcache.data.synthetic.fields import Array, enlarge, noise, octaves
from hamcache.data.synthetic.lesion import BLOOD, MELANIN, draw_lesion, patch_millimetres
from hamcache.data.synthetic.traits import draw_traits

FIELD_MILLIMETRES = 12.0  # height of the field of view at zoom 1
_SKIN_MILLIMETRES = 40.0  # width of the square of skin that is drawn around a lesion
_SKIN_PIXELS = 100

# Skin as dermatoscopes show it (red, green, blue), from warm pink to lilac and tan.
_SKIN_COLOURS = np.array(
    [
        (226, 148, 146), (232, 176, 168), (233, 196, 172), (206, 184, 190),
        (198, 170, 196), (222, 204, 192), (205, 162, 136),
    ],
    np.float32,
) / np.float32(255)  # fmt: skip


def keyed_generator(seed: int, *key: int) -> np.random.Generator:
    """A random generator that depends only on `seed` and `key`."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))


class Lesion:
    """One made-up lesion of class `label` and the skin around it, ready to be photographed.

    Args:
        seed: seed of the data set.
        number: number of the lesion in the data set.
        label: its class, one of `data.synthetic.traits.CLASSES`.
        difficulty: in [0, 1]; how far it looks like another class, and how poor its photographs are.
        size: width and height of the photographs in pixels.
    """

    def __init__(self, seed: int, number: int, label: str, difficulty: float, size: tuple[int, int]) -> None:
        self.seed, self.number, self.difficulty, self.size = seed, number, difficulty, size
        rng = keyed_generator(seed, number, 0)
        traits = draw_traits(rng, label, difficulty)
        first, second = rng.choice(len(_SKIN_COLOURS), 2, replace=False)
        share = np.float32(rng.uniform())
        self.skin: Array = share * _SKIN_COLOURS[first] + (1 - share) * _SKIN_COLOURS[second]
        self.hairiness = rng.beta(0.5, 1.2)
        self.zoom = rng.uniform(0.9, 1.35)
        self.relief = rng.uniform(0.4, 1.0)  # of the skin's lines
        self._skin_patch = _pack(_draw_skin(rng, traits["sun_damage"]))
        scale = 0.75 * size[1] / FIELD_MILLIMETRES
        self._lesion_patch = _pack(draw_lesion(rng, traits, self.skin, scale, limit=round(0.75 * size[1])))
        self._lesion_millimetres = patch_millimetres(traits)

    def photograph(self, number: int) -> Image.Image:
        """Photograph `number` (0, 1, ...) of the lesion: an RGB image of the data set's size."""
        rng = keyed_generator(self.seed, self.number, 1 + number)
        poor = self.difficulty
        frame = _Frame.draw(rng, self.size, self.zoom, first=number == 0)
        # All that is smooth is worked out at half size and enlarged: the skin, its lines and the light on it.
        half = frame.halved()
        exposure = rng.normal(0.03, 0.05 + 0.08 * poor)
        balance = np.exp(rng.normal(exposure, 0.02 + 0.05 * poor, 3)).astype(np.float32)
        light = lighting(rng, half.shape, poor) * _skin_lines(rng, half, self.relief)
        skin = half.look_at(self._skin_patch, _SKIN_MILLIMETRES)
        skin *= light
        skin *= (self.skin * balance)[:, None, None]
        image = np.empty((3, *frame.shape), np.float32)
        for index, channel in enumerate(skin):
            image[index] = enlarge(channel, frame.shape)
        rows, columns = frame.covered_by(self._lesion_millimetres)
        image[:, rows, columns] *= frame.look_at(self._lesion_patch, self._lesion_millimetres, rows, columns)

        if rng.random() < 0.15 + 0.75 * self.hairiness:
            count = 1 + 24 * self.hairiness**2 * rng.uniform(0.4, 1.4) * (0.6 + 0.8 * poor)
            add_hairs(image, rng, round(count))
        if rng.random() < 0.15:
            add_ruler(image, rng)
        shine = glare(rng, frame.shape, strength=0.25 + 0.75 * poor)
        if rng.random() < 0.25:
            add_bubbles(shine, rng)
        grain = rng.uniform(0.02, 0.05 + 0.06 * poor)
        shine += np.float32(grain) * (rng.random(frame.shape, dtype=np.float32) - np.float32(0.5))
        image += shine
        photograph = Image.merge("RGB", [Image.fromarray(_to_bytes(channel)) for channel in image])
        blur = rng.gamma(1.2, 0.25 + 0.7 * poor) * frame.shape[0] / 450
        return photograph.filter(ImageFilter.BoxBlur(blur)) if blur > 0.35 else photograph


class _Frame:
    """Where the camera stands: maps the pixels of a photograph to millimetres around the lesion's centre."""

    def __init__(self, shape: tuple[int, int], scale: float, angle: float, centre: tuple[float, float]) -> None:
        self.shape = shape  # height, width
        self.scale = scale  # pixels per millimetre
        self.angle = angle
        self.centre = centre  # of the lesion, in pixels (x, y)

    @classmethod
    def draw(cls, rng: np.random.Generator, size: tuple[int, int], zoom: float, *, first: bool) -> _Frame:
        """A frame around `zoom`; photographs after the first come nearer or stand back."""
        width, height = size
        zoom *= 1.0 if first else math.exp(rng.normal(-0.05, 0.28))
        angle = rng.normal(0, 0.12) if rng.random() < 0.75 else rng.uniform(-math.pi, math.pi)
        right, down = rng.normal(0, 0.06 * height, 2)
        centre = (width / 2 + float(right), height / 2 + float(down))
        return cls((height, width), zoom * height / FIELD_MILLIMETRES, angle, centre)

    def halved(self) -> _Frame:
        """The same view in half as many pixels a side."""
        height, width = self.shape
        shape = (math.ceil(height / 2), math.ceil(width / 2))
        return _Frame(shape, self.scale / 2, self.angle, (self.centre[0] / 2, self.centre[1] / 2))

    def covered_by(self, millimetres: float) -> tuple[slice, slice]:
        """The rows and columns in which a patch of this width around the lesion can be seen."""
        reach = millimetres * self.scale / 2 * (abs(math.cos(self.angle)) + abs(math.sin(self.angle)))
        (x, y), (height, width) = self.centre, self.shape
        rows = slice(max(math.floor(y - reach), 0), min(math.ceil(y + reach), height))
        return rows, slice(max(math.floor(x - reach), 0), min(math.ceil(x + reach), width))

    def look_at(
        self, patch: Image.Image, millimetres: float, rows: slice | None = None, columns: slice | None = None
    ) -> Array:
        """The square `patch`, `millimetres` wide, as this frame shows it: [3, height, width], 1 outside it.

        `rows` and `columns` choose a part of the frame.
        """
        rows, columns = rows or slice(0, self.shape[0]), columns or slice(0, self.shape[1])
        step = patch.width / millimetres / self.scale
        cos, sin = step * math.cos(self.angle), step * math.sin(self.angle)
        x, y, middle = self.centre[0] - columns.start, self.centre[1] - rows.start, patch.width / 2
        affine = (cos, sin, middle - cos * x - sin * y, -sin, cos, middle + sin * x - cos * y)
        size = (columns.stop - columns.start, rows.stop - rows.start)
        seen = patch.transform(
            size, Image.Transform.AFFINE, affine, Image.Resampling.BILINEAR, fillcolor=(_ONE, _ONE, _ONE)
        )
        view = np.empty((3, size[1], size[0]), np.float32)
        for index, channel in enumerate(seen.split()):
            np.take(_UNPACK, np.asarray(channel), out=view[index], mode="clip")
        return view


def _draw_skin(rng: np.random.Generator, sun_damage: float) -> Array:
    """Colour of the skin relative to its average [3, side, side]: mottling, and freckles where the sun did damage."""
    shape = (_SKIN_PIXELS, _SKIN_PIXELS)
    millimetre = _SKIN_PIXELS / _SKIN_MILLIMETRES
    red, brown = octaves(rng, shape, 1.6 * millimetre, 3), octaves(rng, shape, 2.4 * millimetre, 3)
    freckles = np.clip(octaves(rng, shape, 1.2 * millimetre, 2) - 0.9, 0, 1.2)
    blood = (0.02 + 0.05 * sun_damage) * red
    melanin = (0.012 + 0.025 * sun_damage) * brown + 0.25 * sun_damage**1.5 * freckles
    return np.exp(-(BLOOD[:, None, None] * blood + MELANIN[:, None, None] * melanin)).astype(np.float32)


def _skin_lines(rng: np.random.Generator, frame: _Frame, relief: float) -> Array:
    """The fine lines of the skin's surface, which cross at an angle, as a factor near 1 [height, width]."""
    height, width = frame.shape
    lines = 0.7 * noise(rng, frame.shape, max(0.12 * frame.scale, 1.2))
    turn = rng.uniform(0, math.pi)
    for angle in (turn, turn + rng.uniform(0.9, 1.5)):
        side = math.ceil(math.hypot(height, width))
        streaks = noise(rng, (side, side), (max(0.05 * frame.scale, 1.0), max(0.22 * frame.scale, 2)))
        cos, sin, middle = math.cos(angle), math.sin(angle), side / 2
        x = middle - cos * width / 2 - sin * height / 2
        y = middle + sin * width / 2 - cos * height / 2
        turned = Image.fromarray(streaks).transform(
            (width, height), Image.Transform.AFFINE, (cos, sin, x, -sin, cos, y), Image.Resampling.BILINEAR
        )
        lines += np.asarray(turned)
    return 1 + np.float32(0.012 * relief) * lines


# Between drawing and photograph a relative colour is kept as its square root in 8 bits: fine steps in the dark.
_BRIGHTEST = 1.8
_UNPACK = (_BRIGHTEST * (np.arange(256) / 255) ** 2).astype(np.float32)
_ONE = round(255 / math.sqrt(_BRIGHTEST))


def _pack(colour: Array) -> Image.Image:
    root = np.sqrt(np.clip(colour, 0, _BRIGHTEST) * np.float32(1 / _BRIGHTEST))
    return Image.merge("RGB", [Image.fromarray(_to_bytes(channel)) for channel in root])


def _to_bytes(channel: Array) -> Array:
    scaled = channel * np.float32(255) + np.float32(0.5)
    return np.clip(scaled, 0, 255, out=scaled).astype(np.uint8)
