"""Sources of kind folder and table: image files and captions, checked one by one, ordered, resized, put into shards.

Two passes over the images: the first decides on each, the second writes those that stay in hash order. None is kept in
memory between them.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from ....errors import DataError
from ....records.data import SourceCounts
from ....records.filenames import MANIFEST
from ....records.files import canonical_json, write_text
from ....study.config.expressions import columns_of
from ...progress import Progress
from ...shards.write import Members
from ...workers import ordered_map
from ..rows import Content, hold_out, in_hash_order, write_row_source
from ..sieve import Sieve
from .config import MEASURED_COLUMNS, FileSource
from .image import Look, Place, look, stored
from .listing import FileList, list_files
from .losses import explain_losses

_LISTED = (
    *("no_path", "outside_root", "path_not_utf8"),
    *("missing_caption", "unreadable_caption", "caption_not_utf8"),
)
LOST = frozenset({*_LISTED, "no_caption", "missing_image", "unreadable_image"})
"""Reasons that are faults of the data, held against max_lost_fraction; all others are what the study asks for."""
LEFT_OUT = "left_out.tsv"
_IMAGES = ".images-"


@dataclass(frozen=True)
class CheckedFiles:
    """training: rows in hash order. held_out: rows by set. counts: the manifest's balance. left_out: (path, reason)."""

    training: pd.DataFrame
    held_out: dict[str, pd.DataFrame]
    counts: dict[str, Any]
    left_out: list[tuple[str, str]]


def write_file_source(root: Path, name: str, recipe: FileSource, workers: int) -> None:
    """Write everything under root; the manifest is there only when all else is. `workers` changes no byte.

    DataError where more than `max_lost_fraction` of the images cannot be used: left_out.tsv says which and why.
    """
    (root / MANIFEST).unlink(missing_ok=True)
    root.mkdir(parents=True, exist_ok=True)
    for killed in root.glob(f"{_IMAGES}*"):
        shutil.rmtree(killed)
    with tempfile.TemporaryDirectory(prefix=_IMAGES, dir=root) as folder:
        _write(root, name, recipe, list_files(recipe, Path(folder) / "images"), workers)


def _write(root: Path, name: str, recipe: FileSource, files: FileList, workers: int) -> None:
    checked = check_files(files, recipe, workers)
    write_text(root / LEFT_OUT, "".join(f"{reason}\t{path!r}\n" for path, reason in sorted(checked.left_out)))
    _hold_threshold(root, name, recipe, files, checked)
    fields = {"name": name, "counts": SourceCounts.model_validate(checked.counts), "ignored": files.ignored}
    about = recipe.attribution or "Nothing is said of their origin: set `attribution` in the source."
    attribution = f"# Attribution\n\n{len(checked.training)} images and captions of source {name}.\n\n{about}\n"
    samples = partial(_samples, root=files.root, images=files.images, recipe=recipe)
    content = Content(checked.training, checked.held_out, samples, attribution, [LEFT_OUT])
    write_row_source(root, fields, recipe, content, workers)


def check_files(files: FileList, recipe: FileSource, workers: int) -> CheckedFiles:
    """Every image that was found is in one of the counts; of several reasons the first one counts."""
    left_out: list[tuple[str, str]] = []

    def note(reason: str, lost: pa.Table) -> None:
        left_out.extend((path, reason) for path in lost["image"].to_pylist())

    sieve = Sieve(files.table, note)
    for problem in _LISTED:
        sieve.keep(problem, pc.not_equal(sieve.table["problem"], problem))
    sieve.keep_captions(recipe.min_caption_characters, recipe.max_caption_characters)
    is_late = {key: bool(columns_of(text) & set(MEASURED_COLUMNS)) for key, text in recipe.filters.items()}
    sieve.keep_filtered({key: text for key, text in recipe.filters.items() if not is_late[key]})
    sieve.keep("repeated_row", _is_first(sieve.table["identity"]))
    looks = _look_at_all(_places(files, sieve.table), recipe, workers)
    for place, field in enumerate(Look._fields):
        kind = pa.string() if field in ("reason", "sha256") else pa.int64()
        sieve.table = sieve.table.append_column(field, pa.array([seen[place] for seen in looks], kind))
    for reason in sorted({seen.reason for seen in looks} - {""}):
        sieve.keep(reason, pc.not_equal(sieve.table["reason"], reason))
    sieve.keep_filtered({key: text for key, text in recipe.filters.items() if is_late[key]})
    rows = in_hash_order(sieve.table.to_pandas())
    dropped = sieve.dropped

    def leave_out(reason: str, is_out: pd.Series) -> None:
        nonlocal rows
        if is_out.any():
            dropped[reason] += int(is_out.sum())
            left_out.extend((path, reason) for path in rows.loc[is_out, "image"])
        rows = rows[~is_out]

    if recipe.is_repeat_dropped:
        leave_out("repeated_image", _is_repeat(rows))
    rows, held_out, kept_from_training = hold_out(rows, recipe.held_out)
    for key, shown in held_out.items():
        leave_out(f"image_in_{key}", rows["sha256"].isin(shown["sha256"]))
    counts = _balance(len(files.table), len(rows), kept_from_training, dropped)
    return CheckedFiles(rows.reset_index(drop=True), held_out, counts, left_out)


