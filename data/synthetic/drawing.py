"""Photographs of made-up skin lesions: numpy and Pillow only, a few hundredths of a second each.

`Lesion` is what stays the same between photographs (the lesion, its skin, its hairiness); `Lesion.photograph` is
what differs (framing, light, colours, focus, hairs, gel). Both are drawn from generators keyed by the seed, the
lesion's number and the photograph's number alone, so any order and any number of threads give the same pixels.
Images are worked on as one float32 array a colour channel, [3, height, width], 0 black and 1 white.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image, ImageFilter

from hamcache.data.synthetic.clutter import add_bubbles, add_hairs, add_ruler, glare, lighting
from hamcache.data.synthetic.fields import Array, Generator, Shape, enlarge, noise, octaves
from hamcache.data.synthetic.lesion import BLOOD, MELANIN, draw_lesion, patch_millimetres
from hamcache.data.synthetic.traits import draw_traits

_FIELD_MILLIMETRES = 12.0  # height of the field of view at zoom 1
_SKIN_MILLIMETRES = 40.0  # width of the square of skin that is drawn around a lesion
_SKIN_PIXELS = 100

# Skin as dermatoscopes show it (red, green, blue), from warm pink to lilac and tan.
_SKIN_COLOURS = np.array(
    [
        (226, 148, 146), (232, 176, 168), (233, 196, 172), (206, 184, 190),
        (198, 170, 196), (222, 204, 192), (205, 162, 136),
    ],
    np.float32,
) / 255  # fmt: skip

# Between drawing and photograph a relative colour is kept as its square root in 8 bits: fine steps in the dark.
_BRIGHTEST = 1.8
_UNPACK = (_BRIGHTEST * (np.arange(256) / 255) ** 2).astype(np.float32)
_ONE = round(255 / math.sqrt(_BRIGHTEST))


def keyed_generator(seed: int, *key: int) -> Generator:
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
        first, second = rng.choice(_SKIN_COLOURS, 2, replace=False)
        share = np.float32(rng.uniform())
        self.skin: Array = share * first + (1 - share) * second
        self.hairiness = rng.beta(0.5, 1.2)
        self.zoom = rng.uniform(0.9, 1.35)
        self.relief = rng.uniform(0.4, 1.0)  # of the skin's lines
        self._skin_patch = _pack(_draw_skin(rng, traits["sun_damage"]))
        scale = 0.75 * size[1] / _FIELD_MILLIMETRES
        self._patch = _pack(draw_lesion(rng, traits, self.skin, scale, limit=round(0.75 * size[1])))
        self._millimetres = patch_millimetres(traits)

    def photograph(self, number: int) -> Image.Image:
        """Photograph `number` (0, 1, ...) of the lesion: an RGB image of the data set's size."""
        rng = keyed_generator(self.seed, self.number, 1 + number)
        poor = self.difficulty
        frame = self._frame(rng, first=number == 0)
        # All that is smooth is worked out at half size and enlarged: the skin, its lines and the light on it.
        half = frame.halved()
        exposure = rng.normal(0.03, 0.05 + 0.08 * poor)
        balance = np.exp(rng.normal(exposure, 0.02 + 0.05 * poor, 3)).astype(np.float32)
        light = lighting(rng, half.shape, poor) * _skin_lines(rng, half, self.relief)
        skin = half.look_at(self._skin_patch, _SKIN_MILLIMETRES, *half.window()) * light
        image = np.stack([enlarge(channel, frame.shape) for channel in skin * (self.skin * balance)[:, None, None]])
        rows, columns = frame.window(self._millimetres)
        image[:, rows, columns] *= frame.look_at(self._patch, self._millimetres, rows, columns)

        if rng.random() < 0.15 + 0.75 * self.hairiness:
            count = 1 + 24 * self.hairiness**2 * rng.uniform(0.4, 1.4) * (0.6 + 0.8 * poor)
            add_hairs(image, rng, round(count))
        if rng.random() < 0.15:
            add_ruler(image, rng)
        shine = glare(rng, frame.shape, strength=0.25 + 0.75 * poor)
        if rng.random() < 0.25:
            add_bubbles(shine, rng)
        shine += rng.uniform(0.02, 0.05 + 0.06 * poor) * (rng.random(frame.shape, dtype=np.float32) - 0.5)
        photograph = _to_image(image + shine)
        blur = rng.gamma(1.2, 0.25 + 0.7 * poor) * frame.shape[0] / 450
        return photograph.filter(ImageFilter.BoxBlur(blur)) if blur > 0.35 else photograph

    def _frame(self, rng: Generator, *, first: bool) -> "_Frame":
        """A view of the lesion; photographs after the first come nearer or stand back."""
        width, height = self.size
        zoom = self.zoom * (1.0 if first else math.exp(rng.normal(-0.05, 0.28)))
        angle = rng.normal(0, 0.12) if rng.random() < 0.75 else rng.uniform(-math.pi, math.pi)
        right, down = rng.normal(0, 0.06 * height, 2).tolist()
        return _Frame((height, width), zoom * height / _FIELD_MILLIMETRES, angle, width / 2 + right, height / 2 + down)


