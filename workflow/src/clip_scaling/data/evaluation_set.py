"""A held-out set in clip-benchmark's webdataset layout, readable by `clip_benchmark eval --dataset wds/...`."""

from __future__ import annotations

from pathlib import Path

from ..errors import DataError
from ..manifests import describe_file, verify_files, write_json, write_text
from .shards import clear, link_or_copy, read_manifest


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
    remedy = f"Delete {source_manifest} and run `snakemake {source_manifest}`."
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
