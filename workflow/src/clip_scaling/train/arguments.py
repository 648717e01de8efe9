"""The options that the training scripts share."""

from __future__ import annotations

import argparse
import json
from pathlib import Path


def add_training_arguments(parser: argparse.ArgumentParser) -> None:
    """Data, recipe, resources and where states go."""
    parser.add_argument("--data", required=True, type=Path, help="manifest of the packed pairs, or of the subset")
    parser.add_argument("--tokenizer", required=True, type=Path, help="the source's merges.txt.gz")
    parser.add_argument(
        "--recipe", required=True, type=json.loads, help='JSON: {"recipe", "model_config", "recipe_version"}'
    )
    parser.add_argument("--resources", type=json.loads, default={}, help="JSON: the study's `resources`")
    parser.add_argument("--validation", type=Path, nargs="*", default=[], help="manifests of sets to validate on")
    parser.add_argument("--validation-times", type=int, default=10, help="validations a run")
    parser.add_argument("--validation-samples", type=int, default=1000, help="images or pairs of a set, at most")
    parser.add_argument("--batch-size", type=int, default=256, help="images or captions a forward pass of a validation")
    parser.add_argument("--loss-batch-size", type=int, default=250, help="fixed batch of the held-out contrastive loss")
    parser.add_argument("--resume", required=True, type=Path, help="folder of saved states, curve and heartbeat")
