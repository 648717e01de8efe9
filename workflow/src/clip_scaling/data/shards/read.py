"""Read single pairs of a data set by number, through its offset index."""

from __future__ import annotations

import io
import json
import os
import tarfile
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ...errors import DataError
from ...records.data import SourceManifest, SubsetManifest, read_any_manifest
from ...records.filenames import INDEX
from ...records.files import FileEntry, remake, verify_files
from .cache import ShardCache
from .images import decoded, with_image
from .limits import MAX_PIXELS
from .opening import is_url
from .write import INDEX_DTYPE

IMAGE_EXTENSIONS = ("png", "jpg", "jpeg", "webp")
_OPEN_SHARDS = 64


class UnreadablePair(Exception):
    """A pair cannot be used: which, where, why."""


class PairReader:
    """Read pairs by number. Memory does not grow with their number where the index is mapped.

    manifest_path: of the data set, which need not be written yet. index: (pairs,) INDEX_DTYPE.
    caption_key: key of the caption in a sample's JSON; None: its txt member. cache: of shards at URLs.
    """

    def __init__(
        self,
        manifest_path: Path,
        shards: Sequence[FileEntry],
        index: np.ndarray,
        caption_key: str | None = None,
        cache: ShardCache | None = None,
    ) -> None:
        self.home, self.remedy = manifest_path.parent, remake(manifest_path)
        self.shards, self.index, self.caption_key = shards, index, caption_key
        self.cache = cache or ShardCache()
        self._descriptors: OrderedDict[int, int] = OrderedDict()

    @classmethod
    def open(cls, manifest_path: Path, cache: ShardCache | None = None) -> PairReader:
        """Open a subset or a whole source. DataError where its index cannot be read or does not fit the manifest."""
        manifest, path = read_any_manifest(manifest_path), manifest_path.with_name(INDEX)
        if not isinstance(manifest, SourceManifest | SubsetManifest):
            raise DataError(f"a manifest of kind {manifest.KIND}, not of pairs in tars", place=str(manifest_path))
        about = {"place": str(path), "remedy": remake(manifest_path)}
        try:
            index = np.load(path, mmap_mode="r")
        except Exception as error:  # the reader lets through whatever a damaged header makes it meet
            raise DataError(f"cannot be read ({error})", **about) from None
        if index.dtype != INDEX_DTYPE or len(index) != manifest.pairs:
            found = f"{len(index)} rows of {index.dtype}, the manifest promises {manifest.pairs} pairs"
            raise DataError(found, **about)
        listed = [entry for entry in manifest.files if entry.path == INDEX]
        verify_files(listed, manifest_path.parent, remake(manifest_path))
        return cls(manifest_path, manifest.shards, index, manifest.caption_key, cache)

    @property
    def pairs(self) -> int:
        """Number of pairs."""
        return len(self.index)

    def __enter__(self) -> PairReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def read(self, number: int) -> tuple[bytes, bytes]:
        """Read the encoded image and the caption (UTF-8) of a pair. UnreadablePair; DataError if its shard is gone."""
        extension, caption, found = self.read_sample(number)
        return found[extension], caption

    def read_sample(self, number: int) -> tuple[str, bytes, dict[str, bytes]]:
        """Read (extension of the image, caption, all members by extension) of a pair; errors as of `read`."""
        found = self.read_members(number)
        where = f"{self.shards[int(self.index[number]['shard'])].path}, pair {number}"
        image = next((extension for extension in IMAGE_EXTENSIONS if extension in found), None)
        caption = found.get("txt")
        if self.caption_key is not None:
            caption = caption_in_json(found.get("json", b""), self.caption_key)
        if image is None or caption is None:
            raise UnreadablePair(f"{where}: {'an image' if image is None else 'a caption'} is missing")
        return image, caption, found

    def read_members(self, number: int) -> dict[str, bytes]:
        """Read all members of a pair, by extension. UnreadablePair, or DataError where its whole shard is gone."""
        row = self.index[number]
        shard, offset, size = int(row["shard"]), int(row["offset"]), int(row["size"])
        content = os.pread(self._open(shard), size, offset)
        where = f"{self.shards[shard].path}, pair {number}"
        if len(content) != size:
            raise UnreadablePair(f"{where}: the tar ends before it")
        return _members(content, where)

    def name(self, number: int) -> str:
        """Say where a pair is: its tar and its key, or its number where the tar does not say."""
        row = self.index[number]
        shard = int(row["shard"])
        content = os.pread(self._open(shard), int(row["size"]), int(row["offset"]))
        try:
            with tarfile.open(fileobj=io.BytesIO(content), mode="r:") as tar:
                first = tar.next()
        except (tarfile.TarError, OSError):
            first = None
        key = f"pair {number}" if first is None else _key(first.name)
        return f"{self.shards[shard].path}: {key}"

    def _open(self, shard: int) -> int:
        if shard in self._descriptors:
            self._descriptors.move_to_end(shard)
            return self._descriptors[shard]
        entry = self.shards[shard]
        if is_url(entry.path):
            descriptor = self.cache.open(entry)
        else:
            try:
                descriptor = os.open(self.home / entry.path, os.O_RDONLY)
            except OSError as error:
                raise DataError(
                    f"the shard cannot be opened ({error.strerror})",
                    place=str(self.home / entry.path),
                    remedy=self.remedy,
                ) from None
        self._descriptors[shard] = descriptor
        if len(self._descriptors) > _OPEN_SHARDS:
            os.close(self._descriptors.popitem(last=False)[1])
        return descriptor

    def close(self) -> None:
        """Close the shards."""
        while self._descriptors:
            os.close(self._descriptors.popitem()[1])


