"""Cached features of frozen image backbones, and every experiment on them in seconds: `from hamcache import Lab`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hamcache.lab import Lab

    __version__: str

__all__ = ["Lab", "__version__"]


def __getattr__(name: str) -> Any:
    """Import `Lab` and look up the version when they are first asked for: `import hamcache` costs next to nothing."""
    if name == "Lab":
        from hamcache.lab import Lab

        return Lab
    if name == "__version__":
        from importlib.metadata import version

        return version("hamcache")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
