"""`site show` and `site init`."""

import os
import pty
import re
import subprocess
import sys
import time
import tomllib
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from mdiff.recipe.load import parse_settings
from mdiff.recipe.site import Site, load_site
from tests.cli.slurm_scripts import Scripts

INIT = "site init --backend slurm --usd-per-gpu-hour 2.99"


@pytest.fixture
def cluster(home: Path) -> Scripts:
    return Scripts(home / "bin")


@pytest.fixture
def file(home: Path) -> Path:
    return home / ".config" / "mdiff" / "site.toml"


@pytest.mark.parametrize("command", ["site show", "site init", "doctor"])
def test_command_explains_itself_with_an_example(mdiff, command):
    result = mdiff(f"{command} --help")
    assert result.code == 0
    assert "    mdiff " in result.out.split("Options:")[0]


def test_show_prints_the_built_in_site_and_says_that_no_file_is_there(mdiff, file):
    result = mdiff("site show")
    assert result.code == 0
    assert parse_settings(Site, result.out, "out").name == "built-in"
    assert result.err == f"site: built in, for there is no {file}; to make one: mdiff site init --backend slurm\n"


def test_show_prints_the_users_file_with_all_defaults(mdiff, site_file):
    path = site_file('backend = "local"\n[hardware]\ndevice = "cpu"\ndevices_per_node = 1')
    result = mdiff("site show")
    assert result.err == f"site: {path}\n"
    assert tomllib.loads(result.out)["grace_seconds"] == 120.0
    assert parse_settings(Site, result.out, "out") == load_site(path)
    assert mdiff("site show --json").out.startswith('{\n  "name"')


def test_init_takes_the_partition_with_most_gpus_and_writes_a_file_that_loads(mdiff, cluster, file, home):
    result = mdiff(INIT, "--price-source", 'our "contract"')
    assert result.code == 0, result.err
    assert result.out == f"{file}\n"
    assert result.err.splitlines() == [
        "partition h100: 12 nodes x 8 h100, 96 CPUs each, MaxTime 4 h 0 min",
        "partition a100: 4 nodes x 4 a100, 64 CPUs each, MaxTime 24 h 0 min",
        "Next: mdiff doctor --backend slurm",
    ]
    site = load_site(file)
    assert (site.name, site.backend, site.slurm.partition, site.runs_dir) == ("marmot", "slurm", "h100", str(home / "runs"))
    assert (site.hardware.device, site.hardware.nodes, site.hardware.devices_per_node) == ("H100", 1, 8)
    assert (site.price.usd_per_gpu_hour, site.price.source) == (Decimal("2.99"), 'our "contract"')
    assert (site.price.read_on, site.price.basis) == (date.today().isoformat(), "site")
    # GPUs of one type need no other word than --gpus-per-node.
    assert site.slurm.gres == ""


@pytest.mark.parametrize("runtime", ["pyxis", "apptainer", ""])
def test_every_setting_that_waits_in_a_comment_is_a_real_one(mdiff, cluster, file, runtime):
    if runtime == "pyxis":
        cluster.srun("exit 0", options="--container-image=")
    elif runtime:
        cluster.answer(runtime, "")
    assert mdiff(INIT).code == 0
    text = file.read_text()
    assert f"# Seen here: {runtime}" in text or not runtime
    awake = parse_settings(Site, re.sub(r"(?m)^#(?! )", "", text), "awake")
    assert awake.container.runtime == (runtime or "pyxis")
    assert awake.slurm.sbatch == {"mail-type": "FAIL"}
    assert load_site(file).container.runtime == "none"


def test_flags_win_over_what_the_cluster_says(mdiff, cluster, home):
    words = "--partition a100 --account vision --nodes 2 --device h200 --runs-dir here --out other.toml"
    result = mdiff(f"{INIT} {words}")
    assert result.code == 0, result.err
    assert result.err.endswith("Next: mdiff doctor --backend slurm --site other.toml\n")
    site = load_site(home / "other.toml")
    assert (site.slurm.partition, site.slurm.account, site.hardware.nodes) == ("a100", "vision", 2)
    assert (site.hardware.device, site.hardware.devices_per_node, site.runs_dir) == ("H200", 4, str(home / "here"))


def test_gpus_without_a_type_are_assumed_and_the_file_says_so(mdiff, cluster, file):
    cluster.sinfo("main*|infinite|4|2|gpu:8|10000")
    result = mdiff(INIT)
    assert "taken for H100" in result.err
    assert load_site(file).hardware.device == "H100"
    assert "# The cluster does not say which GPUs these are: check the device." in file.read_text()


