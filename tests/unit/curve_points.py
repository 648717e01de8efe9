"""Points of training curves for tests."""

from typing import Any

from clip_scaling.records.curve import TrainingPoint


def training_point(**fields: Any) -> TrainingPoint:
    """A point of a run of batches of 128, with these fields of it."""
    usual = {
        "step": 20, "samples": 2_560, "loss": 3.2, "learning_rate": 1e-3, "gradient_norm": 1.5, "logit_scale": 14.0,
        "pairs_per_second": 640.0, "data_wait_share": 0.25, "memory_mb": 512.0, "seconds": 4.0,
    }  # fmt: skip
    return TrainingPoint.model_validate(usual | fields)
