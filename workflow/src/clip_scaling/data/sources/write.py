"""Write a prepared source: shards, tokenizer, evaluation images, attribution, and the manifest last."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from ...models.tokenizer import CLIP_ROWS, clip_merges, train_merges, write_merges
from ...records.data import HeldOutImages, SourceCounts, SourceManifest
from ...records.filenames import ATTRIBUTION, IDENTITIES, INDEX, MANIFEST, MERGES
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
    write_text(root / IDENTITIES, "".join(f"{identity}\n" for identity in identities))
    held_out: dict[str, HeldOutImages] = {}
    for key, held in sorted(content.held_out.items()):
        path = f"held_out/{key}.tar"
        write_tar(root / path, ((pair.key, {**_members(pair), **_label(held, pair)}) for pair in held.pairs))
        held_out[key] = HeldOutImages(
            kind=held.kind, path=path, images=len(held.pairs), classes=held.classes, templates=held.templates
        )
    fields = {
        "name": name,
        "counts": SourceCounts.model_validate(counts),
        "shards": shards,
        "held_out": held_out,
        "order_digest": order_digest(identities),
    }
    merges = train_merges((pair.caption for pair in content.training), recipe.vocabulary_size)
    finish_source(root, recipe, fields, merges, content.attribution)


def finish_source(
    root: Path,
    recipe: SourceBase,
    fields: dict[str, Any],
    merges: list[str],
    attribution: str,
    more_files: Sequence[str] = (),
) -> None:
    """Write tokenizer and attribution, and the manifest last. All kinds of source end so.

    fields: of the manifest, less its recipe, its pairs and its files. more_files: names that lie there already.
    """
    tokenizer = f"tokenizer/{MERGES}"
    write_merges(root / tokenizer, merges)
    write_text(root / ATTRIBUTION, attribution)
    files = [ATTRIBUTION, IDENTITIES, INDEX, tokenizer, *more_files]
    files += [held.path for held in fields["held_out"].values()]
    manifest = SourceManifest(
        recipe=recipe.tracked(),
        pairs=fields["counts"].kept,
        files=[FileEntry.of(root / path, root) for path in sorted(files)],
        **fields,
    )
    manifest.write(root / MANIFEST)
    log.info("source=%s pairs=%d shards=%d", manifest.name, manifest.pairs, len(manifest.shards))


def clip_or_trained_merges(captions: Iterable[str], vocabulary_size: int) -> list[str]:
    """CLIP's own token table where its size is asked for, else one of the captions."""
    return clip_merges() if vocabulary_size == CLIP_ROWS else train_merges(captions, vocabulary_size)


def _members(pair: Pair) -> Members:
    return {"png": pair.png, "txt": pair.caption.encode("utf-8")}


def _label(held: HeldOutSet, pair: Pair) -> dict[str, bytes]:
    return {"cls": str(held.label(pair)).encode()} if held.classes else {}
