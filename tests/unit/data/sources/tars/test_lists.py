"""Which tars a source has: paths, globs, buckets and commands; a mistake is refused at the plan."""

from __future__ import annotations

import shutil
import tarfile
from pathlib import Path
from typing import Any

import fsspec
import pytest

from clip_scaling.data.shards.cache import ShardCache
from clip_scaling.data.shards.opening import missing_package
from clip_scaling.data.shards.read import PairReader
from clip_scaling.data.shards.write import write_tar
from clip_scaling.data.sources.tars.config import WebdatasetSource
from clip_scaling.data.sources.tars.lists import tars_of
from clip_scaling.data.sources.tars.source import write_tar_source
from clip_scaling.errors import ConfigError, DataError
from clip_scaling.records.files import read_json

from ...pictures import COLOUR, png

DRAWN = png((2, 2), 8, COLOUR, [bytes(6)] * 2)


def source(*tars: str, **fields: Any) -> WebdatasetSource:
    settings = {"kind": "webdataset", "pairs": 10, "tars": list(tars), "vocabulary_size": 600}
    return WebdatasetSource.model_validate(settings | fields)


def names(*tars: str) -> list[str]:
    return [tar.name for tar in tars_of("web", tars)]


@pytest.fixture
def bucket(tmp_path: Path) -> Path:
    """Tars 00000.tar and 00001.tar of five pairs each."""
    for shard in range(2):
        samples = [(f"{shard}{n}", {"png": DRAWN, "txt": b"thing %d" % (10 * shard + n)}) for n in range(5)]
        write_tar(tmp_path / f"bucket/{shard:05d}.tar", samples)
    return tmp_path / "bucket"


@pytest.mark.parametrize(
    "command",
    [
        "pipe:aws s3 cp s3://bucket/{00000..00001}.tar -",
        "pipe:curl -s -f -L 'https://example.org/{00000..00001}.tar?download=true' || true",
        "pipe:cat /data/{00000..00001}.tar|pv -q",
        "pipe:gsutil cat gs://bucket/{00000..00001}.tar",
        "pipe:tool get --key=data/{00000..00001}.tar --to=-",
        "pipe:(cat /data/{00000,00001}.tar; true)",
    ],
)
def test_a_command_names_its_tar_by_the_word_that_ends_so(command: str) -> None:
    assert names(command) == ["00000.tar", "00001.tar"]


def test_a_command_without_such_a_word_is_a_name_itself_and_two_commands_are_two_tars() -> None:
    assert names("pipe:fetch shard {0..1} -") == ["fetch-shard-0", "fetch-shard-1"]
    found = names("pipe:cat /a/0.tar", "pipe:cat /a/0.tar || true", "pipe:cat /b/0.tar")
    assert len(set(found)) == 3
    assert len(set(names("https://example.org/0.tar?part=1", "https://example.org/0.tar?part=2"))) == 2
    assert names("pipe:gunzip -c /data/0.tar.gz") == ["0.tar.gz"]  # what it gives is no longer compressed
    with pytest.raises(ConfigError, match="is there twice"):
        names("pipe:cat /a/0.tar", "pipe:cat /a/0.tar")