@dataclass(frozen=True)
class _Frame:
    """Position of the camera: maps the pixels of a photograph to millimetres around the lesion's centre."""

    shape: Shape
    scale: float  # pixels per millimetre
    angle: float
    x: float  # the lesion's centre, in pixels
    y: float

    def halved(self) -> "_Frame":
        """The same view in half as many pixels a side."""
        shape = (math.ceil(self.shape[0] / 2), math.ceil(self.shape[1] / 2))
        return replace(self, shape=shape, scale=self.scale / 2, x=self.x / 2, y=self.y / 2)

    def window(self, millimetres: float = math.inf) -> tuple[slice, slice]:
        """The rows and columns in which a patch of this width around the lesion can be seen."""
        reach = millimetres * self.scale / 2 * (abs(math.cos(self.angle)) + abs(math.sin(self.angle)))
        ends = zip((self.y, self.x), self.shape, strict=True)
        rows, columns = (
            slice(math.floor(max(middle - reach, 0)), math.ceil(min(middle + reach, side))) for middle, side in ends
        )
        return rows, columns

    def look_at(self, patch: Image.Image, millimetres: float, rows: slice, columns: slice) -> Array:
        """A part of the frame as it shows a square `patch`: [3, height, width], 1 outside of the patch."""
        shape = (rows.stop - rows.start, columns.stop - columns.start)
        step = patch.width / millimetres / self.scale
        seen = _turned(patch, self.angle, step, (self.x - columns.start, self.y - rows.start), shape, fill=(_ONE,) * 3)
        return np.moveaxis(_UNPACK.take(seen), 2, 0)


def _turned(
    patch: Image.Image, angle: float, step: float, centre: tuple[float, float], shape: Shape, fill: object = None
) -> Array:
    """`patch`, turned, its middle at the pixel `centre`; `step` is the number of its pixels to one of the result."""
    cos, sin = step * math.cos(angle), step * math.sin(angle)
    (x, y), middle = centre, patch.width / 2
    affine = (cos, sin, middle - cos * x - sin * y, -sin, cos, middle + sin * x - cos * y)
    method, resample = Image.Transform.AFFINE, Image.Resampling.BILINEAR
    return np.asarray(patch.transform(shape[::-1], method, affine, resample, fillcolor=fill))  # type: ignore[arg-type]


def _draw_skin(rng: Generator, sun_damage: float) -> Array:
    """Colour of the skin relative to its average [3, side, side]: mottling, and freckles where the sun did damage."""
    shape, millimetre = (_SKIN_PIXELS, _SKIN_PIXELS), _SKIN_PIXELS / _SKIN_MILLIMETRES
    red, brown = octaves(rng, shape, 1.6 * millimetre, 3), octaves(rng, shape, 2.4 * millimetre, 3)
    freckles = np.clip(octaves(rng, shape, 1.2 * millimetre, 2) - 0.9, 0, 1.2)
    blood = (0.02 + 0.05 * sun_damage) * red
    melanin = (0.012 + 0.025 * sun_damage) * brown + 0.25 * sun_damage**1.5 * freckles
    return np.exp(-(BLOOD * blood + MELANIN * melanin))


def _skin_lines(rng: Generator, frame: _Frame, relief: float) -> Array:
    """The fine lines of the skin's surface, which cross at an angle, as a factor near 1 [height, width]."""
    height, width = frame.shape
    side = math.ceil(math.hypot(height, width))
    lines = 0.7 * noise(rng, frame.shape, max(0.12 * frame.scale, 1.2))
    turn = rng.uniform(0, math.pi)
    for angle in (turn, turn + rng.uniform(0.9, 1.5)):
        streaks = noise(rng, (side, side), (max(0.05 * frame.scale, 1.0), max(0.22 * frame.scale, 2)))
        lines += _turned(Image.fromarray(streaks), angle, 1, (width / 2, height / 2), frame.shape)
    return 1 + 0.012 * relief * lines


def _pack(colour: Array) -> Image.Image:
    return _to_image(np.sqrt(np.clip(colour, 0, _BRIGHTEST) * (1 / _BRIGHTEST)))


def _to_image(channels: Array) -> Image.Image:
    levels = np.clip(channels * 255 + 0.5, 0, 255).astype(np.uint8)
    return Image.fromarray(np.ascontiguousarray(np.moveaxis(levels, 0, 2)))
