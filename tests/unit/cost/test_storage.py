"""Bytes and files by stage, before anything is there."""

from pathlib import Path
from typing import Any

import pytest

from clip_scaling.cost.storage import storage
from clip_scaling.data.sources.tars.config import INDEX_BYTES
from clip_scaling.models.size import model_size
from clip_scaling.study.resolve import load_study


@pytest.mark.parametrize("is_copied", [False, True])
def test_a_list_of_pairs_in_existing_tars_takes_next_to_nothing_and_a_copy_their_bytes(
    raw: dict[str, Any], repository: Path, is_copied: bool
) -> None:
    tars = {"kind": "webdataset", "tars": ["/data/*.tar"], "pairs": "1M", "bytes_per_pair": 20_000}
    held_out = {"captions": {"kind": "zeroshot_retrieval", "pairs": 500}}
    raw["sources"]["web"] = tars | {"held_out": held_out, "vocabulary_size": 4096}
    raw["data"] = {
        "Scenes-1K": raw["data"]["Scenes-1K"],
        "Web-100K": {"source": "web", "pairs": "100K", "is_copied": is_copied},
    }
    raw["grid"]["data"] = ["Scenes-1K", "Web-100K"]
    study = load_study(raw, repository)
    sizes = {name: model_size(config) for name, config in study.models.items()}
    found = {stage.stage: stage for stage in storage(study, sizes, 1)}
    scenes = 1000 * (3 * 1024 + 0.75 * 32**2 + 16) / 1e9
    web = 100_000 * (20_016 if is_copied else 20) / 1e9
    assert found["subset"].gb == pytest.approx(scenes + web)
    # The million pairs of the tars lie elsewhere: what is known of them stays.
    assert found["source"].gb == pytest.approx(1e6 * INDEX_BYTES / 1e9 + 10_000 * (3 * 1024 + 768) / 1e9)
