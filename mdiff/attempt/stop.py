"""Stop requests: who asks the job to save its work and leave, and why."""

import signal
from collections.abc import Sequence
from types import FrameType, TracebackType
from typing import Literal

from mdiff.recipe.exchange import StopRequest
from mdiff.recipe.site import BackendName
from mdiff.run_dir import AttemptDir, create_file
from mdiff.units import utc_now

StopReason = Literal["budget", "time_limit", "preempted", "cancelled"]

ASKING = (signal.SIGTERM, signal.SIGINT)
SLURM_NOTICE = signal.SIGUSR2
"""sbatch --signal: sent before the time limit and, where a cluster is set so, before a preemption. After it a job may requeue itself."""
NOTICE_SLACK_SECONDS = 120.0
"""SLURM looks at time limits twice a minute, and sends its notice up to a minute early."""


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


def is_sent_by(numbers: Sequence[signal.Signals], request: StopRequest) -> bool:
    """Whether some node's supervisor asked because of one of these signals."""
    return request.requested_by in [f"signal {number.name}" for number in numbers]


class SignalWatch:
    """Notes the signals that ask this process to leave, instead of dying of them; a context manager.

    A closed terminal (SIGHUP) does not ask for anything.
    """

    def __init__(self, backend: BackendName, grace_seconds: float) -> None:
        self.names: list[str] = []
        self._backend = backend
        self._grace_seconds = grace_seconds

    def __enter__(self) -> "SignalWatch":
        # Under submitit this replaces handlers of its own, one of which ignores SIGTERM.
        asking = (*ASKING, SLURM_NOTICE) if self._backend == "slurm" else ASKING
        self._before = {number: signal.signal(number, self._note) for number in asking}
        self._before[signal.SIGHUP] = signal.signal(signal.SIGHUP, signal.SIG_IGN)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._backend == "slurm":
            # submitit's handler would requeue a job whose end is written down already.
            return
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @property
    def is_impatient(self) -> bool:
        """A person has asked twice. A scheduler that asks again means the same."""
        return self._backend == "local" and len(self.names) > 1

    def request(self, seconds_left: float) -> StopRequest:
        """What the first signal means: on this machine a person sent it, a scheduler sends it to free the node.

        Args:
            seconds_left: of the attempt.
        """
        name = self.names[0]
        reason: StopReason = "cancelled" if self._backend == "local" else "preempted"
        if name == SLURM_NOTICE.name and seconds_left <= self._grace_seconds + NOTICE_SLACK_SECONDS:
            reason = "time_limit"
        return stop_request(reason, f"signal {name}")

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.names.append(signal.Signals(number).name)
