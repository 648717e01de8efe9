"""metrics.json: read as it was written, byte for byte, and a wrong field is named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from clip_scaling.errors import ManifestError
from clip_scaling.records.evaluation import CheckpointMetrics
from clip_scaling.records.files import write_json

ROW = {"dataset": "s", "task": "t", "metric": "acc1", "value": 0.5, "ci_low": 0.25, "ci_high": 0.75, "n": 7}
CELL = {"cell": "c", "state": "trained", "checkpoint_sha256": "0", "sets_sha256": {"eval-s": "1"}}
STATE = {"cell": "c", "state": "saved", "step": 3, "samples_seen": 768, "checkpoint_sha256": "0", "sets_sha256": {}}
MIXTURE = {"share": 0.0, "validation": 0.5, "test": 0.25, "chosen": True}


@pytest.mark.parametrize(
    "content",
    [
        CELL | {"metrics": [ROW | {"skipped": 0}], "provenance": {"commit": None}},
        STATE | {"metrics": [ROW | {"skipped": 2}]},
        {"cell": "c", "state": "trained", "metrics": [ROW], "mixtures": [MIXTURE, MIXTURE | {"control": 0.5}]},
        {"cell": "c", "state": "diverged", "metrics": []},
    ],
    ids=["cell", "state", "fine-tuned", "diverged"],
)
def test_every_kind_of_evaluation_is_written_as_it_was_read(tmp_path: Path, content: dict[str, Any]) -> None:
    write_json(tmp_path / "metrics.json", content)
    CheckpointMetrics.read(tmp_path / "metrics.json").write(tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == (tmp_path / "metrics.json").read_bytes()


@pytest.mark.parametrize(
    ("row", "field"),
    [({"value": "high"}, "metrics.0.value"), ({"values": 1.0}, "metrics.0.values"), ({"n": 1.5}, "metrics.0.n")],
)
def test_a_wrong_field_is_named_with_its_file(tmp_path: Path, row: dict[str, Any], field: str) -> None:
    path = tmp_path / "metrics.json"
    path.write_text(json.dumps(CELL | {"metrics": [ROW | row]}))
    with pytest.raises(ManifestError, match=f"{field}: .*Delete it and run"):
        CheckpointMetrics.read(path)
