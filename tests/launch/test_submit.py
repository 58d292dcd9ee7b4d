"""What is refused, in which order, and what a submission writes."""

import shutil
import sys
from decimal import Decimal

import pytest

from mdiff.errors import BudgetExceededError, DataError, LaunchError, MdiffError, RecipeError, UsageError
from mdiff.launch.submit import plan_submission
from mdiff.launch.submit import submit as submit_plan
from mdiff.recipe.job import read_submission
from mdiff.run_dir import RunDir
from tests.launch.conftest import RECIPE, make_checkpoint, order, wait_for_end

WRONG_RECIPE = {"overrides": ["model.dpeth=1"]}
DEAR = {"usd_per_gpu_hour": Decimal("1e6")}


@pytest.mark.parametrize(
    ("stages", "facts", "error"),
    [
        ("9", WRONG_RECIPE, RecipeError),
        ("9", DEAR, UsageError),
        ("1", DEAR | {"backend": None}, UsageError),
        ("2", DEAR, UsageError),
        ("1", DEAR | {"backend": "slurm"}, BudgetExceededError),
        ("1", {"backend": "slurm"}, DataError),
        ("1", {"backend": "kubernetes"}, LaunchError),
        ("1", DEAR, BudgetExceededError),
        ("1", {}, DataError),
    ],
)
def test_first_error_is_the_one_that_can_be_acted_on_first(stages, facts, error):
    with pytest.raises(MdiffError) as caught:
        plan_submission(order(stages, **facts))
    assert type(caught.value) is error, caught.value


def test_missing_data_is_a_refusal_but_only_a_warning_in_a_dry_run():
    with pytest.raises(DataError, match="data set shapes: .*no such data set\n.*mdiff data shapes"):
        plan_submission(order("all"))
    plan = plan_submission(order("all", dry_run=True))
    assert len(plan.warnings) == 1


def test_data_set_that_does_not_fit_the_recipe_is_refused(dataset):
    with pytest.raises(DataError, match="model.caption_length"):
        plan_submission(order(overrides=["model.caption_length=9"]))


def test_planning_writes_nothing(dataset, home):
    before = sorted(home.rglob("*"))
    plan = plan_submission(order("all", dry_run=True))
    plan.render()
    assert sorted(home.rglob("*")) == before


def test_job_is_torchrun_also_for_one_process(dataset, monkeypatch):
    monkeypatch.setattr("mdiff.launch.place.usable_cores", lambda: 1)
    job = plan_submission(order("1-4")).job
    assert job.argv[:8] == (
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nnodes", "1", "--nproc-per-node", "1",
    )  # fmt: skip
    assert job.argv[-2:] == ("--stage", "1-4")
    assert job.environment["OMP_NUM_THREADS"] == "1"


def test_lanes_that_cannot_be_shared_out_are_refused(dataset, monkeypatch):
    monkeypatch.setattr("mdiff.launch.place.usable_cores", lambda: 2)
    with pytest.raises(UsageError, match="data.lanes = 1 must be a multiple of the job's 2 processes"):
        plan_submission(order(overrides=["data.lanes=1"]))


def test_submission_is_what_the_plan_showed(start):
    plan, submission = start("1-2", "outcome('completed')")
    wait_for_end(plan, submission)
    written = read_submission(plan.run_dir, submission.id)
    assert written == submission
    assert written.model_copy(update={"scheduler_job": ""}) == plan.submission
    assert written.scheduler_job.isdigit()


def test_dry_run_shows_the_very_commands_that_are_started(start):
    plan, submission = start("1", "print('PARENT', os.getppid()); outcome('completed')")
    text = plan.render()
    assert f"{sys.executable} -m mdiff.attempt {plan.run_dir.path} {submission.id}" in text.splitlines()
    assert " ".join(plan.job.argv) in text.splitlines()
    assert "export MDIFF_DATASETS=" in text
    wait_for_end(plan, submission)


