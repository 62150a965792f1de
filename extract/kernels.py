"""Views: what was drawn is done to an image, at the size that a network takes.

What is moved is resampled once: rotation, magnification, shift, symmetry, window and resizing are one warp from the
image, which is reduced (antialiased) before wherever its pixels lie closer than a bilinear warp sees. Colours and
sharpness are changed on the network's few pixels. The draw is the same for every network, so is the scene; the pixels
are each network's own, as those of the plain image are.

Symmetries alone are exact: a resized view is what `Frame.resize` makes of the turned image.
"""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache, cached_property

import cv2
import numpy as np
import torch
from torchvision.transforms.v2 import functional as F

from hamcache.extract.draws import ViewDraw
from hamcache.extract.preparing import prepared
from hamcache.extract.preprocess import Frame

cv2.setNumThreads(0)  # there is one task per core

Pixels = np.ndarray
"""uint8 `[height, width, 3]`, contiguous."""

GREY = np.array([0.299, 0.587, 0.114])
"""Shares of red, green and blue in the brightness of a pixel."""
DENSEST = 1.5
"""Pixels of an image that a warp steps over at most; it is reduced to `REDUCED` where they would be more."""
REDUCED = 1.25
_BORDERS = {"black": cv2.BORDER_CONSTANT, "reflect": cv2.BORDER_REFLECT}


