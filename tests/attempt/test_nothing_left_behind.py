"""Whoever dies, no process of the job outlives it, and no cent is uncounted."""

import os
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

from mdiff.budget.ledger import billed_usd, read_ledger
from mdiff.units import utc_now
from tests.attempt.conftest import wait_until

# Like torchrun: each worker in a session of its own, and a worker that starts one more.
FAMILY = """
nest = "import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)', sys.argv[1]]); time.sleep(60)"
for _ in range(2):
    subprocess.Popen([sys.executable, "-c", nest, here], start_new_session=True)
progress(10)
time.sleep(0.5)
open(here + "/up", "w").close()
time.sleep(60)
"""


def test_supervisor_killed_by_sigkill_leaves_no_process_and_is_billed_one_interval_more(submit):
    job = submit(FAMILY)
    supervisor = job.start(heartbeat_seconds=0.5)
    job.wait_for("up")
    wait_until(lambda: len(job.processes()) == 6)  # guard, job, two workers, their two children
    supervisor.kill()
    supervisor.wait()
    wait_until(lambda: not job.processes(), seconds=5)
    record = job.record
    assert record.reason is None
    extra = 0.5 * 2
    expected = (record.device_seconds + extra) / 3600 * float(record.price.usd_per_gpu_hour)
    assert abs(float(billed_usd(read_ledger(job.run_dir).records[0], utc_now())) - expected) < 1e-7


def test_guard_killed_by_sigkill_leaves_no_process_and_the_attempt_fails(submit):
    job = submit(FAMILY)
    supervisor = job.start()
    job.wait_for("up")
    os.kill(process_with(job, "mdiff.attempt.guard"), signal.SIGKILL)
    supervisor.communicate(timeout=20)
    assert job.record.reason == "failed"
    assert not job.processes()


def test_what_a_job_leaves_running_when_it_ends_is_killed(submit):
    job = submit(
        "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)', here], start_new_session=True); outcome('completed')"
    )
    assert job.run() == 0
    assert not job.processes()


def test_main_process_of_the_job_killed_takes_its_workers_with_it(submit):
    job = submit(FAMILY)
    supervisor = job.start()
    job.wait_for("up")
    os.kill(process_with(job, "job0.py", without="guard"), signal.SIGKILL)
    supervisor.communicate(timeout=20)
    assert (job.record.reason, "SIGKILL" in job.record.detail) == ("failed", True)
    assert not job.processes()


def test_job_does_not_die_of_a_full_disk_under_the_record_and_nothing_is_lost(submit, tmp_path):
    job = submit(
        "open(here + '/up', 'w').close()\nfor n in range(100):\n    progress(n); time.sleep(0.02)\nprint('ALIVE')\noutcome('completed')"
    )
    supervisor = job.start(heartbeat_seconds=0.2)
    job.wait_for("up")
    wait_until(job.attempt.record.exists)
    # What cannot be replaced is like what cannot be written, and root may write to any file.
    put_in_the_way_of(job.attempt.record)
    wait_until(lambda: "cannot be written" in job.log)
    job.attempt.record.rmdir()
    supervisor.communicate(timeout=25)
    assert supervisor.returncode == 0
    assert "ALIVE" in job.log
    assert "can be written again" in job.log
    assert job.record.device_seconds > 2 * 1.9


def test_job_survives_a_disk_that_is_really_full(submit, tiny_disk, tmp_path):
    job = submit(
        "os.dup2(os.open(here + '/out', os.O_CREAT | os.O_WRONLY), 1)\nopen(here + '/up', 'w').close()\n"
        "while not os.path.exists(here + '/go'): time.sleep(0.02)\nopen(here + '/done', 'w').close()"
    )
    (job.run_dir.path / "attempts").symlink_to(tiny_disk)
    supervisor = job.start(heartbeat_seconds=0.2)
    job.wait_for("up")
    filler = tiny_disk / "filler"
    subprocess.run(["dd", "if=/dev/zero", f"of={filler}", "bs=1k"], capture_output=True, check=False)
    before = job.attempt.record.read_bytes()
    time.sleep(1.0)
    assert supervisor.poll() is None
    assert job.attempt.record.read_bytes() == before, "the record that was there is whole"
    filler.unlink()
    Path(tmp_path / "go").touch()
    supervisor.communicate(timeout=25)
    assert supervisor.returncode == 0
    assert job.record.reason == "completed"
    assert (tmp_path / "done").exists()


def test_job_that_cannot_be_asked_to_stop_because_the_disk_is_full_is_killed_in_time(submit, tiny_disk):
    job = submit("open(here + '/up', 'w').close()\ntime.sleep(60)", grace_seconds=0.5)
    (job.run_dir.path / "attempts").symlink_to(tiny_disk)
    supervisor = job.start(heartbeat_seconds=0.2)
    job.wait_for("up")
    filler = tiny_disk / "filler"
    subprocess.run(["dd", "if=/dev/zero", f"of={filler}", "bs=1k"], capture_output=True, check=False)
    supervisor.terminate()
    wait_until(lambda: not job.processes(), seconds=5)
    filler.unlink()
    supervisor.communicate(timeout=10)
    assert job.record.reason == "cancelled"
    assert "killed" in job.record.detail


def process_with(job, text: str, without: str = "\n") -> int:
    for path in Path("/proc").iterdir():
        if path.name.isdigit():
            try:
                command = (path / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue
            if text in command and str(job.run_dir.path.parent) in command and without not in command:
                return int(path.name)
    raise AssertionError(f"no process with {text}")


def put_in_the_way_of(path: Path) -> None:
    """A folder in the place of a file that somebody keeps writing."""
    while not path.is_dir():
        path.unlink(missing_ok=True)
        with suppress(FileExistsError):
            path.mkdir()
