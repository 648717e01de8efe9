"""A run is compiled where that saves time, and never lost by it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist

from clip_scaling.cost.needs import job_mem_mb, with_compilation
from clip_scaling.errors import TrainingError
from clip_scaling.models.roofline import saved_by_compilation
from clip_scaling.study.config.devices import CPU
from clip_scaling.study.config.resources import TrainResources
from clip_scaling.study.config.training import Recipe
from clip_scaling.train import compilation, job
from clip_scaling.train.distributed import Ranks
from clip_scaling.train.engine import Engine

from .conftest import ALONE, MODEL
from .tiny_cell import tiny_job

B_32 = {
    "embed_dim": 512,
    "vision_cfg": {"image_size": 224, "patch_size": 32, "width": 768, "layers": 12},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 512, "heads": 8, "layers": 12},
}
RECIPE = Recipe(global_batch_size=1024, precision="amp_bf16", warmup_fraction=0.1)
H100 = "H100-80GB"


def saved(samples: int, kind: str = H100, model: dict[str, Any] = B_32, **resources: Any) -> float:
    return saved_by_compilation(model, RECIPE, TrainResources(**resources), samples, kind)


def test_compilation_takes_a_minute_and_saves_a_third_of_the_steps() -> None:
    assert saved(0) == pytest.approx(-54, abs=0.5)
    assert saved_by_compilation(MODEL, RECIPE, TrainResources(), 0, H100) == pytest.approx(-42, abs=0.5)
    # 4,111 samples/s by the roofline, 1.45 times as many compiled.
    assert saved(4_111_000) == pytest.approx(1000 * (1 - 4250 / 6180) - 54, abs=2)
    assert saved(100_000) < 0 < saved(1_000_000)
    assert saved(8_222_000, gpus=2) < saved(8_222_000)  # two ranks are done sooner
    assert saved(10**9, kind=CPU) == 0


@pytest.fixture
def an_h100(monkeypatch: pytest.MonkeyPatch) -> Ranks:
    monkeypatch.setattr(compilation, "gpu_name", lambda device: ("NVIDIA H100 80GB HBM3", 85.0))
    monkeypatch.setattr(compilation, "can_compile", lambda: True)
    return Ranks(0, 1, 0, torch.device("cuda", 0))


def test_long_cells_of_a_gpu_are_compiled(an_h100: Ranks, monkeypatch: pytest.MonkeyPatch) -> None:
    def decided(ranks: Ranks, samples: int, **given: Any) -> bool | str:
        return compilation.decide(TrainResources(**given), ranks, B_32, RECIPE, samples).compile

    assert decided(an_h100, 10_000_000) is True and decided(an_h100, 10_000) is False
    assert decided(an_h100, 10_000, compile=True) is True and decided(an_h100, 10_000_000, compile=False) is False
    assert decided(ALONE, 10**9) is False and decided(ALONE, 100, compile=True) is True
    monkeypatch.setattr(compilation, "can_compile", lambda: False)
    assert decided(an_h100, 10_000_000) is False


def test_the_memory_of_a_job_counts_what_compilation_takes() -> None:
    def needed(samples: int) -> int:
        resources = TrainResources(gpus=1, gpu_kind=H100)
        return job_mem_mb(B_32, RECIPE, with_compilation(B_32, RECIPE, resources, samples))

    assert needed(10_000_000) == needed(10_000) + 5000


def test_compiled_kernels_are_kept_in_a_private_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(compilation.CACHE, "/elsewhere")
    compilation.keep_kernels(tmp_path / "kernels")
    assert os.environ[compilation.CACHE] == "/elsewhere" and not (tmp_path / "kernels").exists()
    monkeypatch.delenv(compilation.CACHE)
    (tmp_path / "link").symlink_to(tmp_path)
    compilation.keep_kernels(tmp_path / "link")
    assert compilation.CACHE not in os.environ
    compilation.keep_kernels(tmp_path / "kernels")
    assert os.environ[compilation.CACHE] == str(tmp_path / "kernels")
    assert (tmp_path / "kernels").stat().st_mode & 0o777 == 0o700
    monkeypatch.delenv(compilation.CACHE)


@pytest.fixture
def uncompilable(monkeypatch: pytest.MonkeyPatch) -> None:
    def warm_up(engine: Engine) -> None:
        assert engine.is_compiled
        raise RuntimeError("no such kernel")

    monkeypatch.setattr(Engine, "warm_up", warm_up)
    monkeypatch.setattr(compilation, "decide", lambda resources, *about: resources.model_copy(update={"compile": True}))
    monkeypatch.setenv(compilation.CACHE, "/elsewhere")


@pytest.mark.usefixtures("uncompilable")
def test_a_run_that_cannot_be_compiled_goes_on_without(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    asked, _ = tiny_job(tmp_path)
    with job.open_job(asked) as opened:
        assert not opened.engine.is_compiled and opened.resources.compile is False
    assert "compilation failed, so this run goes on without (resources.train.compile): no such kernel" in caplog.text


@pytest.mark.usefixtures("uncompilable")
def test_ranks_that_cannot_be_compiled_are_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job, "join_ranks", lambda gpus: Ranks(0, 2, 0, torch.device("cpu")))
    asked, _ = tiny_job(tmp_path)
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    with pytest.raises(TrainingError, match=r"compile: auto: compilation failed: no such kernel. Set it to false"):
        job.open_job(asked)
    assert not dist.is_initialized()
