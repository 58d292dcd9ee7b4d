"""A SLURM cluster made of shell scripts on PATH, for machines that have none. Its srun runs the task right here."""

from pathlib import Path

SINFO = "cpu*|infinite|64|40|(null)|256000\nh100|4:00:00|96|12|gpu:h100:8(S:0-1)|1000000\na100|1-00:00:00|64|4|gpu:a100:4|500000"
CONFIG = """ClusterName             = marmot
JobRequeue              = 1
PreemptMode             = OFF
PreemptType             = preempt/none
AccountingStorageTRES   = cpu,mem,node,gres/gpu
SlurmctldParameters     = (null)
"""
BUSY = "echo 'srun: error: Unable to allocate resources: Requested nodes are busy' >&2; exit 1"
HERE = 'while [ "$1" != bash ]; do shift; done; exec "$@"'


class Scripts:
    """Change one of them by `write`, or its answer by `answer`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)
        for name in ("sbatch", "squeue", "sacct"):
            self.write(name, "exit 0")
        self.answer("sacctmgr", "")
        self.sinfo(SINFO)
        self.config(CONFIG)
        self.srun(HERE)

    def write(self, name: str, body: str) -> None:
        path = self.folder / name
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(0o755)

    def answer(self, name: str, text: str) -> None:
        self.write(name, f"cat <<'END'\n{text}\nEND")

    def sinfo(self, rows: str) -> None:
        self.write("sinfo", f"if [ \"$1\" = --version ]; then echo slurm 24.05.3; else cat <<'END'\n{rows}\nEND\nfi")

    def config(self, text: str, ping: str = "Slurmctld(primary) at ctl is UP") -> None:
        self.write("scontrol", f"if [ \"$1\" = ping ]; then echo '{ping}'; else cat <<'END'\n{text}\nEND\nfi")

    def srun(self, body: str, options: str = "") -> None:
        """`options`: what its --help says beside the usual."""
        self.write("srun", f'echo "$*" >> {self.folder}/srun-calls.txt\nif [ "$1" = --help ]; then echo \'{options}\'; exit 0; fi\n{body}')
