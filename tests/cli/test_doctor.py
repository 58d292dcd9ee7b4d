"""`mdiff doctor`, on a cluster of shell scripts and on this machine."""

import json
import sys
from pathlib import Path

import pytest

from tests.cli.slurm_scripts import BUSY, CONFIG, Scripts

SITE = """
backend = "slurm"
[hardware]
device = "H100"
[price]
usd_per_gpu_hour = 2.99
source = "contract"
read_on = "2026-11-20"
[slurm]
partition = "h100"
"""


NODE = """
import json, sys
marker, token = sys.argv[1:]
open(marker + ".node", "w").write(token)
reads = open(marker).read() == token
print("mdiff-doctor " + json.dumps({"node": "gpu-03", "python": True, "reads": reads, "writes": True, "lacks": {}}))
"""


@pytest.fixture
def cluster(home: Path) -> Scripts:
    """Its compute nodes have an interpreter that answers at once, whatever it is told to run."""
    scripts = Scripts(home / "bin")
    scripts.write("python-of-nodes", f"shift 2; exec {sys.executable} -S - \"$@\" <<'END'\n{NODE}END")
    return scripts


@pytest.fixture
def python(cluster: Scripts) -> str:
    return str(cluster.folder / "python-of-nodes")


@pytest.fixture
def site(site_file, python):
    """Write a site file: the usual one, and more lines of [slurm] or further tables."""
    return lambda more="", text=SITE: site_file(f'{text}python = "{python}"\n{more}')


def findings(mdiff, line="doctor --backend slurm", code=0):
    result = mdiff(f"{line} --json")
    assert result.code == code, result.out + result.err
    return {row["check"]: row for row in json.loads(result.out)}


def test_healthy_cluster_is_a_page_of_ok(mdiff, site, python, home):
    site()
    result = mdiff("doctor")
    assert result.out.splitlines() == [
        "  ok    sbatch, srun, squeue, scontrol, sinfo, sacct 24.05.3",
        "  ok    Slurmctld(primary) at ctl is UP",
        "  ok    partition h100: 12 nodes x 8 h100, 96 CPUs each, MaxTime 4 h 0 min",
        "  ok    price: $2.99 per GPU-hour (contract, read 2026-11-20)",
        "  ok    requeue: JobRequeue=1",
        "  ok    preemption: none on this cluster",
        "  ok    accounting: sacct answers, and counts GPUs",
        f"  ok    run directory {home}/runs can be written from here",
        f"  ok    run directory {home}/runs is read and written from gpu-03",
        f"  ok    interpreter {python} on gpu-03: mdiff, torch, submitit",
        "0 failures, 0 warnings",
    ]
    assert result.code == 0
    assert list((home / "runs").iterdir()) == []


def test_trial_job_asks_for_what_the_site_says(mdiff, site, cluster):
    site('account = "vision"\nqos = "night"\n[slurm.sbatch]\nexclude = "gpu-07"\nmail-type = "FAIL"')
    assert mdiff("doctor").code == 0
    call = (cluster.folder / "srun-calls.txt").read_text()
    assert "--partition=h100 --account=vision --qos=night --exclude=gpu-07 --nodes=1 --ntasks=1 --time=2 --job-name=mdiff-doctor" in call
    assert "--immediate=45" in call
    assert "mail-type" not in call


def test_real_interpreter_is_tried_by_importing(mdiff, site_file, home):
    Scripts(home / "bin")
    site_file(SITE)
    found = findings(mdiff)
    assert found["interpreter"]["detail"].startswith(f"interpreter {sys.executable} on ")
    assert found["interpreter"]["verdict"] == "ok"


def test_interpreter_that_the_node_lacks_still_tells_of_the_run_directory(mdiff, site_file, cluster, home):
    site_file(f'{SITE}python = "/nowhere/python"\n')
    found = findings(mdiff, code=4)
    assert found["interpreter"]["verdict"] == "fail"
    assert "/nowhere/python is not visible from " in found["interpreter"]["detail"]
    assert found["shared run directory"]["verdict"] == "ok"


