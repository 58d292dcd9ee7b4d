"""`submit`, `status`, `logs`, `cancel` as people see them."""

import json
import os
import pty
import subprocess
import sys
import time

import pytest
from mdiff_cli.live import LineView, follow_job
from mdiff_cli.status_text import bar, status_lines

from mdiff.launch.status import read_status
from tests.attempt.conftest import wait_until
from tests.cli.test_main import START
from tests.launch.conftest import wait_for_end

POLITE = "progress(970, loss=0.5, images_per_second=1402.0, mfu=0.4)\nwhile not asked_to_stop(): time.sleep(0.02)\noutcome('stopped')"


def test_plan_shows_place_data_price_estimate_budget(mdiff, dataset):
    result = mdiff("submit --stage 1-2 --recipe shapes --backend local --dry-run --usd-per-gpu-hour 0.1")
    assert result.code == 0
    assert result.err.splitlines()[0].startswith("shapes  stage 1  16 px, 75 % masked, ")
    rows = {line.split()[0]: line for line in result.err.splitlines()[3:] if line.strip()}
    assert list(rows) == ["where", "data", "price", "estimate", "budget", "time", "run"]
    assert f"{dataset}   300 images" in rows["data"]
    assert "$0.1 per process-hour (--usd-per-gpu-hour)" in rows["price"]
    assert "assumed" in rows["estimate"]
    assert "$0.15 - $0.00 spent - $0.00 committed = $0.15 left" in rows["budget"]


def test_dry_run_is_a_shell_script_on_standard_output(mdiff, dataset, home):
    result = mdiff("submit --stage 1 --recipe shapes --backend local --dry-run")
    assert subprocess.run(["bash", "-n"], input=result.out, text=True).returncode == 0
    assert f"{sys.executable} -m torch.distributed.run --standalone --nnodes 1 --nproc-per-node" in result.out
    assert not (home / "runs").exists()
    job = json.loads(mdiff("submit --stage 1 --recipe shapes --backend local --dry-run --json").out)["job"]
    assert job["argv"][1:3] == ["-m", "torch.distributed.run"]


@pytest.mark.parametrize(
    ("line", "code", "message"),
    [
        ("submit --stage 5", 2, "error: --stage 5: microdit-xl has stages 1-4; write one (2), a range (2-4) or `all`"),
        ("submit --stage 1", 2, "error: --backend: say where to run: local, slurm or kubernetes"),
        ("submit --stage 1 --backend moon", 2, "error: --backend moon: must be local, slurm or kubernetes"),
        ("submit --stage 1-4 --backend slurm --usd-per-gpu-hour 4.50", 3, "error: does not fit the budget: $2,0"),
        ("submit --stage 1 --backend slurm", 5, "error: data set sa1b: "),
        ("submit --stage 1 --backend kubernetes", 4, "error: no kubeconfig ("),
        ("submit --stage 1 --backend slurm --dry-run=server", 2, "error: --dry-run=server: slurm has no server"),
        ("submit --stage 1 --backend kubernetes --again", 2, "error: --again: checkpoints on a cluster's volume"),
        ("submit --stage 2 --backend slurm", 2, "error: stage 2 needs the weights of stage 1, and run microdit-xl has none"),
        ("submit --stage 1 --recipe shapes --backend local", 5, "error: data set shapes: "),
        ("status", 4, "error: no run in "),
        ("logs", 4, "error: no run in "),
        ("cancel --run shapes", 4, "error: run shapes in "),
    ],
)
def test_mistake_has_its_exit_code_and_its_words(mdiff, line, code, message):
    result = mdiff(line)
    assert (result.code, result.out) == (code, "")
    assert result.err.startswith(message)


def test_submit_without_a_terminal_does_not_ask_and_tells_the_job(mdiff, dataset, monkeypatch):
    monkeypatch.setattr("mdiff.launch.job.torchrun", lambda *_: (sys.executable, "-c", "print('trained')"))
    result = mdiff("submit --stage 1 --recipe shapes --backend local --json")
    assert result.code == 0, result.err
    fields = json.loads(result.out)
    assert fields["run"] == "shapes"
    assert fields["job"].isdigit()
    assert mdiff("logs -f").out.startswith("trained\n")
    assert mdiff("status").out.startswith(f"shapes    job {fields['job']}  local  COMPLETED\n")
    os.waitpid(int(fields["job"]), os.WNOHANG)


