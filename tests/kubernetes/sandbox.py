"""A container as a local process: its own mount, process, host-name and network namespaces over this machine's files.

Its root is an overlay: it sees all that is on this machine and what is mounted into it, and what it writes elsewhere is its own and
vanishes with it, as in an image. It runs as the user who runs the tests, whatever its security context says.
"""

import os
import shlex
import shutil
import signal
import subprocess
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from tests.kubernetes import log_file

SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True)
class Mount:
    target: str
    source: Path | None = None
    """None is a memory file system, of a size of its own."""
    size: str = ""
    read_only: bool = False


@dataclass(frozen=True)
class ContainerSpec:
    """What is to run, with nothing left to look up."""

    command: tuple[str, ...]
    environment: dict[str, str]
    hostname: str
    mounts: tuple[Mount, ...] = ()
    working_dir: str = "/"
    pre_stop: tuple[str, ...] = ()


@dataclass
class Bridge:
    """A network of this machine to which each pod is cabled with a network namespace of its own."""

    number: int

    @property
    def name(self) -> str:
        return f"mdiffk8s{self.number}"

    def address(self, slot: int) -> str:
        return f"10.78.{self.number}.{slot}"

    def namespace(self, slot: int) -> str:
        return f"{self.name}-{slot}"

    def up(self) -> None:
        _ip(f"link add {self.name} type bridge", f"addr add {self.address(1)}/24 dev {self.name}", f"link set {self.name} up")

    def connect(self, slot: int) -> None:
        name, cable = self.namespace(slot), f"mdk{self.number}p{slot}"
        _ip(
            f"netns add {name}",
            f"link add {cable} type veth peer name eth0 netns {name}",
            f"link set {cable} master {self.name} up",
            f"-n {name} addr add {self.address(slot)}/24 dev eth0",
            f"-n {name} link set eth0 up",
            f"-n {name} link set lo up",
        )

    def disconnect(self, slot: int) -> None:
        # The cable goes at once; the namespace itself lives on until its last process ends.
        _ip(f"link del mdk{self.number}p{slot}", f"netns del {self.namespace(slot)}", check=False)

    def down(self) -> None:
        """Also takes away what an earlier run of the same number has left when it was killed."""
        for path in Path("/run/netns").glob(f"{self.name}-*"):
            self.disconnect(int(path.name.rpartition("-")[2]))
        _ip(f"link del {self.name}", check=False)


