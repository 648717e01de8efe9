"""A source of kind webdataset: existing tars, indexed where they lie and never rewritten; damaged ones quarantined."""

from __future__ import annotations

import logging
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ....errors import DataError
from ....records.data import HeldOutImages, SourceCounts, retrieval_images
from ....records.filenames import MANIFEST
from ....records.files import FileEntry, write_json
from ...shards.read import PairReader, UnreadablePair, decode_image
from ...shards.write import clear, symlink, write_tar
from ..write import clip_or_trained_merges, finish_source
from .config import WebdatasetSource
from .index import DEEP_GREY, TarContent, losses
from .join import JoinedTars, join_records, retrieval_pairs, write_ordered
from .lists import Tar
from .losses import explain_tar
from .records import IndexSettings, index_tars, read_about, recorded_samples

log = logging.getLogger(__name__)
_NAMED = 5
"""Damaged tars that an error names; quarantine.json has them all."""
QUARANTINE = "quarantine.json"
OpenReader = Callable[..., PairReader]
"""Opens a reader of rows of an index."""


def write_tar_source(root: Path, name: str, recipe: WebdatasetSource, tars: Sequence[Tar], workers: int) -> None:
    """Write index, identities, tokenizer and held-out sets under root, links to the tars, and the manifest last.

    The result does not depend on `workers`, on interruptions or on where the tars lie. DataError where the tars lost
    more than `max_lost_fraction`; quarantine.json beside says which.
    """
    clear(root, "shards", "held_out", "tokenizer")
    for leftover in (root / "records").glob(".*"):  # of a killed run
        shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
    settings = IndexSettings(recipe.caption_key, has_images_hashed=bool(recipe.held_out))
    records = index_tars(root / "records", tars, settings, workers)
    abouts = [read_about(path) for path in records]
    reports = _reports(tars, abouts)
    quarantine = [report for report in reports if report["lost"] or report["problems"]]
    write_json(root / QUARANTINE, quarantine)
    _hold_threshold(root, name, recipe, tars, reports)
    used = [number for number, about in enumerate(abouts) if about["pairs"]]
    pairs = sum(abouts[number]["pairs"] for number in used)
    with tempfile.TemporaryDirectory(prefix=".lines-", dir=root / "records") as folder:
        lines = Path(folder) / "identities"
        joined = join_records([records[number] for number in used], pairs, lines, bool(recipe.held_out))
        shards = [_shard(root, tars[number], abouts[number]) for number in used]
        reader = partial(PairReader, root / MANIFEST, shards, caption_key=recipe.caption_key)
        training, sets, counts = _hold_out(joined, recipe, reader)
        digest = write_ordered(root, joined, training, lines)
    inside = np.bincount(joined.index["shard"][training], minlength=len(used))
    shards = [entry.with_pairs(int(taken)) for entry, taken in zip(shards, inside, strict=True)]
    lost: Counter[str] = Counter()
    for report in reports:
        lost.update({f"tar:{reason}": count for reason, count in report["lost"].items()})
    counts |= {"parsed": pairs + sum(lost.values()), "kept": len(training)}
    counts["dropped"] = dict(sorted((Counter(counts["dropped"]) + lost).items()))
    fields = {
        "name": name,
        "is_in_place": True,
        "caption_key": recipe.caption_key,
        "counts": SourceCounts.model_validate(counts),
        "quarantine": quarantine,
        "shards": shards,
        "order_digest": digest,
        "held_out": _write_held_out(root, reader, joined.index, sets),
    }
    if notes := _notes(name, abouts):
        fields["notes"] = notes
    captions = _captions(reader, joined.index[np.sort(training)])
    merges = clip_or_trained_merges(captions, recipe.vocabulary_size)
    finish_source(root, recipe, fields, merges, _attribution(name, recipe, len(training)))


def _notes(name: str, abouts: list[dict[str, Any]]) -> dict[str, int]:
    """Odd samples of all tars by kind, which are logged. Records of earlier versions count none."""
    notes: Counter[str] = Counter()
    for about in abouts:
        notes.update(about.get("notes", {}))
    if deep := notes[DEEP_GREY]:
        log.warning(
            f"source={name} {DEEP_GREY}={deep}: scaled to 8 bits here; open_clip and webdataset clip them to white"
        )
    return dict(sorted((+notes).items()))