def decode_image(content: bytes) -> Image.Image:
    """Decode an image as RGB. UnreadablePair where it is none, or too large."""
    return decode_shrunk(content, lambda width, height: 1)[0]


def decode_shrunk(content: bytes, part: Callable[[int, int], int]) -> tuple[Image.Image, int]:
    """(image as RGB, by how much it was shrunk): a JPEG decoded at half, a quarter or an eighth of its sides.

    part(width, height): the most that the image of this size may shrink. Other formats are decoded whole: 1. The
    decoder leaves out what it need not compute (scaled DCT). Errors as of `decode_image`.
    """

    def work(image: Image.Image, _: bytes) -> tuple[Image.Image, int]:
        width, height = image.size
        most = part(width, height) if width * height <= MAX_PIXELS else 1
        by = next((by for by in (8, 4, 2) if by <= most), 1)
        if by > 1:
            image.draft(None, (width // by, height // by))  # nothing happens to other formats than JPEG
        return decoded(image), by if image.size != (width, height) else 1

    try:
        return with_image(content, work)
    except MemoryError:
        raise
    except Exception as error:  # Pillow's decoders raise whatever the damage leads them to
        raise UnreadablePair(f"the image cannot be decoded ({error})") from None


def caption_in_json(metadata: bytes, key: str) -> bytes | None:
    """Find the caption in a sample's JSON member, UTF-8; None where there is none. key: as of `captions_in_json`."""
    caption = _at(metadata, key)
    return caption.encode("utf-8", "replace") if isinstance(caption, str) else None


def captions_in_json(metadata: bytes, key: str) -> list[str]:
    """Find the captions in a JSON object under a key: a text, or a list of texts. Empty where there is none.

    key: a key of the object, or the way to it: `meta.caption`, and `captions.0` for the first of a list.
    """
    caption = _at(metadata, key)
    return [text for text in (caption if isinstance(caption, list) else [caption]) if isinstance(text, str)]


def _at(metadata: bytes, key: str) -> Any:
    try:
        found = json.loads(metadata)
    except ValueError:
        return None
    if isinstance(found, dict) and key in found:
        return found[key]
    for step in key.split("."):
        if isinstance(found, dict):
            found = found.get(step)
        elif isinstance(found, list) and step.isdecimal() and int(step) < len(found):
            found = found[int(step)]
        else:
            return None
    return found


def decode_caption(content: bytes) -> str:
    """Decode a caption. UnreadablePair where it is no UTF-8."""
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UnreadablePair(f"the caption is no UTF-8 ({error})") from None


def _members(content: bytes, where: str) -> dict[str, bytes]:
    """Split one sample into its tar members: {extension: bytes}, as webdataset names them, by the first dot."""
    found = {}
    try:
        place = 0
        while place < len(content):
            header = tarfile.TarInfo.frombuf(content[place : place + tarfile.BLOCKSIZE], "utf-8", "surrogateescape")
            if not header.isreg():
                return _members_with_extensions(content)
            place += tarfile.BLOCKSIZE
            found[_extension(header.name)] = content[place : place + header.size]
            place += -(-header.size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
    except tarfile.TarError as error:
        raise UnreadablePair(f"{where}: not whole tar members ({error})") from None
    return found


def _members_with_extensions(content: bytes) -> dict[str, bytes]:
    """Split a sample whose members have headers of more than one block: long names, PAX records."""
    found = {}
    with tarfile.open(fileobj=io.BytesIO(content), mode="r:") as tar:
        for header in tar:
            if header.isreg() and (file := tar.extractfile(header)) is not None:
                found[_extension(header.name)] = file.read()
    return found


def _key(name: str) -> str:
    folder, slash, file = name.rpartition("/")
    return folder + slash + file.partition(".")[0]


def _extension(name: str) -> str:
    return name.rsplit("/", 1)[-1].partition(".")[2].lower()
