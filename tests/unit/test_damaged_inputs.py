"""Files of others, and of late stages, damaged in every way: the right result, or one of our errors, and no other."""

from __future__ import annotations

import gzip
import io
import json
import pickle
import struct
import tarfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pandas as pd
import pytest
import safetensors.torch
import torch

from clip_scaling.data.duplicates.fingerprints import FINGERPRINT_DTYPE, read_fingerprints, write_fingerprints
from clip_scaling.data.evaluation_sets.labelled import read_idx, write_idx
from clip_scaling.data.evaluation_sets.read import open_set, read_samples
from clip_scaling.data.sources.iconify.config import IconifySource
from clip_scaling.data.sources.iconify.package import build, read_package
from clip_scaling.data.sources.pairs import SourceContent
from clip_scaling.data.sources.tars.lists import Tar
from clip_scaling.data.sources.tars.records import IndexSettings, index_tars, load_record
from clip_scaling.data.sources.write import write_source
from clip_scaling.data.subsets.places import subset_places
from clip_scaling.data.subsets.write import Choice, write_choice
from clip_scaling.evaluate.features import Features
from clip_scaling.evaluate.foreign import foreign_model, load_foreign, load_weights
from clip_scaling.evaluate.import_results import evaluation_of, read_results
from clip_scaling.evaluate.naming import refuse_clashes
from clip_scaling.evaluate.store import Store
from clip_scaling.laws.own_table.file import read_table
from clip_scaling.laws.own_table.tidy import tidy_table
from clip_scaling.models.tokenizer import load_tokenizer, write_merges
from clip_scaling.published.retrieve import retrieve
from clip_scaling.published.tables import read_learning_curves, read_linear_probes, read_scenarios, read_zeroshot
from clip_scaling.records.data import SubsetCounts
from clip_scaling.records.evaluation import Measured
from clip_scaling.records.files import sha256_file
from clip_scaling.records.laws import FittedLaw, LawFile, Prediction
from snakemake_executor_plugin_submitit.backends import LocalBackend
from snakemake_executor_plugin_submitit.nodes import FailedNode, avoided_nodes, report_nodes
from snakemake_executor_plugin_submitit.runner import Outcome, read_events
from snakemake_executor_plugin_submitit.settings import ExecutorSettings

from .damage import Kind, comparable, other_json, other_json_files, survive
from .data.conftest import SMALL_RECIPE, icon_set, make_pair
from .data.sources.tars.test_index import make_tar, whole
from .evaluate.test_foreign import SMALL
from .records.filled import filled, law_file


def fitted(root: Path) -> Kind:
    """A law file, sealed as `fit_law` writes it."""
    path = root / "laws" / "acc1.json"
    prediction = filled(Prediction, model="ViT-B-32", predicted=0.61, compute_gmacs=12.5)
    law_file(fits=[filled(FittedLaw, method="ols-all", alpha=-0.25)], predictions=[prediction]).write(path)
    return Kind(path, lambda: LawFile.read(path))