def test_run_directory_that_the_node_does_not_see_is_a_failure_with_its_remedy(mdiff, site, cluster):
    site()
    report = '{"node": "gpu-03", "python": true, "reads": false, "writes": false, "lacks": {"torch": "No module named torch"}}'
    cluster.srun(f"echo 'mdiff-doctor {report}'")
    result = mdiff("doctor")
    assert result.code == 4
    lines = result.out.splitlines()
    row = next(index for index, line in enumerate(lines) if line.endswith("/runs is not visible from gpu-03"))
    assert lines[row].startswith("  fail  run directory ")
    assert lines[row + 1].startswith("          put it on a shared file system:  runs_dir = ")
    assert lines[row + 2].endswith("cannot train: No module named torch")
    assert lines[-1] == "2 failures, 0 warnings"


def test_no_free_node_is_a_warning(mdiff, site, cluster):
    site()
    cluster.srun(BUSY)
    found = findings(mdiff)
    assert found["compute node"]["detail"] == "compute node: could not try it: no free node within 45 s"


def test_refused_trial_job_shows_srun_s_words(mdiff, site, cluster):
    site()
    cluster.srun("echo 'srun: error: Unable to allocate resources: Invalid account' >&2; exit 1")
    found = findings(mdiff, code=4)
    assert found["compute node"]["detail"].endswith("exit code 1: srun: error: Unable to allocate resources: Invalid account")


def test_trial_job_that_hangs_is_ended_and_told(mdiff, site, cluster, monkeypatch, home):
    monkeypatch.setattr("mdiff.launch.slurm.probe.PROBE_SECONDS", 0.5)
    site()
    cluster.srun("trap 'touch given-back; exit 1' TERM; while :; do sleep 0.05; done")
    assert findings(mdiff)["compute node"]["verdict"] == "warn"
    assert (home / "given-back").exists()


def test_container_s_interpreter_runs_through_apptainer(mdiff, site, cluster, home):
    image = home / "mdiff.sif"
    image.touch()
    cluster.write(
        "apptainer",
        f'if [ "$1" = --version ]; then echo apptainer version 1.3.4; exit; fi\nwhile [ "$1" != {image} ]; do shift; done; shift; exec "$@"',
    )
    site(f'[container]\nruntime = "apptainer"\nimage = "{image}"\npython = "{cluster.folder}/python-of-nodes"')
    found = findings(mdiff)
    assert found["container"]["detail"] == "apptainer version 1.3.4"
    assert found["interpreter"]["verdict"] == "ok"
    assert "from the container on gpu-03" in found["shared run directory"]["detail"]


def test_pyxis_that_is_not_there_and_a_missing_image_are_failures(mdiff, site):
    site('[container]\nruntime = "pyxis"\nimage = "/nowhere/mdiff.sqsh"')
    found = findings(mdiff, code=4)
    assert found["image"]["detail"] == "image /nowhere/mdiff.sqsh is not there"
    assert found["container"]["detail"] == "srun has no --container-image: pyxis is not installed"


@pytest.mark.parametrize(
    ("old", "new", "check", "verdict", "words"),
    [
        ('partition = "h100"', 'partition = "h200"', "partition", "fail", 'slurm.partition = "h200": no such partition; this cluster has: cpu, h100, a100'),
        ('device = "H100"', 'device = "H100"\nnodes = 20', "hardware", "fail", "a job takes 20 nodes of 8 GPUs; partition h100 has 12"),
        ('device = "H100"', 'device = "H100"\ndevices_per_node = 16', "hardware", "fail", "a job takes 1 node of 16 GPUs; partition h100 has 0"),
        ('device = "H100"', 'device = "A100"', "device", "warn", "the site says A100, and partition h100 has h100"),
        ("[slurm]", "[slurm]\ntime_limit_hours = 9.0", "partition", "fail", "partition h100 allows at most 4 h 0 min"),
    ],
)  # fmt: skip
def test_site_that_does_not_fit_the_cluster(mdiff, site, old, new, check, verdict, words):
    site(text=SITE.replace(old, new))
    found = mdiff("doctor --json")
    row = next(row for row in reversed(json.loads(found.out)) if row["check"] == check)
    assert row["verdict"] == verdict
    assert words in row["detail"]
    assert found.code == (4 if verdict == "fail" else 0)


