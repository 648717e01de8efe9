"""From image files and a table of captions to metrics; what replans, and what the plan refuses."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image

CELL = "Model-ViT-nano-8_Data-Mine-800_Samples-2K_Seed-0"
METRICS = f"results/tiny/evaluate/{CELL}/metrics.json"
COLOURS = ("red", "green", "blue", "white", "yellow", "black", "orange", "purple", "grey", "brown")


def write_images(folder: Path, count: int = 1000) -> None:
    """Squares of ten colours at places of their own on noise, 32 pixels, and a table of them."""
    folder.mkdir()
    generator = np.random.default_rng(0)
    rows = []
    for number in range(count):
        picture = Image.fromarray(generator.integers(0, 256, (32, 32, 3), np.uint8))
        left, top = 4 * (number % 5), 4 * (number // 5 % 5)
        picture.paste(COLOURS[number % 10], (left, top, left + 16, top + 16))
        picture.save(folder / f"{number}.png")
        rows.append((f"{number}.png", f"a {COLOURS[number % 10]} square, number {number}", number % 20 == 7))
    pd.DataFrame(rows, columns=["file", "text", "is_odd"]).to_csv(folder / "pairs.csv", index=False)


def image_study(project: Any, **source: Any) -> dict[str, Any]:
    held_out = {"captions": {"kind": "zeroshot_retrieval", "pairs": 100}}
    table = {"kind": "table", "path": "pictures/pairs.csv", "columns": {"image": "file", "caption": "text"}}
    common = {"pairs": 850, "image_size": 32, "vocabulary_size": 600, "held_out": held_out}
    suite = {"datasets": [{"dataset": "mine-captions", "metrics": ["contrastive_loss", "image_retrieval_recall@5"]}]}
    if (project.root / "config").is_symlink():
        config = (project.root / "config").resolve()
        (project.root / "config").unlink()
        (project.root / "config/evaluation").mkdir(parents=True)
        (project.root / "config/models").symlink_to(config / "models")
        (project.root / "config/laptop.yaml").symlink_to(config / "laptop.yaml")
        (project.root / "config/offline.yaml").symlink_to(config / "offline.yaml")
        (project.root / "config/evaluation/mine.yaml").write_text(yaml.safe_dump(suite))
    study: dict[str, Any] = project.study()
    study["sources"] = {"mine": table | common | source}
    study["data"] = {"Mine-800": {"source": "mine", "pairs": 800}}
    study["grid"] = {"models": ["ViT-nano-8"], "data": ["Mine-800"], "samples_seen": ["2K"]}
    study["evaluation"] = {"suite": "mine", "loss_batch_size": 50}
    return study


@pytest.mark.slow
def test_a_table_of_images_becomes_a_packed_subset_a_trained_cell_and_its_metrics(make_project: Any) -> None:
    project = make_project()
    write_images(project.root / "pictures")
    columns = {"image": "file", "caption": "text", "is_odd": "is_odd"}
    study = image_study(project, columns=columns, filters={"even": "not is_odd"})
    project.snakemake(METRICS, "--configfile", project.write(study))
    home = project.root / "results/data"
    counts = json.loads((home / "mine/manifest.json").read_text())["counts"]
    # One image in twenty is odd, and no two captions are alike.
    assert counts == {"parsed": 1000, "kept": 850, "held_out": {"captions": 100}, "dropped": {"filter_even": 50}}
    assert list((home / "Mine-800/packed").glob("*/manifest.json"))
    measured = {row["metric"]: row["value"] for row in json.loads((project.root / METRICS).read_text())["metrics"]}
    assert 0 < measured["contrastive_loss"] < 20 and 0 <= measured["image_retrieval_recall@5"] <= 1
    # What the plan expects is no part of the data; a changed table is.
    study = image_study(project, columns=columns, filters={"even": "not is_odd"}, pairs=840)
    file = project.write(study)
    assert project.planned(file, METRICS) == {}
    with (project.root / "pictures/pairs.csv").open("a") as table:
        table.write("0.png,another caption,False\n")
    assert project.planned(file, METRICS)["prepare_source"] == 1


@pytest.mark.slow
def test_an_image_added_to_a_folder_replans_its_source_and_a_missing_folder_is_refused(make_project: Any) -> None:
    project = make_project()
    write_images(project.root / "pictures", 60)
    for number in range(60):
        (project.root / f"pictures/{number}.txt").write_text(f"number {number}")
    study = image_study(project, path="pictures", pairs=50)
    study["sources"]["mine"] |= {
        "kind": "folder",
        "held_out": {"captions": {"kind": "zeroshot_retrieval", "pairs": 10}},
    }
    del study["sources"]["mine"]["columns"]
    study["data"] = {"Mine-800": {"source": "mine", "pairs": 50}}
    study["recipe"]["defaults"]["global_batch_size"] = 32
    study["evaluation"]["loss_batch_size"] = 10
    target = "results/data/mine/manifest.json"
    file = project.write(study)
    project.snakemake(target, "--configfile", file)
    assert json.loads((project.root / target).read_text())["counts"]["kept"] == 50
    assert project.planned(file, target) == {}
    (project.root / "pictures/60.png").write_bytes((project.root / "pictures/0.png").read_bytes())
    assert project.planned(file, target) == {"prepare_source": 1}
    study["sources"]["mine"]["path"] = "picturs"
    done = project.snakemake("-n", "--configfile", project.write(study), check=False)
    assert done.returncode and "sources.mine.path: picturs: no such folder" in done.stdout
