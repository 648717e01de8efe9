"""A real Slurm on this machine: four nodes with two pretend GPUs each, accounting, and preemption by partition.

    python tests/cluster/slurm_cluster.py start FOLDER     then: export SLURM_CONF=FOLDER/slurm.conf
    python tests/cluster/slurm_cluster.py stop FOLDER

Needs root and Debian's packages slurm-wlm, munge, slurmdbd and mariadb-server. Everything it starts is a daemon with a
pid file in FOLDER, and `stop` ends these and nothing else. FOLDER must be new, with a path short enough for a socket.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

NODES = ("n1", "n2", "n3", "n4")
# Partition `gpu` is preempted by `urgent`: Slurm sends the job's --signal, waits the grace time, and requeues.
SLURM_CONF = """
ClusterName=test
SlurmctldHost=localhost(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
SlurmctldPort={port}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={folder}/run/slurmctld.pid
SlurmdPidFile={folder}/run/slurmd-%n.pid
SlurmctldLogFile={folder}/log/slurmctld.log
SlurmdLogFile={folder}/log/slurmd-%n.log
SlurmdTimeout=15
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=1,sched_interval=2,batch_sched_delay=1,sched_min_interval=0,preempt_send_user_signal
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
ReturnToService=2
MpiDefault=none
{accounting}
GresTypes=gpu
KillWait=5
MinJobAge=300
InactiveLimit=0
JobRequeue=1
SlurmdParameters=config_overrides
NodeName=n[1-4] NodeHostname=localhost NodeAddr=127.0.0.1 Port=[{node_ports}] CPUs=8 RealMemory=16000 Gres=gpu:2
PartitionName=gpu Nodes=n[1-4] Default=YES MaxTime=INFINITE PriorityTier=1 PreemptMode=REQUEUE GraceTime=60
PartitionName=urgent Nodes=n[1-4] MaxTime=INFINITE PriorityTier=10 PreemptMode=OFF
"""
ACCOUNTING = """
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=localhost
AccountingStoragePort=16819
AccountingStorageTRES=gres/gpu
"""
GRES_CONF = """
AutoDetect=off
NodeName=n[1-4] Name=gpu File={folder}/dev/nvidia[0-1]
"""
SLURMDBD_CONF = """
AuthType=auth/munge
DbdHost=localhost
DbdPort=16819
SlurmUser=root
PidFile={folder}/run/slurmdbd.pid
LogFile={folder}/log/slurmdbd.log
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageUser=root
StorageLoc=slurm_acct_db
"""


class Cluster:
    """The daemons and their folder. One with and one without accounting may run at the same time."""

    def __init__(self, folder: Path, has_accounting: bool = True) -> None:
        self.folder, self.has_accounting = folder.absolute(), has_accounting

    @property
    def env(self) -> dict[str, str]:
        """What Slurm's commands need in their environment."""
        return os.environ | {
            "SLURM_CONF": str(self.folder / "slurm.conf"),
            "MYSQL_UNIX_PORT": str(self.folder / "my/run/my.sock"),
        }

    def start(self) -> None:
        """Start everything; returns when all nodes are idle. What was started is ended if a part fails."""
        try:
            self._start()
        except BaseException:
            self.stop()
            raise

    def _start(self) -> None:
        for name in ("state", "spool", "run", "log", "dev", "my/run"):
            (self.folder / name).mkdir(parents=True)
        ports = ("16817", "17001-17004") if self.has_accounting else ("16827", "17011-17014")
        accounting = ACCOUNTING if self.has_accounting else "AccountingStorageType=accounting_storage/none"
        values = {"folder": self.folder, "accounting": accounting, "port": ports[0], "node_ports": ports[1]}
        for name, text in (("slurm", SLURM_CONF), ("gres", GRES_CONF), ("slurmdbd", SLURMDBD_CONF)):
            (self.folder / f"{name}.conf").write_text(text.format(**values))
            (self.folder / f"{name}.conf").chmod(0o600)
        for index in (0, 1):
            os.mknod(self.folder / f"dev/nvidia{index}", 0o20666, os.makedev(1, 3))
        self._start_munge()
        if self.has_accounting:
            self._start_accounting()
        self._run("slurmctld")
        for node in NODES:
            self.start_node(node)
        self._wait(self._all_idle, "all nodes")

    def _start_accounting(self) -> None:
        self._start_database()
        self._run("slurmdbd")
        self._wait(lambda: self._works("sacctmgr", "-n", "show", "cluster"), "slurmdbd")
        self._run("sacctmgr", "-i", "add", "cluster", "test")
        self._run("sacctmgr", "-i", "add", "account", "clip")
        self._run("sacctmgr", "-i", "add", "user", "root", "account=clip")

    def start_node(self, node: str) -> None:
        """Start one slurmd."""
        (self.folder / "spool" / node).mkdir(exist_ok=True)
        self._run("slurmd", "-N", node)

    def kill_node(self, node: str) -> None:
        """Kill a slurmd with -9, and all that runs in its jobs: what a power cut does."""
        daemon = int((self.folder / f"run/slurmd-{node}.pid").read_text())
        for pid in [daemon, *self._job_processes(node)]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def stop(self) -> None:
        """End what `start` started, jobs included."""
        if (self.folder / "slurm.conf").exists():
            subprocess.run(["scancel", "--user=root"], env=self.env, capture_output=True)
        processes = [pid for node in NODES for pid in self._job_processes(node)]
        names = [*(f"slurmd-{node}" for node in NODES), "slurmctld", "slurmdbd", "my", "munged"]
        for name in names:
            file = self.folder / ("my/run/my.pid" if name == "my" else f"run/{name}.pid")
            if file.exists():
                _end(int(file.read_text()))
        for pid in processes:
            _end(pid, seconds=0)

    def _start_munge(self) -> None:
        if subprocess.run(["munge", "-n"], capture_output=True).returncode == 0:
            return  # one runs already
        run = Path("/run/munge")
        run.mkdir(exist_ok=True)
        shutil.chown(run, "munge", "munge")
        run.chmod(0o755)
        command = ["setpriv", "--reuid=munge", "--regid=munge", "--clear-groups", "/usr/sbin/munged"]
        self._run(*command)
        pid = Path("/run/munge/munged.pid")
        self._wait(pid.exists, "munged")
        shutil.copy(pid, self.folder / "run/munged.pid")

    def _start_database(self) -> None:
        data, run = self.folder / "my/data", self.folder / "my/run"
        for path in (self.folder / "my", run):
            shutil.chown(path, "mysql", "mysql")
        self.folder.chmod(0o755)
        install = ["mariadb-install-db", "--no-defaults", "--user=mysql", f"--datadir={data}"]
        self._run(*install, "--auth-root-authentication-method=socket", "--skip-test-db")
        with open(self.folder / "log/mariadb.log", "w") as log:
            subprocess.Popen(
                ["mariadbd", "--no-defaults", "--user=mysql", f"--datadir={data}", f"--socket={run}/my.sock",
                 "--skip-networking", f"--pid-file={run}/my.pid", "--innodb-buffer-pool-size=64M",
                 "--innodb-lock-wait-timeout=900"],
                stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        create = ("mariadb", "--no-defaults", f"--socket={run}/my.sock", "-e", "create database slurm_acct_db")
        self._wait(lambda: self._works(*create), "mariadbd")

    def _job_processes(self, node: str) -> list[int]:
        """Step daemons of a node, which would report, and then all processes of its jobs."""
        daemons, jobs = [], []
        for path in Path("/proc").glob("[0-9]*/environ"):
            with contextlib.suppress(OSError):
                names = path.read_bytes().split(b"\0")
                if (
                    f"SLURMD_NODENAME={node}".encode() in names
                    and f"SLURM_CONF={self.env['SLURM_CONF']}".encode() in names
                ):
                    jobs.append(int(path.parent.name))
        for pid in jobs:
            with contextlib.suppress(OSError):
                parent = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1]
                if Path(f"/proc/{parent}/cmdline").read_bytes().startswith(b"slurmstepd"):
                    daemons.append(int(parent))
        return [*dict.fromkeys(daemons), *jobs]

    def _all_idle(self) -> bool:
        text = subprocess.run(
            ["sinfo", "-h", "-N", "-p", "gpu", "-o", "%T"], env=self.env, capture_output=True, text=True
        )
        return text.stdout.split() == ["idle"] * len(NODES)

    def _works(self, *command: str) -> bool:
        return subprocess.run(command, env=self.env, capture_output=True).returncode == 0

    def _run(self, *command: str) -> None:
        done = subprocess.run(command, env=self.env, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}: {done.stdout}{done.stderr}")

    def _wait(self, condition: Callable[[], bool], what: str, seconds: float = 120) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                raise RuntimeError(f"{what} did not come up within {seconds:.0f} s: see {self.folder}/log")
            time.sleep(0.2)


def _end(pid: int, seconds: float = 20) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM if seconds else signal.SIGKILL)
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            os.kill(pid, 0)
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return
            time.sleep(0.1)
        os.kill(pid, signal.SIGKILL)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=("start", "stop"))
    parser.add_argument("folder", type=Path)
    args = parser.parse_args()
    cluster = Cluster(args.folder)
    if args.action == "stop":
        cluster.stop()
        return
    if os.geteuid():
        sys.exit("slurm_cluster: root is needed, for munge, MariaDB and slurmd.")
    cluster.start()
    print(f"export SLURM_CONF={args.folder.absolute()}/slurm.conf")


if __name__ == "__main__":
    main()
