"""Tars that lost their samples are named with what lies in them and what would read it."""

from __future__ import annotations

import gzip
import json
import lzma
from pathlib import Path
from typing import Any

import pytest

from clip_scaling.data.shards.read import PairReader, caption_in_json
from clip_scaling.data.shards.write import write_tar
from clip_scaling.data.sources.tars.config import WebdatasetSource
from clip_scaling.data.sources.tars.losses import what_it_is
from clip_scaling.data.sources.tars.source import write_tar_source
from clip_scaling.errors import DataError
from clip_scaling.records.files import read_json

from ...pictures import COLOUR, png

DRAWN = png((2, 2), 8, COLOUR, [bytes(6)] * 2)
LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"a" * 64 + b"\nsize 123456789\n"


def prepare(root: Path, tars: Path, **fields: Any) -> dict[str, Any]:
    settings = {"kind": "webdataset", "pairs": 10, "tars": [f"{tars}/*.tar"], "vocabulary_size": 600}
    source = WebdatasetSource.model_validate(settings | fields)
    write_tar_source(root, "web", source, source.all_tars("web"), 1)
    return read_json(root / "manifest.json")


def refusal(tmp_path: Path, **fields: Any) -> str:
    with pytest.raises(DataError) as error:
        prepare(tmp_path / "out", tmp_path / "tars", **fields)
    return str(error.value)


def put(folder: Path, members: dict[str, bytes], samples: int = 12, key: str = "s{:03d}", name: str = "0") -> None:
    write_tar(folder / f"tars/{name}.tar", [(key.format(number), members) for number in range(samples)])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (LFS, "a pointer of Git LFS: get the tar with `git lfs pull`"),
        (gzip.compress(bytes(2000)), "compressed by gzip: unpack it"),
        (lzma.compress(bytes(2000)), "compressed by xz: unpack it"),
        (bytes(10_240), "zeros: get it again"),
        (b"\n<!DOCTYPE html><html>Sign in</html>", "an HTML page"),
        (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "an XML text"),
        (b'{"error": "gated"}', "a JSON text"),
        (b"PAR1" + bytes(100), "a parquet file: `kind: table`"),
        (b"PK\x03\x04" + bytes(100), "a zip archive"),
        (b"Repository not found", "it begins with b'Repository not found'"),
    ],
)
def test_a_file_that_is_no_tar_is_named_with_what_it_is(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "tars").mkdir()
    (tmp_path / "tars/00000.tar").write_bytes(content)
    message = refusal(tmp_path)
    assert f"no sample of 1 tars can be used. 00000.tar: not a tar, {said}" in message
    assert "max_lost_fraction" not in message
    put(tmp_path, {"png": DRAWN, "txt": b"a cat"}, name="00001")
    message = refusal(tmp_path)
    assert "00000.tar: not a tar" in message and "or raise sources.web.max_lost_fraction" in message


def test_an_empty_tar_is_named(tmp_path: Path) -> None:
    (tmp_path / "tars").mkdir()
    (tmp_path / "tars/00000.tar").touch()
    assert "no sample of 1 tars can be used. 00000.tar: empty {} or more." in refusal(tmp_path)


def test_a_git_annex_pointer_is_known() -> None:
    assert "git annex get" in what_it_is(b"/annex/objects/SHA256E-s10--abc.tar\n")


JSON = json.dumps({"caption": "a cat", "captions": ["a cat", "a tabby"], "width": 3, "meta": {"alt": "cat"}}).encode()


@pytest.mark.parametrize(
    ("members", "fields", "said"),
    [
        (
            {"input.jpg": DRAWN, "outputs.txt": b"a"},
            {},
            ["fields input.jpg, outputs.txt (s000.input.jpg); wanted are png, jpg, jpeg or webp, and txt", "first dot"],
        ),
        ({"png": DRAWN, "cls": b"3"}, {}, ["fields cls, png", "cls are labels, not captions"]),
        ({"bmp": DRAWN, "txt": b"a"}, {}, ["fields bmp, txt", "Rename the members"]),
        ({"png": DRAWN, "caption": b"a"}, {}, ["fields caption, png", "Rename the members"]),
        (
            {"png": DRAWN, "json": JSON},
            {},
            ["Its texts are caption, captions.0, meta.alt: set `sources.web.caption_key: caption`"],
        ),
        (
            {"png": DRAWN, "json": JSON},
            {"caption_key": "captions"},
            ["json with 'captions'", "'captions' is a list in the json", "set `sources.web.caption_key: captions.0`"],
        ),
        (
            {"png": DRAWN, "json": JSON},
            {"caption_key": "width"},
            ["'width' is int in the json", "caption_key: caption`"],
        ),
        ({"png": DRAWN, "json": b"[1]"}, {"caption_key": "a"}, ["The json is no object with keys"]),
        (
            {"png": DRAWN, "txt": b"a"},
            {"caption_key": "a"},
            ["Without `sources.web.caption_key` the caption is the .txt"],
        ),
    ],
)
def test_fields_that_were_found_and_those_that_are_wanted_are_shown(
    tmp_path: Path, members: dict[str, bytes], fields: dict[str, Any], said: list[str]
) -> None:
    put(tmp_path, members)
    message = refusal(tmp_path, **fields)
    for sentence in ["no sample of 1 tars can be used, 12 are lost", "0.tar: {'no_", *said]:
        assert sentence in message
    assert "max_lost_fraction" not in message and "get those again" not in message


def test_keys_with_dots_and_images_alone_are_shown_too(tmp_path: Path) -> None:
    put(tmp_path, {"png": DRAWN, "txt": b"a"}, key="{}.05")
    assert "Samples have the fields 05.png, 05.txt (0.05.png)" in refusal(tmp_path)
    put(tmp_path, {"png": DRAWN})
    assert "Samples have the fields png (s000.png); wanted are" in refusal(tmp_path)


@pytest.mark.parametrize(
    ("key", "caption"), [("captions.0", b"a cat"), ("captions.1", b"a tabby"), ("meta.alt", b"cat"), ("a.b", None)]
)
def test_a_key_may_lead_into_the_json(tmp_path: Path, key: str, caption: bytes | None) -> None:
    assert caption_in_json(JSON, key) == caption and caption_in_json(b'{"a.b": "x", "a": {"b": "y"}}', "a.b") == b"x"
    if caption is not None:
        put(tmp_path, {"png": DRAWN, "json": JSON})
        assert prepare(tmp_path / "out", tmp_path / "tars", caption_key=key)["counts"]["kept"] == 12
        with PairReader.open(tmp_path / "out/manifest.json") as reader:
            assert reader.read(0) == (DRAWN, caption)


@pytest.mark.parametrize("content", [b"", b'{"successes": 1', b"\xff\xfe", b"[]", b'{"successes": "many"}', b"null"])
@pytest.mark.parametrize("name", ["0_stats.json", "sizes.json"])
def test_a_sidecar_that_a_killed_download_left_counts_as_none(tmp_path: Path, name: str, content: bytes) -> None:
    put(tmp_path, {"png": DRAWN, "txt": b"a cat"})
    (tmp_path / f"tars/{name}").write_bytes(content)
    assert prepare(tmp_path / "out", tmp_path / "tars")["counts"]["kept"] == 12
