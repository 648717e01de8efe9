"""The executor's settings and their refusals."""

from __future__ import annotations

from typing import Any

import pytest

from snakemake_executor_plugin_submitit import ExecutorSettings
from snakemake_executor_plugin_submitit.errors import SettingsError


def test_the_defaults_are_valid() -> None:
    ExecutorSettings().check()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"cluster": "pbs"}, "--submitit-cluster 'pbs': choose one of slurm, local, debug"),
        ({"status_seconds": 0}, "--submitit-status-seconds 0: must be at least 1"),
        ({"max_continuations": -1}, "--submitit-max-continuations -1: must be at least 0"),
        ({"memory_factor": 1.0}, "must be above 1"),
        ({"sbatch": "=3"}, "'=3' is not of the form name=value"),
        ({"avoid_nodes_minutes": -1}, "--submitit-avoid-nodes-minutes -1: must be at least 0"),
        ({"qos": "high\ntouch broken"}, "must be one line without control characters"),
        ({"sbatch": "comment=a\ntouch broken"}, "must be one line without control characters"),
        ({"sbatch": "nice="}, "'nice=' is not of the form name=value"),
    ],
)
def test_a_setting_that_cannot_be_is_named(change: dict[str, Any], words: str) -> None:
    with pytest.raises(SettingsError) as error:
        ExecutorSettings(**change).check()
    assert words in str(error.value)
