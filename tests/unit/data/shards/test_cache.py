"""The cache of shards lies in a folder that others may write beside: nothing in it is trusted unseen."""

import os
import stat
from pathlib import Path

import pytest

from clip_scaling.data.shards import cache
from clip_scaling.data.shards.cache import ShardCache
from clip_scaling.errors import DataError
from clip_scaling.records.files import FileEntry, sha256_file


@pytest.fixture
def entry(tmp_path: Path) -> FileEntry:
    """A shard at a URL."""
    path = tmp_path / "0.tar"
    path.write_bytes(bytes(1024))
    return FileEntry(path.as_uri(), 1024, sha256_file(path))


def read(cached: ShardCache, entry: FileEntry) -> bytes:
    descriptor = cached.open(entry)
    try:
        return os.read(descriptor, 4096)
    finally:
        os.close(descriptor)


def test_the_folder_is_for_this_user_alone(tmp_path: Path, entry: FileEntry) -> None:
    root = tmp_path / "cache"
    root.mkdir(mode=0o777)
    root.chmod(0o777)
    assert read(ShardCache(root), entry) == bytes(1024)
    assert stat.S_IMODE(root.stat().st_mode) == 0o700


def test_a_planted_shard_is_not_read(tmp_path: Path, entry: FileEntry) -> None:
    root = tmp_path / "cache"
    read(ShardCache(root), entry)
    (shard,) = root.glob("*.tar")
    shard.unlink()
    shard.write_bytes(b"x" * 1024)
    assert read(ShardCache(root), entry) == bytes(1024)


def test_a_shard_that_was_hashed_is_not_hashed_again(
    tmp_path: Path, entry: FileEntry, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "cache"
    read(ShardCache(root), entry)
    monkeypatch.setattr(cache.hashlib, "file_digest", lambda *_: pytest.fail("hashed again"))
    assert read(ShardCache(root), entry) == bytes(1024)


def test_a_planted_link_empties_and_reads_no_other_file(tmp_path: Path, entry: FileEntry) -> None:
    victim, root = tmp_path / "victim", tmp_path / "cache"
    victim.write_text("precious")
    read(ShardCache(root), entry)
    (shard,) = root.glob("*.tar")
    for path in (root / f".{shard.name}.lock", shard):
        path.unlink()
        path.symlink_to(victim)
        with pytest.raises(DataError, match="the cache of shards cannot be used.*TMPDIR"):
            read(ShardCache(root), entry)
        path.unlink()
    assert victim.read_text() == "precious"


def test_a_folder_that_is_a_link_or_anothers_is_refused(
    tmp_path: Path, entry: FileEntry, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with pytest.raises(DataError, match="a link, or no folder"):
        read(ShardCache(tmp_path / "link"), entry)
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    with pytest.raises(DataError, match="belongs to another user"):
        read(ShardCache(tmp_path / "real"), entry)
