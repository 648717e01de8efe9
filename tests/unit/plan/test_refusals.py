"""What is refused before anything is spent, all at once, each with its cell and its place."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from clip_scaling.errors import ConfigError
from clip_scaling.study.resolve import load_study


@pytest.fixture
def raw(repository: Path) -> dict[str, Any]:
    return yaml.safe_load((repository / "config" / "relaion.yaml").read_text())


def test_a_model_that_does_not_fit_in_the_gpu_is_refused(raw: dict[str, Any], repository: Path) -> None:
    raw["resources"]["overrides"] = [{"model": "ViT-g-14", "train": {"nodes": 32}}]
    with pytest.raises(ConfigError, match=r"ViT-g-14_.*: about \d+ GB a GPU at 640 samples each, A100-40GB has 40 GB"):
        load_study(raw, repository)


def test_an_unknown_kind_of_gpu_is_refused_with_close_matches(raw: dict[str, Any], repository: Path) -> None:
    raw["resources"]["train"]["gpu_kind"] = "A100-40"
    with pytest.raises(ConfigError, match=r"gpu_kind 'A100-40' is not known. Close matches: A100-40GB"):
        load_study(raw, repository)


def test_all_refusals_come_at_once(raw: dict[str, Any], repository: Path) -> None:
    raw["resources"]["overrides"] = [
        {"model": "ViT-g-14", "train": {"nodes": 32}},
        {"model": "ViT-B-16", "train": {"nodes": 5}},
    ]
    raw["recipe"]["defaults"]["warmup_steps"] = 30_000
    raw["data"]["Re-LAION-2B"]["pairs"] = "3B"
    with pytest.raises(ConfigError) as error:
        load_study(raw, repository)
    assert "data.Re-LAION-2B.pairs: 3B asked, but sources.relaion-2b.pairs has 2B" in str(error.value)
    raw["data"]["Re-LAION-2B"]["pairs"] = "2B"
    with pytest.raises(ConfigError) as error:
        load_study(raw, repository)
    for said in ("about", "is not a multiple of 20 ranks", "warmup_steps 30000 is not shorter"):
        assert said in str(error.value)


def test_more_pairs_than_the_batch_are_needed_and_a_name_may_stand_once(raw: dict[str, Any], repository: Path) -> None:
    raw["data"]["Re-LAION-80M"]["pairs"] = "80K"
    with pytest.raises(ConfigError, match="global_batch_size 86016 is more than the 80000 pairs of 'Re-LAION-80M'"):
        load_study(raw, repository)


def test_a_study_whose_lists_are_given_must_have_its_evaluation_sets(raw: dict[str, Any], repository: Path) -> None:
    load_study(raw, repository)  # only planned: its sets lie on some other machine
    for source in raw["sources"].values():
        source["lists"] = ["/data/lists/*.parquet"]
    with pytest.raises(ConfigError, match=r"dataset 'imagenet1k': .* has no test/nshards.txt"):
        load_study(raw, repository)
