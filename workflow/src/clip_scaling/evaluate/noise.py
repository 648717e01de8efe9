"""Noise of an evaluation: the change of each metric under another number format and another batch size."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ..models.encode import Encoder
from ..models.precision import Precision
from ..records.evaluation import EVALUATION_NOISE_TABLE
from .suite import SuiteEvaluator


def evaluation_noise(
    encoder: Encoder, name: str, evaluator: SuiteEvaluator, other_batch_size: int
) -> list[dict[str, Any]]:
    """Measure the suite on one checkpoint in fp32, under bfloat16 autocast, and with another batch size.

    name: of the cell. Returns one row a metric: its fp32 value and both changes.
    """
    precision = Precision("amp_bf16", encoder.device)
    rough = replace(encoder, forward=precision.forward, identity=encoder.identity | {"precision": precision.name})
    other = replace(evaluator, protocol=replace(evaluator.protocol, batch_size=other_batch_size))
    usual = evaluator.run(encoder, name)
    in_bf16 = evaluator.run(rough, f"{name} amp_bf16")
    in_batches = other.run(encoder, f"{name} batch_size={other_batch_size}")
    rows = []
    for row, bf16, batch in zip(usual, in_bf16, in_batches, strict=True):
        about = {key: value for key, value in row.model_dump().items() if key in EVALUATION_NOISE_TABLE.names}
        changes = {"change_amp_bf16": bf16.value - row.value, "change_batch_size": batch.value - row.value}
        rows.append({"cell": name} | about | changes | {"other_batch_size": other_batch_size})
    return rows
