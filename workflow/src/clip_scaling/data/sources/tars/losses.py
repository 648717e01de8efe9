"""What lies in tars that lost their samples, in words, and what would read it."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from ...shards.opening import open_url
from ...shards.read import IMAGE_EXTENSIONS
from .index import split_name
from .lists import Tar
from .walk import TarWalk

_SAMPLES = 500
_SHOWN = 4
_HEAD_BYTES = 512
_BEGINNINGS = (
    (b"version https://git-lfs", "a pointer of Git LFS: get the tar with `git lfs pull`"),
    (b"/annex/objects", "a pointer of git-annex: get the tar with `git annex get`"),
    (b"\x1f\x8b", "compressed by gzip: unpack it with `gunzip`, or read it by `pipe:gunzip -c ...`"),
    (b"BZh", "compressed by bzip2: unpack it, or read it by `pipe:bunzip2 -c ...`"),
    (b"\xfd7zXZ", "compressed by xz: unpack it, or read it by `pipe:xz -dc ...`"),
    (b"\x28\xb5\x2f\xfd", "compressed by zstd: unpack it, or read it by `pipe:zstd -dc ...`"),
    (b"PK\x03\x04", "a zip archive: unpack it, and make a tar or a `kind: folder` of it"),
    (b"PAR1", "a parquet file: `kind: table` or `kind: url_list` reads it"),
    (b"<!doctype", "an HTML page, as a server gives for an error or a login: get the tar again"),
    (b"<html", "an HTML page, as a server gives for an error or a login: get the tar again"),
    (b"<?xml", "an XML text, as a bucket gives for an error: get the tar again"),
    (b"{", "a JSON text: get the tar again"),
)


def what_it_is(head: bytes) -> str:
    """Say what a file that is no tar begins with. head: its first bytes."""
    if not head:
        return "no byte: get it again"
    if not head.strip(b"\0"):
        return "zeros: get it again"
    plain = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    for beginning, said in _BEGINNINGS:
        if head.startswith(beginning) or plain.lower().startswith(beginning):
            return said
    return f"it begins with {head[:40]!r}: get the tar again"


@dataclass
class Fields:
    """Members of a tar's samples. sets: numbers of samples by their extensions. example: the first JSON."""

    sets: Counter[tuple[str, ...]] = field(default_factory=Counter)
    name: str = ""
    example: Any = None


def fields_of(stream: Any) -> Fields:
    """Look at a tar's first samples."""
    found = Fields()
    walk = TarWalk(stream)
    key: bytes | None = None
    extensions: list[str] = []
    for members, _ in walk:
        for name, _, content, size in members:
            split = split_name(name)
            if split is None:
                continue
            if split[0] != key and key is not None:
                found.sets[tuple(extensions)] += 1
                extensions = []
            found.name = found.name or name.decode("utf-8", "backslashreplace")
            key, extension = split
            extensions.append(extension)
            if extension == "json" and found.example is None:
                found.example = _parsed(walk.content(content, size))
        if found.sets.total() >= _SAMPLES:
            break
    if extensions:
        found.sets[tuple(extensions)] += 1
    walk.close()
    return found


def _parsed(content: bytes) -> Any:
    try:
        return json.loads(content)
    except ValueError:
        return None


def explain_fields(found: Fields, source: str, caption_key: str | None) -> str:
    """Sentences on the members that samples have and those that are wanted."""
    if not found.sets:
        return "It holds no samples of webdataset: files named KEY.EXTENSION."
    shown = "; or ".join(", ".join(fields) for fields, _ in found.sets.most_common(_SHOWN))
    wanted = "txt" if caption_key is None else f"json with {caption_key!r}"
    images = f"{', '.join(IMAGE_EXTENSIONS[:-1])} or {IMAGE_EXTENSIONS[-1]}"
    sentences = [f"Samples have the fields {shown} ({found.name}); wanted are {images}, and {wanted}."]
    extensions = {extension for fields in found.sets for extension in fields}
    if "json" in extensions:
        sentences += _keys(found.example, source, caption_key)
    if caption_key is not None and "txt" in extensions:
        sentences.append(f"Without `sources.{source}.caption_key` the caption is the .txt.")
    if "cls" in extensions and not extensions & {"txt", "json"}:
        sentences.append("cls are labels, not captions: such tars are evaluation sets (origin: webdataset).")
    if any("." in extension for extension in extensions):
        sentences.append(
            "A key ends at the first dot of a file's name, as in webdataset: rename the members, or take dots out of "
            "the keys."
        )
    elif not extensions & set(IMAGE_EXTENSIONS) or not extensions & {"txt", "json"}:
        sentences.append("Rename the members.")
    return " ".join(sentences)


def _keys(example: Any, source: str, caption_key: str | None) -> list[str]:
    """What a sample's JSON has, and the key that reads a caption of it."""
    if not isinstance(example, dict):
        return ["The json is no object with keys."]
    texts = {key: value for key, value in _texts(example).items() if key != caption_key}
    value = example.get(caption_key or "")
    sentences = []
    if caption_key is not None:
        kind = {list: "a list", dict: "an object", type(None): "not there"}.get(type(value), type(value).__name__)
        sentences.append(f"{caption_key!r} is {kind} in the json.")
    if texts:
        best = max(texts, key=lambda key: (key.startswith(f"{caption_key}."), "caption" in key or "text" in key))
        shown = ", ".join(list(texts)[:8])
        sentences.append(f"Its texts are {shown}: set `sources.{source}.caption_key: {best}`, or another of them.")
    return sentences


def _texts(value: Any, place: str = "") -> dict[str, str]:
    """Texts in a JSON value by the key that finds them, such as `captions.0`."""
    if isinstance(value, str):
        return {place: value}
    items: Any = ()
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list):
        items = enumerate(value[:1])
    found: dict[str, str] = {}
    for key, below in items:
        found |= _texts(below, f"{place}.{key}" if place else str(key))
    return found


def explain_tar(tar: Tar, report: dict[str, Any], source: str, caption_key: str | None) -> str:
    """What is wrong with one tar of a source, by its name."""
    lost, problems = report["lost"], report["problems"]
    sentence = f"{tar.name}:"
    if "not_a_tar" in problems:
        with _open(tar) as stream:
            return f"{sentence} not a tar, {what_it_is(stream.read(_HEAD_BYTES))}."
    more = "" if report["is_exact"] else " or more"
    sentence = f"{sentence} {' '.join([', '.join(problems), f'{lost}{more}']).strip()}."
    nameless = lost.get("no_image", 0) + lost.get("no_caption", 0)
    if 2 * nameless >= report["kept"] + sum(lost.values()) and nameless:
        with _open(tar) as stream:
            sentence += f" {explain_fields(fields_of(stream), source, caption_key)}"
    return sentence


def _open(tar: Tar) -> Any:
    return open_url(tar.location) if tar.is_remote else open(tar.location, "rb")
