"""A held-out set in clip-benchmark's webdataset layout, readable by `clip_benchmark eval --dataset wds/...`."""

from __future__ import annotations

from pathlib import Path

from ...errors import DataError
from ...records.files import describe_file, verify_files, write_json, write_text
from ..shards.write import clear, link_or_copy, read_manifest

CLASSIFICATION, MULTILABEL, RETRIEVAL = "zeroshot_classification", "zeroshot_multilabel", "zeroshot_retrieval"


def write_evaluation_set(root: Path, dataset: str, source_manifest: Path, held_out: str) -> None:
    """Write `test/0.tar` and its text files under root, then the manifest.

    DataError where the source holds out no such set.
    """
    source = read_manifest(source_manifest, "source")
    if held_out not in source["held_out"]:
        raise DataError(
            f"{source_manifest}: source {source['name']} holds out no {held_out!r}, only "
            f"{', '.join(sorted(source['held_out']))}. Add `sources.{source['name']}.held_out.{held_out}`."
        )
    held = source["held_out"][held_out]
    remedy = f"Delete {source_manifest} and run `snakemake --cores all {source_manifest}`."
    verify_files([entry for entry in source["files"] if entry["path"] == held["path"]], source_manifest.parent, remedy)
    clear(root, "test")
    texts = {"test/nshards.txt": "1\n"}
    if held["kind"] == "zeroshot_classification":
        texts["classnames.txt"] = "".join(f"{name}\n" for name in held["classes"])
        texts["zeroshot_classification_templates.txt"] = "".join(f"{template}\n" for template in held["templates"])
        texts["dataset_type.txt"] = "classification\n"
    else:
        texts["dataset_type.txt"] = "retrieval\n"
    for path, text in texts.items():
        write_text(root / path, text)
    link_or_copy(source_manifest.parent / held["path"], root / "test/0.tar")
    write_json(
        root / "manifest.json",
        {
            "kind": "evaluation",
            "format": 1,
            "dataset": dataset,
            "source": source["name"],
            "task": held["kind"],
            "n": held["images"],
            "classes": held["classes"],
            "templates": held["templates"],
            "files": [describe_file(root / path, root) for path in sorted([*texts, "test/0.tar"])],
        },
    )


def index_evaluation_set(root: Path, dataset: str, folder: Path) -> None:
    """Write the manifest of a set that lies in clip-benchmark's layout elsewhere; nothing is copied.

    The manifest names the folder: its files are verified there. DataError where a part of the layout is missing.
    """
    kind = _text(folder / "dataset_type.txt", "classification").strip()
    task = {"classification": CLASSIFICATION, "multilabel": MULTILABEL, "retrieval": RETRIEVAL}.get(kind)
    if task is None:
        raise DataError(f"{folder}/dataset_type.txt: {kind!r} is none of classification, multilabel, retrieval.")
    names = ["test/nshards.txt"]
    classes: list[str] = []
    templates: list[str] = []
    if task != RETRIEVAL:
        classes = _text(folder / "classnames.txt").splitlines()
        templates = _text(folder / "zeroshot_classification_templates.txt").splitlines()
        twice = sorted({name for name in classes if classes.count(name) > 1})
        if twice:
            raise DataError(
                f"{folder}/classnames.txt: {', '.join(twice)} is there twice; no prompt can tell them apart."
            )
        names += ["classnames.txt", "zeroshot_classification_templates.txt"]
    for split in ("test", "train"):
        if (folder / split / "nshards.txt").is_file():
            shards = int(_text(folder / split / "nshards.txt"))
            names += [f"{split}/{number}.tar" for number in range(shards)]
            names += [f"{split}/nshards.txt"] if split == "train" else []
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise DataError(f"{folder}: {', '.join(missing)} is missing from the set {dataset}. Get the set again.")
    clear(root)
    write_json(
        root / "manifest.json",
        {
            "kind": "evaluation",
            "format": 1,
            "dataset": dataset,
            "source": str(folder),
            "folder": str(folder),
            "task": task,
            "classes": classes,
            "templates": templates,
            "files": [describe_file(folder / name, folder) for name in sorted(names)],
        },
    )


def _text(path: Path, default: str | None = None) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        if default is not None:
            return default
        raise DataError(f"{path}: no such file. It is part of clip-benchmark's webdataset layout.") from None
