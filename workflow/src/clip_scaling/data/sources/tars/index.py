"""What one tar of image-text samples holds: where each usable sample lies, and what was lost, by reason.

A sample is webdataset's: members in a row that share a key, the name up to the first dot of its last part. Its span
is one piece of the tar, so that a reader needs an offset and a size alone.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, BinaryIO

import numpy as np

from ...shards.read import IMAGE_EXTENSIONS, caption_in_json
from .walk import TarWalk

SAMPLE_DTYPE = np.dtype(
    [
        ("offset", "<u8"),
        ("size", "<u8"),
        ("order", "<u8", (2,)),
        ("caption", "<u8"),
        ("image", "<u8"),
        ("line_end", "<u8"),
    ]
)
"""One row a usable sample, in the tar's order. order: first 128 bits of sha256 of the identity, as two numbers whose
order is that of the hash. caption, image: first 64 bits of sha256 of either's bytes (image: 0 unless asked for).
line_end: where its identity's line ends in the tar's lines."""
DAMAGE = ("empty", "not_a_tar", "damaged_header", "zeros_inside", "cut")
"""Problems of a tar as a whole: they may hide samples of which nothing is left."""
DEEP_GREY = "grey_of_16_bits"
"""Images that are scaled to eight bits here, and clipped to white by tools that read them by Pillow's `convert`."""
_SIXTEEN_BITS_OF_GREY = b"\x10\0"
"""Bits a sample and kind of colour, at the end of a PNG's first chunk."""