@dataclass
class Sandbox:
    """One run of one container."""

    spec: ContainerSpec
    folder: Path
    """For its overlay; private."""
    namespace: str
    """Of its network."""
    hosts: Path
    """Becomes its /etc/hosts, and may be rewritten in place while it runs."""
    log: Path
    _outermost: "subprocess.Popen[bytes] | None" = field(default=None, init=False)
    _copies: list[threading.Thread] = field(default_factory=list, init=False)

    def start(self) -> None:
        """Returns when the command is about to run, or when it has failed to."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._started.unlink(missing_ok=True)
        # Should the tests be killed, all of it goes too. The middle shell is there to report a child that SIGKILL ended as 137.
        words = ["setpriv", "--pdeathsig=KILL", "nsenter", f"--net=/run/netns/{self.namespace}", "unshare", "--mount", "--uts", "--pid"]
        shell = 'exec 3>&2 2>/dev/null; setpriv --pdeathsig=KILL bash -ec "$0" 2>&3 3>&-; exit $?'
        self._outermost = self._spawn([*words, "bash", "-c", shell, self._script()])
        while not self._started.exists() and self._outermost.poll() is None:
            time.sleep(0.01)

    @property
    def _started(self) -> Path:
        """Written when the namespaces are ready: until then a signal would meet the shell that makes them."""
        return self.folder.with_name(f"{self.folder.name}.started")

    @property
    def exit_code(self) -> int | None:
        """As Kubernetes shows it: 128 + n for a process that signal n ended; None while it runs."""
        code = self._outermost.poll()
        return code if code is None or code >= 0 else 128 - code

    def wait(self, seconds: float | None = None) -> bool:
        """Whether it has ended within so many seconds, and its log is complete."""
        try:
            self._outermost.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        for thread in self._copies:
            thread.join()
        self._copies.clear()
        return True

    def run_pre_stop(self, seconds: float) -> None:
        """The hook of its spec, inside of it; it is cut off at the end of the time."""
        first = self._first_process()
        if not self.spec.pre_stop or not first:
            return
        inside = ["nsenter", f"--target={first}", "--mount", "--uts", "--net", "--pid", "--root"]
        hook = self._spawn([*inside, *self._command(self.spec.pre_stop)])
        try:
            hook.wait(max(seconds, 0))
        except subprocess.TimeoutExpired:
            hook.kill()
            hook.wait()

    def signal(self, number: signal.Signals) -> None:
        """To its first process alone. As in any container, that one ignores a SIGTERM that it has no handler for."""
        if self._outermost is None:
            return
        # Before there is a first process, its parent; it takes the child along.
        _kill(self._first_process() or self._outermost.pid, number)

    def clean(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    def _spawn(self, words: list[str]) -> "subprocess.Popen[bytes]":
        # A pipe, not the log itself: who opens /proc/1/fd/1 for writing would cut a file.
        reading, writing = os.pipe()
        try:
            process = subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=writing, stderr=writing, env={"PATH": SYSTEM_PATH}, start_new_session=True
            )
        finally:
            os.close(writing)
        self._copies.append(log_file.copy(reading, self.log))
        return process

    def _first_process(self) -> int | None:
        pid = self._outermost.pid
        try:
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        except OSError:
            return None
        return int(children[0]) if children else None

    def _script(self) -> str:
        """Runs as the first process of the new namespaces, and becomes the command."""
        layer, root = shlex.quote(str(self.folder)), shlex.quote(f"{self.folder}/root")
        lines = [
            # Upper layer in memory: it may not lie in the tree that is its lower layer.
            f"mount -t tmpfs tmpfs {layer}; mkdir {layer}/upper {layer}/work {root}",
            f"mount -t overlay overlay -o lowerdir=/,upperdir={layer}/upper,workdir={layer}/work {root}",
            f"mount --rbind /dev {root}/dev; mount --rbind /sys {root}/sys; mount -t proc proc {root}/proc",
            f"mount --bind {shlex.quote(str(self.hosts))} {root}/etc/hosts",
            *(_mount_line(mount, str(self.folder / "root")) for mount in self.spec.mounts),
            f"hostname {shlex.quote(self.spec.hostname)}",
            f": > {shlex.quote(str(self._started))}",
            f"exec chroot {root} {shlex.join(self._command(self.spec.command))}",
        ]
        return "\n".join(lines)

    def _command(self, words: tuple[str, ...]) -> list[str]:
        """With the container's environment and nothing else, in its working directory."""
        environment = {"PATH": SYSTEM_PATH, "HOSTNAME": self.spec.hostname} | self.spec.environment
        settings = [f"{name}={value}" for name, value in environment.items()]
        return ["env", "-i", "--chdir=/", *settings, "sh", "-c", 'mkdir -p "$0" && cd "$0" && exec "$@"', self.spec.working_dir, *words]


def _mount_line(mount: Mount, root: str) -> str:
    target = shlex.quote(root + mount.target)
    if mount.source is None:
        return f"mkdir -p {target}; mount -t tmpfs {f'-o size={mount.size}' if mount.size else ''} tmpfs {target}"
    source = shlex.quote(str(mount.source))
    place = f"mkdir -p {target}" if mount.source.is_dir() else f'mkdir -p "$(dirname {target})"; touch {target}'
    return f"{place}; mount --bind {source} {target}" + (f"; mount -o remount,bind,ro {target}" if mount.read_only else "")


def _ip(*lines: str, check: bool = True) -> None:
    for line in lines:
        result = subprocess.run(["ip", *line.split()], env={"PATH": SYSTEM_PATH}, capture_output=True, text=True, check=False)
        assert result.returncode == 0 or not check, f"ip {line}: {result.stderr}"


def _kill(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return
