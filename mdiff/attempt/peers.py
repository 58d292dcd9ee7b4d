"""The other nodes of an attempt: what their supervisors report, and what their silence means.

When a job fails on one node, the others may sit in a collective for minutes. So whoever learns of a failure ends its own job:
node 0 by the reports of the others, the others by node 0's roll call. A node that does not answer the roll call has gone.
"""

import time
from collections.abc import Callable

from mdiff.attempt.exit_codes import End
from mdiff.attempt.log import AttemptLog
from mdiff.attempt.node import Node
from mdiff.attempt.persist import keep_trying
from mdiff.recipe.settings import Settings
from mdiff.run_dir import AttemptDir, read_json, replace_file
from mdiff.units import utc_now

ANSWER_SECONDS = 75.0
"""How long node 0 waits for answers: a network file system may show a new file a minute late."""
HURRY_SECONDS = 5.0
"""The same when SLURM is about to kill us."""
LEAVE_SECONDS = 15.0
"""How long a job whose peer has failed may take to notice that itself, and to say what it saw."""
LOOK_SECONDS = 3.0


class NodeReport(Settings):
    """`node-<index>.json`: how the job of another node ended."""

    host: str
    exit_code: int
    last_words: str
    """The line of its log that says most."""
    ended_at: str


def report_end(attempt: AttemptDir, index: int, host: str, exit_code: int, last_words: str) -> None:
    report = NodeReport(host=host, exit_code=exit_code, last_words=last_words, ended_at=utc_now().isoformat())
    replace_file(attempt.node_report(index), report.model_dump_json())


class PeerWatch:
    """Whether another node has failed, looked at now and then; `why_kill` is what a `Watch` asks."""

    def __init__(self, has_failed: Callable[[], bool], clock: Callable[[], float] = time.monotonic) -> None:
        self._has_failed = has_failed
        self._clock = clock
        self._looked_at = float("-inf")
        self._failed_at: float | None = None

    def why_kill(self) -> str:
        """Empty while the job may go on."""
        now = self._clock()
        if self._failed_at is None and now - self._looked_at >= LOOK_SECONDS:
            self._looked_at = now
            self._failed_at = now if self._has_failed() else None
        return "the job has failed on another node" if self._failed_at is not None and now - self._failed_at >= LEAVE_SECONDS else ""


def watch_followers(attempt: AttemptDir, node: Node) -> PeerWatch:
    """For node 0."""
    return PeerWatch(lambda: any(report.exit_code for report in _reports(attempt, node)) or bool(_lost(attempt, node)))


def watch_leader(attempt: AttemptDir, node: Node) -> PeerWatch:
    """For the others: node 0's job has ended with a failure, or node 0 itself has gone."""
    return PeerWatch(lambda: attempt.roll_call.exists() or node.is_superseded())


def end_with_peers(
    end: End, exit_code: int, attempt: AttemptDir, node: Node, log: AttemptLog, sleep: Callable[[float], None] = time.sleep
) -> End:
    """The end as all nodes together know it. A job that fails because another node has gone is `peer_lost`, and comes back.

    Args:
        exit_code: of the job on node 0. One that was asked to stop and failed meanwhile may have lost a peer too: then the
            controller, which had noticed, is who asked.
    """
    was_asked = end.reason in ("preempted", "time_limit")
    if node.count == 1 or not (end.reason == "failed" or (was_asked and exit_code)):
        return end
    ended_at, deadline = utc_now().isoformat(), time.monotonic() + (HURRY_SECONDS if was_asked else ANSWER_SECONDS)
    keep_trying(attempt.roll_call.touch, "the roll call", log, sleep)
    while (silent := _silent(attempt, node)) and not _lost(attempt, node) and time.monotonic() < deadline:
        sleep(0.2)
    silent = sorted({*silent, *_lost(attempt, node)})
    if silent:
        all_nodes = f"nodes {', '.join(map(str, node.members))}" if node.members else f"{node.count}, counted from 0,"
        return End("peer_lost", f"node {', '.join(map(str, silent))} of {all_nodes} has gone; {end.detail}")
    if was_asked:
        return end
    first = min(_reports(attempt, node), key=lambda report: report.ended_at)
    # Who ended before us with an error of its own knows more than we, who saw a connection close.
    return End("failed", f"{first.host}: {first.last_words}") if first.ended_at < ended_at and first.last_words else end


def _silent(attempt: AttemptDir, node: Node) -> list[int]:
    return [peer for peer in node.others if not attempt.node_report(peer).exists()]


def _lost(attempt: AttemptDir, node: Node) -> list[int]:
    return [peer for peer in node.others if attempt.node_lost(peer).exists()]


def _reports(attempt: AttemptDir, node: Node) -> list[NodeReport]:
    found = (read_json(attempt.node_report(peer)) for peer in node.others)
    return [NodeReport.model_validate(report) for report in found if report]
