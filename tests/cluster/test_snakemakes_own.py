"""Snakemake's own tests for executor plugins, on a real Slurm."""

from __future__ import annotations

import pytest
from snakemake.common.tests import TestWorkflowsLocalStorageBase

from snakemake_executor_plugin_submitit import ExecutorSettings


@pytest.mark.cluster
@pytest.mark.usefixtures("cluster")
class TestSlurm(TestWorkflowsLocalStorageBase):
    __test__ = True

    def get_executor(self) -> str:
        return "submitit"

    def get_executor_settings(self) -> ExecutorSettings:
        return ExecutorSettings(cluster="slurm", status_seconds=5)
