"""The libraries that backbones come from, by the beginning of a name."""

from __future__ import annotations

from hamcache.extract.names import OPEN_CLIP, TORCHVISION, TRANSFORMERS
from hamcache.extract.sources.source import Source


def library_of(name: str) -> Source:
    """The library that a backbone comes from; what no other one has is timm's."""
    if name.startswith(TORCHVISION):
        from hamcache.extract.sources import torchvision_models

        return torchvision_models
    if name.startswith(OPEN_CLIP):
        from hamcache.extract.sources import open_clip_models

        return open_clip_models
    if name.startswith(TRANSFORMERS):
        from hamcache.extract.sources import transformers_models

        return transformers_models
    from hamcache.extract.sources import timm_models

    return timm_models
