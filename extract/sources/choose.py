"""The source that builds a backbone: a run, code of one's own, or a library."""

from __future__ import annotations

from hamcache.extract.names import RANDOM, RUN
from hamcache.extract.sources.libraries import library_of
from hamcache.extract.sources.source import Source


def source_of(name: str) -> Source:
    """The source of a backbone.

    Args:
        name: full name, `random/` left out.
    """
    if name.startswith(RUN):
        from hamcache.extract.sources import tuned_run

        return tuned_run
    from hamcache.extract.sources import own_code

    return own_code if own_code.is_own(name) else library_of(name)


def bare_name(name: str) -> tuple[str, bool]:
    """A name without `random/`, and True if the weights are to be those of a file or the network's own."""
    return name.removeprefix(RANDOM), not name.startswith(RANDOM)
