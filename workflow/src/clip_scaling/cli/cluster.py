"""`clip-scaling doctor`: what a cluster allows, before the first job, and what to set for it.

Each check reads one thing and gives findings; the checks on compute nodes submit one short srun each.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

OK, SET, BAD = "ok", "set", "bad"
FREE_GB = 50
FREE_INODES = 100_000
CALL_SECONDS = 120
# Two ranks on two nodes add up one number over NCCL (gloo where a node has no GPU).
RANKS = (
    "import os, torch, torch.distributed as d; g = torch.cuda.is_available();"
    "os.environ.update(RANK=os.environ['SLURM_PROCID'], WORLD_SIZE=os.environ['SLURM_NTASKS']);"
    "d.init_process_group('nccl' if g else 'gloo'); t = torch.ones(1, device='cuda' if g else 'cpu');"
    "d.all_reduce(t); print('sum', int(t.item()), d.get_backend())"
)
VERSIONS = "import sys, torch; print(sys.version.split()[0], torch.__version__, torch.cuda.device_count())"


@dataclass(frozen=True)
class Finding:
    """One line of the report. advice: what to set or do; empty where all is well."""

    level: str
    topic: str
    text: str
    advice: str = ""


def examine(
    folder: Path, partition: str | None, submit_jobs: bool, configfile: Path | None = None
) -> Iterator[Finding]:
    """All findings, the cheap ones first. submit_jobs: also run on compute nodes. configfile: of a study to hold room
    against."""
    yield from check_file_system(folder)
    if configfile is not None:
        yield from check_room(configfile, folder)
    if not shutil.which("sbatch"):
        yield Finding(
            BAD, "slurm", "sbatch is not on PATH", "run this on a login node, or use --submitit-cluster local"
        )
        return
    answers, failed = ask_slurm()
    yield from failed
    config = dict(_pairs(answers["configuration"])) if "configuration" in answers else None
    if "partitions" in answers:
        yield from read_partitions(answers["partitions"], partition)
    if config is not None:
        yield from read_limits(config, answers.get("submit limit"))
        yield from read_preemption(config, answers.get("preemption", ""), partition)
    if submit_jobs:
        yield from check_nodes(folder, partition)


def ask_slurm() -> tuple[dict[str, str], list[Finding]]:
    """What Slurm's commands print, by question, and a finding with Slurm's own words for each that fails."""
    user = f"user={os.environ.get('USER', 'root')}"
    limits = ("sacctmgr", "-nP", "show", "assoc", "where", user, "format=MaxSubmitJobs,GrpSubmitJobs")
    controller = "the controller may be down: ask the cluster's staff, or run this again later"
    questions: dict[str, tuple[tuple[str, ...], str, str]] = {
        "configuration": (("scontrol", "show", "config"), BAD, controller),
        "partitions": (("sinfo", "-h", "-o", "%P|%a|%l|%D|%c|%m|%G"), BAD, controller),
        "preemption": (("scontrol", "show", "partition", "-o"), SET, controller),
        "submit limit": (limits, SET, "the executor goes on without; if the staff know a limit, give it by --jobs"),
    }
    answers: dict[str, str] = {}
    failed: list[Finding] = []
    for topic, (command, level, advice) in questions.items():
        if topic == "submit limit" and "slurmdbd" not in answers.get("configuration", "slurmdbd"):
            continue  # without accounting there are none
        try:
            answers[topic] = _output(*command)
        except FileNotFoundError:
            failed.append(Finding(level, topic, f"{command[0]}: no such command", advice))
        except subprocess.TimeoutExpired:
            failed.append(Finding(level, topic, f"{command[0]}: no answer in {CALL_SECONDS} s", advice))
        except subprocess.CalledProcessError as error:
            words = error.stderr.strip().splitlines() or [f"exit code {error.returncode}"]
            failed.append(Finding(level, topic, f"{command[0]}: {words[-1]}", advice))
    return answers, failed


def read_partitions(text: str, wanted: str | None) -> Iterator[Finding]:
    """Partitions from `sinfo -o %P|%a|%l|%D|%c|%m|%G`: name, state, limit, nodes, CPUs, MB, GPUs."""
    rows = [line.split("|") for line in text.splitlines() if line.count("|") == 6]
    names = {row[0].rstrip("*") for row in rows}
    for name, state, limit, nodes, cpus, memory, gres in rows:
        gpus = "no GPUs" if gres in ("(null)", "") else gres
        yield Finding(
            OK if state == "up" else BAD,
            "partition",
            f"{name.rstrip('*')}: {nodes} nodes with {cpus} CPUs, {memory} MB, {gpus}; time limit {limit}, {state}",
            "" if state == "up" else "choose another by --submitit-partition",
        )
    if wanted and wanted not in names:
        yield Finding(BAD, "partition", f"{wanted} does not exist", f"--submitit-partition: {', '.join(sorted(names))}")
    if not wanted and not any(row[0].endswith("*") for row in rows):
        yield Finding(SET, "partition", "no default partition", "--submitit-partition NAME")


def read_limits(config: dict[str, str], associations: str | None) -> Iterator[Finding]:
    """Array size, submit limits and accounting, from `scontrol show config` and sacctmgr (None: no answer)."""
    yield Finding(OK, "arrays", f"MaxArraySize {config.get('MaxArraySize', 'unknown')}: larger batches are split")
    numbers = [int(field) for line in (associations or "").splitlines() for field in line.split("|") if field.isdigit()]
    if numbers:
        yield Finding(SET, "submit limit", f"{min(numbers)} jobs a user", f"--jobs {min(numbers)} or less")
    elif associations is not None:
        yield Finding(OK, "submit limit", "none that sacctmgr shows")
    if "slurmdbd" in config.get("AccountingStorageType", ""):
        yield Finding(OK, "accounting", "sacct is asked for states")
    else:
        age = config.get("MinJobAge", "unknown")
        yield Finding(
            SET,
            "accounting",
            f"none: squeue is asked, which forgets jobs after {age}",
            "keep --submitit-status-seconds well below that",
        )
    if config.get("JobRequeue") == "0":
        yield Finding(SET, "requeue", "JobRequeue=0: Slurm requeues nothing by itself", "--submitit-sbatch requeue")


def read_preemption(config: dict[str, str], partitions: str, wanted: str | None) -> Iterator[Finding]:
    """Preemption mode and grace time, from `scontrol show config` and `scontrol show partition -o`."""
    mode = config.get("PreemptMode", "OFF")
    if "preempt/none" in config.get("PreemptType", "preempt/none"):
        yield Finding(OK, "preemption", "off")
        return
    asked = config.get("SchedulerParameters", "") + config.get("PreemptParameters", "")
    yield (
        Finding(OK, "preemption", f"PreemptMode {mode}, with the job's own signal")
        if "send_user_signal" in asked
        else Finding(SET, "preemption", f"PreemptMode {mode}, by SIGTERM", "the grace time is all there is to save in")
    )
    for line in partitions.splitlines():
        fields = dict(_pairs(line.replace(" ", "\n"), "="))
        name, grace = fields.get("PartitionName", ""), int(fields.get("GraceTime", "0"))
        if fields.get("PreemptMode", "OFF") == "OFF" or (wanted and name != wanted):
            continue
        yield Finding(
            OK if grace >= 30 else SET,
            "grace time",
            f"{name}: {grace} s to save before a preemption",
            "" if grace >= 30 else "save often (resources.train.checkpoint_minutes): there is no time to save then",
        )


def check_file_system(folder: Path) -> Iterator[Finding]:
    """Rename over a file, locks between processes, and free space in the results folder."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".doctor-") as name:
        old, new = Path(name) / "old", Path(name) / "new"
        old.write_text("old")
        new.write_text("new")
        new.rename(old)
        is_renamed = old.read_text() == "new"
        yield Finding(
            OK if is_renamed else BAD, "rename", f"over a file in {folder}: {'works' if is_renamed else 'fails'}"
        )
        yield _check_lock(Path(name) / "lock")
    free = shutil.disk_usage(folder).free / 1e9
    yield Finding(
        OK if free > FREE_GB else SET,
        "free space",
        f"{free:.0f} GB in {folder}",
        "" if free > FREE_GB else "link results/ to a larger file system",
    )
    inodes = os.statvfs(folder)
    if inodes.f_files:
        is_enough = inodes.f_favail > FREE_INODES
        advice = "" if is_enough else "ask for a larger quota of files, or link results/ to another file system"
        yield Finding(OK if is_enough else SET, "free inodes", f"{inodes.f_favail:,} in {folder}", advice)
    if shutil.which("quota"):
        text = subprocess.run(["quota", "-s"], capture_output=True, text=True).stdout.strip()
        yield Finding(OK, "quota", " ".join(text.split()) or "none that `quota` shows")


