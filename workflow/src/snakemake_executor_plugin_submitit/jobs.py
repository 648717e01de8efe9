"""One job as the driver follows it, and what its ledger line says of it."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from snakemake_interface_executor_plugins.jobs import JobExecutorInterface

from .ledger import SUBMITTED, SUBMITTING, Record, job_key
from .policy import History
from .resources import Parameters


@dataclass
class Tracked:
    """A job, its request and where it stands. cluster_id is empty until it is submitted."""

    job: JobExecutorInterface
    key: str
    name: str
    fingerprint: str
    command: str
    parameters: Parameters
    attempt: int = 1
    history: History = field(default_factory=History)
    cluster_id: str = ""
    submitted_by: str = ""
    token: str = ""
    index: int = 0
    submitted: float = 0.0  # seconds since 1970
    ended_since: float = 0.0  # when Slurm first called it ended without a report; 0 while it runs
    unknown_since: float = 0.0  # when Slurm first did not know it
    events_seen: int = 0
    requeued: float = 0.0  # when it was requeued and still has to be released; 0 if not
    requeues: int = 0  # of this submission

    def record(self, state: str, driver: str) -> Record:
        """The line about this job's present state."""
        return Record(
            key=self.key,
            name=self.name,
            state=state,
            driver=driver,
            fingerprint=self.fingerprint,
            token=self.token,
            index=self.index,
            cluster_id=self.cluster_id,
            attempt=self.attempt,
            continuations=self.history.continuations,
            resubmissions=self.history.resubmissions,
            memory_retries=self.history.memory_retries,
            has_saved=self.history.has_saved,
        )

    def attach(self, record: Record, cluster_id: str) -> None:
        """Follow what an earlier driver, or another one, submitted."""
        self.cluster_id = cluster_id
        self.submitted_by = record.driver
        self.token, self.index = record.token, record.index
        self.submitted = record.time
        self.history = History(record.continuations, record.resubmissions, record.memory_retries, record.has_saved)

    def forget_submission(self) -> None:
        """Back to the queue of jobs to submit."""
        self.cluster_id = self.submitted_by = self.token = ""
        self.submitted = self.ended_since = self.unknown_since = self.requeued = 0.0
        self.events_seen = self.requeues = 0

    def count(self, **more: Any) -> None:
        """Add to the history."""
        self.history = replace(self.history, **more)


def track(job: JobExecutorInterface, command: str, parameters: Parameters) -> Tracked:
    """A job that is to be submitted."""
    outputs = [str(path) for path in job.output]
    name = f"{job.name}: {outputs[0]}" if outputs else str(job.name)
    return Tracked(
        job=job,
        key=job_key(str(job.name) if not job.is_group() else "group", outputs, str(job.get_target_spec())),
        name=name,
        fingerprint=fingerprint(job),
        command=command,
        parameters=parameters,
        attempt=job.attempt,
    )


def fingerprint(job: JobExecutorInterface) -> str:
    """What the job runs on what: shell command, params and names of inputs; not the resources it runs with.

    A running job with another fingerprint is of an older recipe, and its result would not be this job's.
    """
    members = list(job.jobs) if job.is_group() else [job]
    parts = []
    for member in sorted(members, key=lambda each: str(each.get_target_spec())):
        parts.append(
            [
                str(member.name),
                str(getattr(member, "shellcmd", None)),
                sorted(map(repr, getattr(member, "params", ()) or ())),
                sorted(str(path) for path in member.input),
                sorted(str(path) for path in member.output),
            ]
        )
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def is_current(record: Record, tracked: Tracked) -> bool:
    """Whether a submission in the ledger is this very job: same command, and no input changed since."""
    return record.fingerprint == tracked.fingerprint and not newer_than(tracked.job.input, record.time)


def newer_than(paths: Iterable[str], time: float) -> bool:
    """Whether one of the files was written after that time (seconds since 1970)."""
    return any(os.stat(path).st_mtime > time for path in map(str, paths) if os.path.exists(path))


def is_open(record: Record | None) -> bool:
    """Whether the ledger knows of a submission whose end nobody has seen."""
    return record is not None and record.state in (SUBMITTING, SUBMITTED)
