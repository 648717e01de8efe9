"""Where jobs run: Slurm, processes of this machine, or the driver itself. submitit submits in all three.

submitit is imported where it is used: this package must be importable, and `snakemake -n` work, without it.
"""

from __future__ import annotations

import contextlib
import getpass
import math
import os
import pickle
import signal
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import psutil

from . import slurm
from .errors import BackendError, SettingsError, SubmissionBusyError, SubmissionError
from .resources import Parameters
from .runner import Outcome, Runner, started_path
from .settings import ExecutorSettings
from .slurm import JobState

# What a cancelled job of this machine has to save; Slurm's own is KillWait.
CANCEL_SECONDS = 10


class Backend(Protocol):
    """What the executor needs of a place where jobs run."""

    max_array_size: int
    max_submit: int | None
    warnings: list[str]
    """What a person should know of the place before the first job."""

    def submit(self, parameters: Parameters, runners: Sequence[Runner], token: str) -> list[str]:
        """Submit jobs with equal parameters, as one array where there are several; their ids in order.

        Raises SubmissionBusyError where the same may pass later, else SubmissionError.
        """

    def states(self, ids: Iterable[str]) -> dict[str, JobState]:
        """States of all these jobs in one call; a job that is not known is left out."""

    def outcomes(self, ids: Iterable[str]) -> dict[str, Outcome | str]:
        """Reports of the jobs that have ended by themselves; a text where the report is an error of the job's start."""

    def find(self, token: str, count: int) -> dict[int, str]:
        """Ids of a submission whose driver died before it knew them: index -> id."""

    def cancel(self, ids: Sequence[str]) -> None:
        """End these jobs."""

    def release(self, job_id: str) -> bool:
        """Let a requeued job start at once; whether that was possible."""

    def log_path(self, job_id: str) -> Path:
        """The file with what the job printed."""


def make_backend(settings: ExecutorSettings, folder: Path) -> Backend:
    """The backend that the settings name."""
    try:
        import submitit  # noqa: F401
    except ModuleNotFoundError:
        raise SettingsError("The submitit executor needs the package submitit: pip install submitit==1.5.4") from None
    kinds: dict[str, type[SlurmBackend] | type[LocalBackend] | type[DebugBackend]] = {
        "slurm": SlurmBackend,
        "local": LocalBackend,
        "debug": DebugBackend,
    }
    return kinds[settings.cluster](settings, folder)


