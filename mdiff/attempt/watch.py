"""Over one running job, from its start to its end: passes stop requests on, and kills what does not leave."""

import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from mdiff.attempt.exit_codes import JobEnd
from mdiff.attempt.job_files import read_outcome
from mdiff.attempt.job_process import JobProcess
from mdiff.attempt.log import AttemptLog, last_words
from mdiff.attempt.node import Node, expand
from mdiff.attempt.peers import PeerWatch
from mdiff.attempt.stop import SignalWatch, read_stop, request_stop, stop_request
from mdiff.attempt.torchrun import job_environment
from mdiff.recipe.exchange import StopRequest
from mdiff.recipe.job import JobSpec
from mdiff.run_dir import AttemptDir
from mdiff.units import duration_text


@dataclass(kw_only=True)
class Watch:
    """One node's. `carry_out` is called once."""

    attempt: AttemptDir
    job: JobSpec
    node: Node
    signals: SignalWatch
    log: AttemptLog
    seconds_used: Callable[[], float]
    """By the whole job, this attempt included."""
    poll_seconds: float
    on_look: Callable[[], None]
    """Called about every `poll_seconds` while the job runs."""
    peers: PeerWatch
    stop: StopRequest | None = None
    stop_seen_at: float = 0.0
    """`seconds_used` then."""
    job_was_asked: bool = False

    def carry_out(self) -> JobEnd:
        log_file = self.attempt.log_of(self.node.index)
        environment = job_environment(self.job, self.attempt, os.environ, self.node)
        process = JobProcess(expand(self.job.argv, self.node.variables), environment, log_file)
        was_killed = False
        while (code := process.wait(self.poll_seconds)) is None:
            self.on_look()
            self._look_for_stop()
            why = self._why_kill()
            if why:
                self.log.write(f"killing the job: {why}")
                code, was_killed = process.kill(), True
                break
        return JobEnd(
            exit_code=code,
            outcome=read_outcome(self.attempt),
            stop=read_stop(self.attempt) or self.stop,
            was_killed=was_killed,
            last_words=last_words(log_file),
        )

    def _look_for_stop(self) -> None:
        if self.stop is None:
            self.stop = read_stop(self.attempt) or self._own_request()
            if self.stop is None:
                return
            self.stop_seen_at = self.seconds_used()
            grace = duration_text(self.job.grace_seconds)
            self.log.write(f"stop: {self.stop.reason}, asked by {self.stop.requested_by}; the job has {grace} for its checkpoint")
        if not self.job_was_asked:
            # On a full disk the job cannot be asked; its grace time runs all the same.
            with suppress(OSError):
                request_stop(self.attempt, self.stop)
                self.job_was_asked = True

    def _own_request(self) -> StopRequest | None:
        """Why this supervisor itself wants the job to leave."""
        left = self.seconds_left()
        if self.signals.names:
            return self.signals.request(left)
        if left <= self.job.grace_seconds:
            return stop_request("time_limit", f"time limit of {duration_text(self._limit())}")
        return None

    def _why_kill(self) -> str:
        """Empty while the job may go on."""
        if self.signals.is_impatient:
            return f"second signal ({self.signals.names[-1]})"
        if self.stop is not None and self.seconds_used() - self.stop_seen_at >= self.job.grace_seconds:
            return f"it did not leave within {duration_text(self.job.grace_seconds)}"
        return "its time limit is over" if self.seconds_left() <= 0 else self.peers.why_kill()

    def seconds_left(self) -> float:
        """Of this attempt: what the whole job and the scheduler leave to it."""
        return min(self.job_seconds_left(), self.node.seconds_left())

    def job_seconds_left(self) -> float:
        limit = self.job.time_limit_seconds
        return float("inf") if limit is None else limit - self.seconds_used()

    def _limit(self) -> float:
        limits = (self.job.time_limit_seconds, self.job.attempt_limit_seconds)
        return min((limit for limit in limits if limit is not None), default=0.0)
