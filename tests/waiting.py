"""Waiting for something outside of us, such as an engine, but not for ever."""

import time
from collections.abc import Callable


def wait_until(condition: Callable[[], object], seconds: float, complaint: str) -> None:
    assert holds(condition, seconds), f"{complaint} after {seconds} s"


def holds(condition: Callable[[], object], seconds: float) -> bool:
    """Whether the condition comes true within this time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() >= deadline:
            return False
        time.sleep(0.1)
    return True
