"""Preparation of a whole image: hair removed, colours balanced, hair drawn, a function of one's own."""

from __future__ import annotations

import math
from functools import cache

import cv2
import numpy as np
import torch
from torchvision.transforms.v2 import functional as F

from hamcache.extract.augmentations import Constancy, HairRemoval
from hamcache.extract.draws import Preparation
from hamcache.extract.own_functions import applied

Pixels = np.ndarray
"""uint8 `[height, width, 3]`."""

DIRECTIONS = 16
"""Directions in which straight pieces of hair are looked for."""
PIECE = 0.075
"""Length of a straight piece, as a share of the image's short side: the meshes of a pigment network are shorter."""
LONG = 0.15
"""Length of the shortest hair, as a share of the short side."""
FULL = 0.7
"""Share of its length times the widest hair's width that a hair fills at most; blots and nets of lines fill more."""
BUNDLE = 0.6
"""Length, as a share of the short side, from which on hairs that cross may fill more, if they are straight."""
STRAIGHT = 0.6
"""Share of crossing hairs that lies in straight pieces of twice the length; lines within a lesion bend sooner."""
FAINT = 0.75
"""Share of the contrast that a hair's faintest pixels have; on the average it has all of it."""
MOST = 0.5
"""Share of an image that hairs cover at most; behind more, nothing is left to paint them over with."""
HAIR_COLOUR = np.array([1.0, 0.78, 0.65], np.float32)
"""Red, green and blue of a hair, by its shade."""
BITS = 4
"""Binary places of a pixel that hairs are drawn to."""


def prepared(image: torch.Tensor, preparation: Preparation) -> torch.Tensor:
    """An image uint8 `[3, height, width]` as its views are taken from it; reduced to the canvas unless only its colours
    change."""
    short = min(image.shape[1:])
    is_redrawn = preparation.hair_removal or preparation.hairs or preparation.function
    if is_redrawn and short > preparation.canvas:
        image = F.resize(image, [preparation.canvas], antialias=True)
    pixels = image.permute(1, 2, 0).contiguous().numpy()
    if preparation.hair_removal:
        pixels = without_hair(pixels, preparation.hair_removal)
    if preparation.constancy:
        pixels = in_white_light(pixels, preparation.constancy)
    if preparation.hairs:
        pixels = with_hairs(pixels, preparation.hairs, preparation.generator("hairs"))
    if preparation.function:
        pixels = applied(preparation.function, pixels, preparation.generator("function"))
    return torch.from_numpy(pixels).permute(2, 0, 1)


def in_white_light(pixels: Pixels, constancy: Constancy) -> Pixels:
    """Colours divided by those of the light, which is taken to be the Minkowski norm of each colour's levels.

    Brightness stays: the gains of an image in white light are 1. Levels cut off at white say nothing of the light.
    """
    counts = np.stack([np.bincount(pixels[..., channel].ravel(), minlength=256) for channel in range(3)])
    levels = np.arange(256) / 255
    seen = counts[:, :255].astype(np.float64) @ levels[:255] ** constancy.power
    if not seen.all():  # a colour is missing altogether, or all is white
        return pixels
    light = (seen / counts[:, :255].sum(axis=1)) ** (1 / constancy.power)
    gains = (np.sqrt(np.square(light).mean()) / light) ** constancy.strength
    tables = np.rint(np.clip(gains[:, None] * np.arange(256), 0, 255)).astype(np.uint8)
    return cv2.LUT(pixels, np.ascontiguousarray(tables.T)[None])