def test_submit_at_a_terminal_asks_and_takes_no_for_an_answer(dataset, home):
    ours, theirs = pty.openpty()
    line = ["submit", "--stage", "1", "--recipe", "shapes", "--backend", "local"]
    process = subprocess.Popen([*START, *line], stdin=theirs, stdout=theirs, stderr=theirs, close_fds=True)
    os.close(theirs)
    os.write(ours, b"n\n")
    assert process.wait(timeout=20) == 1
    assert b"Submit? [y/N]" in os.read(ours, 100_000)
    os.close(ours)
    assert not (home / "runs").exists()


def test_status_shows_place_speed_money_and_the_next_command(mdiff, start):
    plan, submission = start("1", POLITE)
    wait_until(lambda: read_status(plan.run_dir).progress)
    lines = mdiff("status").out.splitlines()
    assert lines[0] == f"shapes    job {submission.scheduler_job}  local  RUNNING"
    assert "images/s/process   40.0 % MFU   stage 1 done in about" in lines[2]
    assert lines[3] == "  loss      0.5000"
    assert lines[4].startswith("  money     $0.00")
    assert "of $0.15   forecast for all stages $" in lines[4]
    fields = json.loads(mdiff("status --json").out)
    assert (fields["state"], fields["progress"]["stage"]) == ("RUNNING", 1)
    assert all(len(line) <= 80 for line in lines)


def test_cancel_asks_the_job_and_logs_follow_it_to_its_end(mdiff, start):
    plan, submission = start("1", POLITE)
    wait_until(lambda: read_status(plan.run_dir).progress)
    result = mdiff("cancel")
    assert result.code == 0
    assert f"shapes: asked job {submission.scheduler_job} to stop" in result.out
    followed = mdiff("logs -f -n 0")
    assert followed.code == 1
    assert 'attempt ends with reason "cancelled"' in followed.out
    assert "ended     cancelled: asked by" in mdiff("status").out
    assert mdiff("cancel").code == 4


def test_failed_job_sends_the_reader_to_its_log(mdiff, start):
    plan, submission = start("1", "raise ValueError('width 7 is odd')")
    wait_for_end(plan, submission)
    out = mdiff("status").out
    assert "FAILED" in out
    assert "ended     failed: ValueError: width 7 is odd" in out
    assert out.endswith("Next: mdiff logs --run shapes\n")
    assert "ValueError: width 7 is odd" in mdiff("logs -n 3").out


def test_followed_job_is_told_in_lines_without_a_terminal(start, capsys):
    plan, submission = start("1-2", "progress(10, loss=0.5); time.sleep(0.4); progress(20, stage=2); time.sleep(0.4); outcome('completed')")
    assert follow_job(plan.run_dir, submission.id, sleep=lambda _: time.sleep(0.05)) == "COMPLETED"
    lines = capsys.readouterr().out.splitlines()
    assert any("stage 1  step 1/100  loss 0.5000" in line for line in lines)
    assert any("stage 2  step 2/100" in line for line in lines)
    assert lines[-1].startswith("completed")


def test_followed_job_has_a_bar_for_each_stage_at_a_terminal(start):
    pytest.importorskip("rich")
    from mdiff_cli.live_bars import BarView

    plan, _ = start("1-2", "progress(10, stage=2); time.sleep(1); outcome('completed')")
    wait_until(lambda: read_status(plan.run_dir).progress)
    status = read_status(plan.run_dir)
    first = status.model_copy(update={"progress": status.progress.model_copy(update={"stage": 1})})
    bars = BarView()
    bars(first)
    bars(status)
    assert [(task.description, task.completed, task.total) for task in bars._bars.tasks] == [("stage 1", 100, 100), ("stage 2", 1, 100)]


def test_lines_come_at_each_stage_and_else_now_and_then(start, capsys):
    plan, submission = start("1", "progress(10); outcome('completed')")
    wait_for_end(plan, submission)
    status = read_status(plan.run_dir)
    now = [0.0]
    view = LineView(lambda: now[0])
    for moment in (0, 1, 5, 11, 12):
        now[0] = moment
        view(status)
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_bar_is_full_only_at_the_end():
    assert (bar(0, 4), bar(0.99, 4), bar(1, 4)) == ("....", "###.", "####")


def test_status_of_a_job_that_has_told_nothing_yet_is_short(start):
    from mdiff.units import utc_now

    plan, _ = start("1", "time.sleep(5)")
    lines = list(status_lines(read_status(plan.run_dir), utc_now()))
    assert [line.split()[0] for line in lines] == ["shapes", "money"]
