"""How much a metric moves where nothing of the model changes: number format and batch size of the evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ..models.precision import Precision
from .store import Store
from .suite import Encoder, EvaluationSet, Protocol, evaluate_sets

NOISE_COLUMNS = [
    "cell",
    "dataset",
    "metric",
    "value",
    "ci_low",
    "ci_high",
    "n",
    "change_amp_bf16",
    "change_batch_size",
    "other_batch_size",
]
"""Of tables/evaluation_noise: value is that of fp32 and the study's batch size, a change is the other minus it."""


def evaluation_noise(
    encoder: Encoder,
    name: str,
    sets: Sequence[EvaluationSet],
    protocol: Protocol,
    other_batch_size: int,
    store: Store | None = None,
) -> list[dict[str, Any]]:
    """One row a metric of the suite, on one checkpoint: its fp32 value, and its change under bfloat16 autocast and
    under another batch size. name: of the cell.
    """
    precision = Precision("amp_bf16", encoder.device)
    rough = replace(encoder, forward=precision.forward, identity=encoder.identity | {"precision": precision.name})
    usual = evaluate_sets(encoder, name, sets, protocol, store)
    in_bf16 = evaluate_sets(rough, f"{name} amp_bf16", sets, protocol, store)
    other = replace(protocol, batch_size=other_batch_size)
    in_batches = evaluate_sets(encoder, f"{name} batch_size={other_batch_size}", sets, other, store)
    rows = []
    for row, bf16, batch in zip(usual, in_bf16, in_batches, strict=True):
        about = {key: value for key, value in row.as_dict().items() if key in NOISE_COLUMNS}
        changes = {"change_amp_bf16": bf16.value - row.value, "change_batch_size": batch.value - row.value}
        rows.append({"cell": name} | about | changes | {"other_batch_size": other_batch_size})
    return rows
