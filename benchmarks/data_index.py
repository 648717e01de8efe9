"""Indexing existing tars: losses against planted damage, interruptions, speed against `tar tf` and `sha256sum`, memory.

  python benchmarks/data_index.py --folder /tmp/index                    about four minutes on two idle cores
  python benchmarks/data_index.py --folder /tmp/index --only damage      or: restart, speed, memory

1. damage: 1,000 tars of 20 samples, each damaged in one of seven ways at a place drawn from a seed, once with a
   recorded number of samples beside each and once without; what the source's quarantine.json says of each against what
   was planted.
2. speed: the same tars read by `tar tf`, `sha256sum`, the index and the verification, in turns, a process each, all of
   them in the page cache; medians of wall time, and of CPU time, which a busy machine moves less.
3. memory: the join of records of 10 million samples in 1,000 tars, in a process of its own.
4. restart: a source of 60 tars prepared by one worker, and by two that are killed by SIGKILL five times: every file.
Writes FOLDER/report.json.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from clip_scaling.data.shards.verify import verify_shards
from clip_scaling.data.sources.tars.config import WebdatasetSource
from clip_scaling.data.sources.tars.index import SAMPLE_DTYPE, TarContent, index_tar
from clip_scaling.data.sources.tars.join import join_records, retrieval_pairs, write_ordered
from clip_scaling.data.sources.tars.lists import tars_of
from clip_scaling.data.sources.tars.records import save_record
from clip_scaling.data.sources.tars.source import write_tar_source
from clip_scaling.records.files import FileEntry, read_json, sha256_file

SAMPLES = 20
FORMATS = (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)
Members = list[tuple[int, str, bytes]]
"""(sample, name, content) of each member in turn."""


# ---------------------------------------------------------------- damage


def members_of(draw: random.Random) -> Members:
    """Samples of an image, a caption and, in half of the tars, a JSON; every third tar with names of 150 letters."""
    folder = draw.choice(("", "", "folder/" * 20))
    extensions = draw.choice((("jpg", "txt"), ("jpg", "json", "txt")))
    found = []
    for sample in range(SAMPLES):
        content = {"jpg": draw.randbytes(draw.randrange(1, 3000)), "txt": b"caption", "json": b"{}"}
        found += [(sample, f"{folder}{sample:06d}.{extension}", content[extension]) for extension in extensions]
    return found


def write(members: Members, draw: random.Random) -> tuple[bytes, list[tuple[int, int, int]]]:
    """A tar and, of each member, its sample, its own header's offset, and the offset behind its content."""
    file = io.BytesIO()
    places = []
    with tarfile.open(fileobj=file, mode="w", format=draw.choice(FORMATS[1:])) as tar:
        for sample, name, content in members:
            header = tarfile.TarInfo(name)
            header.size, header.mtime = len(content), draw.choice((0, 1700000000.5))  # a fraction needs a PAX header
            tar.addfile(header, io.BytesIO(content))
            end = tar.offset - (-len(content) % tarfile.BLOCKSIZE)
            places.append((sample, tar.offset - tarfile.BLOCKSIZE * (1 + -(-len(content) // tarfile.BLOCKSIZE)), end))
    return file.getvalue(), places


def cut(draw: random.Random) -> tuple[bytes, set[int]]:
    content, places = write(members_of(draw), draw)
    end = draw.randrange(1, places[-1][2])
    return content[:end], {sample for sample, _, last in places if last > end}


def bit_flipped(draw: random.Random) -> tuple[bytes, set[int]]:
    content, places = write(members_of(draw), draw)
    sample, header, _ = draw.choice(places)
    damaged = bytearray(content)
    # Not in the checksum's own padding, which no reader looks at.
    damaged[header + draw.choice([*range(154), *range(156, 500)])] ^= 1 << draw.randrange(8)
    return bytes(damaged), {sample}


def zeros_inside(draw: random.Random) -> tuple[bytes, set[int]]:
    content, places = write(members_of(draw), draw)
    sample, header, _ = draw.choice(places)
    damaged = bytearray(content)
    damaged[header : header + 512] = bytes(512)
    return bytes(damaged), {sample}


def member_missing(draw: random.Random) -> tuple[bytes, set[int]]:
    members = members_of(draw)
    gone = draw.choice([place for place, (_, name, _) in enumerate(members) if not name.endswith("json")])
    return write(members[:gone] + members[gone + 1 :], draw)[0], {members[gone][0]}


def key_twice(draw: random.Random) -> tuple[bytes, set[int]]:
    first, second = sorted(draw.sample(range(SAMPLES), 2))
    members = [(n, name.replace(f"{second:06d}", f"{first:06d}"), content) for n, name, content in members_of(draw)]
    return write(members, draw)[0], {second}


def empty(draw: random.Random) -> tuple[bytes, set[int]]:
    return b"", set(range(SAMPLES))


def not_a_tar(draw: random.Random) -> tuple[bytes, set[int]]:
    return draw.randbytes(draw.randrange(1, 100_000)), set(range(SAMPLES))


KINDS: list[Callable[[random.Random], tuple[bytes, set[int]]]] = [
    *(cut, bit_flipped, zeros_inside, member_missing, key_twice, empty, not_a_tar)
]


def damage(folder: Path, count: int, has_record: bool) -> dict[str, Any]:
    """By kind: of how many tars the reported loss is the true one. has_record: whether the true number lies beside."""
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "tars").mkdir(parents=True)
    planted: dict[str, tuple[str, int]] = {}
    for number in range(count):
        kind = KINDS[number % len(KINDS)]
        content, lost = kind(random.Random(number))
        path = folder / f"tars/{number:05d}.tar"
        path.write_bytes(content)
        planted[path.name] = kind.__name__, len(lost)
        if has_record:
            path.with_name(f"{path.stem}_stats.json").write_text(json.dumps({"successes": SAMPLES}))
    # A few that are whole, as no source is without.
    for number in range(count, count + 20):
        (folder / f"tars/{number:05d}.tar").write_bytes(write(members_of(random.Random(number)), random.Random(0))[0])
    recipe = WebdatasetSource.model_validate(
        {"kind": "webdataset", "tars": [f"{folder}/tars/*.tar"], "pairs": count, "max_lost_fraction": 0.99}
    )
    write_tar_source(folder / "source", "damaged", recipe, tars_of("damaged", recipe.tars), workers=2)
    reports = {report["tar"]: report for report in read_json(folder / "source/quarantine.json")}
    result: dict[str, Counter[str]] = {kind.__name__: Counter() for kind in KINDS}
    for name, (kind, lost) in planted.items():
        report = reports.get(name)
        if report is None:
            outcome = "silent"
        elif sum(report["lost"].values()) == lost:
            outcome = "equal" if report["is_exact"] else "equal, said to be a lower bound"
        else:
            outcome = "wrong" if report["is_exact"] else "lower bound, and said so"
        result[kind][outcome] += 1
    surplus = sorted(reports.keys() - planted.keys())
    return {"tars": count, "by_kind": result, "whole_tars_quarantined": surplus}


# ---------------------------------------------------------------- restart


def restart(folder: Path, tars: int, kills: int) -> dict[str, Any]:
    """Records that were there at each kill, and whether all files of both sources are equal in the end."""
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "tars").mkdir(parents=True)
    for number in range(tars):
        write_samples(folder / f"tars/{number:05d}.tar", 1500, 3000, seed=number)
    # As a full disk leaves one of them.
    (folder / "tars/00003.tar").write_bytes((folder / "tars/00003.tar").read_bytes()[:3_000_000])
    recipe = WebdatasetSource.model_validate(
        {
            "kind": "webdataset",
            "tars": [f"{folder}/tars/*.tar"],
            "pairs": tars * 1500,
            "max_lost_fraction": 0.5,
            "vocabulary_size": 600,
            "held_out": {"captions": {"kind": "zeroshot_retrieval", "pairs": 1000}},
        }
    )

    def start(workers: int) -> subprocess.Popen[bytes]:
        manifest = folder / f"workers-{workers}/manifest.json"
        beside = json.dumps({"web": recipe.beside()})
        script = str(Path(__file__).absolute().parent.parent / "scripts/prepare_source.py")
        command = [sys.executable, script, "--name", "web", "--recipe", json.dumps(recipe.tracked())]
        command += ["--beside", beside, "--output", str(manifest), "--workers", str(workers)]
        return subprocess.Popen(command, start_new_session=True, stderr=subprocess.DEVNULL)

    whole = start(1)
    assert whole.wait() == 0
    records, wanted = [], np.linspace(0.1, 0.9, kills) * tars
    for place in wanted:
        process = start(2)
        while len(list(folder.glob("workers-2/records/*.npz"))) < place:
            assert process.poll() is None, "it ended before it was killed"
            time.sleep(0.002)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        records.append(len(list(folder.glob("workers-2/records/*.npz"))))
        assert not (folder / "workers-2/manifest.json").exists()
    assert start(2).wait() == 0
    found = []
    for workers in (1, 2):
        root = folder / f"workers-{workers}"
        files = [path for path in sorted(root.rglob("*")) if path.is_file() and "records" not in path.parts]
        found.append({str(path.relative_to(root)): sha256_file(path) for path in files if "shards" not in path.parts})
    manifest = read_json(folder / "workers-1/manifest.json")
    shutil.rmtree(folder)
    return {
        "tars": tars,
        "records_at_each_kill": records,
        "files_compared": len(found[0]),
        "are_equal": found[0] == found[1],
        "counts": manifest["counts"],
    }


# ---------------------------------------------------------------- speed


def write_samples(path: Path, samples: int, image_bytes: int, seed: int = 0) -> None:
    draw = random.Random(seed)
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for number in range(samples):
            about = json.dumps({"url": f"https://example.org/{number}.jpg", "sha256": "0" * 64, "width": 256})
            members = {
                "jpg": draw.randbytes(image_bytes),
                "json": about.encode(),
                "txt": f"a caption of picture {seed} {number}".encode(),
            }
            for extension, content in members.items():
                header = tarfile.TarInfo(f"{number:09d}.{extension}")
                header.size = len(content)
                tar.addfile(header, io.BytesIO(content))


def timed(work: Callable[[], Any]) -> tuple[float, float]:
    """Seconds on the clock, and of CPU by this process and its children."""

    def cpu() -> float:
        used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        return sum(each.ru_utime + each.ru_stime for each in used)

    before, started = cpu(), time.perf_counter()
    work()
    return time.perf_counter() - started, cpu() - before


def speed(folder: Path, image_bytes: int, megabytes: int, rounds: int) -> dict[str, Any]:
    """Medians over rounds, in each of which every program reads the same tars once."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    samples = megabytes * 1_000_000 // (image_bytes + 3 * 1024) // 4
    paths = [folder / f"{number:05d}.tar" for number in range(4)]
    for path in paths:
        write_samples(path, samples, image_bytes)
    entries = [FileEntry.of(path, folder) for path in paths]

    def index() -> None:
        for path in paths:
            with open(path, "rb") as stream:
                assert len(index_tar(stream, path.name, None, has_images_hashed=False).samples) == samples

    def run(*command: str) -> Callable[[], None]:
        def work() -> None:
            for path in paths:
                subprocess.run([*command, str(path)], check=True, stdout=subprocess.DEVNULL)

        return work

    programs: dict[str, Callable[[], Any]] = {
        "tar tf": run("tar", "tf"),
        "sha256sum": run("sha256sum"),
        "index": index,
        "verify": lambda: verify_shards(entries, folder, "full", ""),
    }
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in programs}
    for _ in range(rounds):
        for name, work in programs.items():
            times[name].append(timed(work))
    wall = {name: median(seconds for seconds, _ in found) for name, found in times.items()}
    slower = [max(a, b) for (a, _), (b, _) in zip(times["tar tf"], times["sha256sum"], strict=True)]
    ratios = {
        name: median(seconds / other for (seconds, _), other in zip(times[name], slower, strict=True))
        for name in ("index", "verify")
    }
    size = sum(path.stat().st_size for path in paths)
    shutil.rmtree(folder)
    return {
        "image_bytes": image_bytes,
        "bytes": size,
        "samples": 4 * samples,
        "rounds": rounds,
        "seconds": wall,
        "cpu_seconds": {name: median(used for _, used in found) for name, found in times.items()},
        "megabytes_per_second": {name: size / 1e6 / seconds for name, seconds in wall.items()},
        "wall_over_slower_of_both": ratios,
    }


# ---------------------------------------------------------------- memory


def write_records(folder: Path, tars: int, samples: int) -> None:
    """Records as of tars of img2dataset; a tenth of the captions are there twice."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    draw = np.random.default_rng(0)
    for tar in range(tars):
        identities = [f"{tar:05d}.tar:{tar:05d}{number:04d}" for number in range(samples)]
        hashes = b"".join(hashlib.sha256(identity.encode()).digest()[:16] for identity in identities)
        rows = np.zeros(samples, SAMPLE_DTYPE)
        rows["order"] = np.frombuffer(hashes, ">u8").reshape(-1, 2)
        rows["size"] = draw.integers(10_000, 60_000, samples) // 512 * 512
        rows["offset"][1:] = np.cumsum(rows["size"])[:-1]
        rows["caption"] = draw.integers(0, 1 << 63, samples, np.uint64)
        rows["caption"][: samples // 10] = np.arange(samples // 10)
        rows["image"] = draw.integers(0, 1 << 63, samples, np.uint64)
        lines = "".join(f"{identity}\n" for identity in identities).encode()
        rows["line_end"] = np.cumsum([len(identity) + 1 for identity in identities])
        content = TarContent(rows, lines, {}, [], int(rows["size"].sum()), "0" * 64)
        save_record(folder / f"{tar:05d}.npz", content, {})


def join(folder: Path, pairs: int) -> dict[str, Any]:
    """What `write_tar_source` does between the records and the manifest, with 1,000 pairs held out."""
    started = time.perf_counter()
    lines = folder / "lines"
    joined = join_records(sorted(folder.glob("*.npz")), pairs, lines, has_hashes=True)
    rows = joined.places
    chosen, has_caption = retrieval_pairs(joined.caption[rows], joined.image[rows], 1000, set(), "captions")
    training = rows[~has_caption]
    is_shown = np.isin(joined.image[training], joined.image[rows[chosen]])
    digest = write_ordered(folder, joined, training[~is_shown], lines)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"pairs": pairs, "seconds": time.perf_counter() - started, "peak_gb": peak / 1e9, "order_digest": digest}


def memory(folder: Path, tars: int, samples: int) -> dict[str, Any]:
    write_records(folder, tars, samples)
    command = [sys.executable, __file__, "--folder", str(folder), "--join", str(tars * samples)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=os.environ)
    shutil.rmtree(folder)
    return json.loads(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", required=True, type=Path, help="for tars and records; about 2 GB")
    parser.add_argument(
        "--only", choices=["damage", "restart", "speed", "memory"], nargs="+", help="default: all of them"
    )
    parser.add_argument("--tars", type=int, default=1000, help="damaged ones, and of the memory's records")
    parser.add_argument("--megabytes", type=int, default=400, help="of tars that are timed, at each size of image")
    parser.add_argument("--rounds", type=int, default=7, help="of timing")
    parser.add_argument("--join", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.join:
        print(json.dumps(join(args.folder, args.join)))
        return
    wanted = args.only or ["damage", "restart", "speed", "memory"]
    report: dict[str, Any] = {}
    if "damage" in wanted:
        report["damage"] = {
            name: damage(args.folder / "damage", args.tars, has_record)
            for name, has_record in (("recorded", True), ("not_recorded", False))
        }
    if "restart" in wanted:
        report["restart"] = restart(args.folder / "restart", 60, 5)
    if "speed" in wanted:
        report["speed"] = [
            speed(args.folder / "speed", size, args.megabytes, args.rounds) for size in (3_000, 10_000, 30_000)
        ]
    if "memory" in wanted:
        report["memory"] = memory(args.folder / "memory", args.tars, 10_000)
    text = json.dumps(report, indent=1)
    (args.folder / "report.json").write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
