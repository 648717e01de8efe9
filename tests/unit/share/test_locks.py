"""provenance.json: every result with its files and its lock, each state of the code once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from clip_scaling.records.files import canonical_json, sha256_file, write_json
from clip_scaling.share.locks import Results, gather

from .conftest import CELL, HOME


def by_name(found: dict[str, Any]) -> dict[str, Any]:
    return {result["name"]: result for result in found["results"]}


def test_every_result_has_its_files_and_its_lock(locked: tuple[Path, Results]) -> None:
    root, results = locked
    found = by_name(gather(results, root))
    evaluation, law, page = f"evaluate/{CELL}/metrics", "laws/scenes-captions/contrastive_loss", "report"
    assert found.keys() == {CELL, evaluation, law, page}
    cell = found[CELL]
    assert [Path(entry["path"]).name for entry in cell["files"]] == ["train.json", "curve.jsonl", "checkpoint.pt"]
    assert cell["files"][2]["sha256"] == sha256_file(root / HOME / "train" / CELL / "checkpoint.pt")
    assert cell["lock"]["seed"] == 0 and cell["lock"]["attempts"][0]["slurm_job_id"] == "17"
    assert cell["lock"]["data"]["order_digest"] == "a" * 64
    assert cell["lock"]["config"]["recipe"]["learning_rate"] == 1e-3
    assert found[evaluation]["lock"]["checkpoint_sha256"] == "d" * 64
    metrics = root / HOME / "evaluate" / CELL / "metrics.json"
    assert found[law]["lock"]["inputs"] == {str(metrics): sha256_file(metrics)}
    assert {"cores", "gpus"} <= found[page]["lock"]["hardware"].keys()


def test_a_state_of_the_code_is_there_once_with_its_diff(locked: tuple[Path, Results]) -> None:
    root, results = locked
    found = gather(results, root)
    edited = [key for key in found["code"] if key.startswith("c0ffeec0ffee+")]
    assert len(edited) == 1
    assert found["code"][edited[0]]["diff"] == "diff --git a/x b/x\n"
    named = by_name(found)
    assert named["report"]["lock"]["code"] == named[f"evaluate/{CELL}/metrics"]["lock"]["code"] == edited[0]


def test_the_same_files_give_the_same_bytes_and_no_place_of_this_machine(locked: tuple[Path, Results]) -> None:
    root, results = locked
    found = gather(results, root)
    assert canonical_json(found) == canonical_json(gather(results, root))
    paths = [entry["path"] for result in found["results"] for entry in result["files"]]
    assert all(path.startswith("results/offline/") for path in paths)
    assert found["data"][0]["path"] == "results/data/scenes/manifest.json"


def test_a_lock_that_is_of_other_bytes_is_not_taken_for_the_results(locked: tuple[Path, Results]) -> None:
    root, results = locked
    write_json(root / HOME / "report.html", {"made": "by an older version"})
    assert by_name(gather(results, root))["report"]["lock"] is None
