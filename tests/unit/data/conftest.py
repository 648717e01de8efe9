"""A package like @iconify/json, small enough to count by hand."""

from __future__ import annotations

import hashlib
import io
import json
import resource
import tarfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clip_scaling.data.shards.write import Members, write_shards
from clip_scaling.data.sources.iconify.config import IconifySource
from clip_scaling.data.sources.iconify.raster import encode
from clip_scaling.data.sources.pairs import HeldOutSet, Pair, SourceContent
from clip_scaling.data.sources.procedural.config import ProceduralSource
from clip_scaling.data.sources.write import write_source
from clip_scaling.records.data import SourceManifest, SubsetCounts, SubsetManifest, read_any_manifest
from clip_scaling.records.files import FileEntry, ShardEntry, verify_files


def picture(number: int) -> str:
    """SVG body of a 16 x 16 icon: one black 4 x 4 cell for each bit of `number`; distinct for 1..65535."""
    cells = [bit for bit in range(16) if number >> bit & 1]
    return "".join(f'<rect x="{4 * (bit % 4)}" y="{4 * (bit // 4)}" width="4" height="4"/>' for bit in cells)


def icon_set(names: dict[str, int | dict[str, Any]], **fields: Any) -> dict[str, Any]:
    """One iconify set: names to picture numbers (or whole icons); fields override the set's own."""
    info = {
        "name": "A set",
        "author": {"name": "An author", "url": "https://example.org/set"},
        "license": {"title": "MIT", "spdx": fields.pop("spdx", "MIT"), "url": "https://example.org/licence"},
        "category": fields.pop("category", "UI 24px"),
    }
    icons = {name: icon if isinstance(icon, dict) else {"body": picture(icon)} for name, icon in names.items()}
    return {"info": info, "icons": icons, **fields}


@pytest.fixture
def make_package(tmp_path: Path) -> Callable[..., Path]:
    """make_package(vendor=icon_set(...), ...) writes a tarball and returns its path."""

    def make(**sets: dict[str, Any]) -> Path:
        path = tmp_path / "package.tgz"
        with tarfile.open(path, "w:gz") as tar:
            for vendor, content in sets.items():
                text = json.dumps({"prefix": vendor, **content}).encode()
                member = tarfile.TarInfo(f"package/json/{vendor}.json")
                member.size = len(text)
                tar.addfile(member, io.BytesIO(text))
        return path

    return make


def recipe_for(archive: Path, **fields: Any) -> IconifySource:
    """A recipe with the archive's own hash; by default the vendor `held` gives two classes."""
    return IconifySource.model_validate(
        {
            "kind": "iconify",
            "sha256": hashlib.sha256(archive.read_bytes()).hexdigest(),
            "shard_size": 10,
            "held_out": {"icons": {"kind": "zeroshot_classification", "sets": ["held"], "classes": 2}},
            **fields,
        }
    )


@pytest.fixture
def small_package(make_package: Callable[..., Path]) -> Path:
    """Three training vendors of 25 icons with captions of their own, each with a `home` and a `star`; one to hold out.

    All pictures differ. The caption `moon` is drawn by `held` and by one training vendor.
    """
    vendors = {}
    for place, vendor in enumerate(("ant", "bee", "cat")):
        start = 100 * (place + 1)
        names: dict[str, Any] = {f"{vendor}-thing-{chr(97 + letter)}": start + letter for letter in range(25)}
        vendors[vendor] = icon_set({"home": start + 50, "star": start + 51, **names})
    vendors["cat"]["icons"]["moon"] = {"body": picture(399)}
    vendors["held"] = icon_set({"home": 1, "home-filled": 2, "star": 3, "moon": 4, "unheard-of": 5})
    return make_package(**vendors)


def scene(number: int) -> np.ndarray:
    """(8, 8, 3) pixels that are distinct for every number below 16 million."""
    pixels = np.full((8, 8, 3), 255, dtype=np.uint8)
    pixels[:4] = [number >> 16 & 255, number >> 8 & 255, number & 255]
    return pixels


def make_pair(identity: str, caption: str, number: int) -> Pair:
    raster = encode(scene(number))
    return Pair(identity, caption, raster.png, raster.pixels)


SMALL_RECIPE = ProceduralSource.model_validate(
    {
        "kind": "procedural",
        "image_size": 8,
        "shard_size": 10,
        "held_out": {
            "icons": {"kind": "zeroshot_classification", "sets": ["colour-shape"], "classes": 2},
            "captions": {"kind": "zeroshot_retrieval", "pairs": 10},
        },
    }
)


@pytest.fixture
def small_source(tmp_path: Path) -> Path:
    """Manifest of a source of 25 pairs `set:0` .. `set:24` in that order, in shards of 10, 10 and 5.

    Pair i shows `scene(i)` and is captioned "pair" with i+1 times "very" before it.
    """
    training = [make_pair(f"set:{i}", "very " * (i + 1) + "pair", i) for i in range(25)]
    classes = [make_pair(f"held:{i}", ("moon", "star")[i % 2], 100 + i) for i in range(6)]
    captions = [make_pair(f"set:x{i}", f"unseen {i}", 200 + i) for i in range(10)]
    held_out = {
        "icons": HeldOutSet("zeroshot_classification", classes, 6, ["moon", "star"], ["{c}", "an icon of {c}"]),
        "captions": HeldOutSet("zeroshot_retrieval", captions, 10),
    }
    content = SourceContent(training, held_out, 41, {}, "# Attribution\n")
    write_source(tmp_path / "small", "small", SMALL_RECIPE, content)
    return tmp_path / "small/manifest.json"


def verify(manifest_path: Path) -> None:
    """Every file that a manifest lists is there, with its size and hash."""
    manifest = read_any_manifest(manifest_path)
    shards = manifest.shards if isinstance(manifest, SourceManifest | SubsetManifest) else []
    verify_files([*shards, *manifest.files], manifest_path.parent, "")


def write_plain_subset(root: Path, samples: Iterable[tuple[str, Members]], pairs: int, shard_size: int) -> Path:
    """A subset of samples that come from no source; its manifest."""
    shards = write_shards(root, samples, pairs, shard_size)
    return write_plain_manifest(root, shards)


def write_plain_manifest(root: Path, shards: list[ShardEntry]) -> Path:
    """The manifest of shards and an index that are there."""
    pairs = sum(entry.pairs for entry in shards)
    SubsetManifest(
        name=root.name, source="none", source_order_digest="0", pairs=pairs, shards=shards, order_digest="0",
        counts=SubsetCounts(source=pairs, kept=pairs, left_in_source=0), files=[FileEntry.of(root / "index.npy", root)],
    ).write(root / "manifest.json")  # fmt: skip
    return root / "manifest.json"


@contextmanager
def full_disk(limit: int) -> Iterator[None]:
    """Every write beyond the first `limit` bytes of a file fails, by the kernel's own limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def leftovers(root: Path) -> list[str]:
    """Manifests and temporary files anywhere under root."""
    return [path.name for path in root.rglob("*") if path.name == "manifest.json" or path.name.endswith(".tmp")]
