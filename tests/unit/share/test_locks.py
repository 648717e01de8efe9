"""provenance.json: every result with its files and its lock, each state of the code once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from clip_scaling import provenance
from clip_scaling.manifests import canonical_json, sha256_file, write_json
from clip_scaling.provenance import Code, keep_diff, write_lock
from clip_scaling.share.locks import Results, gather

from .conftest import CELL, Trained, measured

HOME = Path("results/offline")


@pytest.fixture
def study(trained: Trained, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Results]:
    """The trained cell, its evaluation by edited code, a law and a page: each with its lock."""
    root, results = trained.root, trained.results
    (results / "train" / CELL / "curve.jsonl").write_text("{}\n")
    monkeypatch.setattr(provenance, "code", lambda: Code("c0ffee" * 6 + "1234", "diff --git a/x b/x"))
    metrics = results / "evaluate" / CELL / "metrics.json"
    row = measured("scenes-captions", "contrastive_loss", 4.25, 4.12, 4.37)
    about = {
        "cell": CELL,
        "metrics": [row],
        "provenance": provenance.provenance("torch"),
        "checkpoint_sha256": "d" * 64,
    }
    write_json(metrics, about)
    keep_diff(metrics)
    for path in (results / "laws" / "scenes-captions" / "contrastive_loss.json", results / "report.html"):
        write_json(path, {})
        write_lock(path, [metrics], "numpy")
    return root, Results(
        name="offline",
        config={"study": trained.study.config.model_dump(mode="json"), "suite": None},
        cells=[HOME / "train" / CELL / "train.json"],
        evaluations=[HOME / "evaluate" / CELL / "metrics.json"],
        laws=[HOME / "laws" / "scenes-captions" / "contrastive_loss.json"],
        pages=[HOME / "report.html"],
        manifests=[Path("results/data/scenes/manifest.json")],
    )


def by_name(found: dict[str, Any]) -> dict[str, Any]:
    return {result["name"]: result for result in found["results"]}


def test_every_result_has_its_files_and_its_lock(study: tuple[Path, Results]) -> None:
    root, results = study
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


def test_a_state_of_the_code_is_there_once_with_its_diff(study: tuple[Path, Results]) -> None:
    root, results = study
    found = gather(results, root)
    edited = [key for key in found["code"] if key.startswith("c0ffeec0ffee+")]
    assert len(edited) == 1
    assert found["code"][edited[0]]["diff"] == "diff --git a/x b/x\n"
    named = by_name(found)
    assert named["report"]["lock"]["code"] == named[f"evaluate/{CELL}/metrics"]["lock"]["code"] == edited[0]


def test_the_same_files_give_the_same_bytes_and_no_place_of_this_machine(study: tuple[Path, Results]) -> None:
    root, results = study
    found = gather(results, root)
    assert canonical_json(found) == canonical_json(gather(results, root))
    paths = [entry["path"] for result in found["results"] for entry in result["files"]]
    assert all(path.startswith("results/offline/") for path in paths)
    assert found["data"][0]["path"] == "results/data/scenes/manifest.json"


def test_a_lock_that_is_of_other_bytes_is_not_taken_for_the_results(study: tuple[Path, Results]) -> None:
    root, results = study
    write_json(root / HOME / "report.html", {"made": "by an older version"})
    assert by_name(gather(results, root))["report"]["lock"] is None
