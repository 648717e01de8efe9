"""A subset of a chosen composition: so many pairs with a coloured image, so many without, each the first in hash order.

Two such subsets of one source share its evaluation sets and its tokenizer, and differ in what training sees alone.
"""

from __future__ import annotations

import tarfile
from pathlib import Path

import numpy as np
from PIL import ImageChops

from ..errors import DataError
from ..manifests import atomic_path, describe_file, verify_files, write_json
from .pairs import order_digest
from .reader import PairReader, decode_image
from .shards import INDEX_DTYPE, clear, read_manifest, shard_name, write_index

COLOUR_TOLERANCE = 16
"""An image is coloured where two channels of one pixel differ by more than this, of 255: compression alone does not."""


def is_coloured(content: bytes) -> bool:
    """Whether an encoded image has a pixel that is no shade of grey. UnreadablePair where it is no image."""
    red, green, blue = decode_image(content).split()
    pairs = ((red, green), (green, blue), (red, blue))
    return any(max(np.ravel(ImageChops.difference(*pair).getextrema())) > COLOUR_TOLERANCE for pair in pairs)


def coloured_pairs(pairs: int, share: float) -> int:
    """How many of `pairs` are coloured: the share, rounded down, so that a smaller subset lies within a larger one."""
    return int(pairs * share + 1e-9)


def choose_pairs(reader: PairReader, name: str, pairs: int, coloured_share: float) -> np.ndarray:
    """Places in the source of the chosen pairs, ascending, (pairs,). DataError where the source has too few of a kind.

    The source is read only as far as is needed.
    """
    wanted = {True: coloured_pairs(pairs, coloured_share)}
    wanted[False] = pairs - wanted[True]
    found: dict[bool, list[int]] = {True: [], False: []}
    for place in range(reader.pairs):
        if all(len(found[kind]) == wanted[kind] for kind in found):
            break
        kind = is_coloured(reader.read(place)[0])
        if len(found[kind]) < wanted[kind]:
            found[kind].append(place)
    for kind, word in ((True, "coloured"), (False, "colourless")):
        if len(found[kind]) < wanted[kind]:
            raise DataError(
                f"data {name}: {wanted[kind]} {word} pairs are asked for, its source has {len(found[kind])}. "
                f"Lower `data.{name}.pairs`, or change its `coloured_share`."
            )
    return np.array(sorted(found[True] + found[False]))


def write_composed_subset(root: Path, name: str, source_manifest: Path, pairs: int, coloured_share: float) -> None:
    """Write under root `pairs` pairs of a source, of which `coloured_share` (0 to 1) have a coloured image.

    DataError where the source has too few of a kind; ManifestError where one of its files differs from its manifest.
    """
    source, home = read_manifest(source_manifest, "source"), source_manifest.parent
    remedy = f"Delete {source_manifest} and run `snakemake {source_manifest}`."
    clear(root, "shards")
    beside = [entry for entry in source["files"] if entry["path"] in ("identities.txt", "index.npy")]
    verify_files([*beside, *source["shards"]], home, remedy)
    reader = PairReader(source_manifest, kind="source")
    try:
        places = choose_pairs(reader, name, pairs, coloured_share)
    finally:
        reader.close()
    rows = np.load(home / "index.npy")[places]
    shard_size = source["recipe"]["shard_size"]
    index, shards = np.empty(pairs, INDEX_DTYPE), []
    for number, start in enumerate(range(0, pairs, shard_size)):
        part = slice(start, start + shard_size)
        path = root / shard_name(number)
        index["offset"][part] = _copy_spans(home, source["shards"], rows[part], path)
        index["size"][part] = rows["size"][part]
        index["shard"][part] = number
        shards.append({**describe_file(path, root), "pairs": len(rows[part])})
    write_index(root / "index.npy", index)
    identities = (home / "identities.txt").read_text(encoding="utf-8").splitlines()
    coloured = coloured_pairs(pairs, coloured_share)
    write_json(
        root / "manifest.json",
        {
            "kind": "subset",
            "format": 1,
            "name": name,
            "source": source["name"],
            "source_order_digest": source["order_digest"],
            "pairs": pairs,
            "coloured_share": coloured_share,
            "shards": shards,
            "files": [describe_file(root / "index.npy", root)],
            "order_digest": order_digest(identities[place] for place in places),
            "counts": {
                "source": source["pairs"],
                "kept": pairs,
                "coloured": coloured,
                "colourless": pairs - coloured,
                "left_in_source": source["pairs"] - pairs,
            },
        },
    )


def _copy_spans(home: Path, shards: list[dict[str, str]], rows: np.ndarray, target: Path) -> list[int]:
    """Write whole samples of a source's tars, one after the other, as a tar; the offset of each in it."""
    offsets = []
    with atomic_path(target) as temporary, open(temporary, "wb") as tar:
        for number in dict.fromkeys(rows["shard"].tolist()):  # ascending: places are
            with open(home / shards[number]["path"], "rb") as whole:
                for row in rows[rows["shard"] == number]:
                    whole.seek(int(row["offset"]))
                    offsets.append(tar.tell())
                    tar.write(whole.read(int(row["size"])))
        # A tar ends with two empty blocks, padded to a whole record.
        end = tar.tell() + 2 * tarfile.BLOCKSIZE
        tar.write(bytes(-(-end // tarfile.RECORDSIZE) * tarfile.RECORDSIZE - tar.tell()))
    return offsets
