"""Where a number was made, as records, locks and attempts hold it."""

from __future__ import annotations

from typing import ClassVar

from pydantic import BaseModel, ConfigDict, Field

from .base import Record


class Hardware(BaseModel):
    """The machine."""

    model_config = ConfigDict(frozen=True)

    processor: str = ""
    cores: int | None = Field(None, description="that the process may use")
    memory_gb: float | None = None
    gpus: list[str] = Field([], description="names of the visible GPUs")


class Provenance(BaseModel):
    """Code, versions, machine, job and times of one process. Older records may lack some."""

    model_config = ConfigDict(frozen=True)

    commit: str | None = Field(None, description="of the project; null outside a checkout")
    uncommitted_changes: bool | None = Field(None, description="null where git could not say")
    diff_sha256: str | None = Field(None, description="of the uncommitted changes, which stand in `{stem}.diff`")
    versions: dict[str, str] = {}
    host: str = ""
    platform: str = ""
    hardware: Hardware = Hardware()
    job: dict[str, str] = Field({}, description="Slurm's own names in small letters; empty outside of a job")
    started_utc: str = ""
    finished_utc: str = ""


class Lock(Provenance, Record):
    """The provenance of a result that must stay byte-deterministic. Written beside law files, figures and the page."""

    FILE: ClassVar[str] = "{stem}.lock"

    command: list[str]
    inputs: dict[str, str] = Field(description="sha256 by path")
    sha256: str = Field(description="of the result")


class Attempt(BaseModel):
    """One process that trained a cell; a line of attempts.jsonl. Slurm's names of the job stand beside these fields."""

    model_config = ConfigDict(frozen=True, extra="allow")

    host: str = ""
    pid: int = 0
    started: float = Field(0.0, description="seconds since 1970")
    from_step: int = Field(0, description="of the state that it went on from")
    slurm_job_id: str = ""
    commit: str | None = None
    diff_sha256: str | None = None
    lost_samples: int = Field(0, description="that the attempt before had seen beyond that state")
    lost_seconds: float = Field(0.0, description="of training that were made again")
