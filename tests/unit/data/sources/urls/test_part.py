"""Downloads by the real img2dataset from a server on the loopback whose faults are known."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow.parquet as pq
import pytest

from clip_scaling.data.shards.read import PairReader
from clip_scaling.data.sources.urls.attempts import read_attempts
from clip_scaling.data.sources.urls.config import UrlListSource
from clip_scaling.data.sources.urls.download import img2dataset_python
from clip_scaling.data.sources.urls.lists import identity_of
from clip_scaling.data.sources.urls.part import download_part, read_part
from clip_scaling.data.sources.urls.removal import RemovalList
from clip_scaling.data.sources.urls.source import write_url_source
from clip_scaling.data.subsets.prefix import write_subset
from clip_scaling.errors import DataError
from clip_scaling.records.data import PartRecord
from clip_scaling.records.files import canonical_json

from ...image_server import ImageServer, Planted

pytestmark = pytest.mark.network

IMAGES = 400
NOTHING = RemovalList()
RECIPE = {
    "kind": "url_list",
    "columns": {"url": "URL", "caption": "TEXT", "punsafe": "punsafe", "similarity": "similarity"},
    "filters": {"similar": "similarity >= 0.3"},
    "safety": {"max": {"punsafe": 0.5}},
    "image_size": 32,
    "shard_size": 100,
    "vocabulary_size": 600,
    "held_out": {"captions": {"kind": "zeroshot_retrieval", "pairs": 20}},
}


def recipe(processes: int = 1, **fields: Any) -> UrlListSource:
    download = {"processes": processes, "timeout_seconds": 3, "rows_per_shard": 200}
    download |= {"requests_per_second_per_host": None}
    return UrlListSource.model_validate({"urls": "", "pairs": 1, "download": download} | RECIPE | fields)


@dataclass
class Downloaded:
    """A part that was downloaded and retried once. first, second: the records' bytes of its two rounds."""

    server: ImageServer
    list: Path
    root: Path
    first: bytes
    second: bytes

    def again(self, removal: RemovalList = NOTHING, **fields: Any) -> PartRecord:
        """The second round once more."""
        download_part(self.root, "list-0", (self.list, ".parquet"), recipe(**fields), removal, 1)
        return read_part(self.root / "round-1.json")[0]

    def join(self, root: Path, workers: int = 1, removal: RemovalList = NOTHING) -> dict[str, Any]:
        write_url_source(root, "web", recipe(), [self.root / "round-1.json"], removal, workers)
        return json.loads((root / "manifest.json").read_text())


@pytest.fixture(scope="module")
def downloaded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Downloaded]:
    try:
        img2dataset_python()
    except DataError as error:
        pytest.skip(str(error))
    folder = tmp_path_factory.mktemp("web")
    planted = Planted(IMAGES)
    with ImageServer(planted, stall_seconds=5) as server:
        planted.write_lists(folder, server.address, parts=1)
        path, root = folder / "list-0.parquet", folder / "parts" / "list-0"
        download_part(root, "list-0", (path, ".parquet"), recipe(processes=2), NOTHING, 0)
        first = (root / "round-0.json").read_bytes()
        server.is_healed = True
        server.asked.clear()
        download_part(root, "list-0", (path, ".parquet"), recipe(), NOTHING, 1)
        second = (root / "round-1.json").read_bytes()
        yield Downloaded(server, path, root, first, second)


def test_every_row_is_fetched_or_counted_under_the_fault_that_was_planted(downloaded: Downloaded) -> None:
    planted, record = downloaded.server.planted, json.loads(downloaded.first)
    assert record["not_asked"] == planted.list_faults()
    assert record["failed"] == planted.failures(healed=False)
    assert record["asked"] == IMAGES
    assert record["fetched"] == IMAGES - sum(planted.failures(healed=False).values())


def test_a_retry_asks_for_what_failed_in_passing_and_for_nothing_else(downloaded: Downloaded) -> None:
    planted, record = downloaded.server.planted, json.loads(downloaded.second)
    assert record["failed"] == planted.failures(healed=True)
    assert record["fetched"] == IMAGES - sum(planted.failures(healed=True).values())
    may_pass = {"timeout", "passing_timeout", "server_error", "passing_server_error", "cut_answer"}
    attempts = read_attempts(downloaded.root / "fetched")
    retried = {int(Path(url).stem) for url in attempts.loc[attempts["round"] == 1, "url"]}
    assert retried == {number for number, fault in planted.fault.items() if fault in may_pass}