def signal_delay(parameters: Parameters, settings: ExecutorSettings) -> int:
    """Seconds before the time limit at which a job is asked to save: at most a quarter of the limit."""
    return min(settings.signal_delay_seconds, max(1, parameters.runtime_minutes * 60 // 4))


class _Reports:
    """Reports that submitit leaves in the folder."""

    def __init__(self, settings: ExecutorSettings, folder: Path) -> None:
        self.settings = settings
        self.folder = folder
        self.max_array_size = 1
        self.max_submit: int | None = None
        self.warnings: list[str] = []

    def outcomes(self, ids: Iterable[str]) -> dict[str, Outcome | str]:
        present = set(os.listdir(self.folder)) if self.folder.exists() else set()
        found: dict[str, Outcome | str] = {}
        for job_id in ids:
            name = f"{job_id}_0_result.pkl"
            if name in present:
                found[job_id] = _result(self.folder / name)
        return found

    def log_path(self, job_id: str) -> Path:
        return self.folder / f"{job_id}_0_log.out"

    def find(self, token: str, count: int) -> dict[int, str]:
        paths = {index: started_path(self.folder, token, index) for index in range(count)}
        return {index: path.read_text() for index, path in paths.items() if path.exists()}

    def release(self, job_id: str) -> bool:
        return True


def _result(path: Path) -> Outcome | str:
    """The outcome that a job left, or what went wrong."""
    try:
        kind, value = pickle.loads(path.read_bytes())
        if kind == "success" and isinstance(value, Outcome):
            return Outcome(int(value.exit_code), int(value.signal), float(value.seconds), str(value.host))
        return str(value)
    except Exception as error:  # pickle meets whatever a damaged file leads it to
        return f"{path}: the job's result cannot be read ({type(error).__name__}: {error})"


class SlurmBackend(_Reports):
    """A Slurm cluster."""

    def __init__(self, settings: ExecutorSettings, folder: Path) -> None:
        super().__init__(settings, folder)
        cluster = slurm.read_cluster(getpass.getuser())
        self._accounting = cluster.has_accounting
        self.max_array_size = cluster.max_array_size
        self.max_submit = cluster.max_submit
        self.warnings = [
            f"A limit of the cluster could not be read and is taken for none. {text}" for text in cluster.unread
        ]

    def submit(self, parameters: Parameters, runners: Sequence[Runner], token: str) -> list[str]:
        import submitit
        from submitit.core.utils import FailedJobError, FailedSubmissionError

        with _outside_a_job():
            executor = submitit.SlurmExecutor(self.folder, max_num_timeout=self.settings.max_continuations)
            executor.update_parameters(**sbatch_parameters(parameters, self.settings, token))
            try:
                return [str(job.job_id) for job in executor.submit_array(list(runners))]
            except (FailedJobError, FailedSubmissionError) as error:
                if slurm.BUSY.search(str(error)):
                    raise SubmissionBusyError(str(error)) from None
                raise SubmissionError(str(error)) from None

    def states(self, ids: Iterable[str]) -> dict[str, JobState]:
        return slurm.sacct_states(ids) if self._accounting else slurm.squeue_states()

    def find(self, token: str, count: int) -> dict[int, str]:
        return slurm.find_by_comment(token) | super().find(token, count)

    def cancel(self, ids: Sequence[str]) -> None:
        slurm.cancel(ids)

    def release(self, job_id: str) -> bool:
        return slurm.release(job_id)


@contextlib.contextmanager
def _outside_a_job() -> Iterator[None]:
    """Hide the variables of the job in which the driver may run: they would steer sbatch. Keeps SLURM_CONF."""
    hidden = {
        name: os.environ.pop(name) for name in list(os.environ) if name.startswith("SLURM") and name != "SLURM_CONF"
    }
    try:
        yield
    finally:
        os.environ.update(hidden)


def sbatch_parameters(parameters: Parameters, settings: ExecutorSettings, token: str) -> dict[str, Any]:
    """One request in the words of submitit's SlurmExecutor."""
    found: dict[str, Any] = {
        "job_name": parameters.name,
        "time": parameters.runtime_minutes,
        "nodes": parameters.nodes,
        "ntasks_per_node": 1,  # the launcher starts the ranks, by an srun of its own
        "cpus_per_task": parameters.cpus_per_node,
        "signal_delay_s": signal_delay(parameters, settings),
        "array_parallelism": settings.array_parallelism,
        "comment": token,
        "stderr_to_stdout": True,
        "wckey": None,
        "srun_args": ["--wait=0"],  # other nodes' tasks end at once; the step goes on without them
        "additional_parameters": settings.sbatch_parameters(),
    }
    if settings.setup_commands():
        found["setup"] = settings.setup_commands()
    if parameters.gpus_per_node:
        found["gpus_per_node"] = parameters.gpus_per_node
    if parameters.mem_mb:
        found["mem"] = f"{parameters.mem_mb}M"
    if parameters.mem_mb_per_cpu:
        found["mem_per_cpu"] = f"{parameters.mem_mb_per_cpu}M"
    for name in ("partition", "account", "qos", "constraint", "exclude"):
        if value := getattr(parameters, name):
            found[name] = value
    return found


class LocalBackend(_Reports):
    """Processes of this machine, which outlive the driver. One machine carries all nodes of a job."""

    def __init__(self, settings: ExecutorSettings, folder: Path) -> None:
        super().__init__(settings, folder)
        self._jobs: dict[str, Any] = {}

    def submit(self, parameters: Parameters, runners: Sequence[Runner], token: str) -> list[str]:
        import submitit

        executor = submitit.LocalExecutor(self.folder)
        executor.update_parameters(
            timeout_min=parameters.runtime_minutes,
            gpus_per_node=parameters.gpus_per_node * parameters.nodes,
            tasks_per_node=1,
            signal_delay_s=signal_delay(parameters, self.settings),
            stderr_to_stdout=True,
            setup=self.settings.setup_commands(),
        )
        ids = []
        for runner in runners:
            job = executor.submit(runner)
            self._jobs[str(job.job_id)] = job
            ids.append(str(job.job_id))
        return ids

    def states(self, ids: Iterable[str]) -> dict[str, JobState]:
        return {job_id: JobState("RUNNING" if self._process(job_id) else "FAILED", killed_by=9) for job_id in ids}

    def cancel(self, ids: Sequence[str]) -> None:
        controllers = [process for job_id in ids if (process := self._process(job_id))]
        # submitit ends its own process only, and the command below it would go on.
        tree = [child for controller in controllers for child in controller.children(recursive=True)]
        for controller in controllers:
            controller.send_signal(signal.SIGINT)
        for process in psutil.wait_procs([*tree, *controllers], timeout=CANCEL_SECONDS)[1]:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()

    def _process(self, job_id: str) -> psutil.Process | None:
        job = self._jobs.get(job_id)
        if job is not None and job._process.poll() is not None:  # reaps it
            return None
        try:
            process = psutil.Process(int(job_id))
            return process if "submitit.local._local" in process.cmdline() else None
        except (psutil.NoSuchProcess, psutil.ZombieProcess):
            return None


class DebugBackend(_Reports):
    """One job after the other, inside the driver."""

    def __init__(self, settings: ExecutorSettings, folder: Path) -> None:
        super().__init__(settings, folder)
        self._outcomes: dict[str, Outcome | str] = {}

    def submit(self, parameters: Parameters, runners: Sequence[Runner], token: str) -> list[str]:
        import submitit

        executor = submitit.DebugExecutor(self.folder)
        ids = []
        for runner in runners:
            job = executor.submit(runner)
            self._outcomes[str(job.job_id)] = job.result() or "no report"
            ids.append(str(job.job_id))
        return ids

    def states(self, ids: Iterable[str]) -> dict[str, JobState]:
        return {}

    def outcomes(self, ids: Iterable[str]) -> dict[str, Outcome | str]:
        return {job_id: self._outcomes[job_id] for job_id in ids if job_id in self._outcomes}

    def cancel(self, ids: Sequence[str]) -> None:
        return


def array_chunks(count: int, max_array_size: int, room: int | None) -> list[range]:
    """Split `count` submissions into arrays within the cluster's limits; what has no room is left for later.

    Slurm's MaxArraySize is one above the largest index, so an array of MaxArraySize tasks 0..N-1 is allowed.
    """
    if max_array_size < 1:
        raise BackendError(f"MaxArraySize is {max_array_size}: job arrays are disabled on this cluster.")
    now = count if room is None else max(0, min(count, room))
    chunks = math.ceil(now / max_array_size)
    return [range(i * max_array_size, min(now, (i + 1) * max_array_size)) for i in range(chunks)]
