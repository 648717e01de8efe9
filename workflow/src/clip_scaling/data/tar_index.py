"""What one tar of image-text samples holds: where each usable sample lies, and what was lost, by reason.

A sample is webdataset's: members in a row that share a key, the name up to the first dot of its last part. Its span
is one piece of the tar, so that a reader needs an offset and a size alone.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import numpy as np

from .reader import IMAGE_EXTENSIONS
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
DAMAGE = ("empty", "not_a_tar", "damaged_header", "cut")
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
    image: bytes | None = None
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
    rows: list[tuple[int, int, tuple[int, int], int, int, int]] = []
    lines = bytearray()
    lost: Counter[str] = Counter()
    seen: dict[bytes, tuple[str, set[str]]] = {}  # outcome of the key's first group ("" = usable), its extensions
    for group in _groups(walk):
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
        identity = f"{prefix}:".encode() + group.key
        digest = hashlib.sha256(identity).digest()
        lines += identity + b"\n"
        order = (int.from_bytes(digest[:8], "big"), int.from_bytes(digest[8:16], "big"))
        image = first_bits(group.image) if has_images_hashed and group.image is not None else 0
        rows.append((group.start, group.end - group.start, order, first_bits(caption), image, len(lines)))
    size, sha256 = walk.finish()
    counts = {reason: count for reason, count in sorted(lost.items()) if count}
    return TarContent(np.array(rows, SAMPLE_DTYPE), bytes(lines), counts, walk.problems, size, sha256)


def _groups(walk: TarWalk) -> Iterator[_Group]:
    group: _Group | None = None
    for member in walk:
        split = _split(member.name)
        if split is None:
            if group is not None and member.is_after_damage:
                group.is_by_damage = True
                yield group
                group = None
            continue
        key, extension = split
        if group is not None and (key != group.key or extension in group.extensions or member.is_after_damage):
            # What a damaged header hid may have been of the sample before it or of the one after.
            group.is_by_damage = group.is_by_damage or member.is_after_damage
            yield group
            group = None
        if group is None:
            group = _Group(key, member.start, member.start, member.is_after_damage)
        if member.content is None:
            group.is_cut = True
            break
        group.extensions.add(extension)
        group.end = member.end
        if extension in IMAGE_EXTENSIONS:
            group.image = group.image or member.content
        elif extension == "txt":
            group.text = member.content
        elif extension == "json":
            group.metadata = member.content
    if group is not None:
        group.is_by_damage = group.is_by_damage or walk.ends_in_damage
        group.is_cut = group.is_cut or (not walk.ends_in_damage and "cut" in walk.problems)
        yield group


def _split(name: bytes) -> tuple[bytes, str] | None:
    """(key, extension) in webdataset's sense; None for what it skips."""
    folder, slash, last = name.removeprefix(b"./").rpartition(b"/")
    stem, dot, extension = last.partition(b".")
    if not dot or not stem or (stem.startswith(b"__") and stem.endswith(b"__")):
        return None
    return folder + slash + stem, extension.decode("utf-8", "replace").lower()


def _outcome(group: _Group, caption_key: str | None) -> tuple[bytes, str]:
    """The caption and "", or why the sample cannot be used."""
    if b"\n" in group.key or b"\r" in group.key or not _is_utf8(group.key):
        return b"", "key_not_text"
    caption, reason = group.text, "no_caption"
    if caption_key is not None:
        caption, reason = _from_json(group.metadata, caption_key)
    if group.image is None or caption is None:
        # A hidden member is the likelier reason for what is missing beside damage.
        missing = "no_image" if group.image is None else reason
        return b"", "cut" if group.is_cut else "damaged_header" if group.is_by_damage else missing
    if not group.image:
        return b"", "empty_image"
    if not _is_utf8(caption):
        return b"", "caption_not_utf8"
    if not caption.strip():
        return b"", "empty_caption"
    return caption, ""


def _from_json(content: bytes | None, key: str) -> tuple[bytes | None, str]:
    if content is None:
        return None, "no_caption"
    try:
        found: Any = json.loads(content)
    except ValueError:
        return None, "json_not_readable"
    caption = found.get(key) if isinstance(found, dict) else None
    return (caption.encode("utf-8", "replace"), "") if isinstance(caption, str) else (None, "no_caption")


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
