"""Every kind of source keeps the bytes that it had before sources got one protocol.

The hashes pin files that existing results were made from: a changed byte would prepare and train them again. The code
of commit dafbe1b, with the tokenizer of d66d998, made them from the same inputs. Kind url_list is not here: its lists
name the port of a server, which differs from run to run.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydantic import TypeAdapter

from clip_scaling.data.sources.base import Work
from clip_scaling.data.sources.registry import Source

FILES = ("manifest.json", "index.npy", "identities.txt", "ATTRIBUTION.md", "tokenizer/merges.txt.gz")
HELD_OUT = {"captions": {"kind": "zeroshot_retrieval", "pairs": 10}}
COMMON: dict[str, Any] = {"vocabulary_size": 600, "shard_size": 10, "held_out": HELD_OUT}
IMAGES = {"pairs": 30, "image_size": 8, "max_lost_fraction": 0.9, "encode_format": "png", "encode_quality": 6}


def picture(number: int) -> bytes:
    """A PNG of noise; no two numbers give the same one."""
    file = io.BytesIO()
    pixels = np.random.default_rng(number).integers(0, 256, (10, 12, 3), np.uint8)
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def write_tar(file: Any, members: dict[str, bytes]) -> None:
    """A tar without times, owners or modes of this machine."""
    with tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, content in members.items():
            header = tarfile.TarInfo(name)
            header.size = len(content)
            tar.addfile(header, io.BytesIO(content))


def iconify(folder: Path) -> dict[str, Any]:
    """Three vendors that share two captions, and one to hold out."""
    sets: dict[str, dict[str, int]] = {"held": {"home": 1, "star": 2, "moon": 3}}
    for place, vendor in enumerate(("ant", "bee", "cat")):
        start = 100 * (place + 1)
        names = {f"{vendor}-thing-{chr(97 + letter)}": start + letter for letter in range(15)}
        sets[vendor] = {"home": start + 50, "star": start + 51} | names
    members = {}
    for vendor, names in sets.items():
        icons = {}
        for name, number in names.items():
            cells = [bit for bit in range(16) if number >> bit & 1]
            squares = (f'<rect x="{4 * (bit % 4)}" y="{4 * (bit // 4)}" width="4" height="4"/>' for bit in cells)
            icons[name] = {"body": "".join(squares)}
        info = {
            "name": vendor,
            "author": {"name": "An author", "url": "https://example.org/set"},
            "license": {"title": "MIT", "spdx": "MIT", "url": "https://example.org/licence"},
            "category": "UI 24px",
        }
        text = json.dumps({"prefix": vendor, "info": info, "icons": icons})
        members[f"package/json/{vendor}.json"] = text.encode()
    packed = io.BytesIO()
    write_tar(packed, members)
    archive = folder / "package.tgz"
    archive.write_bytes(gzip.compress(packed.getvalue(), compresslevel=0, mtime=0))
    icons_out = {"kind": "zeroshot_classification", "sets": ["held"], "classes": 2}
    sha256 = hashlib.sha256(archive.read_bytes()).hexdigest()
    return {"path": str(archive), "sha256": sha256, **COMMON, "held_out": HELD_OUT | {"icons": icons_out}}


def procedural(folder: Path) -> dict[str, Any]:
    return {"pairs": 30, **COMMON}


def webdataset(folder: Path) -> dict[str, Any]:
    for number in range(3):
        members = {}
        for pair in range(10 * number, 10 * number + 10):
            members |= {f"{pair:04d}.png": picture(pair), f"{pair:04d}.txt": f"caption {pair}".encode()}
        with (folder / f"{number}.tar").open("wb") as file:
            write_tar(file, members)
    return {"tars": [f"{folder}/*.tar"], "pairs": 30, **COMMON}


def tree(folder: Path) -> dict[str, Any]:
    """Images with captions beside them; one is none, and one is there twice."""
    for number in range(40):
        (folder / f"{number}.png").write_bytes(picture(number))
        (folder / f"{number}.txt").write_text(f"thing number {number}\n")
    for name, content in (("broken", b"no image"), ("again", picture(0))):
        (folder / f"{name}.png").write_bytes(content)
        (folder / f"{name}.txt").write_text(name)
    return {"path": str(folder), **COMMON, **IMAGES}


def table(folder: Path) -> dict[str, Any]:
    tree(folder)
    rows = "".join(f"{number}.png,thing number {number}\n" for number in range(40))
    (folder / "pairs.csv").write_text(f"image,caption\nbroken.png,broken\nmissing.png,missing\n{rows}")
    return {"path": f"{folder}/pairs.csv", **COMMON, **IMAGES}


KINDS: dict[str, Callable[[Path], dict[str, Any]]] = {
    "iconify": iconify,
    "procedural": procedural,
    "webdataset": webdataset,
    "folder": tree,
    "table": table,
}


def hashes(root: Path) -> dict[str, str]:
    """Hash of each of the source's files."""
    return {name: hashlib.sha256((root / name).read_bytes()).hexdigest()[:16] for name in FILES}


GOLDEN: dict[str, dict[str, str]] = json.loads((Path(__file__).parent / "golden.json").read_text())


@pytest.mark.parametrize("kind", KINDS)
def test_a_source_has_the_bytes_that_it_always_had(kind: str, tmp_path: Path) -> None:
    (tmp_path / "given").mkdir()
    source = TypeAdapter(Source).validate_python({"kind": kind, **KINDS[kind](tmp_path / "given")})
    source.prepare(Work("tiny", tmp_path / "made/manifest.json"))
    assert hashes(tmp_path / "made") == GOLDEN[kind]
