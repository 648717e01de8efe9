"""Give each job on this machine GPUs of its own: a prefix of its command that waits for them and then becomes it.

    python -m clip_scaling.machine.pool --gpus 1 --cells-per-gpu 2 -- python scripts/train.py ...

Who holds which GPU is said by locks of the operating system on files in a folder of the user, so that all studies of a
user on this machine count, and a killed job leaves none behind. A GPU has SLOTS of them: a job that shares it with
k - 1 others takes SLOTS / k. The command finds its GPUs in CUDA_VISIBLE_DEVICES; on Slurm, and where the user sets that
variable, they are chosen from those that are visible. Exit code 75 where a signal ends the wait: nothing has begun.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import os
import re
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType

from ..errors import TrainingError, full_message
from .gpus import VISIBLE, Gpu, visible_gpus
from .private import make_private
from .warm import LOCKS

SLOTS = 12
"""Locks of a GPU: 1, 2, 3, 4, 6 or 12 jobs share it equally."""
EXIT_SAVED = 75
POLL_SECONDS = 0.2
SIGNALS = (signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM, signal.SIGINT)


def gpu_slots(gpus: int, cells_per_gpu: int) -> int:
    """Slots of a job's GPUs, all together."""
    return gpus * SLOTS // cells_per_gpu


def pool_folder(path: Path | None = None) -> Path:
    """Where this user's jobs on this machine say which GPUs they hold. TrainingError where it is not the user's own."""
    folder = path or Path(tempfile.gettempdir()) / f"clip-scaling-gpus-{os.getuid()}"
    try:
        return make_private(folder)
    except OSError as error:
        raise TrainingError(
            f"cannot be a folder of this user alone ({error.strerror})",
            place=str(folder),
            remedy="Set TMPDIR to another folder.",
        ) from None


def take(folder: Path, gpus: Sequence[Gpu], count: int, slots: int) -> tuple[list[Gpu], list[int]] | None:
    """Lock so many slots on each of `count` GPUs: the GPUs and the locks' descriptors; None where too few are free.

    The fullest GPUs that have room are taken, so that whole ones stay free. Nothing is held while a job waits.
    """
    with _alone(folder):
        free = {gpu: _free_slots(folder, gpu) for gpu in gpus}
        fitting = sorted((gpu for gpu in gpus if len(free[gpu]) >= slots), key=lambda gpu: len(free[gpu]))
        chosen = fitting[:count] if len(fitting) >= count else []
        held = [descriptor for gpu in chosen for descriptor in free[gpu][:slots]]
        for descriptor in {d for found in free.values() for d in found} - set(held):
            os.close(descriptor)
    return (sorted(chosen, key=gpus.index), held) if chosen else None


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """No other job looks for GPUs meanwhile."""
    with open(folder / "pool.lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _free_slots(folder: Path, gpu: Gpu) -> list[int]:
    """Descriptors of a GPU's slots that nobody held; they are locked now."""
    found = []
    for slot in range(SLOTS):
        name = f"{re.sub(r'[^A-Za-z0-9-]', '_', gpu.uuid)}-{slot}.lock"
        descriptor = os.open(folder / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            found.append(descriptor)
        except BlockingIOError:
            os.close(descriptor)
    return found


def wait_for(folder: Path, gpus: Sequence[Gpu], count: int, slots: int) -> tuple[list[Gpu], list[int]]:
    """Wait until the GPUs are free and hold them."""
    is_said = False
    while (found := take(folder, gpus, count, slots)) is None:
        if not is_said:
            print(f"pool: waits for {count} of {len(gpus)} GPUs", file=sys.stderr, flush=True)
            is_said = True
        time.sleep(POLL_SECONDS)
    return found


def environment_of(chosen: Sequence[Gpu], held: Sequence[int]) -> dict[str, str]:
    """What a command finds in its environment. Locks stay with it through exec."""
    for descriptor in held:
        os.set_inheritable(descriptor, True)
    order = {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"} if VISIBLE not in os.environ else {}
    return order | {VISIBLE: ",".join(gpu.token for gpu in chosen), LOCKS: ",".join(map(str, held))}


def _leave(number: int, frame: FrameType | None) -> None:
    sys.exit(EXIT_SAVED)


def main(arguments: list[str] | None = None) -> None:
    """Parse, wait, become the command. A command whose GPUs are not on this machine starts at once: it says so."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gpus", type=int, required=True, help="GPUs of the job")
    parser.add_argument("--cells-per-gpu", type=int, default=1, help="jobs that share a GPU with it, itself included")
    parser.add_argument("command", nargs="+", help="after --")
    args = parser.parse_args(arguments)
    gpus, environment = visible_gpus(), dict(os.environ)
    if 0 < args.gpus <= len(gpus):
        for number in SIGNALS:
            signal.signal(number, _leave)
        try:
            found = wait_for(pool_folder(), gpus, args.gpus, gpu_slots(1, args.cells_per_gpu))
        except TrainingError as error:
            sys.exit(full_message(error))
        environment |= environment_of(*found)
        for number in SIGNALS:
            signal.signal(number, signal.SIG_DFL)
    os.execvpe(args.command[0], args.command, environment)


if __name__ == "__main__":
    main()
