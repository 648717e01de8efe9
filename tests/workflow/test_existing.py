"""From existing tars to a trained cell; files that are not there block cells, and are named."""

import io
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from clip_scaling.records.files import read_json

CELL = "Model-ViT-nano-8_Data-Web-100_Samples-256_Seed-0"


def write_tars(folder: Path) -> None:
    """Three tars of 60 pairs, no two images alike, each an image of 24 x 16 pixels."""
    folder.mkdir()
    generator = np.random.default_rng(0)
    for number in range(3):
        with tarfile.open(folder / f"{number:05d}.tar", "w") as tar:
            for pair in range(60):
                file = io.BytesIO()
                Image.fromarray(generator.integers(0, 256, (16, 24, 3), np.uint8)).save(file, "JPEG")
                for extension, content in (("jpg", file.getvalue()), ("txt", f"thing {number} {pair}".encode())):
                    header = tarfile.TarInfo(f"{number:05d}{pair:04d}.{extension}")
                    header.size = len(content)
                    tar.addfile(header, io.BytesIO(content))


def web_study(project: Any) -> dict[str, Any]:
    study = project.study()
    tars = {"kind": "webdataset", "tars": ["tars/{00000..00002}.tar"], "pairs": 180, "vocabulary_size": 600}
    study["sources"]["web"] = tars | {"held_out": {"captions": {"kind": "zeroshot_retrieval", "pairs": 20}}}
    study["data"] = {"Web-100": {"source": "web", "pairs": 100}}
    study["grid"] = {"models": ["ViT-nano-8"], "data": ["Web-100"], "samples_seen": [256]}
    study["recipe"]["defaults"]["global_batch_size"] = 32
    study["evaluation"].pop("validation")
    study["evaluation"] |= {"suite": "web", "loss_batch_size": 20}
    study["resources"] = study.get("resources", {}) | {"train": {"input": "stream", "workers": 0}}
    return study


@pytest.mark.slow
def test_existing_tars_are_indexed_listed_and_trained_on_without_a_copy(make_project: Any) -> None:
    project = make_project()
    write_tars(project.root / "tars")
    file = project.write(web_study(project))
    record = f"results/tiny/train/{CELL}/train.json"
    metrics = f"results/tiny/evaluate/{CELL}/metrics.json"
    project.snakemake(record, metrics, "--configfile", file)
    measured = {row["metric"]: row for row in read_json(project.root / metrics)["metrics"]}
    assert measured["contrastive_loss"]["dataset"] == "web-captions" and measured["contrastive_loss"]["n"] == 20
    home = project.root / "results/data"
    assert read_json(home / "web/manifest.json")["counts"]["held_out"] == {"captions": 20}
    assert [path.is_symlink() for path in (home / "Web-100/shards").iterdir()] == [True] * 3
    trained = read_json(project.root / record)
    assert trained["order_digest"] == read_json(home / "Web-100/manifest.json")["order_digest"]
    assert trained["unique_pairs"] == 100 and trained["lost_samples"] == 0
    # Where the tars lie is no part of the data.
    (project.root / "tars").rename(project.root / "moved")
    study = web_study(project)
    study["sources"]["web"]["tars"] = ["moved/*.tar"]
    file = project.write(study)
    project.snakemake("results/data/web/manifest.json", "--configfile", file)
    assert all(path.is_file() for path in (home / "Web-100/shards").iterdir())
    assert project.planned(file, record) == {}
    # Nor is how they are looked at, what of them may be lost, or what is said of their origin.
    study["sources"]["web"] |= {"verify": "full", "shard_size": 60, "max_lost_fraction": 0.5, "attribution": "ours"}
    assert project.planned(project.write(study), record) == {}
    # A copy of the pairs is the same data: the same weights come out of it, at any size of its shards.
    weights = (project.root / record).with_name("checkpoint.pt").read_bytes()
    study["data"]["Web-100"]["is_copied"] = True
    file = project.write(study)
    jobs = project.planned(file, record)
    assert (jobs["prepare_subset"], jobs["train"]) == (1, 1) and "prepare_source" not in jobs
    project.snakemake(record, "--configfile", file)
    assert [path.is_symlink() for path in (home / "Web-100/shards").iterdir()] == [False] * 2
    assert (project.root / record).with_name("checkpoint.pt").read_bytes() == weights


@pytest.mark.slow
def test_an_indexing_spread_over_jobs_gives_the_source_of_one_job(make_project: Any) -> None:
    manifest = "results/data/web/manifest.json"
    found = []
    for jobs in (1, 2):
        project = make_project()
        write_tars(project.root / "tars")
        study = web_study(project)
        study["sources"]["web"]["index_jobs"] = jobs
        file = project.write(study)
        assert project.planned(file, manifest).get("prepare_unit", 0) == (0 if jobs == 1 else 2)
        project.snakemake(manifest, "--configfile", file)
        home = (project.root / manifest).parent
        found.append({name: (home / name).read_bytes() for name in ("manifest.json", "index.npy", "identities.txt")})
    assert found[0] == found[1]
    parts = [read_json(home / f"records/part-{part}-of-2.json") for part in range(2)]
    assert [(part["tars"], part["pairs"]) for part in parts] == [(2, 120), (1, 60)]
    # A tar that changes is indexed again in its part alone; more jobs than tars are as many as tars.
    tar = project.root / "tars/00001.tar"
    tar.write_bytes(tar.read_bytes() + bytes(10240))
    assert project.planned(file, manifest) == {"prepare_unit": 1, "prepare_source": 1}
    study["sources"]["web"]["index_jobs"] = 9
    assert project.planned(project.write(study), manifest) == {"prepare_unit": 3, "prepare_source": 1}


def test_a_tar_that_is_not_there_is_named_before_anything_runs(make_project: Any) -> None:
    project = make_project()
    file = project.write(web_study(project))
    done = project.snakemake("-n", "--configfile", file, check=False)
    assert done.returncode and "sources.web.tars: tars/00000.tar: no such file" in done.stdout
