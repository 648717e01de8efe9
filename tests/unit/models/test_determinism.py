"""Kernels of a GPU that give the same bits. What they do there is tested by the marker `gpu` and benchmarks/gpu."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from clip_scaling.errors import TrainingError
from clip_scaling.models.determinism import WORKSPACE, choose_kernels, refusals_named
from clip_scaling.study.config.training import Recipe

from ..train.conftest import MODEL, Run
from ..train.test_objective import COCA

REFUSED = tuple(
    """
    avg_pool3d_backward adaptive_avg_pool2d_backward adaptive_avg_pool3d_backward adaptive_max_pool2d_backward
    fractional_max_pool max_unpool upsample_linear upsample_bilinear upsample_bicubic upsample_trilinear
    reflection_pad nll_loss2d ctc_loss embedding_bag put_ histc bincount median kthvalue grid_sampler scatter_reduce
    """.split()
)
"""What torch refuses on a GPU under `use_deterministic_algorithms`, by its documentation."""


def settings() -> tuple[Any, ...]:
    cuda, cudnn = torch.backends.cuda, torch.backends.cudnn
    return (
        cudnn.deterministic,
        cudnn.benchmark,
        cuda.cudnn_sdp_enabled(),
        cuda.mem_efficient_sdp_enabled(),
        cuda.flash_sdp_enabled() and cuda.math_sdp_enabled(),
        torch.are_deterministic_algorithms_enabled(),
        torch._inductor.config.deterministic,
    )


@pytest.fixture
def as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    import torch._inductor.config

    monkeypatch.setenv(WORKSPACE, "")
    fill = torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
    cudnn, cuda = torch.backends.cudnn, torch.backends.cuda
    before = cudnn.deterministic, cudnn.benchmark, cuda.cudnn_sdp_enabled(), cuda.mem_efficient_sdp_enabled()
    yield
    torch.use_deterministic_algorithms(False)
    torch.utils.deterministic.fill_uninitialized_memory = fill  # type: ignore[attr-defined]
    cudnn.deterministic, cudnn.benchmark = before[:2]
    cuda.enable_cudnn_sdp(before[2])
    cuda.enable_mem_efficient_sdp(before[3])


@pytest.mark.usefixtures("as_before")
def test_a_gpu_takes_the_kernels_whose_bits_repeat() -> None:
    choose_kernels(torch.device("cuda"), is_deterministic=True)
    assert settings() == (True, False, False, False, True, True, True)
    assert os.environ[WORKSPACE] == ":4096:8"
    assert not torch.is_deterministic_algorithms_warn_only_enabled()  # the flash kernel would not obey
    choose_kernels(torch.device("cuda"), is_deterministic=False)
    assert settings() == (False, False, True, True, True, False, False)


@pytest.mark.usefixtures("as_before")
def test_a_cpu_is_left_as_it_is() -> None:
    before = settings()
    choose_kernels(torch.device("cpu"), is_deterministic=True)
    assert settings() == before and not os.environ[WORKSPACE]


class Operations(TorchDispatchMode):
    """Keeps the names of what torch is asked to do, backward too."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.add(func.__name__)
        return func(*args, **kwargs or {})


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"patch_dropout": 0.5},
        {"objective": "siglip"},
        {"objective": "coca", "model_config": COCA},
        {"resources": {"accumulate": 2}},
        {"lag": 3, "instability": {"window": 10}},
    ],
)
def test_no_step_asks_for_what_a_gpu_refuses(tmp_path: Path, changes: dict[str, Any]) -> None:
    run = Run(tmp_path, **changes)
    seen = Operations()
    with seen:
        run.go()
    found = {name for name in seen.names if name.startswith(REFUSED)}
    # On a CPU the caption loss is made over two dimensions; on other devices over one (the next test).
    assert found <= ({"nll_loss2d_forward.default", "nll_loss2d_backward.default"} if "objective" in changes else set())
    assert "convolution_backward.default" in seen.names


def test_the_caption_loss_is_made_over_one_dimension_on_a_gpu(tmp_path: Path) -> None:
    objective = Run(tmp_path, objective="coca", model_config=COCA).engine.objective
    logits = torch.randn(3, 5, 7, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(15).reshape(3, 5) % 7
    seen = Operations()
    with seen:
        objective.caption({"logits": logits.to("meta"), "labels": labels.to("meta")}, 15.0)
    assert "nll_loss_forward.default" in seen.names and "nll_loss2d_forward.default" not in seen.names
    flat = torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=0, reduction="sum")
    torch.testing.assert_close(objective.caption({"logits": logits, "labels": labels}, 15.0), 2 * flat / 15)


@pytest.mark.usefixtures("as_before")
def test_what_a_gpu_refuses_is_an_error_that_names_the_setting() -> None:
    torch.use_deterministic_algorithms(True)
    refusal = RuntimeError(
        "histc_cuda does not have a deterministic implementation, but you set '...'. You can turn ..."
    )
    with pytest.raises(TrainingError, match=r"recipe.deterministic.*histc_cuda does not have.*Set it to false"):
        with refusals_named():
            raise refusal
    with pytest.raises(RuntimeError, match="out of memory"), refusals_named():
        raise RuntimeError("CUDA out of memory")


def test_recipes_of_finished_cells_stay_as_they_are() -> None:
    assert "deterministic" not in Recipe().model_dump() and "deterministic" not in Recipe().model_dump_json()
    assert Recipe(deterministic=False).model_dump()["deterministic"] is False
    assert Recipe.model_validate(Recipe().model_dump()).deterministic


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["fp32", "amp_bf16", "amp"])
@pytest.mark.parametrize("side", [16, 136])
def test_two_runs_on_a_gpu_end_with_the_same_bits(tmp_path: Path, precision: str, side: int) -> None:
    model = MODEL | {"vision_cfg": MODEL["vision_cfg"] | {"image_size": side}}
    found = []
    for name in ("a", "b"):
        run = Run(tmp_path / name, device="cuda", precision=precision, model_config=model)
        batch = run.data.batch(np.arange(16))
        pixels = torch.nn.functional.interpolate(batch.pixels.permute(0, 3, 1, 2).float(), (side, side)).byte()
        batch = replace(batch, pixels=pixels.permute(0, 2, 3, 1).contiguous())
        for number in range(5):
            run.engine.gradients(batch, number)
            run.engine.move(1e-3)
        found.append(run.weights)
    assert found[0] == found[1]


@pytest.mark.parametrize("changes", [{}, {"patch_dropout": 0.5}, {"resources": {"accumulate": 2}}])
def test_a_gradient_that_is_given_up_leaves_no_trace(tmp_path: Path, changes: dict[str, Any]) -> None:
    plain, warm = Run(tmp_path / "plain", **changes), Run(tmp_path / "warm", **changes)
    assert not plain.engine.needs_warm_up
    warm.engine.warm_up()
    for run in (plain, warm):
        run.go()
    assert plain.weights == warm.weights