def hair_mask(pixels: Pixels, removal: HairRemoval) -> np.ndarray:
    """Mask of thin, long lines that are darker than what lies beside them: uint8 `[height, width]`, 255 on hair.

    What is darker than both its sides (the black hat) and stays so along a straight piece is part of a hair; pieces
    that touch are one hair, if together they are long and thin.
    """
    height, width = pixels.shape[:2]
    short = min(height, width)
    widest = max(3, round(removal.width * short / 1000)) | 1
    piece = max(7, round(PIECE * short)) | 1
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    edge = widest + 1  # beyond it the image goes on as it ends: the dark rim of a dermatoscope is no line
    grey = cv2.copyMakeBorder(grey, edge, edge, edge, edge, cv2.BORDER_REPLICATE)
    disk = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (widest + 2, widest + 2))
    darker = cv2.morphologyEx(grey, cv2.MORPH_BLACKHAT, disk)[edge:-edge, edge:-edge]
    dark = np.where(darker >= FAINT * removal.contrast, 255, 0).astype(np.uint8)
    found = _straight(dark, piece)
    _, labels, stats, _ = cv2.connectedComponentsWithStats(found, connectivity=8)
    extent = np.hypot(stats[:, cv2.CC_STAT_WIDTH], stats[:, cv2.CC_STAT_HEIGHT])
    area = stats[:, cv2.CC_STAT_AREA]
    is_thin = area <= FULL * widest * extent
    is_bundle = ~is_thin & (extent >= BUNDLE * short)
    is_bundle[0] = False
    if is_bundle.any():
        longer = _straight(np.where(is_bundle[labels], found, 0).astype(np.uint8), 2 * piece + 1)
        is_thin |= is_bundle & (np.bincount(labels.ravel(), longer.ravel() > 0) >= STRAIGHT * area)
    is_dark = np.bincount(labels.ravel(), darker.ravel()) >= removal.contrast * area
    is_hair = is_thin & is_dark & (extent >= LONG * short)
    is_hair[0] = False  # the background
    return np.where(is_hair[labels], 255, 0).astype(np.uint8)


def _straight(mask: np.ndarray, length: int) -> np.ndarray:
    """The straight pieces of a mask, of a length in pixels, whatever their direction."""
    found = np.zeros_like(mask)
    for line in _lines(length):
        found = np.maximum(found, cv2.morphologyEx(mask, cv2.MORPH_OPEN, line))
    return found


def without_hair(pixels: Pixels, removal: HairRemoval) -> Pixels:
    """An image whose hairs are painted over from both sides (Telea's inpainting), where enough is seen between them."""
    mask = hair_mask(pixels, removal)
    if not 0 < (mask > 0).mean() <= MOST:
        return pixels
    return cv2.inpaint(pixels, cv2.dilate(mask, np.ones((3, 3), np.uint8)), 3, cv2.INPAINT_TELEA)


@cache
def _lines(length: int) -> list[np.ndarray]:
    """Straight lines in all directions, as kernels of morphology."""
    kernels, end = [], length // 2
    for angle in np.arange(DIRECTIONS) * math.pi / DIRECTIONS:
        kernel = np.zeros((length, length), np.uint8)
        tip = np.rint(end * np.array([math.cos(angle), math.sin(angle)])).astype(int).tolist()
        cv2.line(kernel, (end - tip[0], end - tip[1]), (end + tip[0], end + tip[1]), 1)
        kernels.append(kernel)
    return kernels


def with_hairs(pixels: Pixels, count: int, rng: np.random.Generator) -> Pixels:
    """An image with hairs drawn over it: bent lines, dark brown; fainter where they are thinner than a pixel."""
    height, width = pixels.shape[:2]
    short, drawn = min(height, width), pixels.astype(np.float32)
    for _ in range(count):
        middle = rng.uniform((0, 0), (width, height))
        direction, bend, length = rng.uniform(0, 2 * math.pi), rng.normal(0, 0.12), short * rng.uniform(0.3, 1.0)
        thickness, depth, shade = short * rng.uniform(0.003, 0.009), rng.uniform(0.6, 0.95), rng.uniform(15, 80)
        along = np.array([math.cos(direction), math.sin(direction)])
        across = np.array([-along[1], along[0]])
        place = np.linspace(-0.5, 0.5, 24)[:, None]
        points = middle + length * (place * along + bend * (1 - 4 * place**2) * across)
        margin = math.ceil(thickness) + 2
        left, top = np.maximum(np.floor(points.min(axis=0)).astype(int) - margin, 0)
        right, bottom = np.maximum(np.ceil(points.max(axis=0)).astype(int) + margin, 0)
        part = drawn[top:bottom, left:right]
        line = np.zeros(part.shape[:2], np.uint8)
        if not line.size:
            continue
        corners = np.rint((points - (left, top)) * 2**BITS).astype(np.int32)
        cv2.polylines(line, [corners], False, 255, max(1, round(thickness)), cv2.LINE_AA, BITS)
        cover = line[..., None] * np.float32(depth * min(1.0, thickness) / 255)
        part += cover * (shade * HAIR_COLOUR - part)
    return np.rint(drawn).astype(np.uint8)
