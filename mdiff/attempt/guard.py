"""`python -m mdiff.attempt.guard COMMAND ...`: runs the job's command, and leaves no process of it behind.

    supervisor --- guard --- torchrun --- worker, worker ...

The guard's standard input is its tie to the supervisor. When it closes, because the supervisor wants the job dead or is dead
itself (also by SIGKILL, when nobody could clean up), the guard kills everything below it. If the guard is killed, the
command gets the parent-death signal, and what it leaves behind falls to the supervisor.
"""

import contextlib
import os
import select
import signal
import socket
import sys

from mdiff.attempt.process_tree import adopt_orphans, die_with_parent, kill_descendants

KILLED = 128 + signal.SIGKILL


def main(command: list[str]) -> int:
    """The command's exit code; 128 + n if signal n ended it, as a shell says."""
    adopt_orphans()
    woken = watch_signals()
    job = start(command)
    try:
        return wait(job, woken)
    finally:
        kill_descendants(os.getpid())


def watch_signals() -> socket.socket:
    """Readable after each signal. Signals that ask to leave are the supervisor's to answer: here they only wake up."""
    woken, alarm = socket.socketpair()
    for end in (woken, alarm):
        end.setblocking(False)
    signal.set_wakeup_fd(alarm.detach(), warn_on_full_buffer=False)
    for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        # A handler, not SIG_IGN: the command would inherit that.
        signal.signal(number, lambda *_: None)
    return woken


def start(command: list[str]) -> int:
    """Process id of the command, in a process group of its own, its standard input empty."""
    guard = os.getpid()
    pid = os.fork()
    if pid == 0:
        try:
            os.setsid()
            die_with_parent(guard)
            ignore_scheduler()
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            os.execvp(command[0], command)
        except OSError as error:
            print(f"error: cannot start {command[0]}: {error.strerror}", file=sys.stderr, flush=True)
        finally:
            os._exit(127)
    return pid


def ignore_scheduler() -> None:
    """SLURM may send its signals to every process of a step. They are for the supervisor: torchrun would die of SIGUSR2, and
    workers of SIGTERM, without a checkpoint."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)


def wait(job: int, woken: socket.socket) -> int:
    tie = sys.stdin.fileno()
    while (code := reap(job)) is None:
        ready, _, _ = select.select([tie, woken], [], [])
        if tie in ready:
            return KILLED
        with contextlib.suppress(BlockingIOError):
            woken.recv(4096)
    return code


def reap(job: int) -> int | None:
    """Collect children that ended, adopted ones too; the job's exit code if it is among them."""
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return None
            if pid == job:
                code = os.waitstatus_to_exitcode(status)
                return code if code >= 0 else 128 - code
    return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
