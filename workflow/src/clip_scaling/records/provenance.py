"""Where a number was made: code, versions, machine, job, times. Never part of a manifest.

A result that is a JSON record of its own (training, evaluation) holds it under `provenance`; one that must stay
byte-deterministic has it beside itself, in `{stem}.lock`. Either has the changes that were not committed in
`{stem}.diff`. Neither file is known to Snakemake: what they say makes nothing run again.
"""

from __future__ import annotations

import datetime
import hashlib
import os
import platform
import socket
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ..errors import redacted
from ..machine.gpus import visible_gpus
from .files import sha256_file, write_text
from .made import Hardware, Lock, Provenance

CODE = ("Snakefile", "workflow", "scripts", "config", "envs", "pyproject.toml")
"""What of a checkout a number can follow from."""
MAX_DIFF_BYTES = 200_000
"""A longer one is not kept: it is known by its hash and its list of files."""
JOB_VARIABLES = (
    *("SLURM_JOB_ID", "SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID", "SLURM_RESTART_COUNT"),
    *("SLURM_CLUSTER_NAME", "SLURM_JOB_PARTITION", "SLURM_JOB_NODELIST"),
)
_STARTED = datetime.datetime.now(datetime.UTC)


def _start() -> None:
    """A fork of a warm interpreter is a job of its own."""
    global _STARTED
    _STARTED = datetime.datetime.now(datetime.UTC)
    code.cache_clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start)


@dataclass(frozen=True)
class Code:
    """commit: None outside a checkout. diff: all of `CODE` that differs from it, empty where nothing does.

    is_known: False where git could not say, as in a checkout of another user, which it refuses to look at.
    """

    commit: str | None
    diff: str
    is_known: bool = True

    @property
    def diff_sha256(self) -> str | None:
        """Of the whole diff, however long; None where there is none."""
        return hashlib.sha256(self.diff.encode()).hexdigest() if self.diff else None


@cache
def code() -> Code:
    """The code of this process, as it was when first asked for: ask early, a checkout may move on in a long run."""
    here = Path(__file__)
    # A library that is installed somewhere inside another project's checkout is not of its commit.
    if _git(here.parent, "ls-files", "--error-unmatch", here.name) is None:
        return Code(None, "", is_known=False)
    root = Path(_git(here.parent, "rev-parse", "--show-toplevel") or ".")
    changed = _git(root, "diff", "HEAD", "--full-index", "--no-color", "--no-ext-diff", "--no-textconv", "--", *CODE)
    untracked = _git(root, "ls-files", "-z", "--others", "--exclude-standard", "--", "Snakefile", "workflow", "scripts")
    files = [name for name in (untracked or "").split("\0") if (root / name).is_file()]
    new = [f"untracked {name} sha256 {sha256_file(root / name)}" for name in files]
    commit = _git(root, "rev-parse", "HEAD")
    is_known = None not in (commit, changed, untracked)
    return Code(commit, "\n".join([*([changed] if changed else []), *new]), is_known)


def provenance(*packages: str) -> Provenance:
    """Git commit of the project and digest of what differs from it, versions, machine, job, UTC times."""
    torch: Any = sys.modules.get("torch")
    versions = {"python": platform.python_version(), **{name: version(name) for name in packages}}
    if torch is not None and visible_gpus() and torch.version.cuda:
        versions["cuda"] = str(torch.version.cuda)
    return Provenance(
        commit=code().commit,
        uncommitted_changes=bool(code().diff) if code().is_known else None,
        diff_sha256=code().diff_sha256,
        versions=versions,
        host=socket.gethostname(),
        platform=platform.platform(),
        hardware=Hardware(
            processor=_processor(),
            cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
            memory_gb=round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
            gpus=[gpu.name for gpu in visible_gpus()],
        ),
        job=job(),
        started_utc=_STARTED.isoformat(timespec="seconds"),
        finished_utc=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    )


def job() -> dict[str, str]:
    """The Slurm job that this process runs in, by Slurm's own names in small letters; empty outside of one."""
    return {name.lower(): os.environ[name] for name in JOB_VARIABLES if name in os.environ}


def keep_diff(result: Path) -> None:
    """Write the changes that were not committed beside a result, as `{stem}.diff`; drop those of one before it."""
    path = result.with_suffix(".diff")
    diff = code().diff
    if not diff:
        path.unlink(missing_ok=True)
        return
    if len(diff.encode()) > MAX_DIFF_BYTES:
        files = [line for line in diff.splitlines() if line.startswith(("diff --git ", "untracked "))]
        diff = "\n".join([f"{len(diff.encode())} bytes, more than {MAX_DIFF_BYTES}: only the files", *files])
    write_text(path, diff + "\n")


def write_lock(result: Path, inputs: Sequence[Path], *packages: str) -> None:
    """Write `{stem}.lock` beside a result that keeps no provenance in itself, and its diff.

    inputs: files that it was made from; they are known by sha256.
    """
    lock = Lock(
        **dict(provenance(*packages)),
        command=[redacted(text) for text in (Path(sys.argv[0]).name, *sys.argv[1:])],
        inputs={path.as_posix(): sha256_file(path) for path in inputs},
        sha256=sha256_file(result),
    )
    lock.write(lock_path(result))
    keep_diff(result)


def lock_path(result: Path) -> Path:
    """`laws/icons/acc1.json` -> `laws/icons/acc1.lock`: JSON, by another name, since `laws/*/*.json` are laws."""
    return result.with_suffix(".lock")


def tracked_files(root: Path, names: Sequence[str]) -> list[Path] | None:
    """The files below these names that git knows, from `root`; None where it is no checkout."""
    listed = _git(root, "ls-files", "-z", "--", *names)
    # Another project's checkout that `root` lies in knows none of them.
    return [Path(name) for name in listed.split("\0") if name] if listed else None


def _processor() -> str:
    """What /proc/cpuinfo calls the first core; the architecture where it does not say."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.machine()


def _git(folder: Path, *arguments: str) -> str | None:
    """Output of a git command, or None where there is no git or no checkout."""
    try:
        # Without locks: hundreds of jobs may ask at once, and the user may be about to commit.
        command = ["git", "--no-optional-locks", *arguments]
        done = subprocess.run(command, cwd=folder, capture_output=True, check=True)
    except (FileNotFoundError, subprocess.CalledProcessError):
        return None
    return done.stdout.decode("utf-8", "replace").rstrip("\n")
