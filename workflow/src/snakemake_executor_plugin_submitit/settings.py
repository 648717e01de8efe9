"""The executor's settings: `--submitit-...` on the command line, `submitit-...` in a profile."""

# No `from __future__ import annotations` here: Snakemake makes the command line's parser from the fields' types.
from dataclasses import dataclass, field
from typing import Any

from snakemake_interface_executor_plugins.settings import ExecutorSettingsBase

from .errors import SettingsError
from .resources import Defaults, line_problem

CLUSTERS = ("slurm", "local", "debug")


def _option(default: Any, help: str, **metadata: Any) -> Any:
    return field(default=default, metadata={"help": help, "env_var": False, "required": False} | metadata)


def _text_option(help: str) -> Any:
    return _option(None, help, type=str)  # Snakemake cannot call `str | None`


@dataclass
class ExecutorSettings(ExecutorSettingsBase):
    """Where and how jobs are submitted. Times have their unit in the name."""

    cluster: str = _option(
        "slurm",
        "where jobs run: slurm; local (processes of this machine); debug (one by one in the driver)",
        choices=list(CLUSTERS),
    )
    folder: str = _option(".snakemake/submitit", "folder of the ledger and the jobs' logs; must be seen by all nodes")
    partition: str | None = _text_option("Slurm partition; a rule's slurm_partition goes before it")
    account: str | None = _text_option("Slurm account; a rule's slurm_account goes before it")
    qos: str | None = _text_option("Slurm quality of service; a rule's slurm_qos goes before it")
    constraint: str | None = _text_option("node features that every job needs, in sbatch's words")
    exclude: str | None = _text_option("nodes that no job may use, in sbatch's words")
    array_parallelism: int = _option(256, "jobs of one array that may run at the same time")
    setup: str | None = _text_option(
        "shell commands before each job, separated by ';' (for example 'module load CUDA')"
    )
    sbatch: str | None = _text_option(
        "further sbatch parameters as 'name=value', separated by ';' (for example 'reservation=clip;nice=100')"
    )
    default_runtime_minutes: int = _option(60, "time limit of a job whose rule gives no runtime, minutes")
    signal_delay_seconds: int = _option(
        120, "time to save before the time limit, seconds; at most a quarter of the limit is used"
    )
    max_continuations: int = _option(
        20, "how often a job may continue from what it saved (preemption, time limit, exit code 75)"
    )
    max_resubmissions: int = _option(3, "how often a job is submitted again after its node failed")
    max_memory_retries: int = _option(2, "how often a job that ran out of memory is submitted again with more")
    memory_factor: float = _option(1.5, "memory of such a new submission, times the last")
    memory_overhead_mb: int = _option(
        300, "memory that every job gets beside its rule's mem_mb, for Snakemake in the job, MB"
    )
    avoid_nodes_minutes: int = _option(
        120, "how long all later submissions keep away from a node that failed, minutes; 0: that job's alone do"
    )
    status_seconds: int = _option(30, "time between two calls to Slurm for the states of all jobs, seconds")
    detach: bool = _option(False, "on Ctrl-C leave jobs in Slurm as they are; the same command finds them again")

    def check(self) -> None:
        """Raise SettingsError for a value that cannot be."""
        if self.cluster not in CLUSTERS:
            raise SettingsError(f"--submitit-cluster {self.cluster!r}: choose one of {', '.join(CLUSTERS)}.")
        for name, least in (
            ("array_parallelism", 1),
            ("default_runtime_minutes", 1),
            ("signal_delay_seconds", 1),
            ("status_seconds", 1),
            ("max_continuations", 0),
            ("max_resubmissions", 0),
            ("max_memory_retries", 0),
            ("memory_overhead_mb", 0),
            ("avoid_nodes_minutes", 0),
        ):
            if getattr(self, name) < least:
                flag = name.replace("_", "-")
                raise SettingsError(f"--submitit-{flag} {getattr(self, name)}: must be at least {least}.")
        if self.memory_factor <= 1:
            raise SettingsError(f"--submitit-memory-factor {self.memory_factor}: must be above 1.")
        self._check_lines()

    def _check_lines(self) -> None:
        """What stands in the job script's `#SBATCH` lines must be one line each."""
        texts: dict[str, object] = {
            name: getattr(self, name) for name in ("folder", "partition", "account", "qos", "constraint", "exclude")
        }
        texts |= {f"sbatch: {part}": f"{part}={value}" for part, value in self.sbatch_parameters().items()}
        for name, text in texts.items():
            if isinstance(text, str) and (problem := line_problem(text)):
                raise SettingsError(f"--submitit-{name} {text!r}: {problem}.")

    def defaults(self) -> Defaults:
        """What a rule that does not say gets."""
        return Defaults(
            runtime_minutes=self.default_runtime_minutes,
            partition=self.partition,
            account=self.account,
            qos=self.qos,
            constraint=self.constraint,
            exclude=self.exclude,
            memory_overhead_mb=self.memory_overhead_mb,
        )

    def setup_commands(self) -> list[str]:
        """The shell commands before each job."""
        return _parts(self.setup)

    def sbatch_parameters(self) -> dict[str, str | bool]:
        """Further sbatch parameters; True for a flag without a value."""
        parameters: dict[str, str | bool] = {}
        for part in _parts(self.sbatch):
            name, equals, value = part.removeprefix("--").partition("=")
            if not name.strip() or (equals and not value.strip()):
                raise SettingsError(f"--submitit-sbatch: {part!r} is not of the form name=value.")
            parameters[name.strip()] = value.strip() if equals else True
        return parameters


def _parts(text: str | None) -> list[str]:
    return [part.strip() for part in (text or "").split(";") if part.strip()]
