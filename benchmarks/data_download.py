"""From a list of URLs to a trained cell, against a server on the loopback whose faults are known.

  python benchmarks/data_download.py --folder /tmp/download            about half an hour on two cores
  python benchmarks/data_download.py --folder /tmp/download --images 1000      the same in a few minutes
  python benchmarks/data_download.py --folder /tmp/download --only-throughput  the first part alone

1. Throughput: `download_part` against img2dataset alone, same list, processes, threads and shards, in turns.
2. Accounts: the study with 1 process, left alone: counts before and after the passing faults are gone, against what was
   planted; subsets; a trained cell.
3. The same study with 2 processes, killed by SIGKILL five times: manifests and subset digests, byte for byte.
Writes FOLDER/report.json. Needs `make env-img2dataset`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from statistics import median
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

REPOSITORY = Path(__file__).absolute().parent.parent
PYTHON = sys.executable
TIMEOUT, STALL = 3, 5.0
COMPARED = ("manifest.json", "index.npy", "identities.txt")


def study(folder: Path, processes: int, rounds: int, pairs: int, shard_rows: int) -> dict[str, Any]:
    """The smoke study on the served images."""
    raw = yaml.safe_load((REPOSITORY / "config" / "offline.yaml").read_text())
    source = {
        "kind": "url_list",
        "urls": "http://127.0.0.1",
        "pairs": pairs,
        "lists": [f"{folder}/lists/list-{{0..3}}.parquet"],
        "columns": {"url": "URL", "caption": "TEXT", "punsafe": "punsafe", "similarity": "similarity"},
        "filters": {"similar": "similarity >= 0.3"},
        "safety": {"max": {"punsafe": 0.5}},
        "image_size": 64,
        "shard_size": 1000,
        "vocabulary_size": 600,
        "held_out": {"captions": {"kind": "zeroshot_retrieval", "pairs": 250}},
        "download": {
            "processes": processes,
            "rows_per_shard": shard_rows,
            "timeout_seconds": TIMEOUT,
            "requests_per_second_per_host": None,
            "retry_rounds": rounds,
        },
    }
    small, large = pairs // 10, pairs // 2
    raw["evaluation"]["validation"] = None
    raw["recipe"]["defaults"]["global_batch_size"] = 64  # below the smallest subset of 1,000 images
    return raw | {
        "study": "download",
        "sources": {"web": source},
        "data": {f"Web-{n}": {"source": "web", "pairs": n} for n in (small, large)},
        "grid": {"models": ["ViT-nano-8"], "data": [f"Web-{small}", f"Web-{large}"], "samples_seen": ["4K"]},
        "evaluation": raw["evaluation"] | {"suite": "web", "loss_batch_size": 250},
    }


class Project:
    """A folder in which snakemake runs as in a fresh clone."""

    def __init__(self, root: Path) -> None:
        shutil.rmtree(root, ignore_errors=True)
        root.mkdir(parents=True)
        self.root = root
        for name in ("Snakefile", "workflow", "scripts", "config", "profiles"):
            (root / name).symlink_to(REPOSITORY / name)
        self.log = open(root / "snakemake.log", "w")

    def start(self, raw: dict[str, Any], cores: int, *targets: str) -> subprocess.Popen[bytes]:
        (self.root / "study.yaml").write_text(yaml.safe_dump(raw))
        command = [PYTHON, "-m", "snakemake", *targets, "--cores", str(cores), "--configfile", "study.yaml"]
        path = f"{Path(PYTHON).parent}:{os.environ['PATH']}"
        return subprocess.Popen(
            command,
            cwd=self.root,
            env=os.environ | {"PATH": path},
            start_new_session=True,
            stdout=self.log,
            stderr=subprocess.STDOUT,
        )

    def run(self, raw: dict[str, Any], cores: int, *targets: str, kills: list[float] | None = None) -> float:
        """Run to the end; killed after each of `kills` seconds first. Returns the seconds of the last start."""
        for seconds in kills or ():
            process = self.start(raw, cores, *targets)
            try:
                process.wait(seconds)
                raise SystemExit(f"the run ended before it could be killed after {seconds:.1f} s")
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        began = time.monotonic()
        if self.start(raw, cores, *targets).wait():
            raise SystemExit(f"snakemake failed: see {self.root}/snakemake.log")
        return time.monotonic() - began

    def manifest(self, name: str) -> dict[str, Any]:
        return json.loads((self.root / "results" / "data" / name / "manifest.json").read_text())

    def digests(self, names: list[str]) -> dict[str, str]:
        """sha256 of the manifests, indices and identities."""
        found = {}
        for name in names:
            for file in COMPARED:
                path = self.root / "results" / "data" / name / file
                if path.is_file():
                    found[f"{name}/{file}"] = hashlib.sha256(path.read_bytes()).hexdigest()
        return found


def check_counts(counts: dict[str, Any], planted: dict[str, Any], when: str, images: int) -> dict[str, Any]:
    """Hold a manifest's counts against what the server planted; every row must be somewhere."""
    dropped = counts["dropped"]
    expected = {f"download:{reason}": count for reason, count in planted[when].items()}
    expected |= {f"list:{reason}": count for reason, count in planted["list"].items()}
    expected["join:repeated_image"] = planted[f"repeats_{when}"]
    rows = images + sum(planted["list"].values())
    total = counts["kept"] + sum(counts["held_out"].values()) + sum(dropped.values())
    if dropped != dict(sorted(expected.items())) or counts["parsed"] != rows or total != rows:
        raise SystemExit(f"{when}: counts {counts} are not what was planted: {expected}")
    return {"rows": rows, "accounted_for": total, **counts}


