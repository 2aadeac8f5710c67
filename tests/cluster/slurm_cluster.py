"""A Slurm cluster of two emulated nodes on this machine, for the length of a test. Source: hpc spec section 3.

Memory and devices are really limited where the cgroup v1 hierarchies exist; cores are not, because they are invented.
"""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.cluster import accounting
from tests.cluster.daemons import UP_S, Daemons, which
from trackyard.launch.processes import free_port

PROGRAMS = ("munged", "slurmctld", "slurmd", "srun", "scancel", "sinfo")
PACKAGES = "slurm-wlm slurm-client slurm-wlm-basic-plugins munge"
CREDENTIAL_S = 5
"""How long a requeued job waits before it may start again; 120 s by default."""
GRACE_S = 30
"""What a preempted job gets between SIGTERM and SIGKILL: a step and a save, on a machine with other work."""
GPUS = 4
"""Of each node."""
MEMORY_MB = 8000
"""Of each node, invented like its cores."""
CGROUPS = Path("/sys/fs/cgroup/freezer").is_dir()
"""Only with them a signal reaches the tasks alone, and a limit of memory is one."""

_SLURM = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket,cred_expire={credential}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/log/slurmctld.log
SlurmdLogFile={folder}/log/%n.log
ProctrackType={tracking}
TaskPlugin={tasks}
PropagateResourceLimits=NONE
SlurmdParameters=config_overrides
ReturnToService=2
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerParameters=bf_interval=2,sched_interval=2,batch_sched_delay=0
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
KillWait=5
MinJobAge=3600
MpiDefault=none
GresTypes=gpu
JobCompType=jobcomp/filetxt
JobCompLoc={folder}/log/jobcomp.txt
DefMemPerCPU=200
NodeName={nodes} NodeHostname={host} NodeAddr=127.0.0.1 Port=[{first}-{second}] CPUs=4 CoresPerSocket=4 \
RealMemory={memory} Gres=gpu:h100:{gpus}
PartitionName=gpu Nodes={nodes} Default=YES MaxTime=1-0 DefaultTime=5 PriorityTier=10 PreemptMode=OFF
PartitionName=preempt Nodes={nodes} MaxTime=1-0 DefaultTime=5 PriorityTier=1 PreemptMode=REQUEUE GraceTime={grace}
"""
_GRES = "AutoDetect=off\nNodeName={nodes} Name=gpu Type=h100 File={folder}/dev/nvidia[0-3] Flags=nvidia_gpu_env\n"
_CGROUP = "CgroupPlugin=cgroup/v1\nCgroupAutomount=no\nConstrainRAMSpace=yes\nConstrainDevices=yes\n"


@dataclass(frozen=True, kw_only=True)
class SlurmCluster:
    """A running cluster. configuration: what SLURM_CONF names. nodes: their two names."""

    configuration: Path
    nodes: tuple[str, str]
    daemons: Daemons

    @property
    def environment(self) -> dict[str, str]:
        return {"SLURM_CONF": str(self.configuration)}

    def run(self, *argv: str) -> str:
        """Output of a Slurm command that succeeds."""
        done = subprocess.run(
            argv, env=os.environ | self.environment, capture_output=True, text=True, check=False, timeout=UP_S
        )
        assert done.returncode == 0, f"{argv} ended with {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def answers(self) -> bool:
        """Whether both nodes are there for jobs."""
        try:
            done = subprocess.run(
                ["sinfo", "-h", "-t", "idle,mix,alloc", "-o", "%D %t"], env=os.environ | self.environment,
                capture_output=True, text=True, check=False, timeout=20,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return False
        return sum(int(line.split()[0]) for line in set(done.stdout.splitlines())) == 2

    def batch(self, folder: Path, text: str, *options: str) -> str:
        """Submit a script, which writes to out-ID.txt in `folder`; gives its id."""
        script = folder / "job.sh"
        script.write_text(f"#!/bin/bash\n{text}\n")
        options = (*options, "--parsable", "--open-mode=append", f"--output={folder}/out-%j.txt")
        return self.run("sbatch", *options, str(script)).strip()

    def job(self, slurm_id: str) -> dict[str, str]:
        """What the controller says of a job: JobState, Reason, Restarts, NodeList, …"""
        words = self.run("scontrol", "show", "job", "-o", slurm_id).split()
        return dict(word.split("=", 1) for word in words if "=" in word)

    def wait_for_job(self, slurm_id: str, *states: str) -> dict[str, str]:
        """Until it is in one of these; gives what the controller says."""
        found: dict[str, str] = {}

        def reached() -> bool:
            found.update(self.job(slurm_id))
            return found["JobState"] in states

        self.daemons.wait(reached, f"job {slurm_id} is {' or '.join(states)}, last seen: {found}")
        return found

    def stop_controller(self) -> None:
        """slurmctld saves its state and ends; jobs run on."""
        self.daemons.stop("slurmctld")

    def start_controller(self) -> None:
        """slurmctld again, with the jobs that it knew."""
        self.daemons.start("slurmctld", "slurmctld", "-D", "-f", str(self.configuration))
        self.daemons.wait(self.answers, "slurmctld is back")


def lacking(*, accounts: bool = False) -> str | None:
    """What keeps a cluster from being started here, in words; None if nothing does."""
    programs = PROGRAMS + (accounting.PROGRAMS if accounts else ())
    missing = [name for name in programs if which(name) is None]
    if missing:
        packages = f"{PACKAGES} {accounting.PACKAGES}" if accounts else PACKAGES
        return f"{', '.join(missing)} not installed: apt-get install --no-install-recommends {packages}"
    return None if os.geteuid() == 0 else "only root starts slurmctld and slurmd"


@contextmanager
def slurm_cluster(folder: Path, *, accounts: bool = False) -> Iterator[SlurmCluster]:
    """Daemons below `folder`, ended with the block. accounts: with slurmdbd; it takes some seconds more.

    munge refuses sockets below directories that others may write to, and paths of more than 107 characters.
    """
    port, first = _ports()
    # Nodes of clusters side by side would share control groups by name.
    nodes = (f"n{first}-1", f"n{first}-2")
    for name in ("state", f"spool/{nodes[0]}", f"spool/{nodes[1]}", "log", "munge", "dev"):
        (folder / name).mkdir(parents=True)
    folder.chmod(0o755)
    (folder / "munge").chmod(0o711)
    for number in range(GPUS):
        os.mknod(folder / "dev" / f"nvidia{number}", 0o666 | stat.S_IFCHR, os.makedev(195, number))
    key, munge = folder / "munge" / "key", folder / "munge" / "socket"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o400)
    listed = f"n{first}-[1-2]"
    text = _SLURM.format(
        folder=folder, host=socket.gethostname().partition(".")[0], port=port, first=first, second=first + 1,
        nodes=listed, memory=MEMORY_MB, gpus=GPUS, credential=CREDENTIAL_S, grace=GRACE_S,
        tracking="proctrack/cgroup" if CGROUPS else "proctrack/linuxproc",
        tasks="task/cgroup" if CGROUPS else "task/none",
    )  # fmt: skip
    (folder / "gres.conf").write_text(_GRES.format(nodes=listed, folder=folder))
    (folder / "cgroup.conf").write_text(_CGROUP if CGROUPS else "")
    cluster = SlurmCluster(
        configuration=folder / "slurm.conf", nodes=nodes,
        daemons=Daemons(folder / "log", {"SLURM_CONF": str(folder / "slurm.conf")}),
    )  # fmt: skip
    daemons = cluster.daemons
    try:
        daemons.start(
            "munged", "munged", "--foreground", "--force", f"--key-file={key}", f"--socket={munge}",
            f"--pid-file={munge.parent}/pid", f"--seed-file={munge.parent}/seed", "--num-threads=2",
        )  # fmt: skip
        daemons.wait(munge.exists, "munged answers")
        kept = (
            accounting.start_accounting(folder, daemons, munge)
            if accounts
            else "AccountingStorageType=accounting_storage/none\n"
        )
        cluster.configuration.write_text(text + kept)
        if accounts:
            accounting.open_accounts(daemons, cluster.environment)
        daemons.start("slurmctld", "slurmctld", "-D", "-c", "-f", str(cluster.configuration))
        for node in nodes:
            daemons.start(node, "slurmd", "-D", "-N", node, "-f", str(cluster.configuration))
        daemons.wait(cluster.answers, "both nodes are there")
        yield cluster
        _end_jobs(cluster)
    finally:
        daemons.stop_all()
        _remove_groups(nodes)


def _end_jobs(cluster: SlurmCluster) -> None:
    """What still runs would outlive its daemons."""
    cluster.run("scancel", "--quiet", "--user", str(os.geteuid()))
    cluster.daemons.wait(lambda: not cluster.run("squeue", "-h", "-o", "%i"), "all jobs have ended")


def _remove_groups(nodes: tuple[str, str]) -> None:
    for node in nodes:
        for group in Path("/sys/fs/cgroup").glob(f"*/slurm_{node}"):
            # A process that is just ending keeps its group a moment longer, or removes it itself.
            limit = time.monotonic() + 10
            while group.exists() and time.monotonic() < limit:
                for folder, _, _ in os.walk(group, topdown=False):
                    with suppress(OSError):
                        Path(folder).rmdir()
                time.sleep(0.1)


def _ports() -> tuple[int, int]:
    """The controller's, and the first of two neighbours for the nodes, all free."""
    while True:
        first, other = free_port(), free_port()
        with socket.socket() as neighbour, suppress(OSError):
            neighbour.bind(("127.0.0.1", first + 1))
            if other not in (first, first + 1):
                return other, first
