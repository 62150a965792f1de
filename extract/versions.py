"""Versions that decide the bits of features: of hamcache's own code, its libraries, the processor."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.metadata import version
from pathlib import Path

LIBRARIES = ("torch", "torchvision", "timm", "numpy", "pillow", "simplejpeg", "opencv-python-headless")
OWN = "hamcache"


@cache
def own_version() -> str:
    """Version of hamcache, and a digest of the code that decides bits: two checkouts may have the same number."""
    from hamcache import cache, data, extract

    digest = hashlib.sha256()
    for package in (cache, data, extract):
        folder = Path(package.__path__[0])
        for file in sorted(folder.rglob("*.py")):
            digest.update(f"{package.__name__}/{file.relative_to(folder).as_posix()}\0".encode())
            digest.update(hashlib.sha256(file.read_bytes()).digest())
    return f"{version(OWN)} (code {digest.hexdigest()[:8]})"


def versions() -> dict[str, str]:
    """The version of everything that decides bits, in the process that calls it."""
    import torch

    from hamcache.extract.precision import has_bf16

    processor = torch.backends.cpu.get_cpu_capability() + (" with bf16" if has_bf16() else "")
    return {OWN: own_version(), **{name: version(name) for name in LIBRARIES}, "processor": processor}
