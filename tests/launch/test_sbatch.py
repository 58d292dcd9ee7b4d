"""The batch scripts of the three ways to run on SLURM, compared whole with tests/golden; `just golden` rewrites those on purpose."""

import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from mdiff.budget.estimate import estimate
from mdiff.launch.job import train_job
from mdiff.launch.place import resolve_place
from mdiff.launch.slurm.backend import SlurmBackend
from mdiff.recipe.job import Submission
from mdiff.recipe.load import load_recipe, to_toml
from mdiff.recipe.site import load_site
from mdiff.run_dir import RunDir

ROOT = Path(__file__).parent.parent.parent
SITES = ("slurm", "slurm-pyxis", "slurm-apptainer")
CPUS = 96


def golden(name: str) -> Path:
    return ROOT / "tests/golden" / f"sbatch-{name}.sh"


def submission(site_name: str, **job_fields: object) -> Submission:
    """Stage 1 of microdit-xl at a shipped example site, as its cluster would complete it."""
    recipe, place = load_recipe("microdit-xl"), resolve_place("slurm", ROOT / f"deploy/sites/{site_name}.toml")
    run_dir, stages = RunDir(Path(place.site.runs_dir) / "microdit-xl"), range(1, 2)
    job = train_job(recipe, place, stages, run_dir, "20261124T120000.000000Z-0000", 38 * 3600.0)
    assert job.slurm
    job = job.model_copy(
        update={
            "slurm": job.slurm.model_copy(update={"cpus_per_task": CPUS}),
            "attempt_limit_seconds": min(job.attempt_limit_seconds or 24 * 3600.0, 24 * 3600.0),
            **job_fields,
        }
    )
    cost = estimate(recipe, place.hardware, place.price, stages)
    return Submission(
        id="20261124T120000.000000Z-0000", submitted_at="2026-11-24T12:00:00+00:00", job=job, recipe_toml=to_toml(recipe),
        reservation_usd=cost.usd,
    )  # fmt: skip


def script(site_name: str, **job_fields: object) -> str:
    made = submission(site_name, **job_fields)
    return SlurmBackend().render(RunDir(Path(made.job.run_dir)), made) + "\n"


@pytest.mark.parametrize("site_name", SITES)
def test_batch_script_is_the_golden_one(site_name):
    if os.environ.get("MDIFF_WRITE_GOLDEN"):
        golden(site_name).write_text(script(site_name))
    assert script(site_name) == golden(site_name).read_text()


@pytest.mark.parametrize("site_name", SITES)
def test_batch_script_is_bash(site_name):
    assert subprocess.run(["bash", "-n"], input=script(site_name), text=True).returncode == 0


@pytest.mark.parametrize("path", sorted((ROOT / "deploy/sites").glob("*.toml")), ids=lambda path: path.stem)
def test_example_site_is_valid(path):
    assert load_site(path).price is not None


def test_submitits_own_defaults_do_not_leak_into_the_script():
    assert "wckey" not in script("slurm")
    assert "--time=5\n" not in script("slurm")


def test_dependent_job_dies_with_the_one_it_waits_for():
    text = script("slurm", after="8841207")
    assert "#SBATCH --dependency=afterok:8841207\n" in text
    assert "#SBATCH --kill-on-invalid-dep=yes\n" in text


def test_what_only_the_cluster_knows_is_left_out_where_there_is_none():
    made = submission("slurm-pyxis", attempt_limit_seconds=None)
    assert made.job.slurm
    made = made.model_copy(update={"job": made.job.model_copy(update={"slurm": made.job.slurm.model_copy(update={"cpus_per_task": None})})})
    text = SlurmBackend().render(RunDir(Path(made.job.run_dir)), made)
    assert "--time" not in text
    assert "cpus-per-task" not in text


def test_option_that_has_its_own_setting_is_refused_in_the_table_of_others(tmp_path):
    text = (ROOT / "deploy/sites/slurm.toml").read_text().replace('mail-type = "FAIL"', 'time = "4:00:00"')
    (tmp_path / "site.toml").write_text(text)
    with pytest.raises(Exception, match=r"slurm\.sbatch\.time = .*has a setting of its own"):
        load_site(tmp_path / "site.toml")


def test_job_on_a_cluster_never_asks_the_internet_unless_the_site_says_so():
    place = resolve_place("slurm", ROOT / "deploy/sites/slurm.toml")
    recipe, run_dir = load_recipe("microdit-xl"), RunDir(Path("/runs/x"))
    online = replace(place, site=place.site.model_copy(update={"environment": {"HF_HUB_OFFLINE": "0"}}))
    assert train_job(recipe, place, range(1, 2), run_dir, "id").environment["HF_HUB_OFFLINE"] == "1"
    assert train_job(recipe, online, range(1, 2), run_dir, "id").environment["HF_HUB_OFFLINE"] == "0"
