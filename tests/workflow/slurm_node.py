"""A real Slurm on this machine: munged, slurmctld and a slurmd per node, on ports and folders of their own.

With accounts, slurmdbd and a database of its own, too.
"""

import os
import secrets
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil

from tests.waiting import until

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scontrol")
OF_ACCOUNTS = ("slurmdbd", "sacct", "sacctmgr", "mariadbd")
SRUN = """\
#!/bin/sh
# The plugin starts srun without SLURM_CONF.
SLURM_CONF={conf} exec {srun} "$@"
"""
SLURM_CONF = """\
ClusterName=accelbench
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={root}/munge.socket
StateSaveLocation={root}/state
SlurmdSpoolDir={root}/spool.%n
SlurmctldPidFile={root}/slurmctld.pid
SlurmdPidFile={root}/slurmd.%n.pid
AccountingStorageType=accounting_storage/{accounts}
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=1
JobAcctGatherParams=OverMemoryKill
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
ReturnToService=2
KillWait=5
{nodes}
PreemptType=preempt/partition_prio
PreemptMode=CANCEL
PartitionName=all Nodes=ALL Default=YES MaxTime=10
PartitionName=urgent Nodes=ALL MaxTime=10 PriorityTier=10
"""
SLURMDBD_CONF = """\
AuthType=auth/munge
AuthInfo=socket={root}/munge.socket
DbdHost=localhost
DbdPort={port}
SlurmUser=root
PidFile={root}/slurmdbd.pid
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort={database_port}
StorageUser=root
StorageLoc=slurm
"""


def why_not(*, accounts: bool = False) -> str | None:
    """Say why there can be no Slurm on this machine; None when there can."""
    missing = [program for program in (*PROGRAMS, *(OF_ACCOUNTS if accounts else ())) if _found(program) is None]
    if missing:
        more = " slurmdbd mariadb-server-core" if accounts else ""
        return f"{', '.join(missing)} not found (apt-get install slurm-wlm munge{more})"
    return None if os.geteuid() == 0 else "slurmd needs root"


@contextmanager
def slurm(root: Path, nodes: int = 1, *, accounts: bool = False) -> Iterator[dict[str, str]]:
    """Run the daemons, in `root` (a short path: a socket lies in it), until the block is left; yield their environment.

    Jobs that are left are cancelled first, so that nothing outlives it.
    """
    names = [f"node{number}" for number in range(1, nodes + 1)]
    for folder in ("state", "bin", *(f"spool.{name}" for name in names)):
        (root / folder).mkdir(parents=True)
    key, conf = root / "munge.key", root / "slurm.conf"
    key.write_bytes(secrets.token_bytes(128))
    key.chmod(0o600)
    accounts_port = _free_port() if accounts else None
    conf.write_text(_configuration(root, names, accounts_port))
    srun = root / "bin/srun"
    srun.write_text(SRUN.format(conf=conf, srun=_found("srun")))
    srun.chmod(0o755)
    environment = {"SLURM_CONF": str(conf), "PATH": f"{srun.parent}:{os.environ['PATH']}"}
    munged = ["munged", "--foreground", "--force", f"--key-file={key}", f"--socket={root}/munge.socket"]
    munged += [f"--{name}-file={root}/munged.{name}" for name in ("pid", "log", "seed")]
    with ExitStack() as daemons:
        daemons.enter_context(_daemon(munged, root / "munged.out", environment))
        assert until(lambda: (root / "munge.socket").exists()), (root / "munged.out").read_text()
        if accounts_port:
            _keep_accounts(daemons, root, accounts_port, environment)
        daemons.enter_context(_daemon(["slurmctld", "-D", "-f", str(conf)], root / "slurmctld.log", environment))
        for name in names:
            command = ["slurmd", "-D", "-N", name, "-f", str(conf)]
            daemons.enter_context(_daemon(command, root / f"slurmd.{name}.log", environment))
        nodes_idle = ("sinfo", "--noheader", "--partition=all", "--states=idle", "--format=%D")
        ready = until(lambda: _asked(environment, *nodes_idle) == str(nodes), 30)
        assert ready, "".join(log.read_text() for log in root.glob("slurm*.log"))
        try:
            yield environment
        finally:
            _asked(environment, "scancel", "--user=root")
            until(lambda: not _asked(environment, "squeue", "--noheader"), 20)


def _keep_accounts(daemons: ExitStack, root: Path, port: int, environment: dict[str, str]) -> None:
    """Run slurmdbd and its database, and tell it of the cluster."""
    data, socket_file, database_port, conf = root / "data", root / "sql", _free_port(), root / "slurmdbd.conf"
    conf.write_text(SLURMDBD_CONF.format(root=root, port=port, database_port=database_port))
    conf.chmod(0o600)
    data.mkdir()
    mariadbd = ["mariadbd", "--no-defaults", "--user=root", f"--datadir={data}", f"--socket={socket_file}"]
    mariadbd += ["--bind-address=127.0.0.1", f"--port={database_port}", "--skip-grant-tables"]
    daemons.enter_context(_daemon(mariadbd, root / "mariadbd.log", environment))
    assert until(socket_file.exists, 60), (root / "mariadbd.log").read_text()
    daemons.enter_context(_daemon(["slurmdbd", "-D"], root / "slurmdbd.log", environment))
    add = ("sacctmgr", "--immediate", "add", "cluster", "accelbench")
    assert until(lambda: "accelbench" in _asked(environment, *add), 60), (root / "slurmdbd.log").read_text()


@contextmanager
def _daemon(command: list[str], log: Path, environment: dict[str, str]) -> Iterator[None]:
    """Run a daemon in the foreground; it is gone when the block is left."""
    with log.open("wb") as output:
        program = str(_found(command[0]))
        process = subprocess.Popen(
            [program, *command[1:]], env={**os.environ, **environment}, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _configuration(root: Path, names: list[str], accounts_port: int | None) -> str:
    host = socket.gethostname().partition(".")[0]
    memory_mb = psutil.virtual_memory().total // 2**20
    has = f"NodeHostname={host} NodeAddr=127.0.0.1 CPUs={os.cpu_count()} RealMemory={memory_mb}"
    nodes = "\n".join(f"NodeName={name} {has} Port={_free_port()}" for name in names)
    kept_at = (
        f"slurmdbd\nAccountingStorageHost=127.0.0.1\nAccountingStoragePort={accounts_port}\n"
        f"AccountingStoragePass={root}/munge.socket"
    )
    return SLURM_CONF.format(
        root=root,
        host=host,
        controller_port=_free_port(),
        nodes=nodes,
        accounts=kept_at if accounts_port else "none",
    )


def _asked(environment: dict[str, str], *command: str) -> str:
    """Return what a command of Slurm prints."""
    done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, check=False)
    return done.stdout.strip()


def _found(program: str) -> str | None:
    """Return where a program is; daemons lie where not every PATH leads."""
    return shutil.which(program) or shutil.which(program, path="/usr/sbin:/sbin")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
