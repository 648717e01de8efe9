"""Snakemake executor that submits jobs with submitit: to Slurm, or to processes of this machine.

Snakemake imports every executor plugin at its start, so nothing here imports submitit.
"""

from snakemake_interface_executor_plugins.settings import CommonSettings

from .executor import Executor
from .settings import ExecutorSettings

common_settings = CommonSettings(
    non_local_exec=True,
    implies_no_shared_fs=False,
    job_deploy_sources=False,
    pass_default_storage_provider_args=True,
    pass_default_resources_args=True,
    pass_envvar_declarations_to_cmd=True,
    auto_deploy_default_storage_provider=False,
    init_seconds_before_status_checks=1,
)

__all__ = ["Executor", "ExecutorSettings", "common_settings"]