def labelled_set(root: Path) -> Path:
    """The manifest of an evaluation set of 12 images in MNIST's format, whose files stay beside it."""
    generator = np.random.default_rng(0)
    for kind, images, labels in (("train", 8, 8), ("t10k", 4, 4)):
        pixels = generator.integers(0, 255, (images, 6, 6), np.uint8)
        content = b"\0\0\x08\3" + struct.pack(">3I", images, 6, 6) + pixels.tobytes()
        (root / f"{kind}-images-idx3-ubyte.gz").write_bytes(gzip.compress(content, mtime=0))
        content = b"\0\0\x08\1" + struct.pack(">I", labels) + bytes(range(labels))
        (root / f"{kind}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(content, mtime=0))
    write_idx(root / "set", "digits", root)
    return root / "set" / "manifest.json"


def of_a_set(name: str, root: Path) -> Kind:
    """A file of an evaluation set, read as an evaluation reads it: images, labels, class names."""
    manifest = labelled_set(root)

    def read() -> Any:
        found = open_set(manifest)
        samples = [(np.asarray(s.image).tobytes(), s.label) for s in read_samples(found.folder) if s is not None]
        return samples, found.manifest.classes, found.manifest.templates

    return Kind(manifest.parent / name, read)


def idx(root: Path) -> Kind:
    labelled_set(root)
    path = root / "t10k-images-idx3-ubyte.gz"
    return Kind(path, lambda: comparable(read_idx(path)))


def foreign(save: Callable[[dict[str, torch.Tensor], Path], None], suffix: str, root: Path) -> Kind:
    """Weights from elsewhere, whose numbers nothing vouches for."""
    torch.manual_seed(0)
    model = open_clip.model.CLIP(**SMALL)
    path = root / f"weights{suffix}"
    save(dict(model.state_dict()), path)

    def read() -> Any:
        load_weights(model, path)
        return comparable(dict(model.state_dict()))

    return Kind(path, read, is_hashed=False)


def save_old(state: dict[str, torch.Tensor], path: Path) -> None:
    torch.save(state, path, _use_new_zipfile_serialization=False)


def model_config(root: Path) -> Kind:
    torch.manual_seed(0)
    path, weights = root / "small-odd.json", root / "weights.pt"
    path.write_text(json.dumps({"model_cfg": SMALL, "preprocess_cfg": {"mean": [0.5, 0.5, 0.5]}}))
    torch.save(open_clip.model.CLIP(**SMALL).state_dict(), weights)

    def read() -> Any:
        encoder, about = load_foreign(foreign_model(str(path), weights, {}))
        return about, encoder.preprocess

    return Kind(path, read, is_hashed=False)


def package(root: Path, sets: dict[str, Any] | None = None) -> Path:
    """A tarball like that of @iconify/json."""
    path = root / "package.tgz"
    sets = sets or {
        vendor: icon_set({"home": number, "star": number + 1, f"{vendor}-thing": number + 2})
        for vendor, number in (("ant", 11), ("bee", 21), ("cat", 31), ("held", 41))
    }
    with tarfile.open(path, "w:gz") as tar:
        for vendor, content in sets.items():
            text = json.dumps({"prefix": vendor} | content if isinstance(content, dict) else content).encode()
            member = tarfile.TarInfo(f"package/json/{vendor}.json")
            member.size = len(text)
            tar.addfile(member, io.BytesIO(text))
    return path


HELD = {"icons": {"kind": "zeroshot_classification", "sets": ["held"], "classes": 2}}


def recipe(sha256: str = "0" * 64) -> IconifySource:
    return IconifySource.model_validate({"kind": "iconify", "sha256": sha256, "held_out": HELD})


def known_package(root: Path) -> Kind:
    path = package(root)
    wanted = recipe(sha256_file(path))

    def read() -> Any:
        content = build(path, wanted, workers=1)
        return [(pair.identity, pair.caption, pair.png) for pair in content.training], content.attribution

    return Kind(path, read)


def any_package(root: Path) -> Kind:
    """A tarball whose hash the study file gives, whatever it holds."""
    path = package(root)
    return Kind(path, lambda: read_package(path, recipe()), is_hashed=False)


def published_table(name: str, read: Callable[[Path], Any], has_manifest: bool, root: Path) -> Kind:
    """A released table, as `retrieve_published` leaves it, or in a folder without its manifest."""
    tables(root / "given")
    paths = [path for path in (root / "given").rglob("*.*") if path.is_file()]
    files = [{"path": str(p.relative_to(root / "given")), "url": "", "sha256": sha256_file(p)} for p in paths]
    retrieve(files, root / "tables", root / "given")
    if not has_manifest:
        (root / "tables" / "manifest.json").unlink()

    return Kind(root / "tables" / name, lambda: comparable(read(root / "tables")), is_hashed=has_manifest)


def tables(folder: Path) -> None:
    """Tables in the form of the paper's, with made-up numbers."""
    (folder / "linear_probe").mkdir(parents=True)
    names = ["Model-B-32_Data-80M_Samples-3B_lr-1e-3_bs-32k.pt", "Model-B-16_Data-400M_Samples-13B_lr-5e-4_bs-33k.pt"]
    zeroshot = pd.DataFrame(
        {
            "name": names, "arch": ["ViT-B-32", "ViT-B-16"], "upstream_dataset": ["LAION-80M", "LAION-400M"],
            "samples_seen": [3e9, 13e9], "gmacs": [7.4, 20.6], "downstream_dataset": "imagenet1k",
            "task": "zeroshot_classification", "acc1": [0.5, 0.6], "image_retrieval_recall@5": np.nan,
            "text_retrieval_recall@5": np.nan, "mean_average_precision": np.nan,
        }
    )  # fmt: skip
    zeroshot.to_csv(folder / "zeroshot_results.csv", index=False)
    about = {"gpus": 8, "local_bs": 4096, "lr": 1e-3, "warmup": 500, "epochs": 10}
    pd.DataFrame({"name": names} | about).to_csv(folder / "trained_models_info.csv", index=False)
    curves = pd.DataFrame({"name": names, "epoch": [1, 2], "imagenet-zeroshot-val-top1": [0.1, 0.2]})
    curves.to_csv(folder / "imagenet_zeroshot_learning_curves.csv", index=False)
    models = ["ViT-H-14", "ViT-g-14", "ViT-G-14"]
    pd.DataFrame({"model": models, "gmacs": [190.0, 290.0, 530.0]}).to_csv(folder / "arch_info.csv", index=False)
    probe = {
        "dataset": "cifar100", "fewshot_k": 10, "model": "ViT-B-32", "samples_seen_pretty": "3B", "pretrained": "p",
        "upstream_dataset": "LAION-80M", "samples_seen": 3e9, "gmacs_total": 2.2e10, "lp_acc1": 0.7,
    }  # fmt: skip
    for name in ("scaling_experiment_data2.json", "scaling_experiment_data_vtab.json"):
        (folder / "linear_probe" / name).write_text(json.dumps([probe]))


def job_result(root: Path) -> Kind:
    """What submitit leaves of a job: nothing else than an outcome or a text comes out of it."""
    path = root / "7_0_result.pkl"
    path.write_bytes(pickle.dumps(("success", Outcome(0, 0, 1.5, "n1"))))
    backend = LocalBackend(ExecutorSettings(cluster="local"), root)

    def read() -> Any:
        found = backend.outcomes(["7"])["7"]
        assert isinstance(found, Outcome | str)
        return found

    return Kind(path, read, is_hashed=False)


def failed_nodes(root: Path) -> Kind:
    report_nodes(root, [FailedNode("n1", "NODE_FAIL", "7", 120, 1e9), FailedNode("n2", "BOOT_FAIL", "8", 120, 1e9)])
    return Kind(root / "nodes.jsonl", lambda: avoided_nodes(root, 1e9), is_hashed=False)


def events(root: Path) -> Kind:
    path = root / "7_events.jsonl"
    path.write_text(json.dumps({"what": "saved", "reason": "time limit", "time": 1.0}) + "\n")
    return Kind(path, lambda: read_events(root, "7"), is_hashed=False)


def merges(root: Path) -> Kind:
    """Gzip itself knows most of the damage; a checkpoint knows the hash of its tokenizer."""
    path = root / "merges.txt.gz"
    write_merges(path, [f"{a} {b}" for a in "abcdefgh" for b in "ijklmnop"])
    return Kind(path, lambda: comparable(load_tokenizer(path, 8)(["ai bj", "ck dl"])))


def image_hashes(root: Path) -> Kind:
    path = root / "fingerprints.npy"
    rows = np.zeros(20, FINGERPRINT_DTYPE)
    rows["content"] = rows["phash"] = np.arange(20)
    write_fingerprints(path, rows)
    return Kind(path, lambda: comparable(read_fingerprints(path)))


def tar_record(root: Path) -> Kind:
    """A record beside the index of a tar: a damaged one is made again from the tar."""
    (root / "0.tar").write_bytes(make_tar(whole(4)))
    tar, settings = Tar("0.tar", str(root / "0.tar")), IndexSettings(None, False)

    def read() -> Any:
        (path,) = index_tars(root / "records", [tar], settings, 1)
        return comparable(list(load_record(path)))

    read()
    return Kind(next((root / "records").glob("*.npz")), read)


def chosen_places(root: Path) -> Kind:
    training = [make_pair(f"set:{number}", f"thing {number}", number) for number in range(12)]
    write_source(root / "source", "small", SMALL_RECIPE, SourceContent(training, {}, 12, {}, ""))
    places = np.arange(0, 12, 2)
    choice = Choice(SubsetCounts(source=12, kept=6, left_in_source=6), places)
    write_choice(root / "subset", "even", root / "source" / "manifest.json", choice)
    return Kind(root / "subset" / "places.npy", lambda: comparable(subset_places(root / "subset" / "manifest.json")))


def kept_features(root: Path) -> Kind:
    """A store makes again what is damaged."""
    store = Store(root)
    features = Features(torch.eye(3), torch.arange(3), torch.eye(3), torch.arange(3))

    def read() -> Any:
        return comparable(vars(store.features({"a": 1}, lambda: features)))

    read()
    return Kind(next(root.glob("*.safetensors")), read)


def kept_scores(root: Path) -> Kind:
    store = Store(root)
    rows = [Measured(dataset="icons", task="t", metric="acc1", value=0.5, ci_low=0.4, ci_high=0.6, n=9)]

    def read() -> Any:
        return store.scores({"a": 1}, lambda: rows)

    read()
    return Kind(next(root.glob("*.json")), read)


def result_of_others(suffix: str, root: Path) -> Kind:
    """A result of clip-benchmark's, as JSON or as a table."""
    content = {
        "dataset": "wds/cifar10", "model": "ViT-B-32", "pretrained": "laion2b_e16", "language": "en",
        "task": "zeroshot_classification", "metrics": {"acc1": 0.25, "acc5": 0.5},
    }  # fmt: skip
    path = root / f"result{suffix}"
    if suffix == ".json":
        path.write_text(json.dumps(content))
    else:
        pd.DataFrame([content | {"acc1": 0.25, "acc5": 0.5}]).drop(columns="metrics").to_csv(path, index=False)
    return Kind(path, lambda: [evaluation_of(found, lambda _: 7.4, {}) for found in read_results([path])], False)


def earlier_result(root: Path) -> Kind:
    """A result that lies where another would be written."""
    path, weights = root / "cell.json", root / "weights.pt"
    weights.write_bytes(b"weights")
    path.write_text(json.dumps({"checkpoint_sha256": sha256_file(weights)}))
    return Kind(path, lambda: refuse_clashes({"cell": weights}, root), is_hashed=False)


def own_table(suffix: str, root: Path) -> Kind:
    """A user's own table of runs."""
    path = root / f"runs{suffix}"
    table = pd.DataFrame({"compute_gmacs": [1e9, 1e10, 1e11, 1e12], "error": [0.9, 0.7, 0.5, 0.4]})
    table.to_parquet(path) if suffix == ".parquet" else table.to_csv(path, index=False)
    return Kind(path, lambda: comparable(tidy_table(read_table(path), {}, "t", "acc1")), is_hashed=False)


PROBES = "linear_probe/scaling_experiment_data2.json"
MAKERS: dict[str, Callable[[Path], Kind]] = {
    "law file": fitted,
    "evaluation manifest": partial(of_a_set, "manifest.json"),
    "class names": partial(of_a_set, "classnames.txt"),
    "evaluation tar": partial(of_a_set, "test/0.tar"),
    "IDX": idx,
    "safetensors": partial(foreign, safetensors.torch.save_file, ".safetensors"),
    "pickle in a zip": partial(foreign, torch.save, ".pt"),
    "old pickle": partial(foreign, save_old, ".bin"),
    "model config": model_config,
    "npm tarball": known_package,
    "npm tarball of any hash": any_package,
    "published CSV": partial(published_table, "zeroshot_results.csv", read_zeroshot, True),
    "published JSON": partial(published_table, PROBES, read_linear_probes, True),
    "published manifest": partial(published_table, "manifest.json", read_scenarios, True),
    "published CSV without manifest": partial(published_table, "zeroshot_results.csv", read_zeroshot, False),
    "published runs without manifest": partial(published_table, "trained_models_info.csv", read_learning_curves, False),
    "published JSON without manifest": partial(published_table, PROBES, read_linear_probes, False),
    "job's pickle": job_result,
    "ledger of nodes": failed_nodes,
    "job's events": events,
    "merges": merges,
    "fingerprints": image_hashes,
    "record of a tar": tar_record,
    "places": chosen_places,
    "features": kept_features,
    "scores": kept_scores,
    "clip-benchmark's JSON": partial(result_of_others, ".json"),
    "clip-benchmark's CSV": partial(result_of_others, ".csv"),
    "earlier result": earlier_result,
    "own CSV": partial(own_table, ".csv"),
    "own parquet": partial(own_table, ".parquet"),
}


@pytest.mark.parametrize("name", MAKERS)
def test_a_damaged_file_gives_the_right_result_or_one_of_our_errors(tmp_path: Path, name: str) -> None:
    kind = MAKERS[name](tmp_path)
    survive(name, kind)


JSON = [
    "model config", "published JSON without manifest", "clip-benchmark's JSON", "earlier result", "job's events",
]  # fmt: skip


@pytest.mark.parametrize("name", JSON)
def test_json_of_other_values_gives_a_result_or_one_of_our_errors(tmp_path: Path, name: str) -> None:
    kind = MAKERS[name](tmp_path)
    survive(f"{name} of other values", kind, other_json_files(kind.path))


def test_a_package_whose_sets_are_odd_gives_a_result_or_one_of_our_errors(tmp_path: Path) -> None:
    sets = {"held": icon_set({"home": 1, "star": 2}), "twemoji": icon_set({"moon": 3}, chars={"1f1e9-1f1ea": "moon"})}
    contents: Sequence[bytes] = [package(tmp_path, odd).read_bytes() for odd in other_json(sets)]
    path = package(tmp_path, sets)
    survive("sets of a package", Kind(path, lambda: read_package(path, recipe()), is_hashed=False), contents)
