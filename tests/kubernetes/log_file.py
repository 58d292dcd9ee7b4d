"""A container's output as a node keeps it: each line with the time at which it came, so that readers can ask for a part."""

import os
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

STAMP = "%Y-%m-%dT%H:%M:%S.%fZ"


def copy(pipe: int, path: Path) -> threading.Thread:
    """Copy a pipe's lines to the file until its last writer has closed it; the thread ends then, and the pipe with it."""
    thread = threading.Thread(target=_copy, args=(pipe, path), name=f"log {path.name}")
    thread.start()
    return thread


def _copy(pipe: int, path: Path) -> None:
    with os.fdopen(pipe, "rb") as source, path.open("ab", buffering=0) as log:
        for line in source:
            log.write(stamp(datetime.now(UTC)) + b" " + line.removesuffix(b"\n") + b"\n")


def stamp(time: datetime) -> bytes:
    return time.strftime(STAMP).encode()


def text(path: Path) -> str:
    return b"".join(line.partition(b" ")[2] for line in path.read_bytes().splitlines(keepends=True)).decode(errors="replace")


def select(lines: list[bytes], query: dict[str, str]) -> Iterator[bytes]:
    """Of stored lines those that a request for a log wants, as it wants them: sinceTime, sinceSeconds, tailLines, timestamps.

    >>> stored = [b"2026-11-24T10:00:00.000000Z one\\n", b"2026-11-24T10:00:05.000000Z two\\n"]
    >>> list(select(stored, {"sinceTime": "2026-11-24T10:00:01Z"}))
    [b'two\\n']
    >>> list(select(stored, {"tailLines": "1", "timestamps": "true"}))
    [b'2026-11-24T10:00:05.000000Z two\\n']
    """
    since = _since(query)
    wanted = [line for line in lines if line.partition(b" ")[0] >= since]
    tail = int(query.get("tailLines", len(wanted)))
    for line in wanted[len(wanted) - min(tail, len(wanted)) :]:
        yield line if query.get("timestamps") == "true" else line.partition(b" ")[2]


def _since(query: dict[str, str]) -> bytes:
    if "sinceTime" in query:
        return stamp(datetime.fromisoformat(query["sinceTime"]).astimezone(UTC))
    if "sinceSeconds" in query:
        return stamp(datetime.now(UTC) - timedelta(seconds=int(query["sinceSeconds"])))
    return b""
