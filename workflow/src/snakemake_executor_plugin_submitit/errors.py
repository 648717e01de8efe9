"""Errors of this plugin that a person can act on: each names the thing, the place and the next step.

Each class has an entry of its name in docs/cluster.md.
"""

from __future__ import annotations

from snakemake_interface_common.exceptions import WorkflowError


def entry(kind: str) -> str:
    """Where the executor's page has a kind of error."""
    return f"More: docs/cluster.md#{kind.lower()}"


class ExecutorError(WorkflowError):
    """Base of the errors that end a workflow; its text ends with the place of its entry. message: without it."""

    def __init__(self, message: str) -> None:
        self.message = message
        super().__init__(message, entry(type(self).__name__))


class ResourceError(ExecutorError):
    """A rule asks for resources that are unknown or contradict each other."""


class SettingsError(ExecutorError):
    """A setting of the executor cannot be."""


class BackendError(ExecutorError):
    """The cluster's commands are missing or answer in a way that cannot be understood."""


class SubmissionError(Exception):
    """The cluster refuses this job, now and later."""


class SubmissionBusyError(Exception):
    """The cluster takes no more jobs for the moment; the same submission may pass later."""