@dataclass(frozen=True)
class TarContent:
    """samples: (n,) SAMPLE_DTYPE. lines: their identities, UTF-8, one a line.

    lost: samples that cannot be used, by reason. problems: of DAMAGE. bytes, sha256: of the whole tar.
    notes: usable samples that are odd, by kind.
    """

    samples: np.ndarray
    lines: bytes
    lost: dict[str, int]
    problems: list[str]
    bytes: int
    sha256: str
    notes: dict[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class _Group:
    """Members in a row with one key."""

    key: bytes
    start: int
    is_by_damage: bool
    end: int = 0
    extensions: set[str] = field(default_factory=set)
    image_bytes: int | None = None
    image: int = 0
    caption: bytes | None = None
    is_cut: bool = False
    is_deep_grey: bool = False


def first_bits(content: bytes) -> int:
    """First 64 bits of sha256: numbers in the order of the hashes."""
    return int.from_bytes(hashlib.sha256(content).digest()[:8], "big")


def index_tar(stream: BinaryIO, prefix: str, caption_key: str | None, has_images_hashed: bool) -> TarContent:
    """Read a tar to its end, whatever its state. An identity is `prefix:key`.

    caption_key: of the .json member; None: the caption is the .txt member.
    """
    walk = TarWalk(stream)
    rows: list[tuple[int, int, int, int]] = []
    hashes, captions, lines = bytearray(), bytearray(), bytearray()
    head = f"{prefix}:".encode()
    lost: Counter[str] = Counter()
    deep_grey = 0
    seen: dict[bytes, tuple[str, set[str]]] = {}  # outcome of the key's first group ("" = usable), its extensions
    for group in _groups(walk, "txt" if caption_key is None else "json", has_images_hashed):
        caption, reason = _outcome(group, caption_key)
        before = seen.get(group.key)
        if before is None:
            seen[group.key] = (reason, group.extensions)
        else:
            earlier, extensions = before
            if earlier and not (extensions & group.extensions) and reason:
                # Two halves of one sample that lie apart: one sample was counted already.
                apart = earlier if earlier in ("damaged_header", "cut") else "not_contiguous"
                lost[earlier] -= 1
                lost[apart] += 1
                seen[group.key] = (apart, extensions | group.extensions)
                continue
            if not earlier and not (extensions & group.extensions):
                continue  # more members of a sample that is whole without them
            if earlier and not reason:
                seen[group.key] = ("", group.extensions)  # the first lacked something, this one does not
            else:
                reason = "repeated_key"
        if reason:
            lost[reason] += 1
            continue
        deep_grey += group.is_deep_grey
        identity = head + group.key
        lines += identity + b"\n"
        hashes += hashlib.sha256(identity).digest()[:16]
        captions += hashlib.sha256(caption).digest()[:8]
        rows.append((group.start, group.end - group.start, group.image, len(lines)))
    size, sha256 = walk.finish()
    counts = {reason: count for reason, count in sorted(lost.items()) if count}
    samples = np.empty(len(rows), SAMPLE_DTYPE)
    columns = np.array(rows, np.uint64).reshape(-1, 4).T
    for name, column in zip(("offset", "size", "image", "line_end"), columns, strict=True):
        samples[name] = column
    samples["order"] = np.frombuffer(hashes, ">u8").reshape(-1, 2)
    samples["caption"] = np.frombuffer(captions, ">u8")
    notes = {DEEP_GREY: deep_grey} if deep_grey else {}
    return TarContent(samples, bytes(lines), counts, walk.problems, size, sha256, notes)


def _groups(walk: TarWalk, caption: str, has_images_hashed: bool) -> Iterator[_Group]:
    """caption: extension of the member that is kept for it."""
    group: _Group | None = None
    prefix, last = b"", (0, 0)  # of the group: what its members' names begin with; place and size of its last one
    for members, is_after_damage in walk:
        is_cut_inside = walk.is_cut_inside
        for name, start, content, size in members:
            is_by_damage, is_after_damage = is_after_damage, False
            if group is not None and name.startswith(prefix) and b"/" not in (rest := name[len(prefix) :]):
                key, extension = group.key, _extension(rest)
            elif (split := split_name(name)) is not None:
                key, extension = split
            else:
                if group is not None and is_by_damage:
                    group.is_by_damage, group.end = True, walk.end(*last)
                    yield group
                    group = None
                continue
            if group is not None and (key != group.key or extension in group.extensions or is_by_damage):
                # What a damaged header hid may have been of the sample before it or of the one after.
                group.is_by_damage = group.is_by_damage or is_by_damage
                group.end = walk.end(*last)
                yield group
                group = None
            if group is None:
                group, prefix = _Group(key, start, is_by_damage), key + b"."
            if is_cut_inside:
                group.is_cut = True
                break
            group.extensions.add(extension)
            last = content, size
            if extension == caption:
                group.caption = walk.content(content, size)
            elif extension in IMAGE_EXTENSIONS:
                group.image_bytes = group.image_bytes or size
                group.is_deep_grey |= extension == "png" and walk.content(content, 26)[24:] == _SIXTEEN_BITS_OF_GREY
                if has_images_hashed:
                    group.image = group.image or first_bits(walk.content(content, size))
    if group is not None:
        group.is_by_damage = group.is_by_damage or walk.ends_in_damage
        group.is_cut = group.is_cut or (not walk.ends_in_damage and "cut" in walk.problems)
        group.end = walk.end(*last) if group.extensions else group.start
        yield group


def split_name(name: bytes) -> tuple[bytes, str] | None:
    """(key, extension) in webdataset's sense; None for what it skips."""
    while name.startswith(b"./"):
        name = name[2:]
    last = name.rfind(b"/") + 1
    dot = name.find(b".", last)
    if dot <= last or (name.startswith(b"__", last) and name.endswith(b"__", last, dot)):
        return None
    return name[:dot], _extension(name[dot + 1 :])


@lru_cache(1024)
def _extension(text: bytes) -> str:
    return text.decode("utf-8", "replace").lower()


def _outcome(group: _Group, caption_key: str | None) -> tuple[bytes, str]:
    """The caption and "", or why the sample cannot be used."""
    if b"\n" in group.key or b"\r" in group.key or not _is_utf8(group.key):
        return b"", "key_not_text"
    caption = group.caption
    if caption_key is not None:
        caption = caption_in_json(caption or b"{}", caption_key)
    if group.image_bytes is None or caption is None:
        # A hidden member is the likelier reason for what is missing beside damage.
        missing = "no_image" if group.image_bytes is None else "no_caption"
        return b"", "cut" if group.is_cut else "damaged_header" if group.is_by_damage else missing
    if not group.image_bytes:
        return b"", "empty_image"
    if not _is_utf8(caption):
        return b"", "caption_not_utf8"
    if not caption.strip():
        return b"", "empty_caption"
    return caption, ""


def _is_utf8(content: bytes) -> bool:
    try:
        content.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def losses(content: TarContent, recorded: int | None) -> dict[str, Any]:
    """What a tar lost, for the manifest. recorded: samples that its writer says it wrote, where that is known.

    is_exact: False where damage may hide samples and no number was recorded; the loss is then what can be seen of it.
    """
    lost = dict(content.lost)
    kept = len(content.samples)
    is_damaged = any(problem in DAMAGE for problem in content.problems)
    if recorded is not None:
        hidden = recorded - kept - sum(lost.values())
        if hidden > 0:
            lost["not_there"] = hidden
    return {
        "kept": kept,
        "lost": lost,
        "is_exact": recorded is not None or not is_damaged,
        "recorded": recorded,
        "problems": content.problems,
    }