def test_partition_of_mixed_gpus_asks_for_one_type_by_its_name(mdiff, cluster, file):
    cluster.sinfo("gpu*|infinite|96|4|gpu:h100:8|1000\ngpu*|infinite|64|2|gpu:v100:4|1000")
    assert mdiff(INIT).code == 0
    assert load_site(file).slurm.gres == "gpu:h100:8"


def test_unknown_gpus_keep_the_clusters_name_and_a_warning(mdiff, cluster, file):
    cluster.sinfo("gpu*|infinite|64|2|gpu:v100:4|1000")
    assert mdiff(INIT).code == 0
    assert load_site(file).hardware.device == "V100"
    assert "# The speed of V100 is not known, so jobs there have no estimate; known are H100" in file.read_text()


def test_several_accounts_are_told_but_not_chosen_for_the_user(mdiff, cluster, file):
    cluster.answer("sacctmgr", "vision\nspeech\nvision")
    assert mdiff(INIT).code == 0
    assert "# Your accounts: vision, speech\n" in file.read_text()
    assert load_site(file).slurm.account == ""


def test_price_is_not_guessed(mdiff, cluster, file):
    result = mdiff("site init --backend slurm --yes")
    assert (result.code, result.out) == (2, "")
    assert result.err.endswith("error: --usd-per-gpu-hour: say what an hour costs, for an unknown price is never $0\n")
    assert not file.exists()


def test_file_that_is_there_is_kept_unless_forced(mdiff, cluster, site_file):
    path = site_file("# mine")
    result = mdiff(INIT)
    assert result.code == 2
    assert result.err == f"error: {path} is there already; replace it with --force, or write another file: --out FILE\n"
    assert path.read_text() == "# mine"
    assert mdiff(f"{INIT} --force").code == 0
    assert load_site(path).name == "marmot"


@pytest.mark.parametrize(
    ("line", "code", "message"),
    [
        (f"{INIT} --partition cpu", 2, "--partition cpu: no such partition with GPUs; this cluster has: h100, a100"),
        ("site init --backend moon", 2, "--backend moon: must be local, slurm or kubernetes"),
        ("site init --backend local --partition h100", 2, "--partition: only with --backend slurm"),
        ("site init --backend local --nodes 2", 2, "--nodes: only with --backend slurm or kubernetes"),
        ("site init --backend kubernetes --account vision", 2, "--account: only with --backend slurm"),
        (f"{INIT} --queue gpu", 2, "--queue: only with --backend kubernetes"),
        (f"{INIT} --image mdiff", 2, "--image: only with --backend kubernetes"),
        ("site show --site none.toml", 2, "--site: cannot read none.toml"),
    ],
)
def test_mistake_has_its_exit_code_and_its_words(mdiff, cluster, line, code, message):
    result = mdiff(line)
    assert result.code == code
    assert f"error: {message}" in result.err


def test_cluster_without_gpus_is_told(mdiff, cluster):
    cluster.sinfo("cpu*|infinite|64|40|(null)|256000")
    result = mdiff(INIT)
    assert (result.code, "no partition of this cluster has GPUs" in result.err) == (4, True)


def test_site_of_this_machine_needs_no_price_without_gpus(mdiff, file):
    assert mdiff("site init --backend local").code == 0
    site = load_site(file)
    assert (site.backend, site.hardware.device, site.price.basis) == ("local", "cpu", "example")


def test_at_a_terminal_the_user_is_asked_with_defaults(cluster, file):
    cluster.sinfo("main*|4:00:00|96|12|gpu:8|1000\nold|infinite|64|4|gpu:4|500")
    cluster.answer("sacctmgr", "vision\nspeech")
    # Partition: a wrong one, then the default; device; price: none, then one; source; runs; account.
    answers = ["nope", "", "A100", "nothing", "1.50", "price list", "", "speech"]
    shown = at_terminal(["site", "init", "--backend", "slurm"], answers)
    assert "Partition [main]: " in shown
    assert "Device [H100]: " in shown
    site = load_site(file)
    assert (site.slurm.partition, site.hardware.device, site.slurm.account) == ("main", "A100", "speech")
    assert (site.price.usd_per_gpu_hour, site.price.source) == (Decimal("1.50"), "price list")


def at_terminal(words: list[str], answers: list[str]) -> str:
    """What the terminal shows; each answer is typed when the program waits for it."""
    ours, theirs = pty.openpty()
    start = [sys.executable, "-c", "from mdiff_cli.main import main; main()"]
    process = subprocess.Popen([*start, *words], stdin=theirs, stdout=theirs, stderr=theirs, close_fds=True)
    os.close(theirs)
    shown = b""
    for answer in answers:
        while not shown.endswith(b": "):
            shown += os.read(ours, 10_000)
        os.write(ours, f"{answer}\n".encode())
        shown += b"\n"
    assert process.wait(timeout=20) == 0, shown
    time.sleep(0.1)
    os.close(ours)
    return shown.decode()