def throughput(folder: Path, images: int, shard_rows: int, repeats: int) -> dict[str, Any]:
    """Seconds of ours and of img2dataset alone for one list of all images, in turns."""
    lists = [pq.read_table(path) for path in sorted((folder / "lists").glob("list-*.parquet"))]
    table = pa.concat_tables(lists, promote_options="permissive").to_pandas()
    table = table[table["URL"].fillna("").str.contains("/image/")].drop_duplicates("URL")
    (folder / "all").mkdir()
    table.to_parquet(folder / "all" / "all.parquet")
    recipe = study(folder, 2, 0, images, shard_rows)["sources"]["web"]
    sources = json.dumps({"web": recipe | {"lists": [str(folder / "all" / "all.parquet")]}})
    seconds: dict[str, list[float]] = {"download_part": [], "img2dataset": []}
    for turn in range(repeats):
        mine = folder / "speed" / f"ours-{turn}" / "part"
        mine.mkdir(parents=True)
        theirs = folder / "speed" / f"img2dataset-{turn}"
        commands = {
            "download_part": [PYTHON, "scripts/prepare_unit.py", "--name", "web", "--sources", sources]
            + ["--unit", "part=all", "round=0", "--output", str(mine / "round-0.json")],
            "img2dataset": [f"{sys.prefix}-img2dataset/bin/img2dataset", "--url_list", str(folder / "all")]
            + ["--input_format", "parquet", "--url_col", "URL", "--caption_col", "TEXT", "--timeout", str(TIMEOUT)]
            + ["--output_format", "webdataset", "--output_folder", str(theirs), "--processes_count", "2"]
            + ["--thread_count", "64", "--image_size", "64", "--resize_mode", "keep_ratio"]
            + ["--resize_only_if_bigger", "True", "--number_sample_per_shard", str(shard_rows), "--retries", "0"],
        }
        for name, command in commands.items() if turn % 2 == 0 else reversed(commands.items()):
            began = time.monotonic()
            environment = os.environ | {"NO_ALBUMENTATIONS_UPDATE": "1"}
            with open(folder / "speed" / f"{name}-{turn}.log", "w") as log:
                subprocess.run(command, cwd=REPOSITORY, env=environment, stdout=log, stderr=log, check=True)
            seconds[name].append(round(time.monotonic() - began, 1))
            print(f"{name} {images} images seconds={seconds[name][-1]}", flush=True)
        shutil.rmtree(folder / "speed" / f"ours-{turn}")
        shutil.rmtree(theirs)
    ratio = median(seconds["download_part"]) / median(seconds["img2dataset"])
    per_second = {f"{name}_images_per_second": round(images / median(s), 1) for name, s in seconds.items()}
    return {"seconds": seconds, **per_second, "time_ratio": round(ratio, 3)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", required=True, type=Path)
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--repeats", type=int, default=3, help="turns of the throughput's comparison")
    parser.add_argument("--only-throughput", action="store_true", help="leave out 2 and 3")
    args = parser.parse_args()
    folder, images = args.folder.absolute(), args.images
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "lists").mkdir(parents=True)
    shard_rows = max(50, images // 40)
    module = [PYTHON, "-m", "tests.unit.data.image_server", "--images", str(images), "--stall-seconds", str(STALL)]
    server = subprocess.Popen(
        [*module, "--folder", str(folder / "lists")], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True
    )
    try:
        assert server.stdout is not None
        line = server.stdout.readline()
        address = line.split()[-1]
        print(line.strip(), flush=True)
        planted = json.loads((folder / "lists" / "planted.json").read_text())
        report: dict[str, Any] = {"images": images, "cpus": os.cpu_count(), "planted": planted}
        if args.repeats:
            report["throughput"] = throughput(folder, images, shard_rows, args.repeats)
        if args.only_throughput:
            print(json.dumps(report["throughput"]))
            return
        pairs = images * 4 // 5
        names = ["web", f"Web-{pairs // 10}", f"Web-{pairs // 2}"]
        source = "results/data/web/manifest.json"
        for name, workers in (("alone", 1), ("killed", 2)):
            project = Project(folder / name)
            urllib.request.urlopen(f"{address}/break").read()
            draw = random.Random(name)
            kills = [draw.uniform(4, 12) for _ in range(5)] if name == "killed" else []
            print(f"{name}: {workers} processes, killed after {[round(kill, 1) for kill in kills]} s", flush=True)
            first = project.run(study(folder, workers, 0, pairs, shard_rows), workers, source, kills=kills[:3])
            before = check_counts(project.manifest("web")["counts"], planted, "before", images)
            urllib.request.urlopen(f"{address}/heal").read()
            last = project.run(study(folder, workers, 1, pairs, shard_rows), workers, kills=kills[3:])
            after = check_counts(project.manifest("web")["counts"], planted, "after", images)
            cells = sorted((project.root / "results" / "download" / "train").glob("*/checkpoint.pt"))
            report[name] = {
                "seconds_to_source": round(first, 1),
                "seconds_to_report": round(last, 1),
                "kills": [round(kill, 1) for kill in kills],
                "before_heal": before,
                "after_heal": after,
                "digests": project.digests(names),
                "order_digests": {data: project.manifest(data)["order_digest"] for data in names},
                "trained_cells": [cell.parent.name for cell in cells],
            }
            print(f"{name}: counts as planted, {len(cells)} cells trained", flush=True)
        report["is_identical"] = report["alone"]["digests"] == report["killed"]["digests"]
        (folder / "report.json").write_text(json.dumps(report, indent=1))
        print(json.dumps({key: report.get(key) for key in ("throughput", "is_identical")}))
        if not report["is_identical"]:
            sys.exit("the two runs differ")
    finally:
        server.kill()
        server.wait()


if __name__ == "__main__":
    main()