def test_a_killed_download_keeps_its_shards_and_ends_as_one_that_was_not(
    downloaded: Downloaded, tmp_path: Path, repository: Path
) -> None:
    server, root = downloaded.server, tmp_path / "list-0"
    server.is_healed = False
    try:
        settings = recipe(lists=[str(downloaded.list)])
        command = [sys.executable, str(repository / "scripts" / "prepare_unit.py"), "--name", "web"]
        command += ["--sources", canonical_json({"web": settings.model_dump(mode="json")})]
        command += ["--unit", "part=list-0", "round=0", "--output", str(root / "round-0.json")]
        process = subprocess.Popen(
            command, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        while not (done := list(root.glob("fetched/*/*_stats.json"))):
            assert process.poll() is None, "it ended before it could be killed"
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        assert not (root / "round-0.json").exists()
        kept = {path: path.with_name(f"{path.name[:5]}.tar").read_bytes() for path in done}
        fetched = set(read_attempts(root / "fetched")["url"])
        server.asked.clear()
        download_part(root, "list-0", (downloaded.list, ".parquet"), settings, NOTHING, 0)
    finally:
        server.is_healed = True
    assert all(path.with_name(f"{path.name[:5]}.tar").read_bytes() == tar for path, tar in kept.items())
    assert not {url for url in fetched if server.asked[url.removeprefix(server.address)]}
    assert (root / "round-0.json").read_bytes() == downloaded.first


@pytest.mark.timeout(600)
def test_a_killed_worker_ends_the_download_with_an_error(
    downloaded: Downloaded, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    def kill_one() -> None:
        while not ended.wait(0.02):
            for process in psutil.Process().children(recursive=True):
                with contextlib.suppress(psutil.Error):  # one that has just ended
                    if "spawn_main" in " ".join(process.cmdline()):
                        process.kill()
                        return

    server, ended, thread = downloaded.server, threading.Event(), threading.Thread(target=kill_one)
    server.is_healed = False  # hosts that answer late: the workers are busy
    thread.start()
    try:
        with pytest.raises(DataError, match="img2dataset ended with code 1"):
            download_part(tmp_path, "list-0", (downloaded.list, ".parquet"), recipe(processes=2), NOTHING, 0)
    finally:
        server.is_healed = True
        ended.set()
        thread.join()
    assert "DataError: a worker process was killed" in capfd.readouterr().err


@pytest.mark.timeout(300)
def test_a_download_of_many_shards_ends_when_its_workers_have_been_replaced(
    downloaded: Downloaded, tmp_path: Path
) -> None:
    # img2dataset replaces a worker after five shards, and the pool's thread that starts the new one ends before it.
    settings = {"download": {"processes": 1, "timeout_seconds": 1, "rows_per_shard": 10}}
    settings["download"] |= {"requests_per_second_per_host": None}
    few = tmp_path / "list-0.parquet"
    pq.write_table(pq.read_table(downloaded.list).slice(0, 70), few)
    root = tmp_path / "parts" / "list-0"
    for attempt in range(2):
        folder = root / str(attempt)
        download_part(folder, "list-0", (few, ".parquet"), recipe(**settings), NOTHING, 0)
        assert len(list(folder.glob("fetched/*/*_stats.json"))) == 7


def test_one_worker_and_two_join_the_same_bytes_in_hash_order(downloaded: Downloaded, tmp_path: Path) -> None:
    manifest = downloaded.join(tmp_path / "one")
    downloaded.join(tmp_path / "two", workers=2)
    for name in ("manifest.json", "index.npy", "identities.txt", "held_out/captions.tar"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes(), name
    planted, counts = downloaded.server.planted, manifest["counts"]
    assert counts["dropped"]["join:repeated_image"] == planted.counts()["twin"]
    everything = counts["kept"] + sum(counts["held_out"].values()) + sum(counts["dropped"].values())
    assert everything == counts["parsed"] == IMAGES + sum(planted.list_faults().values())


def test_a_pair_read_from_a_subset_is_the_served_image_with_its_caption(downloaded: Downloaded, tmp_path: Path) -> None:
    downloaded.join(tmp_path / "web")
    write_subset(tmp_path / "Web-150", "Web-150", tmp_path / "web" / "manifest.json", 150)
    reader = PairReader.open(tmp_path / "Web-150" / "manifest.json")
    planted, address = downloaded.server.planted, downloaded.server.address
    known = {identity_of(f"{address}/image/{number}.jpg", planted.caption(number)): number for number in range(IMAGES)}
    identities = (tmp_path / "web" / "identities.txt").read_text().splitlines()
    for place in (0, 99, 149):
        image, caption = reader.read(place)
        number = known[identities[place]]
        assert caption.decode() == planted.caption(number)
        assert image[:2] == b"\xff\xd8"
    reader.close()
    with tarfile.open(tmp_path / "Web-150" / "shards" / "00000.tar") as tar:
        record = json.load(tar.extractfile(next(name for name in tar.getnames() if name.endswith("json"))))  # type: ignore[arg-type]
    assert record["listed"] == {"punsafe": 0.01, "similarity": 0.33} and record["original_width"] == planted.side


def test_a_removed_image_is_overwritten_where_it_lies_and_never_comes_back(
    downloaded: Downloaded, tmp_path: Path
) -> None:
    attempts = read_attempts(downloaded.root / "fetched")
    plain = attempts[(attempts["outcome"] == "fetched") & ~attempts["sha256"].duplicated(keep=False)]
    by_url, by_hash = (plain.iloc[place] for place in (3, 4))
    removal = RemovalList(frozenset({by_url["url"]}), frozenset({by_hash["sha256"]}))
    before = json.loads(downloaded.second)
    downloaded.server.asked.clear()
    record = downloaded.again(removal)
    assert not downloaded.server.asked
    assert record.not_asked["removal_list"] == 1 and record.failed["removal_list"] == 1
    assert record.fetched == before["fetched"] - 2
    for row in (by_url, by_hash):
        tar = np.memmap(downloaded.root / "fetched" / row["tar"], mode="r")
        assert not tar[int(row["offset"]) : int(row["offset"] + row["size"])].any()
    manifest = downloaded.join(tmp_path / "web", removal=removal)
    identities = (tmp_path / "web" / "identities.txt").read_text().splitlines()
    assert not {by_url["identity"], by_hash["identity"]} & set(identities)
    assert manifest["counts"]["dropped"]["list:removal_list"] == 1


def test_what_was_in_a_lost_tar_is_asked_for_again_and_a_changed_image_is_noticed(downloaded: Downloaded) -> None:
    attempts = read_attempts(downloaded.root / "fetched")
    there = attempts[attempts["is_present"].astype(bool)]
    lost = there[there["tar"] == there["tar"].iloc[0]]
    planted = downloaded.server.planted
    changed = next(int(Path(url).stem) for url in lost["url"] if int(Path(url).stem) in planted.plain)
    (downloaded.root / "fetched" / str(lost["tar"].iloc[0])).unlink()
    downloaded.server.asked.clear()
    downloaded.server.changed = {changed}
    try:
        record = downloaded.again()
    finally:
        downloaded.server.changed = set()
    assert {path for path in downloaded.server.asked if path.startswith("/image/")} >= {
        url.removeprefix(downloaded.server.address) for url in lost["url"]
    }
    assert record.failed["image_changed"] == 1


def test_a_damaged_tar_stops_the_join_with_its_name_and_the_way_on(downloaded: Downloaded, tmp_path: Path) -> None:
    downloaded.again()
    _, table = read_part(downloaded.root / "round-1.json")
    row = table[~table["sha256"].duplicated(keep=False)].iloc[0]
    tar = downloaded.root / "fetched" / row["tar"]
    whole = tar.read_bytes()
    middle = int(row["offset"] + row["size"] // 2)
    tar.write_bytes(whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :])
    try:
        with pytest.raises(DataError, match=r"is not what was downloaded\. Delete the tar and"):
            downloaded.join(tmp_path / "web")
    finally:
        tar.write_bytes(whole)
