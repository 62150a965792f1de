"""Work in threads: in order, few items at a time, and over at once after an error or Ctrl-C."""

from threading import Event

import pytest

from hamcache.data.threaded import WINDOW, in_threads


def test_results_come_in_the_order_of_the_items() -> None:
    assert list(in_threads(lambda n: n * n, range(5 * WINDOW + 3), 4)) == [n * n for n in range(5 * WINDOW + 3)]
    assert list(in_threads(str, [], 4)) == []


@pytest.mark.parametrize("kind", [KeyboardInterrupt, ValueError])
def test_what_ends_it_leaves_the_rest_undone(kind: type[BaseException]) -> None:
    done, go = [], Event()

    def work(number: int) -> int:
        if number == 1:
            go.set()
            raise kind
        go.wait(60)
        done.append(number)
        return number

    with pytest.raises(kind):
        list(in_threads(work, range(100 * WINDOW), 2))
    assert len(done) <= WINDOW
