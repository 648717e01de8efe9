"""Memory of a training job, and how many cells share a GPU."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from clip_scaling.cost.needs import cells_per_gpu, job_mem_mb
from clip_scaling.study.config.resources import TrainResources
from clip_scaling.study.config.training import Recipe

B_32: dict[str, Any] = {
    "embed_dim": 512,
    "vision_cfg": {"image_size": 224, "patch_size": 32, "width": 768, "layers": 12},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 512, "heads": 8, "layers": 12},
}
H100 = {"gpus": 1, "gpu_kind": "H100-80GB"}


@pytest.fixture
def nano(repository: Path) -> dict[str, Any]:
    return json.loads((repository / "config/models/ViT-nano-8.json").read_text())


def asked(batch: int = 128, precision: str = "fp32", **resources: Any) -> tuple[Recipe, TrainResources]:
    return Recipe(global_batch_size=batch, precision=precision), TrainResources(**resources)


def test_what_the_study_says_goes_before_any_estimate() -> None:
    assert job_mem_mb(B_32, *asked(mem_mb=700)) == 700
    assert cells_per_gpu(B_32, *asked(cells_per_gpu=6, **H100)) == 6


def test_memory_on_a_cpu_follows_from_model_batch_and_workers(nano: dict[str, Any]) -> None:
    assert job_mem_mb(nano, *asked()) == 2000
    # 151 M parameters in fp32 with AdamW, 2.4 GB, and once more where they are saved; activations beside them.
    small, large = job_mem_mb(B_32, *asked(16)), job_mem_mb(B_32, *asked(256))
    assert 5000 < small < 9000 < large
    assert job_mem_mb(B_32, *asked(256, accumulate=16)) < large
    streamed = job_mem_mb(B_32, *asked(16, input="stream", workers=4))
    assert streamed == small + 2000
    assert job_mem_mb(B_32, *asked(16, tasks_per_node=2)) > 1.5 * small


def test_memory_beside_a_gpu_is_that_of_its_context_and_of_compilation(nano: dict[str, Any]) -> None:
    beside = job_mem_mb(nano, *asked(**H100))
    assert beside == pytest.approx(5000, abs=100)
    assert job_mem_mb(nano, *asked(compile=True, **H100)) == beside + 5000
    # Activations are the GPU's.
    assert job_mem_mb(B_32, *asked(256, **H100)) == job_mem_mb(B_32, *asked(1024, **H100))


def test_small_cells_share_a_gpu_and_large_ones_do_not(nano: dict[str, Any]) -> None:
    assert cells_per_gpu(nano, *asked(**H100)) == 4
    assert cells_per_gpu(B_32, *asked(1024, "amp_bf16", **H100)) == 1


def test_cells_of_several_gpus_or_of_none_share_nothing(nano: dict[str, Any]) -> None:
    assert cells_per_gpu(nano, *asked(gpus=2)) == 1
    assert cells_per_gpu(nano, *asked(gpus=0, cells_per_gpu=4)) == 1
    assert cells_per_gpu(nano, *asked(gpus=1, nodes=2, cells_per_gpu=4)) == 1


def test_cells_share_no_more_than_a_gpus_memory_holds() -> None:
    # Nearly no work, and a table of tokens of 10 GB with its optimizer.
    wide = {
        "embed_dim": 64,
        "vision_cfg": {"image_size": 16, "patch_size": 8, "width": 32, "head_width": 16, "layers": 1},
        "text_cfg": {"context_length": 4, "vocab_size": 600_000, "width": 1024, "heads": 2, "layers": 1},
    }
    assert cells_per_gpu(wide, *asked(8, gpus=1, gpu_kind="V100-32GB")) == 2
