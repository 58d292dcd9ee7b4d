"""The supervisor of a node other than node 0: starts the job's command there, and leaves the books to node 0."""

import time
from collections.abc import Callable
from functools import partial

from mdiff.attempt import peers
from mdiff.attempt.exit_codes import EXIT_CODES, START_AGAIN
from mdiff.attempt.job_process import KILL_SECONDS
from mdiff.attempt.log import AttemptLog
from mdiff.attempt.node import JOIN_SECONDS, Node
from mdiff.attempt.persist import keep_trying
from mdiff.attempt.stop import SignalWatch
from mdiff.attempt.supervise import Rhythm
from mdiff.attempt.watch import Watch
from mdiff.budget.liveness import supervisor_is_alive
from mdiff.budget.record import AttemptRecord
from mdiff.recipe.job import Submission
from mdiff.run_dir import AttemptDir, RunDir
from mdiff.units import utc_now

CLOSE_SECONDS = peers.LOOK_SECONDS + peers.LEAVE_SECONDS + KILL_SECONDS + peers.ANSWER_SECONDS + 30.0
"""How long we stay after our job has ended, so that node 0 can write down why: the first task that fails takes the others with it."""
LOOK_SECONDS = 0.2


def follow(run_dir: RunDir, submission: Submission, rhythm: Rhythm, node: Node) -> int:
    """Carry out this node's part of an attempt; the exit code."""
    attempt, job = run_dir.attempt(node.attempt), submission.job
    record = _wait_for_record(attempt, JOIN_SECONDS, lambda _: True)
    if record is None:
        late = f"node 0 did not begin attempt {node.attempt} within {JOIN_SECONDS} s"
        print(f"error: {late}; is {run_dir.path} on a shared file system?", flush=True)
        return START_AGAIN
    if record.reason is not None:
        return EXIT_CODES[record.reason]
    begin = time.monotonic()
    log = AttemptLog(attempt.log_of(node.index))
    with SignalWatch(job.backend, job.grace_seconds) as signals:
        watch = Watch(
            attempt=attempt, job=job, node=node, signals=signals, log=log, poll_seconds=rhythm.poll_seconds,
            # Node 0 knows what earlier attempts used; it asks for the stop.
            seconds_used=lambda: time.monotonic() - begin, on_look=lambda: None, peers=peers.watch_leader(attempt, node),
        )  # fmt: skip
        end = watch.carry_out()
        report = partial(peers.report_end, attempt, node.index, node.host, end.exit_code, end.last_words)
        keep_trying(report, "this node's report", log)
        closed = _wait_for_close(attempt, node)
    # A node 0 that cannot say how it ended has gone; whatever our job said, it must begin anew together with all others.
    return EXIT_CODES[closed.reason] if closed and closed.reason else START_AGAIN


def _wait_for_close(attempt: AttemptDir, node: Node) -> AttemptRecord | None:
    """As long as node 0 lives, it will say how the attempt ended; None if it has gone."""
    while True:
        closed = _wait_for_record(attempt, CLOSE_SECONDS, lambda record: record.reason is not None, node.is_superseded)
        newest = _wait_for_record(attempt, LOOK_SECONDS, lambda _: True)
        if closed or node.is_superseded() or newest is None or not supervisor_is_alive(newest, utc_now(), lambda _: None):
            return closed


def _wait_for_record(
    attempt: AttemptDir, seconds: float, is_wanted: Callable[[AttemptRecord], bool], is_in_vain: Callable[[], bool] = lambda: False
) -> AttemptRecord | None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and not is_in_vain():
        try:
            record = AttemptRecord.model_validate_json(attempt.record.read_bytes())
        except OSError:
            record = None
        if record is not None and is_wanted(record):
            return record
        time.sleep(LOOK_SECONDS)
    return None
