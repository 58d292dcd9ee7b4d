"""A real SLURM of two nodes on this machine, as root: `python -m tests.slurm.cluster start|stop DIR`.

Each node has a network namespace, a host name and eight pretended GPUs of its own. Nothing outside DIR is written, and only what
was started here is ended.

    DIR/slurm.conf       the cluster (SLURM_CONF)        DIR/log/      every daemon's log
    DIR/run/*.pid        what was started                DIR/db/       MariaDB, with accounting
"""

import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from tests.waiting import holds, wait_until

NODES, CPUS, GPUS = 2, 4, 8
PROGRAMS = ("slurmctld", "slurmd", "munged", "sbatch", "sacct", "ip", "nsenter", "unshare")
ACCOUNTING_PROGRAMS = ("slurmdbd", "mariadbd", "mariadb-install-db")
SYSTEM_PATH = "/usr/local/sbin:/usr/sbin:/sbin"


def missing() -> str:
    """Why there can be no cluster here; "" if there can."""
    if os.geteuid():
        return "a real SLURM needs root (network namespaces)"
    path = f"{os.environ['PATH']}:{SYSTEM_PATH}"
    lacking = [program for program in (*PROGRAMS, *ACCOUNTING_PROGRAMS) if not shutil.which(program, path=path)]
    return f"no {', '.join(lacking)} on this machine" if lacking else ""


