"""Noise of an evaluation: the change of each metric under other number formats and another batch size."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ..models.encode import Encoder
from ..records.evaluation import EVALUATION_NOISE_TABLE, Measured
from .suite import SuiteEvaluator


def evaluation_noise(
    encoder: Encoder, name: str, evaluator: SuiteEvaluator, other_batch_size: int
) -> list[dict[str, Any]]:
    """Measure the suite on one checkpoint in fp32, in bf16, on a GPU in tf32, and with another batch size.

    name: of the cell. Returns one row a metric: its fp32 value and the changes, whatever the suite's own precision is.
    """
    settings: dict[str, dict[str, Any]] = {"amp_bf16": {"precision": "bf16"}}
    if encoder.device.type == "cuda":
        settings["tf32"] = {"precision": "tf32"}
    settings["batch_size"] = {"batch_size": other_batch_size}

    def run(**changes: Any) -> list[Measured]:
        protocol = replace(evaluator.protocol, **({"precision": "fp32"} | changes))
        return replace(evaluator, protocol=protocol).run(encoder, " ".join([name, *map(str, changes.values())]))

    usual = run()
    others = {setting: run(**changes) for setting, changes in settings.items()}
    rows = []
    for number, row in enumerate(usual):
        about = {key: value for key, value in row.model_dump().items() if key in EVALUATION_NOISE_TABLE.names}
        found = {setting: measured[number].value - row.value for setting, measured in others.items()}
        changes = {f"change_{setting}": found.get(setting) for setting in ("amp_bf16", "tf32", "batch_size")}
        rows.append({"cell": name} | about | changes | {"other_batch_size": other_batch_size})
    return rows
