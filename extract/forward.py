"""The one forward path: draw the views of an image, fit them to each network, fill a batch, run the network.

Extractions and predictions of new images both go through here; that is why they agree to the last bit.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from queue import SimpleQueue

import numpy as np
import torch

from hamcache.data.image_files import refusal
from hamcache.extract.backbones import Backbone
from hamcache.extract.draws import ViewDraw
from hamcache.extract.errors import AugmentationError
from hamcache.extract.kernels import ImageViews

BATCH, GPU_BATCH = 16, 64
"""Images in one forward pass on a processor, whose cache it fits, and on a GPU, always: empty places are filled with
zeros, so that the features of an image never depend on which other images were computed with it."""

FittedViews = dict[ViewDraw, torch.Tensor]
"""Views of one image as a network sees them, uint8 `[3, *size]`, by draw."""


def batch_size(device: str) -> int:
    """Images in one forward pass on a kind of device."""
    return GPU_BATCH if device == "cuda" else BATCH


def use_one_thread() -> None:
    """Let PyTorch compute with one thread: the sums of a product must not depend on how many cores there are.

    Nothing is lost: there is one task per core.
    """
    torch.set_num_threads(1)


def fit_views(
    image: torch.Tensor, draws: Sequence[Iterable[ViewDraw]], backbones: Sequence[Backbone]
) -> list[FittedViews]:
    """Draw and fit the views of one image that each network needs; networks share what was drawn.

    Args:
        image: uint8 `[3, height, width]`.
        draws: of each network; repeats are done once.
        backbones: the networks.

    Raises:
        BadImageError: a view of this image can't be drawn.
        AugmentationError: a step of one's own fails.
    """
    try:
        views = ImageViews(image)
        return [
            {draw: views.fitted(draw, backbone.preprocessing.frame) for draw in needed}
            for needed, backbone in zip(draws, backbones, strict=True)
        ]
    except AugmentationError:  # a mistake in code of one's own is no image's fault
        raise
    except Exception as error:  # whatever one image does to a transform, it must not cost the others
        raise refusal(error, "drawn") from error


def forward(
    backbone: Backbone, views: Mapping[int, torch.Tensor], kinds: Sequence[str], device: str
) -> dict[str, np.ndarray]:
    """Features float32 `[len(views), dim]` of each kind.

    Args:
        backbone: the network.
        views: uint8 `[3, *size]` by place in the batch, 0 <= place < `batch_size(device)`.
        kinds: kinds of features.
        device: `cpu` or `cuda`.
    """
    use_one_thread()
    shape = (batch_size(device), 3, *backbone.preprocessing.size)
    batch = torch.zeros(shape, dtype=torch.uint8, pin_memory=device == "cuda")
    for place, view in views.items():
        batch[place] = view
    with _turn(device):
        features = backbone.features(batch.to(device, non_blocking=True), kinds)
        return {kind: vectors.cpu().numpy()[list(views)] for kind, vectors in features.items()}


_streams: SimpleQueue[torch.cuda.Stream | None] = SimpleQueue()
for _ in range(2):
    _streams.put(None)  # made when it is first needed, where there is a GPU


@contextmanager
def _turn(device: str) -> Iterator[None]:
    """A turn on the device: a GPU copies one batch while it computes another, and holds no more than these two."""
    if device != "cuda":
        yield
        return
    stream = _streams.get() or torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())  # in which networks are loaded
    try:
        with torch.cuda.stream(stream):
            yield
    finally:
        _streams.put(stream)