@dataclass(frozen=True)
class Cluster:
    """Started by `start`, ended by `stop`; both may be called from different processes."""

    root: Path
    accounting: bool = True
    notice_at_preemption: bool = True
    """Whether a preempted job gets its own --signal; without it, SIGTERM alone."""
    grace_seconds: int = 60
    number: int = 31
    """Of its network; two clusters on one machine have different ones."""
    node_timeout: int = 15
    """Seconds of silence after which a node is down."""

    @property
    def network(self) -> str:
        return f"10.77.{self.number}"

    @property
    def bridge(self) -> str:
        return f"mdiffbr{self.number}"

    @property
    def port(self) -> int:
        """The first of four."""
        return 16000 + 10 * self.number

    def namespace(self, node: int) -> str:
        return f"mdiff{self.number}-node{node}"

    def cable(self, node: int) -> str:
        return f"mdiff{self.number}n{node}"

    @property
    def conf(self) -> Path:
        return self.root / "slurm.conf"

    @property
    def environment(self) -> dict[str, str]:
        return {"SLURM_CONF": str(self.conf)}

    def start(self) -> None:
        self._write()
        self._network_up()
        self._run("munged", "--force", f"--socket={self.root}/run/munge.socket", f"--key-file={self.root}/run/munge.key",
                  f"--pid-file={self.root}/run/munged.pid", f"--log-file={self.root}/log/munged.log", f"--seed-file={self.root}/run/munge.seed")  # fmt: skip
        if self.accounting:
            self._start_accounting()
        self._run("unshare", "--uts", "--mount", "bash", "-c", f"{self._names('ctl')}; exec slurmctld -f {self.conf}")
        for number in range(1, NODES + 1):
            self.start_node(number)
        wait_until(lambda: self.idle_nodes() == NODES, 30, "nodes are not idle")

    def start_node(self, number: int) -> None:
        # nsenter, not `ip netns exec`: that remounts /sys, and slurmd finds no cgroup file system.
        shell = f"{self._names(f'node{number}')}; exec slurmd -f {self.conf}"
        self._run("nsenter", f"--net=/run/netns/{self.namespace(number)}", "unshare", "--uts", "--mount", "bash", "-c", shell)

    def kill_node(self, number: int) -> None:
        """The node is gone: its daemon and everything that it started, at once, and its cable is cut."""
        daemon = int((self.root / f"run/slurmd.node{number}.pid").read_text())
        namespace = Path(f"/proc/{daemon}/ns/net").readlink()
        subprocess.run(["ip", "link", "set", self.cable(number), "down"], check=True)
        for process in Path("/proc").iterdir():
            if process.name.isdigit() and _link(process / "ns/net") == str(namespace):
                _kill(int(process.name), signal.SIGKILL)
        (self.root / f"run/slurmd.node{number}.pid").unlink(missing_ok=True)

    def revive_node(self, number: int) -> None:
        subprocess.run(["ip", "link", "set", self.cable(number), "up"], check=True)
        self.start_node(number)
        wait_until(lambda: self.idle_nodes() == NODES, 60, f"node{number} does not come back")

    def idle_nodes(self) -> int:
        return self.command("sinfo", "-h", "-N", "-p", "main", "-o", "%T").split().count("idle")

    def command(self, *words: str) -> str:
        answer = subprocess.run(words, env=os.environ | self.environment, capture_output=True, text=True, timeout=30, check=False)
        return answer.stdout

    def stop(self) -> None:
        self.command("scancel", "-u", "root")
        time.sleep(0.3)
        for pattern in ("run/slurmd.*.pid", "run/slurmctld.pid", "run/slurmdbd.pid", "run/munged.pid", "db/mariadbd.pid"):
            pid_files = list(self.root.glob(pattern))
            for path in pid_files:
                _kill(int(path.read_text()), signal.SIGTERM)
            for path in pid_files:
                # The daemons are nobody's children here: as zombies they would seem alive for ever. Their files go with them.
                if not holds(lambda path=path: not path.exists(), 10):
                    _kill(int(path.read_text()), signal.SIGKILL)
        self._network_down()

    def _names(self, host: str) -> str:
        return f"hostname {host}; mount --bind {self.root}/hosts /etc/hosts"

    def _run(self, *words: str) -> None:
        environment = os.environ | self.environment | {"PATH": f"{os.environ['PATH']}:{SYSTEM_PATH}"}
        with (self.root / "log/start.log").open("a") as log:
            result = subprocess.run(words, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, timeout=60, check=False)
        assert result.returncode == 0, f"{' '.join(words)}: {(self.root / 'log/start.log').read_text()[-2000:]}"

    def _write(self) -> None:
        for folder in ("state", "spool", "log", "run", "dev"):
            (self.root / folder).mkdir(parents=True, exist_ok=True)
        for number in range(GPUS):
            if not (self.root / f"dev/gpu{number}").exists():
                # A file of generic resources must be a character device; this one is a /dev/null.
                os.mknod(self.root / f"dev/gpu{number}", 0o20666, os.makedev(1, 3))
        key = self.root / "run/munge.key"
        if not key.exists():
            key.write_bytes(os.urandom(1024))
            key.chmod(0o600)
        self.conf.write_text(self._slurm_conf())
        (self.root / "gres.conf").write_text(f"NodeName=node[1-{NODES}] Name=gpu File={self.root}/dev/gpu[0-{GPUS - 1}]\n")
        names = [f"{self.network}.1 ctl", *(f"{self.network}.1{number} node{number}" for number in range(1, NODES + 1))]
        (self.root / "hosts").write_text("\n".join(["127.0.0.1 localhost", *names]) + "\n")

    def _slurm_conf(self) -> str:
        nodes = "\n".join(
            f"NodeName=node{number} NodeAddr={self.network}.1{number} Port={self.port + 1} CPUs={CPUS} RealMemory=10000 Gres=gpu:{GPUS} State=UNKNOWN"
            for number in range(1, NODES + 1)
        )
        accounting = f"""
JobAcctGatherType=jobacct_gather/linux
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort={self.port + 2}
AccountingStoragePass={self.root}/run/munge.socket
AccountingStorageTRES=gres/gpu
"""
        return f"""
ClusterName=mdiff
SlurmctldHost=ctl({self.network}.1)
SlurmctldPort={self.port}
SlurmUser=root
SlurmdUser=root
AuthInfo=socket={self.root}/run/munge.socket,cred_expire=5
SlurmctldPidFile={self.root}/run/slurmctld.pid
SlurmdPidFile={self.root}/run/slurmd.%n.pid
SlurmctldLogFile={self.root}/log/slurmctld.log
SlurmdLogFile={self.root}/log/slurmd.%n.log
StateSaveLocation={self.root}/state
SlurmdSpoolDir={self.root}/spool/%n
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
MailProg=/bin/true
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=sched_interval=1,bf_interval=1,sched_min_interval=0,batch_sched_delay=0
SlurmdParameters=config_overrides
{"SlurmctldParameters=preempt_send_user_signal" if self.notice_at_preemption else ""}
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobRequeue=1
KillWait=20
SlurmdTimeout={self.node_timeout}
ReturnToService=2
MinJobAge=300
GresTypes=gpu
{accounting if self.accounting else "AccountingStorageType=accounting_storage/none"}
{nodes}
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP PriorityTier=1 PreemptMode=REQUEUE GraceTime={self.grace_seconds}
PartitionName=short Nodes=ALL MaxTime=2 State=UP PriorityTier=1 PreemptMode=REQUEUE GraceTime={self.grace_seconds}
PartitionName=high Nodes=ALL MaxTime=INFINITE State=UP PriorityTier=10 PreemptMode=OFF
"""

    def _start_accounting(self) -> None:
        root, port = self.root, self.port + 3
        conf = root / "slurmdbd.conf"
        conf.write_text(f"""
AuthType=auth/munge
AuthInfo=socket={root}/run/munge.socket
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort={self.port + 2}
SlurmUser=root
LogFile={root}/log/slurmdbd.log
PidFile={root}/run/slurmdbd.pid
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort={port}
StorageUser=slurm
StoragePass=slurm
""")
        conf.chmod(0o600)
        database = root / "db"
        if not database.exists():
            database.mkdir()
            # The server runs as its own user, and must reach its folder through ours.
            shutil.chown(database, "mysql")
            self._run("mariadb-install-db", "--no-defaults", "--user=mysql", f"--datadir={database}", "--skip-test-db")
        server = [
            "mariadbd", "--no-defaults", "--user=mysql", f"--datadir={database}", f"--socket={database}/mysql.sock",
            f"--pid-file={database}/mariadbd.pid", "--bind-address=127.0.0.1", f"--port={port}", "--skip-name-resolve",
            "--innodb-buffer-pool-size=64M", "--innodb-lock-wait-timeout=900", "--innodb-flush-log-at-trx-commit=0",
        ]  # fmt: skip
        # It has no way of its own into the background; a session of its own keeps it when the shell ends.
        self._run("bash", "-c", f"setsid {shlex.join(server)} >> {root}/log/mariadb.log 2>&1 &")
        client = ("mariadb", "--no-defaults", f"--socket={database}/mysql.sock", "--execute")
        wait_until(lambda: subprocess.run([*client, "select 1"], capture_output=True).returncode == 0, 60, "MariaDB does not answer")
        user = "create user if not exists slurm@'127.0.0.1' identified by 'slurm'; grant all on slurm_acct_db.* to slurm@'127.0.0.1'"
        self._run(*client, f"create database if not exists slurm_acct_db; {user}")
        self._run("slurmdbd")
        wait_until(lambda: "Cluster" in self.command("sacctmgr", "list", "cluster"), 60, "slurmdbd does not answer")
        self.command("sacctmgr", "-n", "-i", "add", "cluster", "mdiff")

    def _network_up(self) -> None:
        self._network_down()
        lines = [f"link add {self.bridge} type bridge", f"addr add {self.network}.1/24 dev {self.bridge}", f"link set {self.bridge} up"]
        for number in range(1, NODES + 1):
            name, cable = self.namespace(number), self.cable(number)
            lines += [
                f"netns add {name}",
                f"link add {cable} type veth peer name eth0 netns {name}",
                f"link set {cable} master {self.bridge} up",
                f"-n {name} addr add {self.network}.1{number}/24 dev eth0",
                f"-n {name} link set eth0 up",
                f"-n {name} link set lo up",
            ]
        for line in lines:
            self._run("ip", *line.split())

    def _network_down(self) -> None:
        for number in range(1, NODES + 1):
            for words in (["link", "del", self.cable(number)], ["netns", "del", self.namespace(number)]):
                subprocess.run(["ip", *words], capture_output=True, check=False)
        subprocess.run(["ip", "link", "del", self.bridge], capture_output=True, check=False)


def _link(path: Path) -> str:
    try:
        return str(path.readlink())
    except OSError:
        return ""


def _kill(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


if __name__ == "__main__":
    cluster = Cluster(Path(sys.argv[2]).absolute(), accounting="--no-accounting" not in sys.argv)
    getattr(cluster, {"start": "start", "stop": "stop"}[sys.argv[1]])()
    if sys.argv[1] == "start":
        print(f"export SLURM_CONF={cluster.conf}")
