"""Errors of this plugin that a person can act on: each names the thing, the place and the next step."""

from __future__ import annotations

from snakemake_interface_common.exceptions import WorkflowError


class ResourceError(WorkflowError):
    """A rule asks for resources that are unknown or contradict each other."""


class SettingsError(WorkflowError):
    """A setting of the executor cannot be."""


class BackendError(WorkflowError):
    """The cluster's commands are missing or answer in a way that cannot be understood."""


class SubmissionError(Exception):
    """The cluster refuses this job, now and later."""


class SubmissionBusyError(Exception):
    """The cluster takes no more jobs for the moment; the same submission may pass later."""