def check_room(configfile: Path, folder: Path) -> Iterator[Finding]:
    """Free space and inodes held against the plan of a study. folder: results/."""
    from ..plan.files import open_study
    from ..plan.room import MORE_ROOM, room_problems
    from ..plan.table import make_plan

    root = folder.absolute().parent
    study = open_study(configfile, root)
    plan = make_plan(study, root)
    problems = room_problems(study, plan.stages, root)
    for problem in problems:
        yield Finding(BAD, "room for the study", problem, MORE_ROOM)
    if not problems:
        text = f"{plan.peak_storage_gb:,.3g} GB and {sum(stage.files for stage in plan.stages):,} files at its peak fit"
        yield Finding(OK, "room for the study", text)


def check_nodes(folder: Path, partition: str | None) -> Iterator[Finding]:
    """Python, torch, the folder and two talking nodes, each by one srun."""
    place = ["srun", "--time=5", *(["-p", partition] if partition else [])]
    seen = folder / ".doctor-seen"
    seen.write_text("seen")
    try:
        yield _try(
            [*place, "-n1", "cat", str(seen.absolute())],
            "shared folder",
            f"{folder} on a compute node",
            "put results/ on a file system that all nodes see",
        )
    finally:
        seen.unlink()
    yield _try(
        [*place, "-n1", sys.executable, "-c", VERSIONS],
        "python and torch",
        "on a compute node",
        "the environment must be on the shared file system; --submitit-setup 'module load ...'",
    )
    master = {"MASTER_PORT": "29541"}
    ranks = [
        *place,
        "-N2",
        "-n2",
        "--ntasks-per-node=1",
        "sh",
        "-c",
        'export MASTER_ADDR=$SLURM_LAUNCH_NODE_IPADDR; [ "$SLURM_NNODES" = 2 ] || exit 1;'
        ' MASTER_ADDR=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -1);'
        ' getent hosts "$MASTER_ADDR" > /dev/null || MASTER_ADDR=$SLURM_LAUNCH_NODE_IPADDR;'
        ' exec "$0" -c "$1"',
        sys.executable,
        RANKS,
    ]
    yield _try(
        ranks, "two nodes", "add up over the network", "NCCL_SOCKET_IFNAME, MASTER_ADDR: see docs/cluster.md", master
    )