def test_open_clip_s_string_of_a_bucket_trains_from_it(
    tmp_path: Path, bucket: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bin").mkdir()
    aws = tmp_path / "bin/aws"
    aws.write_text(f'#!/bin/sh\nexec cat "{tmp_path}/${{3#s3://}}"\n')
    aws.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{Path('/usr/bin')}:/bin")
    web = source("pipe:aws s3 cp s3://bucket/{00000..00001}.tar -")
    assert web.missing("web") == []
    write_tar_source(tmp_path / "web", "web", web, web.all_tars("web"), 1)
    assert read_json(tmp_path / "web/manifest.json")["counts"]["kept"] == 10
    with PairReader.open(tmp_path / "web/manifest.json", ShardCache(tmp_path / "cache")) as reader:
        assert {reader.read(n)[1] for n in range(10)} == {b"thing %d" % n for n in [*range(5), *range(10, 15)]}


def test_a_bucket_is_read_through_fsspec(tmp_path: Path, bucket: Path) -> None:
    memory = fsspec.filesystem("memory")
    for tar in sorted(bucket.iterdir()):
        memory.pipe_file(f"/shards/{tar.name}", tar.read_bytes())
    web = source("memory://shards/{00000..00001}.tar")
    write_tar_source(tmp_path / "web", "web", web, web.all_tars("web"), 1)
    assert read_json(tmp_path / "web/manifest.json")["counts"]["kept"] == 10
    with PairReader.open(tmp_path / "web/manifest.json", ShardCache(tmp_path / "cache")) as reader:
        assert reader.read(0)[0] == DRAWN
    gone = source("memory://shards/00009.tar")
    with pytest.raises(DataError, match="memory://shards/00009.tar: cannot be read"):
        write_tar_source(tmp_path / "gone", "gone", gone, gone.all_tars("gone"), 1)


def without(monkeypatch: pytest.MonkeyPatch, *modules: str) -> None:
    """As on a machine where these packages are not installed."""
    import importlib.util

    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name in modules else found(name))


def test_a_protocol_without_its_package_is_refused_at_the_plan_with_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without(monkeypatch, "s3fs", "gcsfs")
    monkeypatch.setattr(shutil, "which", lambda name: None)
    for address, package in (
        ("s3://b/{0..9}.tar", "s3fs"),
        ("gs://b/0.tar", "gcsfs"),
        ("cached::s3://b/0.tar", "s3fs"),
    ):
        (problem,) = source(address).missing("web")
        assert problem.startswith(f"sources.web.tars: {address}: needs the package {package}. Run `pip install")
    assert "pipe:aws s3 cp s3://b/{0..9}.tar -" in source("s3://b/{0..9}.tar").missing("web")[0]
    web = source("s3://b/0.tar")
    with pytest.raises(DataError, match="s3://b/0.tar: needs the package s3fs. Run `pip install s3fs`"):
        write_tar_source(tmp_path / "web", "web", web, web.all_tars("web"), 1)
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    assert missing_package("gs://b/0.tar") is None  # webdataset opens it by gsutil
    without(monkeypatch, "fsspec")
    assert missing_package("hf://datasets/a/b/0.tar") == "fsspec" and missing_package("https://b/0.tar") is None


def test_a_place_that_cannot_be_is_refused_at_the_plan_with_what_to_write(tmp_path: Path, bucket: Path) -> None:
    (tmp_path / "deep").mkdir()
    shutil.copytree(bucket, tmp_path / "deep/one")
    (tmp_path / "none").mkdir()
    first, second = sorted(bucket.iterdir())
    expected = {
        str(bucket): f"{bucket}: a folder. Write {bucket}/*.tar",
        f"{bucket}/": f"{bucket}/: a folder. Write {bucket}/*.tar",
        str(tmp_path / "deep"): f"Write {tmp_path}/deep/*/*.tar",
        str(tmp_path / "none"): "a folder. No .tar lies in it",
        f"{bucket}/{{00001..00000}}.tar": "{00001..00000} runs backwards: write {00000..00001}",
        f"{bucket}/{{0..99999999}}.tar": "100,000,000 places are more than 1,000,000",
        f"{first}::{second}": "`::` joins sets in open_clip. Write them as a list",
        "s3://a/0.tar::s3://b/0.tar": "`::` joins sets in open_clip. Write them as a list",
        str(tmp_path / "gone.tar"): "gone.tar: no such file",
    }
    for pattern, message in expected.items():
        (problem,) = source(pattern).missing("web")
        assert problem.startswith("sources.web.tars: ") and message in problem
        with pytest.raises(ConfigError, match=r"sources\.web\.tars"):
            source(pattern).all_tars("web")
    assert not source(f"{bucket}/*.tar").missing("web")
    assert tarfile.is_tarfile(first)
