"""A function over many items in threads, in an order that Ctrl-C can end."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

WINDOW = 64
Item = TypeVar("Item")
Result = TypeVar("Result")


def in_threads(function: Callable[[Item], Result], items: Sequence[Item], threads: int) -> Iterator[Result]:
    """Yield `function(item)` of each item, in order.

    Few are handed out at a time: an interrupt that comes while thousands are being queued may leave one of the queue's
    locks taken, and then nothing ends any more.
    """
    with ThreadPoolExecutor(max_workers=threads) as pool:
        try:
            for start in range(0, len(items), WINDOW):
                yield from pool.map(function, items[start : start + WINDOW])
        except BaseException:  # Ctrl-C too: without this, leaving the pool would first do what was handed out
            pool.shutdown(cancel_futures=True)
            raise
