"""Names of the files that stages hand to each other. study/paths.py says in which folder each lies."""

from __future__ import annotations

# Data
MANIFEST = "manifest.json"
INDEX = "index.npy"
PLACES = "places.npy"
IDENTITIES = "identities.txt"
FINGERPRINTS = "fingerprints.npy"
PIXELS = "pixels.npy"
TOKENS = "tokens.npy"
ATTRIBUTION = "ATTRIBUTION.md"
MERGES = "merges.txt.gz"
DUPLICATES = "duplicates.json"
CARD = "card.json"
CONTACT_SHEET = "contact_sheet.png"

# Training
CHECKPOINT = "checkpoint.pt"
TRAINED = "train.json"
CURVE = "curve.jsonl"
STATE = "state.pt"
ATTEMPTS = "attempts.jsonl"
HEARTBEAT = "progress.json"

# Evaluation
METRICS = "metrics.json"

# Studies
PLAN = "plan.json"
GRID = "grid.tsv"
PROVENANCE = "provenance.json"


def law_place(target: str, metric: str) -> str:
    """Where a law file lies below results/{study}."""
    return f"laws/{target}/{metric}.json"
