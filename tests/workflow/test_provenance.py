"""The locks of a whole study, its crate, and a cell of it in open_clip."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from rocrate.rocrate import ROCrate

pytestmark = pytest.mark.slow
CELL = "Model-ViT-nano-8_Data-Scenes-1K_Samples-2K_Seed-0"


def test_every_result_of_a_study_is_locked(finished: Any, repository: Path) -> None:
    found = json.loads((finished.root / "results" / "tiny" / "provenance.json").read_text())
    kinds = [result["kind"] for result in found["results"]]
    assert {kind: kinds.count(kind) for kind in kinds} == {"cell": 2, "evaluation": 2, "law": 5, "report": 1}
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=repository, capture_output=True, text=True).stdout.strip()
    for result in found["results"]:
        assert result["lock"] is not None, result["name"]
        code = found["code"][result["lock"]["code"]]
        assert len(code["commit"]) == len(head) == 40
        # A checkout with changes that are not committed: they are kept.
        assert bool(code["diff"]) == bool(code["diff_sha256"])
    cells = [result for result in found["results"] if result["kind"] == "cell"]
    assert all(
        cell["lock"]["attempts"][0]["commit"] in [code["commit"] for code in found["code"].values()] for cell in cells
    )
    assert found["config"]["study"]["study"] == "tiny"
    assert {entry["path"] for entry in found["data"]} >= {"results/data/Scenes-1K/manifest.json"}
    assert str(finished.root) not in json.dumps(found)


def test_locks_make_nothing_run_again(finished: Any) -> None:
    for path in (finished.root / "results" / "tiny").rglob("*.lock"):
        path.touch()
    assert finished.planned(finished.root / "study.yaml") == {}


def test_the_study_is_one_crate_by_one_rule(copied: Any, repository: Path) -> None:
    for name in ("CITATION.cff", "LICENSE"):
        if not (copied.root / name).exists():
            (copied.root / name).symlink_to(repository / name)
    copied.snakemake("ro_crate", "--configfile", "study.yaml")
    crate = ROCrate(copied.root / "results" / "tiny" / "tiny.crate.zip")
    assert crate.mainEntity.id == "Snakefile" and crate.mainEntity["programmingLanguage"]["name"] == "Snakemake"
    for name in ("study.yaml", "results/tiny/report.html", "results/tiny/figures/laws.pdf", "workflow/rules/train.smk"):
        assert len(crate.get(name)["sha256"]) == 64, name
    action = crate.get(f"#cell/{CELL}")
    assert action["object"][1].id == "results/data/Scenes-1K/manifest.json"


def test_a_cell_of_a_study_opens_in_open_clip(finished: Any, tmp_path: Path) -> None:
    out = tmp_path / "model"
    command = ["clip-scaling", "export", CELL, "--configfile", "study.yaml", "--output", str(out)]
    subprocess.run(command, cwd=finished.root, env=finished.environment(), check=True)
    measured = json.loads((finished.root / "results" / "tiny" / "evaluate" / CELL / "metrics.json").read_text())
    shown = json.loads((out / "provenance.json").read_text())
    assert shown["evaluation"] == measured
    code = (
        f"import open_clip; m, _, p = open_clip.create_model_and_transforms('local-dir:{out}'); print(m.context_length)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "10"