def _reports(tars: Sequence[Tar], abouts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Name each tar with what it kept and lost."""
    found = []
    for tar, about, recorded in zip(tars, abouts, recorded_samples(tars), strict=True):
        samples = np.empty(about["pairs"], np.uint8)  # only its length is asked for
        content = TarContent(samples, b"", about["lost"], about["problems"], about["bytes"], about["sha256"])
        report = losses(content, recorded)
        found.append({"tar": tar.name, "bytes": about["bytes"], "sha256": about["sha256"], **report})
    return found


def _hold_threshold(
    root: Path, name: str, recipe: WebdatasetSource, tars: Sequence[Tar], reports: list[dict[str, Any]]
) -> None:
    """DataError where too much is lost. A tar that may hide samples counts as if it had been as full as the fullest."""
    limit = recipe.max_lost_fraction
    fullest = max((report["kept"] for report in reports), default=0)
    kept = sum(report["kept"] for report in reports)
    assumed = [
        max(sum(report["lost"].values()), 0 if report["is_exact"] else fullest - report["kept"]) for report in reports
    ]
    lost = sum(assumed)
    if kept and lost <= limit * (kept + lost):
        return
    is_bad = [bool(count or report["problems"]) for count, report in zip(assumed, reports, strict=True)]
    order = sorted((number for number, bad in enumerate(is_bad) if bad), key=lambda number: -assumed[number])
    named = " ".join(explain_tar(tars[number], reports[number], name, recipe.caption_key) for number in order[:_NAMED])
    if len(order) > _NAMED:
        named += f" So are {len(order) - _NAMED:,} more tars."
    if not kept:
        found = f"no sample of {len(tars)} tars can be used" + (f", {lost} are lost" if lost else "")
        raise DataError(found, place=f"source {name}", remedy=f"{named} {root / QUARANTINE} lists every tar.")
    raise DataError(
        f"{lost} of {kept + lost} samples are lost, max_lost_fraction allows {limit:g}",
        place=f"source {name}",
        remedy=f"{named} {root / QUARANTINE} lists every tar: get those again, take them out of sources.{name}.tars, "
        f"or raise sources.{name}.max_lost_fraction.",
    )


def _hold_out(
    joined: JoinedTars, recipe: WebdatasetSource, open_reader: OpenReader
) -> tuple[NDArray[np.int64], dict[str, NDArray[np.int64]], dict[str, Any]]:
    """Rows of the training pairs in hash order, rows of every set, and the manifest's counts of what left.

    What is held out can be decoded; a pair that was drawn and cannot leaves as `join:unreadable_image`.
    """
    rows = joined.places
    sets: dict[str, NDArray[np.int64]] = {}
    kept_from_training: dict[str, int] = {}
    dropped: Counter[str] = Counter()
    taken: set[int] = set()
    for key, wanted in sorted(recipe.held_out.items()):
        readable: set[int] = set()
        while True:
            chosen, has_caption = retrieval_pairs(joined.caption[rows], joined.image[rows], wanted.pairs, taken, key)
            broken = _unreadable(open_reader, joined.index, rows[chosen], readable)
            if not len(broken):
                break
            dropped["join:unreadable_image"] += len(broken)
            rows = rows[~np.isin(rows, broken)]
        sets[key] = rows[chosen]
        taken |= set(joined.image[sets[key]].tolist())
        kept_from_training[key] = int(has_caption.sum())
        rows = rows[~has_caption]
    for key, shown in sets.items():
        is_shown = np.isin(joined.image[rows], joined.image[shown])
        if is_shown.any():
            dropped[f"join:image_in_{key}"] = int(is_shown.sum())
            rows = rows[~is_shown]
    return rows, sets, {"held_out": kept_from_training, "dropped": dict(dropped)}


def _unreadable(
    open_reader: OpenReader, index: np.ndarray, rows: NDArray[np.int64], readable: set[int]
) -> NDArray[np.int64]:
    """Those of the rows whose image does not decode. readable: rows that are known to, added to."""
    unseen = np.array([row for row in rows.tolist() if row not in readable], np.int64)
    broken = []
    with open_reader(index=index[unseen]) as reader:
        for number, row in enumerate(unseen.tolist()):
            try:
                decode_image(reader.read(number)[0])
                readable.add(row)
            except UnreadablePair as error:
                log.warning(f"not held out: {reader.name(number)}: {error}")
                broken.append(row)
    return np.array(broken, np.int64)


def _shard(root: Path, tar: Tar, about: dict[str, Any]) -> FileEntry:
    """The manifest's entry of a tar. A local one gets a link of its name: where it lies is no part of the manifest."""
    path = tar.location if tar.is_remote else f"shards/{tar.name}"
    if not tar.is_remote:
        symlink(Path(tar.location), root / path)
    return FileEntry(path, about["bytes"], about["sha256"])


def _captions(open_reader: OpenReader, index: np.ndarray) -> Iterator[str]:
    with open_reader(index=index) as reader:
        for number in range(len(index)):
            yield reader.read(number)[1].decode("utf-8")


def _write_held_out(
    root: Path, open_reader: OpenReader, index: np.ndarray, sets: dict[str, NDArray[np.int64]]
) -> dict[str, HeldOutImages]:
    found = {}
    for key, rows in sets.items():
        samples = []
        with open_reader(index=index[rows]) as reader:
            for number in range(len(rows)):
                extension, caption, found_in_tar = reader.read_sample(number)
                samples.append((f"{number:06d}", {extension: found_in_tar[extension], "txt": caption}))
        path = f"held_out/{key}.tar"
        write_tar(root / path, samples)
        found[key] = retrieval_images(path, len(rows))
    return found


def _attribution(name: str, recipe: WebdatasetSource, pairs: int) -> str:
    about = recipe.attribution or "Nothing is said of their origin: set `attribution` in the source."
    return f"# Attribution\n\n{pairs} images and captions of source {name}, read from existing tars.\n\n{about}\n"
