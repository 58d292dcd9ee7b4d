"""Stop requests: who asks the job to save its work and leave, and why."""

import signal
from types import FrameType, TracebackType
from typing import Literal

from mdiff.recipe.exchange import StopRequest
from mdiff.recipe.site import BackendName
from mdiff.run_dir import AttemptDir, create_file
from mdiff.units import utc_now

StopReason = Literal["budget", "time_limit", "preempted", "cancelled"]

SIGNALS = (signal.SIGTERM, signal.SIGINT)


def stop_request(reason: StopReason, requested_by: str) -> StopRequest:
    return StopRequest(reason=reason, requested_at=utc_now().isoformat(), requested_by=requested_by)


def request_stop(attempt: AttemptDir, request: StopRequest) -> bool:
    """Ask the job of this attempt to stop; False if somebody has asked before, whose reason stands."""
    return create_file(attempt.stop, request.model_dump_json())


def read_stop(attempt: AttemptDir) -> StopRequest | None:
    """The stop request of this attempt. The job takes any file of this name as one, so a file that cannot be read is one too."""
    try:
        return StopRequest.model_validate_json(attempt.stop.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        return StopRequest(reason="cancelled", requested_at="", requested_by=f"unreadable {attempt.stop.name}")


def signal_means(backend: BackendName) -> StopReason:
    """Why the supervisor gets SIGTERM or SIGINT: on this machine a person sends it, a scheduler sends it to free the node."""
    return "cancelled" if backend == "local" else "preempted"


class SignalWatch:
    """Counts the signals that ask this process to leave, instead of dying of them; a context manager.

    A closed terminal (SIGHUP) does not ask for anything.
    """

    def __init__(self) -> None:
        self.names: list[str] = []

    def __enter__(self) -> "SignalWatch":
        self._before = {number: signal.signal(number, self._note) for number in SIGNALS}
        self._before[signal.SIGHUP] = signal.signal(signal.SIGHUP, signal.SIG_IGN)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.names.append(signal.Signals(number).name)
