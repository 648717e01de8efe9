"""Run a script in a fork of an interpreter that has already imported torch: a short job pays no import.

A script calls `hand_over()` first. Where the run of Snakemake keeps warm interpreters (WARM names their folder and the
driver's process), this process asks one for a fork that goes on as the script, with the same arguments, environment,
folder, standard streams and locks, and waits for it: signals go on to the fork, its exit code or signal becomes this
process's own, and it ends when this process is killed. With any trouble before the fork has begun the
script goes on here, importing for itself. Imports nothing slow; Linux only, since it needs pidfds.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

WARM = "CLIP_SCALING_WARM"
"""Environment variable: `{folder}:{process id of the driver}`."""
LOCKS = "CLIP_SCALING_GPU_LOCKS"
"""Environment variable: descriptors of the locks that a job holds (pool.py); the fork holds them too."""
COLD = "CLIP_SCALING_COLD"
"""Environment variable: a user sets it to have every job import for itself."""
SAVING = (signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM, signal.SIGINT)
VARYING = {"CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER", LOCKS, WARM, "PWD", "OLDPWD", "SHLVL", "_"}
"""Variables that nothing reads while it is imported: all others must be those that the warm interpreter began with."""
MODULES = (
    "clip_scaling.models.fast_import",  # before all that imports open_clip
    "clip_scaling.train.job",
    "clip_scaling.train.pilot",
    "clip_scaling.evaluate.validation",
    "clip_scaling.evaluate.suite",
    "tensorboardX",
    "torch._dynamo",  # torch's optimizers import it at their first step
)
"""What scripts of training and evaluation import."""
SECONDS_TO_LISTEN = 20.0
MOST_BYTES = 1 << 20

FAILED = ".failed"
"""Suffix of the file that an interpreter leaves where it could not import: jobs then import for themselves."""
LONGEST_FOLDER = 60
"""Characters: the name of a socket has 107 at most."""


def can_be_warm() -> bool:
    """Whether this system has what is needed."""
    if COLD in os.environ or not hasattr(os, "pidfd_open"):
        return False
    try:
        own = os.pidfd_open(os.getpid())
        signal.pidfd_send_signal(own, 0)
    except OSError:
        return False
    os.close(own)
    return True


@contextlib.contextmanager
def warm_folder() -> Iterator[None]:
    """Inside, jobs that this process starts find a folder of warm interpreters."""
    import shutil
    import tempfile

    base = tempfile.gettempdir()
    folder = tempfile.mkdtemp(prefix="clip-scaling-", dir=base if len(base) < LONGEST_FOLDER else "/tmp")
    os.environ[WARM] = f"{folder}:{os.getpid()}"
    try:
        yield
    finally:
        del os.environ[WARM]
        shutil.rmtree(folder, ignore_errors=True)


def hand_over(is_listening: bool = False, modules: Sequence[str] = MODULES) -> None:
    """Go on as a fork of a warm interpreter, and end with it; return where there is none.

    is_listening: the script will remember SAVING (train.signals.listen): until it does they are held back.
    modules: that the interpreter has imported, in this order.
    """
    place = os.environ.pop(WARM, "")
    if not place or "WORLD_SIZE" in os.environ:
        return
    signal.pthread_sigmask(signal.SIG_BLOCK, SAVING)
    folder, _, driver = place.rpartition(":")
    with contextlib.suppress(OSError):
        for _ in range(2):  # one whose code has changed on disk refuses, and the next is started
            link = _connect(Path(folder), driver, modules)
            if link is None:
                break
            code = _run(link, is_listening)
            if code is not None:
                _end_as(code)
    if not is_listening:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SAVING)


def key_of(environment: dict[str, str], modules: Sequence[str] = MODULES) -> str:
    """The same for environments that one warm interpreter can stand for."""
    kept = {name: value for name, value in environment.items() if name not in VARYING}
    about = json.dumps([sys.executable, list(modules), sorted(kept.items())])
    return hashlib.sha256(about.encode()).hexdigest()[:16]


def _connect(folder: Path, driver: str, modules: Sequence[str]) -> socket.socket | None:
    """A connection to the interpreter of this environment, which is started by the first that asks."""
    import subprocess

    if not folder.is_dir():
        return None
    path = folder / key_of(dict(os.environ), modules)
    with open(path.with_suffix(".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        link = _try(path)
        if link is not None:
            return link
        if path.with_suffix(FAILED).exists():
            return None
        path.unlink(missing_ok=True)
        with open(path.with_suffix(".log"), "ab") as log:
            started = subprocess.Popen(
                [sys.executable, "-m", "clip_scaling.machine.parent", str(path), driver, *modules],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # signals of the terminal come to its forks through those who wait for them
            )
        deadline = time.monotonic() + SECONDS_TO_LISTEN
        while link is None and started.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
            link = _try(path)
        return link


def _try(path: Path) -> socket.socket | None:
    link = socket.socket(socket.AF_UNIX)
    try:
        link.connect(str(path))
    except OSError:
        link.close()
        return None
    return link


def _run(link: socket.socket, is_listening: bool) -> int | None:
    """Ask for the fork and wait for it: its status as os.waitpid has it; None where it has not begun."""
    held = [int(text) for text in os.environ.get(LOCKS, "").split(",") if text]
    request = {
        "argv": [os.path.abspath(sys.argv[0]), *sys.argv[1:]],
        "environment": dict(os.environ),
        "folder": os.getcwd(),
        "umask": _umask(),
        "is_listening": is_listening,
        "locks": held,
    }
    body = json.dumps(request).encode()
    if len(body) > MOST_BYTES:
        return None
    socket.send_fds(link, [len(body).to_bytes(4, "big")], [0, 1, 2, *held])
    link.sendall(body)
    message, descriptors, _, _ = socket.recv_fds(link, 1, 1)
    if message != b"+" or not descriptors:
        return None
    _forward_signals(descriptors[0])
    status = receive(link, 4)
    if status is None:
        print("warm: the interpreter that this job was a fork of has ended, and the job with it", file=sys.stderr)
        return 1 << 8
    return int.from_bytes(status, "big")


def receive(link: socket.socket, count: int) -> bytes | None:
    """So many bytes; None where the other side has ended."""
    data = b""
    while len(data) < count:
        part = link.recv(count - len(data))
        if not part:
            return None
        data += part
    return data


def _forward_signals(fork: int) -> None:
    """Send on what comes; also what came since this process began to ask."""

    def forward(number: int, frame: FrameType | None) -> None:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(fork, signal.SIGSTOP if number == signal.SIGTSTP else number)
        if number == signal.SIGTSTP:
            os.kill(os.getpid(), signal.SIGSTOP)

    for number in (*SAVING, signal.SIGTSTP, signal.SIGCONT):
        signal.signal(number, forward)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SAVING)


def _end_as(status: int) -> Any:
    """End with the fork's exit code, or by the signal that ended it."""
    sys.stdout.flush()
    sys.stderr.flush()
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        if number != signal.SIGKILL:
            signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
    os._exit(os.waitstatus_to_exitcode(status))


def _umask() -> int:
    now = os.umask(0o077)
    os.umask(now)
    return now
