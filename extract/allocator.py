"""The memory allocator, told to keep what the next batch needs.

A forward pass frees the memory of its layers and asks for the same again a moment later. Left alone, glibc hands large
blocks back to the system each time, and every page of the next ones is faulted in and cleared anew: a quarter of the
time of a small network.
"""

from __future__ import annotations

import ctypes
import os
from functools import cache

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX, M_ARENA_MAX = -1, -2, -4, -8  # malloc.h
_SETTINGS = {
    M_MMAP_MAX: 0,  # no block gets a mapping of its own, which would end with it
    M_TRIM_THRESHOLD: 2**31 - 1,  # nor is the top of the heap handed back
    M_TOP_PAD: 128 * 1024**2,  # more than an arena's heap: an empty heap of a thread is then kept, too
    M_ARENA_MAX: 1,  # a new thread shares the main arena: others hold no block of more than 64 MiB
}


@cache
def keep_memory() -> bool:
    """Let this process keep the memory it frees, for the next batch; the earlier, the better, at best before threads.

    Sizes alone decide what is kept, so no bit of a feature changes. Later calls do nothing.

    Returns:
        False where the C library isn't glibc: nothing is done then.
    """
    try:
        os.confstr("CS_GNU_LIBC_VERSION")
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, ValueError, OSError):
        return False
    accepted = [mallopt(name, value) for name, value in _SETTINGS.items()]
    return all(accepted)
