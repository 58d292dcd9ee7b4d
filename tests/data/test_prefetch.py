import threading

import pytest

from mdiff.data.prefetch import Prefetcher


def test_items_arrive_in_order_and_then_end():
    ahead = Prefetcher(iter(range(20)), depth=3)
    assert list(ahead) == list(range(20))
    assert list(ahead) == []
    ahead.close()


def test_error_in_the_thread_reaches_the_consumer_after_the_items_before_it():
    def broken():
        yield 1
        raise ValueError("no more")

    ahead = Prefetcher(broken(), depth=3)
    assert next(ahead) == 1
    for _ in range(2):
        with pytest.raises(ValueError, match="no more"):
            next(ahead)
    ahead.close()


def test_close_stops_a_thread_whose_items_nobody_takes():
    def endless():
        while True:
            yield 0

    before = threading.active_count()
    ahead = Prefetcher(endless(), depth=1)
    ahead.close()
    assert threading.active_count() == before
    with pytest.raises(StopIteration):
        next(ahead)
