"""`site init` and `doctor`, answered by a real cluster."""

import json
import sys

from mdiff.recipe.site import load_site
from tests.slurm.cluster import NODES
from tests.waiting import wait_until

INIT = ("site", "init", "--backend", "slurm", "--usd-per-gpu-hour", "2.99", "--price-source", "contract", "--force", "--yes")


def test_new_site_file_is_one_with_which_the_doctor_has_no_quarrel(user):
    path = user.mdiff(*INIT, "--runs-dir", str(user.home / "runs"), "--nodes", "2").stdout.strip()
    site = load_site(user.home / ".config/mdiff/site.toml")
    assert path == str(user.home / ".config/mdiff/site.toml")
    assert (site.name, site.slurm.partition) == ("mdiff", "main")
    assert (site.hardware.nodes, site.hardware.devices_per_node) == (2, 8)
    lines = user.mdiff("doctor", "--backend", "slurm").stdout.splitlines()
    assert lines[-1] == "0 failures, 0 warnings", "\n".join(lines)
    assert "  ok    partition main: 2 nodes x 8 GPUs, 4 CPUs each, MaxTime unlimited" in lines
    assert f"  ok    run directory {user.home}/runs is read and written from node1" in lines
    assert f"  ok    interpreter {sys.executable} on node1: mdiff, torch, submitit" in lines
    assert list((user.home / "runs").iterdir()) == []


def test_interpreter_that_is_on_no_node_fails_with_its_remedy(user):
    path = user.home / ".config/mdiff/site.toml"
    user.site(f'{path.read_text()}\n[slurm]\npython = "/nowhere/python"\n')
    out = user.mdiff("doctor", "--backend", "slurm", expect=4).stdout
    assert "  fail  interpreter /nowhere/python is not visible from node1" in out


def test_wrong_partition_is_refused_by_name_and_by_slurm(user):
    path = user.home / ".config/mdiff/site.toml"
    user.site(f'{path.read_text()}\n[slurm]\npartition = "nope"\n')
    out = user.mdiff("doctor", "--backend", "slurm", expect=4).stdout
    assert 'slurm.partition = "nope": no such partition; this cluster has: main, short, high' in out
    assert "Invalid partition name specified" in out


def test_full_cluster_is_no_failure_and_nothing_stays_in_the_queue(user, cluster):
    cluster.command("sbatch", f"--nodes={NODES}", "--exclusive", "--output=/dev/null", "--wrap", "sleep 90")
    wait_until(lambda: cluster.idle_nodes() == 0, 20, "the job does not start")
    found = json.loads(user.mdiff("doctor", "--backend", "slurm", "--json").stdout)
    rows = {row["check"]: row for row in found}
    assert rows["compute node"]["detail"] == "compute node: could not try it: no free node within 45 s"
    assert "mdiff-doctor" not in cluster.command("squeue", "-h", "-o", "%j")


def test_cluster_that_says_less_is_warned_of_and_needs_no_account(user_without_accounting):
    cluster = user_without_accounting.cluster
    user_without_accounting.mdiff(*INIT)
    found = json.loads(user_without_accounting.mdiff("doctor", "--backend", "slurm", "--json").stdout)
    rows = {row["check"]: row for row in found}
    assert rows["accounting"]["verdict"] == "warn"
    assert rows["accounting"]["detail"].endswith("jobs are billed by the meter alone")
    assert rows["preemption"]["verdict"] == ("ok" if cluster.notice_at_preemption else "warn")
    assert {row["verdict"] for name, row in rows.items() if name not in ("accounting", "preemption")} == {"ok"}
