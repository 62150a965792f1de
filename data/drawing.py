"""Draws photographs of made-up skin lesions: numpy and Pillow only, a few hundredths of a second each.

`Lesion` is what stays the same between photographs (the lesion, its skin, its hairiness); `Lesion.photograph` is
what differs (framing, light, colours, focus, hairs, gel). Both are drawn from generators keyed by the seed, the
lesion's number and the photograph's number alone, so any order and any number of threads give the same pixels.
"""

from __future__ import annotations

import math

import numpy as np
from PIL import Image, ImageFilter

from data.drawing_artefacts import add_bubbles, add_hairs, add_ruler, glare, vignette
from data.drawing_fields import Array, noise, octaves
from data.drawing_lesion import BLOOD, MELANIN, draw_lesion, patch_millimetres
from data.drawing_traits import draw_traits

FIELD_MILLIMETRES = 12.0  # height of the field of view at zoom 1
_SKIN_MILLIMETRES = 40.0  # width of the square of skin that is drawn around a lesion
_SKIN_PIXELS = 160
_GAMMA = 2.0  # the lesion's colours are kept as the square root, in 8 bits, for fine steps in the dark
_BRIGHTEST = 1.8

# Skin as dermatoscopes show it (red, green, blue), from warm pink to lilac.
_SKIN_COLOURS = np.array(
    [(226, 148, 146), (232, 176, 168), (233, 196, 172), (206, 184, 190), (198, 170, 196), (222, 204, 192), (205, 162, 136)],
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
        label: its class, one of `CLASS_ORDER`.
        difficulty: in [0, 1]; how far it looks like another class, and how poor its photographs are.
        size: width and height of the photographs in pixels.
    """

    def __init__(self, seed: int, number: int, label: str, difficulty: float, size: tuple[int, int]) -> None:
        self.seed, self.number, self.difficulty, self.size = seed, number, difficulty, size
        rng = keyed_generator(seed, number, 0)
        traits = draw_traits(rng, label, difficulty)
        first, second = rng.choice(len(_SKIN_COLOURS), 2, replace=False)
        share = rng.uniform()
        self.skin = share * _SKIN_COLOURS[first] + (1 - share) * _SKIN_COLOURS[second]
        self.hairiness = rng.beta(0.5, 1.2)
        self.zoom = rng.uniform(0.85, 1.25)
        self._texture_angle = rng.uniform(0, math.pi)
        self._texture = rng.uniform(0.4, 1.0)
        self._skin_map = self._draw_skin(rng, traits["sun_damage"])
        scale = 1.1 * size[1] / FIELD_MILLIMETRES
        patch = draw_lesion(rng, traits, self.skin, scale, round(1.15 * size[1]))
        self._patch = _pack(patch)
        self._patch_millimetres = patch_millimetres(traits)

    def _draw_skin(self, rng: np.random.Generator, sun_damage: float) -> Image.Image:
        """Colour of the skin relative to its average: red and brown mottling, freckles on sun-damaged skin."""
        shape = (_SKIN_PIXELS, _SKIN_PIXELS)
        per_millimetre = _SKIN_PIXELS / _SKIN_MILLIMETRES
        red = octaves(rng, shape, 1.6 * per_millimetre, 3)
        brown = octaves(rng, shape, 2.4 * per_millimetre, 3)
        freckles = np.clip(octaves(rng, shape, 1.2 * per_millimetre, 2) - 0.9, 0, 1.2)
        blood = (0.02 + 0.05 * sun_damage) * red
        melanin = (0.012 + 0.03 * sun_damage) * brown + 0.25 * sun_damage**1.5 * freckles
        return _pack(np.exp(-(blood[..., None] * BLOOD + melanin[..., None] * MELANIN)))

    def photograph(self, number: int) -> Image.Image:
        """Photograph `number` (0, 1, ...) of the lesion: an RGB image of the data set's size."""
        rng = keyed_generator(self.seed, self.number, 1 + number)
        width, height = self.size
        poor = self.difficulty
        zoom = self.zoom * (1.0 if number == 0 else math.exp(rng.normal(-0.05, 0.28)))
        angle = rng.normal(0, 0.12) if rng.random() < 0.75 else rng.uniform(-math.pi, math.pi)
        scale = zoom * height / FIELD_MILLIMETRES
        shift = rng.normal(0, 0.05 * height, 2)
        frame = _Frame(width, height, scale, angle, float(shift[0]), float(shift[1]))

        image = frame.look_at(self._skin_map, _SKIN_MILLIMETRES)
        image *= frame.look_at(self._patch, self._patch_millimetres)
        image *= self._fine_texture(rng, frame)[..., None]
        image *= self.skin
        if rng.random() < 0.15 + 0.75 * self.hairiness:
            add_hairs(image, rng, round(1 + 28 * self.hairiness**2 * rng.uniform(0.4, 1.4) * (0.6 + 0.8 * poor)))
        if rng.random() < 0.25:
            add_bubbles(image, rng)
        if rng.random() < 0.15:
            add_ruler(image, rng)
        image += glare(rng, (height, width), strength=0.25 + 0.75 * poor)[..., None]

        # Light: exposure, white balance, an uneven lamp, and the dark corners of the round lens.
        image *= np.exp(rng.normal(0.03, 0.05 + 0.09 * poor))
        image *= np.exp(rng.normal(0, 0.02 + 0.07 * poor, 3)).astype(np.float32)
        image *= vignette(rng, (height, width), poor)[..., None]
        blur = rng.gamma(1.2, 0.25 + 0.7 * poor) * height / 450
        noise_level = rng.uniform(0.008, 0.02 + 0.02 * poor)
        grain = rng.standard_normal((height, width), dtype=np.float32)
        if blur > 0.3:
            sharp = Image.fromarray(_to_bytes(image))
            image = np.asarray(sharp.filter(ImageFilter.GaussianBlur(blur)), np.float32) / np.float32(255)
        image += (np.float32(noise_level) * grain)[..., None]
        return Image.fromarray(_to_bytes(image))

    def _fine_texture(self, rng: np.random.Generator, frame: _Frame) -> Array:
        """Skin lines that cross at an angle and fine unevenness, as a factor near 1 [height, width]."""
        half = (math.ceil(frame.height / 2), math.ceil(frame.width / 2))
        side = math.ceil(math.hypot(*half))
        lines = np.zeros(half, np.float32)
        for turn in (self._texture_angle, self._texture_angle + rng.uniform(0.9, 1.5)):
            streaks = noise(rng, (side, side), (max(0.05 * frame.scale, 1.2), max(0.22 * frame.scale, 3)))
            cos, sin = math.cos(turn + frame.angle), math.sin(turn + frame.angle)
            middle = side / 2
            x0 = middle - cos * half[1] / 2 - sin * half[0] / 2
            y0 = middle + sin * half[1] / 2 - cos * half[0] / 2
            turned = Image.fromarray(streaks).transform(
                (half[1], half[0]), Image.Transform.AFFINE, (cos, sin, x0, -sin, cos, y0), Image.Resampling.BILINEAR
            )
            lines += np.asarray(turned)
        lines += 0.7 * noise(rng, half, max(0.12 * frame.scale, 2))
        image = Image.fromarray(lines).resize((frame.width, frame.height), Image.Resampling.BILINEAR)
        return 1 + np.float32(0.011 * self._texture) * np.asarray(image)


class _Frame:
    """Where the camera stands: maps the pixels of a photograph to millimetres around the lesion's centre."""

    def __init__(self, width: int, height: int, scale: float, angle: float, right: float, down: float) -> None:
        self.width, self.height, self.scale, self.angle = width, height, scale, angle
        self.right, self.down = right, down

    def look_at(self, patch: Image.Image, millimetres: float) -> Array:
        """The square `patch`, `millimetres` wide, as this frame shows it: float32 [height, width, 3], 1 outside it."""
        pixels = patch.width / millimetres / self.scale
        cos, sin = pixels * math.cos(self.angle), pixels * math.sin(self.angle)
        x, y = self.width / 2 + self.right, self.height / 2 + self.down
        middle = patch.width / 2
        affine = (cos, sin, middle - cos * x - sin * y, -sin, cos, middle + sin * x - cos * y)
        plain = round(255 * _BRIGHTEST ** (-1 / _GAMMA))
        seen = patch.transform(
            (self.width, self.height), Image.Transform.AFFINE, affine, Image.Resampling.BILINEAR, fillcolor=(plain,) * 3
        )
        return _UNPACK[np.asarray(seen)]


_UNPACK = (_BRIGHTEST * (np.arange(256) / 255) ** _GAMMA).astype(np.float32)


def _pack(colour: Array) -> Image.Image:
    return Image.fromarray(
        _to_bytes((np.clip(colour, 0, _BRIGHTEST) / np.float32(_BRIGHTEST)) ** np.float32(1 / _GAMMA))
    )


def _to_bytes(image: Array) -> Array:
    return (np.clip(image, 0, 1) * np.float32(255) + np.float32(0.5)).astype(np.uint8)
