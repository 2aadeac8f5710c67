"""Slurm's accounting of a test cluster: slurmdbd over a MariaDB of its own. Source: hpc spec section 3, cluster-db."""

from __future__ import annotations

import os
import pwd
import secrets
import subprocess
from pathlib import Path

from tests.cluster.daemons import Daemons, which
from trackyard.launch.processes import free_port

PROGRAMS = ("slurmdbd", "sacctmgr", "mariadbd", "mariadb", "mariadb-install-db")
PACKAGES = "slurmdbd slurm-wlm-mysql-plugin mariadb-server-core mariadb-client-core"
ACCOUNT = "proj"

_SLURMDBD = """\
AuthType=auth/munge
AuthInfo={socket}
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort={port}
SlurmUser=root
LogFile={folder}/log/slurmdbd.log
PidFile={folder}/slurmdbd.pid
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort={database_port}
StorageUser=slurm
StoragePass={word}
StorageLoc=slurm_acct_db
"""
SLURM_CONF = """\
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort={port}
AccountingStoragePass={socket}
AccountingStorageEnforce=associations
AccountingStorageTRES=gres/gpu
"""
"""What slurm.conf says beside the rest."""


def start_accounting(folder: Path, daemons: Daemons, munge: Path) -> str:
    """Start both servers on free ports; gives the lines of slurm.conf. munge: its socket. Needs a running munged."""
    database, word, port = folder / "db", secrets.token_hex(12), free_port()
    database_port = free_port()
    database.mkdir()
    with open(daemons.logs / "mariadb-install.txt", "wb") as log:
        subprocess.run(
            [str(which("mariadb-install-db")), "--no-defaults", "--user=root", f"--datadir={database}",
             "--auth-root-authentication-method=socket", "--skip-test-db"],
            check=True, stdout=log, stderr=log,
        )  # fmt: skip
    daemons.start(
        "mariadbd", "mariadbd", "--no-defaults", "--user=root", f"--datadir={database}", f"--socket={database}/sock",
        f"--pid-file={database}/pid", f"--port={database_port}", "--bind-address=127.0.0.1",
        "--innodb-lock-wait-timeout=900", "--innodb-buffer-pool-size=32M",
    )  # fmt: skip
    daemons.wait(lambda: _sql(database, "SELECT 1;"), "MariaDB answers")
    grants = "".join(
        f"CREATE USER slurm@'{host}' IDENTIFIED BY '{word}'; GRANT ALL ON slurm_acct_db.* TO slurm@'{host}';"
        for host in ("127.0.0.1", "localhost")
    )
    assert _sql(database, f"CREATE DATABASE slurm_acct_db; {grants}"), "the database takes a user"
    configuration = folder / "slurmdbd.conf"
    configuration.touch(0o600)
    configuration.write_text(
        _SLURMDBD.format(folder=folder, socket=munge, port=port, database_port=database_port, word=word)
    )
    return SLURM_CONF.format(port=port, socket=munge)


def open_accounts(daemons: Daemons, environment: dict[str, str]) -> None:
    """Start slurmdbd, and let the user of this process spend from ACCOUNT."""
    daemons.start("slurmdbd", "slurmdbd", "-D")
    daemons.wait(lambda: _sacctmgr(environment, "-n", "show", "cluster"), "slurmdbd answers")
    user = pwd.getpwuid(os.geteuid()).pw_name
    for words in (
        ("add", "cluster", "test"),
        ("add", "account", ACCOUNT, "cluster=test"),
        ("add", "user", user, f"account={ACCOUNT}"),
    ):
        assert _sacctmgr(environment, "-i", *words), f"sacctmgr {words}"


def _sacctmgr(environment: dict[str, str], *words: str) -> bool:
    return (
        subprocess.run(["sacctmgr", *words], env=os.environ | environment, capture_output=True, check=False).returncode
        == 0
    )


def _sql(database: Path, statements: str) -> bool:
    argv = [str(which("mariadb")), "--no-defaults", "--user=root", f"--socket={database}/sock"]
    return subprocess.run(argv, input=statements.encode(), capture_output=True, check=False).returncode == 0
