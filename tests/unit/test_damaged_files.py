"""Every kind of file that a stage reads, damaged in every way: the right result, or one of our errors, and no other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from clip_scaling.data.shards.packed import open_packed
from clip_scaling.data.shards.read import PairReader, UnreadablePair
from clip_scaling.models.checkpoint import load_checkpoint, read_state
from clip_scaling.records.curve import read_curve
from clip_scaling.records.data import SubsetManifest
from clip_scaling.records.frames import read_frame
from clip_scaling.records.seal import sealed_path
from clip_scaling.records.training import Heartbeat, TrainRecord
from clip_scaling.study.config.expressions import parse_expression
from clip_scaling.study.resolve import load_yaml
from clip_scaling.train.job import train_cell
from clip_scaling.train.state import write_state

from .damage import OTHER, Kind, comparable, survive
from .train.tiny_cell import tiny_job


def weights(path: Path) -> Any:
    model, about = load_checkpoint(path)
    return comparable(dict(model.state_dict())), about


def pairs(manifest: Path) -> Any:
    found = []
    with PairReader.open(manifest) as reader:
        for number in range(reader.pairs):
            try:
                found.append(reader.read(number))
            except UnreadablePair:  # counted, and another is taken
                return None
    return found


@pytest.fixture(scope="module")
def kinds(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Kind]:
    """One file of each kind, as the stages write them."""
    root = tmp_path_factory.mktemp("damaged")
    job, files = tiny_job(root)
    train_cell(job, files)
    write_state(root / "state.pt", {"weights": torch.arange(100.0)})
    table = pd.DataFrame({"dataset": ["icons"] * 20, "value": np.linspace(0, 1, 20)})
    for name in ("laws.csv", "metrics.parquet"):
        with sealed_path(root / name) as temporary:
            table.to_csv(temporary, index=False) if name.endswith("csv") else table.to_parquet(temporary)
    (root / "study.yaml").write_text("study: tiny\ngrid: {models: [a, b]}\n")
    packed, subset = root / "packed", root / "subset" / "manifest.json"
    return {
        "record": Kind(files.record, lambda: TrainRecord.read(files.record)),
        "checkpoint": Kind(files.checkpoint, lambda: weights(files.checkpoint)),
        "state": Kind(root / "state.pt", lambda: comparable(read_state(root / "state.pt"))),
        "pixels": Kind(packed / "pixels.npy", lambda: comparable(open_packed(packed / "manifest.json").pixels)),
        "tokens": Kind(packed / "tokens.npy", lambda: comparable(open_packed(packed / "manifest.json").tokens)),
        "packed manifest": Kind(packed / "manifest.json", lambda: open_packed(packed / "manifest.json").manifest),
        "subset manifest": Kind(subset, lambda: SubsetManifest.read(subset)),
        "csv": Kind(root / "laws.csv", lambda: comparable(read_frame(root / "laws.csv"))),
        "parquet": Kind(root / "metrics.parquet", lambda: comparable(read_frame(root / "metrics.parquet"))),
        "heartbeat": Kind(job.resume / Heartbeat.FILE, lambda: Heartbeat.last(job.resume), is_hashed=False),
        "curve": Kind(files.curve, lambda: read_curve(files.curve)),
        "study file": Kind(root / "study.yaml", lambda: load_yaml(root / "study.yaml"), is_hashed=False),
        "index": Kind(subset.with_name("index.npy"), lambda: pairs(subset)),
    }


NAMES = [
    "record", "checkpoint", "state", "pixels", "tokens", "packed manifest", "subset manifest", "csv", "parquet",
    "heartbeat", "curve", "study file", "index",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_a_damaged_file_gives_the_right_result_or_one_of_our_errors(kinds: dict[str, Kind], name: str) -> None:
    survive(name, kinds[name])


@pytest.mark.parametrize("text", ["(" * 5_000 + "1" + ")" * 5_000, "not " * 5_000 + "a", "-" * 5_000 + "1"])
def test_an_expression_that_is_nested_too_deeply_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="nested"):  # pydantic makes a ConfigError of it
        parse_expression(text)


def test_the_contents_that_are_no_json_are_none() -> None:
    for content in OTHER[7:]:
        with pytest.raises((ValueError, RecursionError)):
            json.loads(content)
