"""An evaluation set that a source holds out."""

from __future__ import annotations

from pathlib import Path

from ...errors import DataError
from ...records.data import EvaluationSetManifest, SourceManifest
from ...records.filenames import MANIFEST
from ...records.files import remake, verify_files
from ..shards.write import clear, link_or_copy
from .layout import tar_path, write_texts


def write_evaluation_set(root: Path, dataset: str, source_manifest: Path, held_out: str) -> None:
    """Write `test/0.tar` and its text files under root, then the manifest.

    DataError where the source holds out no such set.
    """
    source, home = SourceManifest.read(source_manifest), source_manifest.parent
    if held_out not in source.held_out:
        raise DataError(
            f"source {source.name} holds out no {held_out!r}, only {', '.join(sorted(source.held_out))}",
            place=str(source_manifest),
            remedy=f"Add `sources.{source.name}.held_out.{held_out}`.",
        )
    held = source.held_out[held_out]
    verify_files([entry for entry in source.files if entry.path == held.path], home, remake(source_manifest))
    clear(root, "test")
    link_or_copy(home / held.path, root / tar_path("test"))
    EvaluationSetManifest(
        dataset=dataset,
        source=source.name,
        task=held.kind,
        n=held.images,
        classes=held.classes,
        templates=held.templates,
        files=write_texts(root, held.kind, held.classes, held.templates, ["test"]),
    ).write(root / MANIFEST)
