"""A Slurm cluster of two emulated nodes on this machine, for the length of a test. Source: hpc spec section 3."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from trackyard.launch.processes import free_port

PROGRAMS = ("munged", "slurmctld", "slurmd", "srun", "scancel", "sinfo")
PACKAGES = "apt-get install --no-install-recommends slurm-wlm slurm-client slurm-wlm-basic-plugins munge"
UP_S = 240.0
"""Longest that the daemons may take to find each other, on a machine with other work."""

_CONFIGURATION = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket,cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/log/slurmctld.log
SlurmdLogFile={folder}/log/%n.log
ProctrackType={tracking}
TaskPlugin=task/none
PropagateResourceLimits=NONE
SlurmdParameters=config_overrides
ReturnToService=2
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=bf_interval=2,sched_interval=2,batch_sched_delay=0
KillWait=5
MpiDefault=none
NodeName=node[1-2] NodeHostname={host} NodeAddr=127.0.0.1 Port=[{first}-{second}] CPUs=4 CoresPerSocket=4
PartitionName=all Nodes=node[1-2] Default=YES MaxTime=1-0 DefaultTime=30
"""


@dataclass(frozen=True)
class Slurm:
    """A running cluster. configuration: what SLURM_CONF names."""

    configuration: Path

    def run(self, *argv: str) -> str:
        """Output of a Slurm command that succeeds."""
        environment = os.environ | {"SLURM_CONF": str(self.configuration)}
        done = subprocess.run(argv, env=environment, capture_output=True, text=True, check=True, timeout=60)
        return done.stdout


def lacking() -> str | None:
    """What keeps a cluster from being started here, in words; None if nothing does."""
    missing = [name for name in PROGRAMS if shutil.which(name, path=_path()) is None]
    if missing:
        return f"{', '.join(missing)} not installed: {PACKAGES}"
    return None if os.geteuid() == 0 else "only root starts slurmctld and slurmd"


@contextmanager
def one_slurm(folder: Path) -> Iterator[Slurm]:
    """Daemons below `folder`, ended with the block."""
    for name in ("state", "spool/node1", "spool/node2", "log", "munge"):
        (folder / name).mkdir(parents=True)
    folder.chmod(0o755)
    (folder / "munge").chmod(0o711)
    key = folder / "munge" / "key"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o400)
    configuration = folder / "slurm.conf"
    # Only with it a signal reaches the tasks alone, and not each process that they have started.
    grouped = Path("/sys/fs/cgroup/freezer").is_dir()
    configuration.write_text(
        _CONFIGURATION.format(
            folder=folder,
            host=socket.gethostname().partition(".")[0],
            tracking="proctrack/cgroup" if grouped else "proctrack/linuxproc",
            **dict(zip(("port", "first", "second"), _ports(), strict=True)),
        )
    )
    (folder / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\nCgroupAutomount=no\n" if grouped else "")
    slurm = Slurm(configuration)
    daemons: list[subprocess.Popen[bytes]] = []
    try:
        munge = folder / "munge"
        _daemon(
            daemons, slurm, "munged", "--foreground", "--force", f"--key-file={key}", f"--socket={munge}/socket",
            f"--pid-file={munge}/pid", f"--seed-file={munge}/seed", "--num-threads=2",
        )  # fmt: skip
        _wait((munge / "socket").exists, folder)
        _daemon(daemons, slurm, "slurmctld", "-D", "-c", "-f", str(configuration))
        for node in ("node1", "node2"):
            _daemon(daemons, slurm, "slurmd", "-D", "-N", node, "-f", str(configuration))
        _wait(lambda: _idle(slurm), folder)
        yield slurm
    finally:
        for daemon in reversed(daemons):
            daemon.send_signal(signal.SIGTERM)
            try:
                daemon.wait(20)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()


def _daemon(daemons: list[subprocess.Popen[bytes]], slurm: Slurm, program: str, *arguments: str) -> None:
    """Start one in the foreground, so that it is ours to end."""
    found = shutil.which(program, path=_path())
    environment = os.environ | {"SLURM_CONF": str(slurm.configuration)}
    with open(slurm.configuration.parent / "log" / f"{program}-{len(daemons)}.txt", "wb") as log:
        daemons.append(subprocess.Popen([str(found), *arguments], env=environment, stdout=log, stderr=log))


def _idle(slurm: Slurm) -> bool:
    try:
        return slurm.run("sinfo", "-h", "-t", "idle", "-o", "%D").strip() == "2"
    except subprocess.SubprocessError:  # the controller is not there yet
        return False


def _wait(condition: Callable[[], bool], folder: Path) -> None:
    limit = time.monotonic() + UP_S
    while not condition():
        if time.monotonic() > limit:
            logs = "\n".join(path.read_text(errors="replace")[-2000:] for path in sorted((folder / "log").iterdir()))
            raise AssertionError(f"no cluster after {UP_S:.0f} s:\n{logs}")
        time.sleep(0.1)


def _ports() -> list[int]:
    """Three free ones: the controller's, and two neighbours for the nodes."""
    while True:
        first, other = free_port(), free_port()
        with socket.socket() as neighbour, suppress(OSError):
            neighbour.bind(("127.0.0.1", first + 1))
            if other not in (first, first + 1):
                return [other, first, first + 1]


def _path() -> str:
    return os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