def report(findings: list[Finding]) -> str:
    """The findings as text, with what to set gathered at the end."""
    lines = [f"{finding.level:>4}  {finding.topic}: {finding.text}" for finding in findings]
    advice = [f"  {finding.topic}: {finding.advice}" for finding in findings if finding.advice]
    return "\n".join([*lines, *(["", "What to set or do:", *advice] if advice else ["", "Nothing to set."])])


def add_commands(commands: Any) -> None:
    """Add the command to a parser's subcommands."""
    about = "check a cluster before the first job"
    parser = commands.add_parser("doctor", help=about, description=doctor.__doc__)
    parser.add_argument("--partition", help="of the jobs; default: the cluster's own")
    parser.add_argument("--folder", type=Path, default=Path("results"), help="on the shared file system (results)")
    parser.add_argument("--configfile", type=Path, help="hold free space and inodes against the plan of this study")
    parser.add_argument("--no-jobs", action="store_true", help="read only; run nothing on compute nodes")
    parser.set_defaults(run=doctor)


def doctor(args: argparse.Namespace) -> None:
    """Check a cluster before the first job: partitions, limits, accounting, preemption, file system, nodes, network."""
    findings = list(examine(args.folder, args.partition, not args.no_jobs, args.configfile))
    print(report(findings))
    if any(finding.level == BAD for finding in findings):
        sys.exit(1)


def _check_lock(path: Path) -> Finding:
    code = "import fcntl, sys; fcntl.flock(open(sys.argv[1], 'w'), fcntl.LOCK_EX | fcntl.LOCK_NB)"
    with open(path, "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError as error:
            return Finding(
                BAD, "locks", f"flock fails: {error}", "mount with locks (Lustre: -o flock), or move results/"
            )
        second = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True)
    if second.returncode == 0:
        return Finding(BAD, "locks", "flock does not keep a second process out", "do not start two drivers at once")
    return Finding(OK, "locks", "flock keeps a second process out")


def _try(command: list[str], topic: str, text: str, advice: str, env: dict[str, str] | None = None) -> Finding:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=600, env=os.environ | (env or {}))
    except subprocess.TimeoutExpired:
        return Finding(BAD, topic, f"{text}: no answer in 10 minutes", advice)
    if done.returncode:
        return Finding(BAD, topic, f"{text}: {(done.stderr.strip().splitlines() or ['failed'])[-1]}", advice)
    return Finding(OK, topic, f"{text}: {done.stdout.strip().splitlines()[-1]}")


def _output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=CALL_SECONDS).stdout


def _pairs(text: str, sign: str = "=") -> Iterator[tuple[str, str]]:
    for line in text.splitlines():
        name, found, value = line.partition(sign)
        if found:
            yield name.strip(), value.strip()
