"""A suite of the shape of VTAB+: its 35 sets, their sizes to each other, their classes, and every task beside."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from clip_scaling.data.evaluation_sets.read import EvaluationSet, open_set
from clip_scaling.data.evaluation_sets.size import set_size
from clip_scaling.data.evaluation_sets.webdataset import index_evaluation_set
from clip_scaling.evaluate.cut import BLOCK_BATCHES, Costs, cut
from clip_scaling.evaluate.job import EvaluateJob
from clip_scaling.evaluate.store import Store
from clip_scaling.evaluate.suite import Protocol, SuiteEvaluator
from clip_scaling.models.build import build_model
from clip_scaling.models.checkpoint import save_checkpoint
from clip_scaling.models.tokenizer import train_merges, write_merges
from clip_scaling.records.evaluation import CheckpointMetrics
from clip_scaling.records.files import sha256_file
from clip_scaling.study.config.evaluation import Aggregate, LinearProbes, Suite

from .examples import write_set
from .test_suite import MODEL

SIZES = {
    "imagenet1k": (50_000, 1000), "imagenetv2": (10_000, 1000), "imagenet-r": (30_000, 200),
    "imagenet_sketch": (50_889, 1000), "objectnet": (18_574, 113), "imagenet-a": (7_500, 200),
    "vtab/cifar10": (10_000, 10), "vtab/cifar100": (10_000, 100), "mnist": (10_000, 10), "vtab/flowers": (6_149, 102),
    "cars": (8_041, 196), "vtab/svhn": (26_032, 10), "fer2013": (7_178, 7), "renderedsst2": (1_821, 2),
    "vtab/pets": (3_669, 37), "vtab/caltech101": (6_085, 102), "voc2007": (14_976, 20), "sun397": (108_754, 397),
    "fgvc_aircraft": (3_333, 100), "country211": (21_100, 211), "vtab/dtd": (1_880, 47), "gtsrb": (12_630, 43),
    "stl10": (8_000, 10), "vtab/diabetic_retinopathy": (42_670, 5), "vtab/eurosat": (5_400, 10),
    "vtab/resisc45": (6_300, 45), "vtab/pcam": (32_768, 2), "vtab/clevr_count_all": (15_000, 8),
    "vtab/clevr_closest_object_distance": (15_000, 6), "vtab/dsprites_label_orientation": (73_728, 40),
    "vtab/dsprites_label_x_position": (73_728, 32), "vtab/smallnorb_label_elevation": (12_150, 9),
    "vtab/smallnorb_label_azimuth": (12_150, 18), "vtab/dmlab": (22_735, 6),
    "vtab/kitti_closest_vehicle_distance": (711, 4),
}  # fmt: skip
"""Images of the test split and classes of each set."""
SCALE = 500
"""Images of VTAB+ for one of the test."""
JOBS = 4


def pictures(count: int, seed: int) -> list[Image.Image]:
    random = np.random.default_rng(seed)
    return [Image.fromarray(random.integers(0, 256, (16, 16, 3), dtype=np.uint8)) for _ in range(count)]


def write(folder: Path, images: int, classes: int, seed: int) -> None:
    """A labelled set; its training split is its test split."""
    files = {
        "classnames.txt": "\n".join(f"digit {number}" for number in range(classes)),
        "zeroshot_classification_templates.txt": "a {c}\nthe {c}",
    }
    write_set(folder, pictures(images, seed), {"cls": [str(row % classes) for row in range(images)]}, files)
    (folder / "train").symlink_to("test")


def write_several_labels(folder: Path, images: int, classes: int) -> None:
    """A set whose image i shows class i, and every image the last."""
    labels: list[bytes] = []
    for row in range(images):
        file = io.BytesIO()
        np.save(file, np.isin(np.arange(classes), [row % classes, classes - 1]).astype(int))
        labels.append(file.getvalue())
    files = {
        "classnames.txt": "\n".join(f"digit {number}" for number in range(classes)),
        "zeroshot_classification_templates.txt": "a {c}",
        "dataset_type.txt": "multilabel",
    }
    write_set(folder, pictures(images, 77), {"npy": labels}, files)


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory, repository: Path) -> tuple[Path, Suite, list[EvaluationSet]]:
    """The suite `vtab_plus` with generated sets where it looks for them, several labels and retrieval beside."""
    root = tmp_path_factory.mktemp("vtab_plus")
    content = yaml.safe_load((repository / "config" / "evaluation" / "vtab_plus.yaml").read_text())
    found = Suite.model_validate(content | {"folder": f"{root}/wds_{{dataset}}"})
    assert sum(images for images, _ in SIZES.values()) == 738_951
    assert [entry.dataset for entry in found.datasets] == list(SIZES)
    places = {entry.dataset: found.folder_of(entry) for entry in found.datasets}
    for number, (dataset, (images, classes)) in enumerate(SIZES.items()):
        count = max(4, images // SCALE)
        write(places[dataset], count, min(classes, count), number)
    places["voc2007_multilabel"] = root / "wds_voc2007_multilabel"
    write_several_labels(places["voc2007_multilabel"], images=30, classes=5)
    captions: dict[str, Any] = {"txt": [f"one {row}\ntwo {row}" for row in range(12)]}
    places["mscoco_captions"] = root / "wds_mscoco_captions"
    write_set(places["mscoco_captions"], pictures(12, 99), captions, {"dataset_type.txt": "retrieval"})
    manifests = []
    for dataset, folder in places.items():
        manifests.append(root / f"eval-{dataset}" / "manifest.json")
        index_evaluation_set(manifests[-1].parent, dataset, folder)
    write_merges(root / "merges.txt.gz", train_merges(["a the digit one two"] * 3, 600))
    torch.manual_seed(0)
    about = {"cell": "c", "state": "trained", "model_config": MODEL}
    about["tokenizer_sha256"] = sha256_file(root / "merges.txt.gz")
    save_checkpoint(root / "checkpoint.pt", build_model(MODEL).state_dict(), about)
    return root, found, list(map(open_set, manifests))


def evaluator(sets: list[EvaluationSet], suite: Suite, store: Path) -> SuiteEvaluator:
    protocol = Protocol(
        batch_size=2,
        loss_batch_size=4,
        probes={name: [1, "full"] for name in ("vtab/cifar10", "vtab/dtd", "vtab/svhn")},
        linear_probe=LinearProbes(learning_rates=[0.1], epochs=[5], draws=2),
        aggregates=[Aggregate.model_validate(mean) for mean in suite.aggregates],
    )
    return SuiteEvaluator(sets, protocol, Store(store))


@pytest.mark.slow
def test_the_whole_suite_is_measured_alike_by_one_job_and_by_four(
    suite: tuple[Path, Suite, list[EvaluationSet]], tmp_path: Path
) -> None:
    root, about, sets = suite
    job = EvaluateJob(root / "checkpoint.pt", root / "merges.txt.gz")
    one = job.run(evaluator(sets, about, tmp_path / "one"))
    rows = {(row.dataset, row.metric): row for row in one.metrics}
    assert {row.task for row in one.metrics} == {
        "zeroshot_classification", "zeroshot_multilabel", "zeroshot_retrieval", "linear_probe", "aggregate",
    }  # fmt: skip
    assert all(rows[dataset, "acc1"].n == max(4, images // SCALE) for dataset, (images, _) in SIZES.items())
    assert rows["vtab+", "acc1"].value == pytest.approx(np.mean([rows[name, "acc1"].value for name in SIZES]))
    four = shared(job, about, sets, tmp_path / "four")
    assert [row.model_dump() for row in four.metrics] == [row.model_dump() for row in one.metrics]


def shared(job: EvaluateJob, suite: Suite, sets: list[EvaluationSet], store: Path) -> CheckpointMetrics:
    """Evaluate by JOBS jobs, balanced by the numbers of images."""
    protocol: Any = evaluator(sets, suite, store).protocol
    sizes = {found.name: set_size(found.manifest, found.folder) for found in sets}
    assert all(sizes.values())
    costs = Costs({name: size for name, size in sizes.items() if size}, frozenset(protocol.probes), {})
    shares = cut(costs, JOBS, BLOCK_BATCHES * protocol.batch_size)
    loads = [sum(piece.seconds for piece in pieces) for pieces in shares]
    whole = sum(sum(costs.of(name).values()) for name in sizes)
    assert max(loads) < 4 / 3 * whole / JOBS
    for pieces in shares:
        job.run_share(evaluator(sets, suite, store), pieces)
    return job.run(evaluator(sets, suite, store))