@pytest.mark.parametrize(
    ("old", "new", "check", "words"),
    [
        (
            "JobRequeue              = 1",
            "JobRequeue = 0",
            "requeue",
            "requeue: JobRequeue=0 on this cluster; jobs ask for it themselves (--requeue)",
        ),
        ("= preempt/none", "= preempt/qos", "preemption", "a preempted job gets only SIGTERM"),
        (",gres/gpu", "", "accounting", "AccountingStorageTRES lacks gres/gpu"),
    ],
)
def test_settings_of_the_cluster_that_cost_something_are_warnings(mdiff, site, cluster, old, new, check, words):
    site()
    cluster.config(CONFIG.replace(old, new))
    row = findings(mdiff)[check]
    assert row["verdict"] == "warn"
    assert words in row["detail"]


def test_preemption_that_is_announced_is_fine(mdiff, site, cluster):
    site()
    cluster.config(CONFIG.replace("preempt/none", "preempt/qos").replace("(null)", "foo,preempt_send_user_signal"))
    assert findings(mdiff)["preemption"]["verdict"] == "ok"


def test_cluster_without_accounting_bills_by_the_meter(mdiff, site, cluster):
    site()
    cluster.write("sacct", "echo 'Slurm accounting storage is disabled' >&2; exit 1")
    row = findings(mdiff)["accounting"]
    assert row["verdict"] == "warn"
    assert row["detail"].endswith("Slurm accounting storage is disabled; jobs are billed by the meter alone")


def test_dead_controller_stops_the_rest(mdiff, site, cluster):
    site()
    cluster.config("", ping="Slurmctld(primary) at ctl is DOWN")
    result = mdiff("doctor")
    assert result.code == 4
    assert result.out.splitlines()[1].startswith("  fail  controller: Slurmctld(primary) at ctl is DOWN")
    assert result.out.splitlines()[-1] == "1 failure, 1 warning"


def test_odd_answer_is_a_line_and_no_traceback(mdiff, site, cluster):
    site()
    cluster.sinfo("zfs: permission denied")
    assert findings(mdiff, code=4)["partition"]["detail"].startswith("partition: ")


def test_machine_without_slurm_is_told_where_to_go(mdiff, site_file, monkeypatch, home):
    site_file(SITE)
    monkeypatch.setenv("PATH", str(home / "bin"))
    result = mdiff("doctor")
    assert result.code == 4
    assert "run this on a login node of the cluster" in result.out


def test_unknown_price_is_a_failure(mdiff, site_file):
    site_file('backend = "local"\n[hardware]\ndevice = "cpu"')
    found = findings(mdiff, "doctor", code=4)
    assert found["price"]["verdict"] == "fail"
    assert "mdiff site init --backend local" in found["price"]["fix"]


def test_without_a_site_file_it_is_this_machine_that_is_examined(mdiff, home):
    found = findings(mdiff, "doctor")
    assert list(found) == ["cores", "gpus", "packages", "run directory", "price"]
    assert {row["verdict"] for row in found.values()} == {"ok"}
    assert (home / "runs").is_dir()


def test_gpus_that_are_not_there_are_missed(mdiff, site_file):
    site_file(SITE.replace('"slurm"', '"local"').split("[slurm]")[0])
    assert findings(mdiff, "doctor", code=4)["gpus"]["detail"] == "nvidia-smi shows 0 GPUs, and the site says 8 x H100"


def test_run_directory_that_cannot_be_written_is_a_failure(mdiff, home):
    (home / "file").touch()
    found = findings(mdiff, "doctor --runs-dir file/runs", code=4)
    assert found["run directory"]["detail"] == f"run directory {home}/file/runs cannot be written: Not a directory"
