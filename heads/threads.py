"""One thread for heads: their matrices are small, and the result must not depend on the machine's cores."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from threadpoolctl import threadpool_limits


@contextmanager
def one_thread() -> Iterator[None]:
    """One thread for BLAS, and for PyTorch if it is loaded; what was set before comes back afterwards.

    A sum over several threads is rounded differently, so the same configuration would end elsewhere with another
    number of cores; and on a busy machine threads that wait for each other cost many times what they bring.
    """
    torch = sys.modules.get("torch")
    before = torch.get_num_threads() if torch is not None else 1
    if torch is not None:
        torch.set_num_threads(1)
    try:
        with threadpool_limits(limits=1, user_api="blas"):
            yield
    finally:
        if torch is not None:
            torch.set_num_threads(before)
