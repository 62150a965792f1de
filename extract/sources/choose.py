"""The source that builds a backbone, by the beginning of its name."""

from __future__ import annotations

from hamcache.extract.names import OPEN_CLIP, RANDOM, RUN, TORCHVISION, TRANSFORMERS
from hamcache.extract.sources.source import Source


def source_of(name: str) -> Source:
    """The source of a backbone; what no other one knows is timm's.

    Args:
        name: full name, `random/` left out.
    """
    if name.startswith(TORCHVISION):
        from hamcache.extract.sources import torchvision_models

        return torchvision_models
    if name.startswith(OPEN_CLIP):
        from hamcache.extract.sources import open_clip_models

        return open_clip_models
    if name.startswith(TRANSFORMERS):
        from hamcache.extract.sources import transformers_models

        return transformers_models
    if name.startswith(RUN):
        from hamcache.extract.sources import tuned_run

        return tuned_run
    from hamcache.extract.sources import own_code, timm_models

    return own_code if own_code.is_own(name) else timm_models


def bare_name(name: str) -> tuple[str, bool]:
    """A name without `random/`, and True if the weights are to be those of a file or the network's own."""
    return name.removeprefix(RANDOM), not name.startswith(RANDOM)
