"""Whole records of finished work, with made-up numbers."""

from __future__ import annotations

from typing import Any


def train_record(cell: str, **changes: Any) -> dict[str, Any]:
    """A train.json: 2 steps of 128 pairs on 100 pairs."""
    return {
        "cell": cell,
        "model": "m",
        "data": "d",
        "seed": 0,
        "state": "trained",
        "recipe": {"learning_rate": 1e-3, "global_batch_size": 128},
        "recipe_version": 1,
        "model_config": {"embed_dim": 8},
        "tokenizer_sha256": "0",
        "weights_sha256": "1",
        "unique_pairs": 100,
        "order_digest": "2",
        "seen_digest": "3",
        "steps": 2,
        "samples_seen": 256,
        "samples_trained": 256,
        "epochs": 2.56,
        "lost_samples": 0,
        "gmacs_per_sample": 0.5,
        "compute_gmacs": 128.0,
        "parameters": 1000,
        "final_loss": 4.5,
        "seconds": 1.5,
        "samples_per_second": 170.7,
        "events": [],
        "attempts": [{"host": "h"}],
        "finished": 1.8e9,
        "device": "cpu",
        "ranks": 1,
        "threads": 1,
        "resources": {},
        "provenance": {},
    } | changes
