"""Options of sbatch by their long names, without dashes. Source: sbatch(1) of 22.05, and of 23.11 for tres-per-task."""

from __future__ import annotations

OURS = frozenset(
    ("account", "array", "chdir", "cpus-per-task", "dependency", "export", "gpus-per-node", "job-name",
     "kill-on-invalid-dep", "mem", "no-requeue", "nodes", "ntasks-per-node", "open-mode", "output", "partition",
     "requeue", "signal", "time")
)  # fmt: skip
"""Those that `script` writes, from what a job is and asks for."""

SETTABLE = frozenset(
    ("acctg-freq", "batch", "bb", "begin", "comment", "constraint", "contiguous", "core-spec",
     "cores-per-socket", "cpu-freq", "deadline", "delay-boot", "exclude", "exclusive", "gpu-freq", "gres", "gres-flags",
     "hint", "licenses", "mail-type", "mail-user", "mcs-label", "network", "nice", "nodelist", "power", "prefer",
     "priority", "qos", "reboot", "reservation", "sockets-per-node", "spread-job", "switches", "thread-spec",
     "threads-per-core", "time-min", "tmp", "tres-per-task", "use-min-nodes", "wckey")
)  # fmt: skip
"""Those that a site may add. The rest of sbatch's either change what the job is (ntasks, gpus, mem-per-cpu, wrap), or
what is read of its answers (quiet, wait, test-only)."""