def test_run_that_is_being_trained_refuses_a_second_job_whatever_the_flags(start):
    _, submission = start("1", "while not asked_to_stop(): time.sleep(0.05)")
    for more in ({}, {"again": True}, {"over_budget_reason": "hurry"}):
        with pytest.raises(UsageError, match=f"is being trained by job {submission.scheduler_job}"):
            plan_submission(order(**more))
    assert plan_submission(order(run="other")).run_dir.name == "other"


def test_stage_needs_the_one_before(dataset, home):
    with pytest.raises(
        UsageError, match=r"stage 3 needs the weights of stage 2, and run shapes has none \(stage 1 has not begun\)\n  Submit --stage 1-4"
    ):
        plan_submission(order("3-4"))
    run_dir = RunDir(home / "runs" / "shapes")
    make_checkpoint(run_dir, 1, RECIPE.stages[0].steps // 2)
    with pytest.raises(UsageError, match=r"stage 1 is at 50\.\d %"):
        plan_submission(order("2"))
    make_checkpoint(run_dir, 1, RECIPE.stages[0].steps)
    assert list(plan_submission(order("2")).stages) == [2]


def test_estimate_covers_the_images_that_remain(dataset, home):
    whole = plan_submission(order("1-2")).estimate.usd
    make_checkpoint(RunDir(home / "runs" / "shapes"), 1, RECIPE.stages[0].steps)
    assert plan_submission(order("1-2")).estimate.usd < whole


def test_stage_that_is_done_is_refused_unless_it_shall_be_trained_again(dataset, home, start):
    run_dir = RunDir(home / "runs" / "shapes")
    make_checkpoint(run_dir, 1, RECIPE.stages[0].steps)
    make_checkpoint(run_dir, 2, 7)
    with pytest.raises(UsageError, match="stage 1 of run shapes is done\n.*--again"):
        plan_submission(order("1"))
    plan, submission = start("2", "outcome('completed')", again=True)
    wait_for_end(plan, submission)
    assert [path.name for path in run_dir.checkpoints.glob("stage-*")] == [f"stage-1-step-{RECIPE.stages[0].steps:06d}"]
    assert len(list(run_dir.checkpoints.glob(".before-*/stage-2-step-000007"))) == 1


def test_settings_of_a_run_that_has_begun_are_frozen(start):
    plan, submission = start("1", "outcome('completed')")
    wait_for_end(plan, submission)
    with pytest.raises(UsageError, match="run shapes has begun with other settings; take another --run NAME\n  model.depth: 4 -> 5"):
        plan_submission(order(overrides=["model.depth=5"]))
    assert plan_submission(order(overrides=["training.log_every_steps=7", "budget.limit_usd=5"])).admission.limit_usd == 5


def test_each_submission_has_its_own_recipe_for_what_may_change(start):
    wait_for_end(*start("1", "outcome('completed')"))
    plan, second = start("1", "outcome('completed')", overrides=["training.log_every_steps=7"])
    wait_for_end(plan, second)
    assert "log_every_steps = 7" in plan.run_dir.submission(second.id).with_suffix(".toml").read_text()
    assert "log_every_steps = 7" not in plan.run_dir.recipe.read_text()


def test_money_that_was_reserved_by_a_job_that_ended_is_free_again(start):
    plan, submission = start("all", "outcome('completed')")
    wait_for_end(plan, submission)
    assert plan_submission(order("all")).admission.committed_usd == 0


def test_over_budget_is_possible_with_a_reason_which_is_recorded(dataset):
    with pytest.raises(BudgetExceededError):
        plan_submission(order(**DEAR))
    plan = plan_submission(order(**DEAR, over_budget_reason="deadline"))
    assert plan.submission.over_budget_reason == "deadline"
    assert not plan.admission.fits


def test_job_that_cannot_start_is_withdrawn_and_says_why(dataset, monkeypatch):
    plan = plan_submission(order())
    monkeypatch.setattr(sys, "executable", shutil.which("false"))
    with pytest.raises(LaunchError, match=r"the job did not start \(exit code 1\)"):
        submit_plan(plan)
    assert read_submission(plan.run_dir, plan.submission.id).withdrawn
    assert plan_submission(order()).admission.committed_usd == 0
