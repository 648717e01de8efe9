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

from .reader import IMAGE_EXTENSIONS, caption_in_json
from .tar_walk import TarWalk

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


@dataclass(frozen=True)
class TarContent:
    """samples: (n,) SAMPLE_DTYPE. lines: their identities, UTF-8, one a line.

    lost: samples that cannot be used, by reason. problems: of DAMAGE. bytes, sha256: of the whole tar.
    """

    samples: np.ndarray
    lines: bytes
    lost: dict[str, int]
    problems: list[str]
    bytes: int
    sha256: str


@dataclass(slots=True)
class _Group:
    """Members in a row with one key."""

    key: bytes
    start: int
    end: int
    is_by_damage: bool
    extensions: set[str] = field(default_factory=set)
    image_bytes: int | None = None
    image: int = 0
    text: bytes | None = None
    metadata: bytes | None = None
    is_cut: bool = False


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
    seen: dict[bytes, tuple[str, set[str]]] = {}  # outcome of the key's first group ("" = usable), its extensions
    for group in _groups(walk, has_images_hashed):
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
    return TarContent(samples, bytes(lines), counts, walk.problems, size, sha256)


def _groups(walk: TarWalk, has_images_hashed: bool) -> Iterator[_Group]:
    group: _Group | None = None
    for name, start, content, size, is_after_damage in walk:
        split = _split(name)
        if split is None:
            if group is not None and is_after_damage:
                group.is_by_damage = True
                yield group
                group = None
            continue
        key, extension = split
        if group is not None and (key != group.key or extension in group.extensions or is_after_damage):
            # What a damaged header hid may have been of the sample before it or of the one after.
            group.is_by_damage = group.is_by_damage or is_after_damage
            yield group
            group = None
        if group is None:
            group = _Group(key, start, start, is_after_damage)
        if walk.is_cut_inside:
            group.is_cut = True
            break
        group.extensions.add(extension)
        group.end = walk.end(content, size)
        if extension in IMAGE_EXTENSIONS:
            group.image_bytes = group.image_bytes or size
            if has_images_hashed:
                group.image = group.image or first_bits(walk.content(content, size))
        elif extension == "txt":
            group.text = walk.content(content, size)
        elif extension == "json":
            group.metadata = walk.content(content, size)
    if group is not None:
        group.is_by_damage = group.is_by_damage or walk.ends_in_damage
        group.is_cut = group.is_cut or (not walk.ends_in_damage and "cut" in walk.problems)
        yield group


def _split(name: bytes) -> tuple[bytes, str] | None:
    """(key, extension) in webdataset's sense; None for what it skips."""
    if name.startswith(b"./"):
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
    caption, reason = group.text, "no_caption"
    if caption_key is not None:
        caption, reason = _from_json(group.metadata, caption_key)
    if group.image_bytes is None or caption is None:
        # A hidden member is the likelier reason for what is missing beside damage.
        missing = "no_image" if group.image_bytes is None else reason
        return b"", "cut" if group.is_cut else "damaged_header" if group.is_by_damage else missing
    if not group.image_bytes:
        return b"", "empty_image"
    if not _is_utf8(caption):
        return b"", "caption_not_utf8"
    if not caption.strip():
        return b"", "empty_caption"
    return caption, ""


def _from_json(content: bytes | None, key: str) -> tuple[bytes | None, str]:
    caption = caption_in_json(content or b"{}", key)
    return caption, "" if caption is not None else "no_caption"


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
