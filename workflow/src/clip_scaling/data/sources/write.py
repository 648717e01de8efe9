"""Write a prepared source: shards, tokenizer, evaluation images, attribution, and the manifest last."""

from __future__ import annotations

import logging
from pathlib import Path

from ...models.tokenizer import train_merges, write_merges
from ...records.data import HeldOutImages, SourceCounts, SourceManifest
from ...records.filenames import ATTRIBUTION, IDENTITIES, INDEX, MANIFEST
from ...records.files import FileEntry, write_text
from ..shards.write import Members, clear, write_shards, write_tar
from .base import SourceBase
from .pairs import HeldOutSet, Pair, SourceContent, order_digest

log = logging.getLogger(__name__)


def write_source(root: Path, name: str, recipe: SourceBase, content: SourceContent) -> None:
    """Write everything under root; the manifest is there only when all else is.

    Nothing of an earlier run is trusted: it is removed first.
    """
    clear(root, "shards", "held_out", "tokenizer")
    counts = content.counts()
    samples = ((pair.key, _members(pair)) for pair in content.training)
    shards = write_shards(root, samples, len(content.training), recipe.shard_size)
    identities = [pair.identity for pair in content.training]
    write_text(root / "identities.txt", "".join(f"{identity}\n" for identity in identities))
    write_merges(
        root / "tokenizer/merges.txt.gz",
        train_merges((pair.caption for pair in content.training), recipe.vocabulary_size),
    )
    write_text(root / ATTRIBUTION, content.attribution)
    files = [ATTRIBUTION, IDENTITIES, INDEX, "tokenizer/merges.txt.gz"]
    held_out: dict[str, HeldOutImages] = {}
    for key, held in sorted(content.held_out.items()):
        path = f"held_out/{key}.tar"
        write_tar(root / path, ((pair.key, {**_members(pair), **_label(held, pair)}) for pair in held.pairs))
        files.append(path)
        held_out[key] = HeldOutImages(
            kind=held.kind, path=path, images=len(held.pairs), classes=held.classes, templates=held.templates
        )
    SourceManifest(
        name=name,
        recipe=recipe.tracked(),
        pairs=len(content.training),
        counts=SourceCounts.model_validate(counts),
        shards=shards,
        files=[FileEntry.of(root / path, root) for path in sorted(files)],
        held_out=held_out,
        order_digest=order_digest(identities),
    ).write(root / MANIFEST)
    log.info("source=%s pairs=%d shards=%d", name, len(content.training), len(shards))


def _members(pair: Pair) -> Members:
    return {"png": pair.png, "txt": pair.caption.encode("utf-8")}


def _label(held: HeldOutSet, pair: Pair) -> dict[str, bytes]:
    return {"cls": str(held.label(pair)).encode()} if held.classes else {}