class ImageViews:
    """The views of one image; what several of them need is made once.

    Args:
        image: uint8 `[3, height, width]`.
    """

    def __init__(self, image: torch.Tensor) -> None:
        self.image = image
        self._prepared = cache(lambda preparation: ImageViews(prepared(image, preparation)))
        self._fitted: dict[tuple[ViewDraw, Frame], torch.Tensor] = {}
        self._resized = cache(lambda frame, symmetry: frame.resize(turned(image, symmetry)))
        self._reduced = cache(lambda side: _pixels(F.resize(image, [side], antialias=True)))

    def fitted(self, draw: ViewDraw, frame: Frame) -> torch.Tensor:
        """One view as a network sees it: uint8 `[3, *frame.size]`."""
        if (draw, frame) not in self._fitted:
            self._fitted[draw, frame] = self._made(draw, frame)
        return self._fitted[draw, frame]

    def whole(self, draw: ViewDraw) -> torch.Tensor:
        """One view with nothing cut off, to be looked at: uint8 `[3, h, w]`, h and w reduced to the draw's canvas."""
        height, width = turned(self.image, draw.symmetry).shape[1:]
        short = min(height, width)
        side = min(short, draw.canvas) if draw.canvas else short
        return self.fitted(draw, Frame((side * height // short, side * width // short), "squash", 1.0, "bilinear"))

    def _made(self, draw: ViewDraw, frame: Frame) -> torch.Tensor:
        if draw.preparation is not None:
            views: ImageViews = self._prepared(draw.preparation)
            return views.fitted(replace(draw, preparation=None), frame)
        is_moved = draw.angle or draw.scale != 1 or any(draw.shift)
        is_coloured = (draw.brightness, draw.contrast, draw.saturation, draw.hue) != (1, 1, 1, 0)
        if not (is_moved or is_coloured or draw.blur):
            return self._resized(frame, draw.symmetry)
        view = self._warped(draw, frame) if is_moved else _pixels(self._resized(frame, draw.symmetry))
        if is_coloured:
            view = _coloured(view, draw, self._mean)
        if draw.blur:
            height, width = turned(self.image, draw.symmetry).shape[1:]
            view = _blurred(view, draw.blur * min(height, width) / 1000, frame, frame.window(height, width))
        return torch.from_numpy(view).permute(2, 0, 1)

    @cached_property
    def _mean(self) -> float:
        """Brightness of the whole image, the same for every view and network."""
        return float(GREY @ cv2.mean(_pixels(self.image))[:3])

    def _warped(self, draw: ViewDraw, frame: Frame) -> Pixels:
        """The view's window, moved as drawn, in one bilinear resampling."""
        source = self._source(draw.canvas, frame)
        height, width = source.shape[:2]
        if draw.symmetry & 4:
            height, width = width, height
        # From an output pixel to the view, to what lay there before it was moved, to the image before it was turned;
        # each about its centre.
        window = frame.window(height, width)
        steps = np.array([window[1] / frame.size[1], window[0] / frame.size[0]])
        cos, sin = math.cos(math.radians(draw.angle)), math.sin(math.radians(draw.angle))
        unmove = np.array([[cos, sin], [-sin, cos]]) / draw.scale
        unturn = np.diag([-1.0 if draw.symmetry & 1 else 1.0, -1.0 if draw.symmetry & 2 else 1.0])
        if draw.symmetry & 4:
            unturn = unturn[:, ::-1]
        back = unturn @ unmove
        # Like the plain image's, the window begins at a whole pixel.
        rest = np.array([width - window[1], height - window[0]]) / 2
        aside = np.rint(rest) - rest
        shift = np.array([draw.shift[0] * width, draw.shift[1] * height]) - aside
        centre, out_centre = (np.array([shape[1] - 1, shape[0] - 1]) / 2 for shape in (source.shape, frame.size))
        matrix = np.column_stack([back * steps, centre - back @ shift - back * steps @ out_centre])
        return cv2.warpAffine(
            source,
            matrix,
            (frame.size[1], frame.size[0]),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=_BORDERS[draw.corners],
        )

    def _source(self, canvas: int, frame: Frame) -> Pixels:
        """The image that views for a network are taken from: its short side at most the canvas, not too dense."""
        height, width = self.image.shape[1:]
        side = min(height, width, canvas or height)
        window = frame.window(height, width)
        density = side / min(height, width) * max(window[0] / frame.size[0], window[1] / frame.size[1])
        if density > DENSEST:
            side = math.ceil(side * REDUCED / density)
        return self._reduced(side) if side < min(height, width) else _pixels(self.image)


def turned(image: torch.Tensor, symmetry: int) -> torch.Tensor:
    """One of the eight symmetries of an image `[3, height, width]` (see `ViewDraw`)."""
    if symmetry & 1:
        image = image.flip(2)
    if symmetry & 2:
        image = image.flip(1)
    return image.transpose(1, 2) if symmetry & 4 else image


def _pixels(image: torch.Tensor) -> Pixels:
    return image.permute(1, 2, 0).contiguous().numpy()


def _coloured(view: Pixels, draw: ViewDraw, mean: float) -> Pixels:
    """Brightness, contrast (about the mean of the image), saturation, hue; each cut off at black and white."""
    levels = np.clip(np.arange(256) * draw.brightness, 0, 255)
    levels = draw.contrast * levels + (1 - draw.contrast) * min(draw.brightness * mean, 255)
    view = cv2.LUT(view, np.rint(np.clip(levels, 0, 255)).astype(np.uint8))
    if draw.saturation != 1:
        view = cv2.transform(view, draw.saturation * np.eye(3) + (1 - draw.saturation) * GREY)
    if steps := round(draw.hue * 256):
        view = cv2.cvtColor(view, cv2.COLOR_RGB2HSV_FULL)
        view[..., 0] += np.uint8(steps % 256)  # the colour circle has 256 steps, as a byte has
        view = cv2.cvtColor(view, cv2.COLOR_HSV2RGB_FULL)
    return view


def _blurred(view: Pixels, sigma: float, frame: Frame, window: tuple[int, int]) -> Pixels:
    """Gaussian blur, sigma in pixels of an image of whose window the view was made."""
    sigmas = [sigma * size / kept for size, kept in zip(frame.size, window, strict=True)]
    height, width = (2 * math.ceil(2 * sigma) + 1 for sigma in sigmas)
    return cv2.GaussianBlur(view, (width, height), sigmaX=sigmas[1], sigmaY=sigmas[0])
