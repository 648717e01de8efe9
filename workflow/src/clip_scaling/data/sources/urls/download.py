"""Start img2dataset in its own environment for a batch of rows: one folder, one shard a list file."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from http.client import HTTPException, IncompleteRead
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

import clip_scaling

from ....errors import DataError, redacted
from ....records.files import atomic_path
from ... import web
from ...shards.limits import MAX_PIXELS
from .config import UrlListSource

log = logging.getLogger(__name__)

ENVIRONMENT_VARIABLE = "CLIP_SCALING_IMG2DATASET"
LIST_BYTES, LIST_SECONDS = 50e9, 6 * 3600.0
"""Bounds of one list: those of LAION have some gigabytes."""


def img2dataset_python() -> Path:
    """The interpreter that has img2dataset: of the variable CLIP_SCALING_IMG2DATASET, or of `make env-img2dataset`."""
    named = os.environ.get(ENVIRONMENT_VARIABLE)
    python = Path(named) if named else Path(f"{sys.prefix}-img2dataset") / "bin" / "python"
    if not python.is_file():
        raise DataError(
            f"{python}: no such interpreter. Lists of URLs are downloaded by img2dataset, which has its own: "
            f"run `make env-img2dataset`, or set {ENVIRONMENT_VARIABLE} to the python of another one."
        )
    return python


def fetch_batch(folder: Path, rows: pa.Table, recipe: UrlListSource) -> None:
    """Download `rows` (identity, url) into `folder`, which is new.

    DataError where img2dataset ends before every shard is written; what was written stays.
    """
    download = recipe.download
    lists = folder / "list"
    lists.mkdir(parents=True)
    starts = range(0, len(rows), download.rows_per_shard)
    for number, start in enumerate(starts):
        pq.write_table(rows.slice(start, download.rows_per_shard), lists / f"{number:05d}.parquet")
    rate = download.requests_per_second_per_host
    options = {
        "folder": str(folder.absolute()),
        "rows_per_shard": download.rows_per_shard,
        "processes": min(download.processes, len(starts)),
        "threads": download.threads,
        "timeout": download.timeout_seconds,
        "user_agent": download.user_agent,
        "per_second": None if rate is None else rate / min(download.processes, len(starts)),
        "min_bytes": recipe.min_image_bytes,
        "max_bytes": recipe.max_image_bytes,
        "disallowed_header_directives": ["noai", "noimageai", "noindex", "noimageindex"]
        if recipe.is_robots_tag_heeded
        else None,
        "resizer": {
            "image_size": recipe.image_size,
            "resize_mode": recipe.resize,
            "resize_only_if_bigger": not recipe.is_upscaling,
            "encode_format": recipe.encode_format,
            "encode_quality": recipe.encode_quality,
            "min_image_size": recipe.min_image_side,
            "max_aspect_ratio": recipe.max_aspect_ratio or 1e9,
        },
    }
    home = Path(clip_scaling.__file__).parent.parent
    environment = os.environ | {"PYTHONPATH": str(home), "NO_ALBUMENTATIONS_UPDATE": "1", "WANDB_MODE": "disabled"}
    environment["OPENCV_IO_MAX_IMAGE_PIXELS"] = str(MAX_PIXELS)  # refused by the header, before decoding
    start_worker = "from clip_scaling.data.sources.urls.worker import main; main()"
    done = subprocess.run(
        [str(img2dataset_python()), "-c", start_worker, json.dumps(options)], env=environment, check=False
    )
    unfinished = len(starts) - len(list(folder.glob("*_stats.json")))
    if done.returncode or unfinished:
        raise DataError(
            f"{folder}: img2dataset ended with code {done.returncode}, {unfinished} of {len(starts)} shards are not "
            "written (its words are above). Run the same command again: it goes on from what is there."
        )


def fetch_list(url: str, output: Path) -> None:
    """Fetch one list whole. DataError where it cannot be had."""
    log.info("fetching %s", redacted(url))
    try:
        with atomic_path(output) as temporary, open(temporary, "wb") as file:
            web.download(url, file, LIST_BYTES, LIST_SECONDS)
    except IncompleteRead as error:
        raise DataError(f"{url}: it ended {error.expected} bytes too early. Run the same command again.") from None
    except (OSError, ValueError, HTTPException) as error:
        raise DataError(
            f"{url}: the list cannot be fetched ({error}). Where it needs an account, fetch it with the publisher's "
            "own client and give its path in `lists`."
        ) from None
