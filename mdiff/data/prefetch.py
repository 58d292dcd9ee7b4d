"""Work ahead in a thread."""

import queue
import threading
from collections.abc import Iterator
from typing import Generic, TypeVar

Item = TypeVar("Item")
POLL_SECONDS = 0.1
"""How long the thread takes at most to notice that nobody wants its items any more."""


class Prefetcher(Generic[Item]):
    """The items of an iterator, up to `depth` of them ready. What the iterator raises is raised by `next`, in its place."""

    def __init__(self, items: Iterator[Item], depth: int) -> None:
        self._items = items
        self._ready: queue.Queue[Item | _End] = queue.Queue(maxsize=depth)
        self._closed = threading.Event()
        self._end: _End | None = None
        self._thread = threading.Thread(target=self._work, name="prefetch", daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[Item]:
        return self

    def __next__(self) -> Item:
        if self._end is None:
            item = self._ready.get()
            if not isinstance(item, _End):
                return item
            self._end = item
        raise self._end.error

    def close(self) -> None:
        """Stop the thread and wait for it. `next` ends the iteration from here on."""
        self._closed.set()
        self._thread.join()
        self._end = _End(StopIteration())

    def _work(self) -> None:
        try:
            for item in self._items:
                if not self._put(item):
                    return
            self._put(_End(StopIteration()))
        except Exception as error:  # It belongs to the consumer, who re-raises it.
            self._put(_End(error))

    def _put(self, item: "Item | _End") -> bool:
        """False if the consumer has gone."""
        while not self._closed.is_set():
            try:
                self._ready.put(item, timeout=POLL_SECONDS)
                return True
            except queue.Full:
                continue
        return False


class _End:
    """Stands in the queue after the last item."""

    def __init__(self, error: Exception) -> None:
        self.error = error