def _is_first(column: pa.ChunkedArray) -> pa.Array:
    return pa.array(~column.to_pandas().duplicated(), pa.bool_())


def _is_repeat(rows: pd.DataFrame) -> pd.Series:
    """Whether an earlier row has the same image, but for captions that one row of the table lists."""
    is_repeat = rows["sha256"].duplicated()
    if "row_of_file" in rows:
        is_repeat &= rows["row_of_file"] != rows.groupby("sha256")["row_of_file"].transform("first")
    return is_repeat


def _places(files: FileList, table: pa.Table) -> list[Place]:
    images = table["image"].to_pylist()
    if files.images is None:
        return [Place(files.root / image) for image in images]
    spans = zip(images, table["image_offset"].to_pylist(), table["image_length"].to_pylist(), strict=True)
    return [
        Place(files.root / image) if offset is None else Place(files.images, offset, length)
        for image, offset, length in spans
    ]


def _look_at_all(places: list[Place], recipe: FileSource, workers: int) -> list[Look]:
    """Look at each place once, however many captions it has."""
    looks: dict[Place, Look] = {}
    distinct = list(dict.fromkeys(places))
    progress = Progress("checked", len(distinct))
    with ordered_map(workers, chunk=64) as each:
        for place, seen in zip(distinct, each(partial(look, recipe=recipe), distinct), strict=True):
            looks[place] = seen
            progress.add(1)
    return [looks[place] for place in places]


def _balance(found: int, kept: int, held_out: dict[str, int], dropped: Counter[str]) -> dict[str, Any]:
    accounted = kept + sum(held_out.values()) + dropped.total()
    if accounted != found:
        raise DataError(f"{found} images were found, {accounted} are accounted for. This is a fault: please report it.")
    return {"parsed": found, "kept": kept, "held_out": held_out, "dropped": dict(sorted(dropped.items()))}


def _hold_threshold(root: Path, name: str, recipe: FileSource, files: FileList, checked: CheckedFiles) -> None:
    counts, limit = checked.counts, recipe.max_lost_fraction
    lost = {reason: count for reason, count in counts["dropped"].items() if reason in LOST}
    total = counts["parsed"]
    why = explain_losses(name, recipe, files, checked.left_out)
    about = {"place": f"source {name}"}
    if counts["kept"] and sum(lost.values()) > limit * total:
        raise DataError(
            f"{sum(lost.values())} of {total} images cannot be used ({lost}), max_lost_fraction allows {limit:g}",
            remedy=f"{why} {root / LEFT_OUT} lists them: mend them, or raise sources.{name}.max_lost_fraction.".strip(),
            **about,
        )
    if not counts["kept"]:
        raise DataError(
            f"no pair is left of {total} images: {counts['dropped']}",
            remedy=f"{why or f'Correct sources.{name}.'} {root / LEFT_OUT} lists them.",
            **about,
        )


def _samples(rows: pd.DataFrame, root: Path, images: Path | None, recipe: FileSource) -> Iterator[tuple[str, Members]]:
    """(key, members) of rows: image, caption, and a JSON of what is known. DataError where a file changed meanwhile.

    images: the file of images that a table held.
    """
    for row in rows.itertuples(index=False):
        place = Place(root / str(row.image))
        if images is not None and not pd.isna(row.image_offset):
            place = Place(images, int(row.image_offset), int(row.image_length))
        content = _read(place)
        if hashlib.sha256(content).hexdigest() != row.sha256:
            raise DataError(f"{place.path}: changed while the source was prepared. Run the same command again.")
        extension, image = stored(content, recipe)
        known = {
            "path": row.image,
            "sha256": row.sha256,
            "original_width": int(row.width),
            "original_height": int(row.height),
            "listed": json.loads(row.metadata),
        }
        members = {
            extension: image,
            "txt": row.caption.encode("utf-8"),
            "json": canonical_json(known).encode("utf-8"),
        }
        yield row.identity.replace(":", "/", 1), members


def _read(place: Place) -> bytes:
    """The file's bytes; none where it is gone."""
    try:
        return place.read()
    except OSError:
        return b""
