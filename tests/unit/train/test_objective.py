"""The objectives are open_clip's; micro-batches keep the whole contrastive batch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from open_clip.loss import ClipLoss, CoCaLoss, SigLipLoss

from clip_scaling.errors import ConfigError, TrainingError
from clip_scaling.models.build import build_model, model_config_of, normalise
from clip_scaling.train.inputs import Batch

from .conftest import MODEL, Run, agrees

COCA = MODEL | {
    "text_cfg": MODEL["text_cfg"] | {"embed_cls": True, "output_tokens": True},
    "vision_cfg": MODEL["vision_cfg"] | {"attentional_pool": True, "attn_pooler_heads": 2, "output_tokens": True},
    "multimodal_cfg": {"context_length": 6, "vocab_size": 32, "width": 16, "heads": 2, "layers": 1},
    "custom_text": True,
}


def a_batch(run: Run) -> Batch:
    return run.data.batch(np.arange(16))


def gradients(run: Run) -> dict[str, torch.Tensor]:
    run.engine.gradients(a_batch(run), 0)
    return {n: p.grad.clone() for n, p in run.engine.model.base.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("objective", ["clip", "siglip", "coca"])
def test_the_loss_is_open_clips(tmp_path: Path, objective: str) -> None:
    run = Run(tmp_path, objective=objective, model_config=COCA if objective == "coca" else MODEL, gradient_clip=None)
    batch = a_batch(run)
    loss, _ = run.engine.gradients(batch, 0)
    out = run.engine.model.base(normalise(batch.pixels), batch.tokens)
    if objective == "coca":
        losses = CoCaLoss(caption_loss_weight=2.0, clip_loss_weight=1.0)(**{k: v for k, v in out.items()})
        expected = sum(part.item() for part in losses)
    else:
        expected = (SigLipLoss() if objective == "siglip" else ClipLoss())(**out).item()
    assert loss == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("objective", ["clip", "siglip", "coca"])
@pytest.mark.parametrize("parts", [2, 4])
def test_micro_batches_give_the_gradient_of_the_whole_batch(tmp_path: Path, objective: str, parts: int) -> None:
    model = COCA if objective == "coca" else MODEL
    changes: dict[str, Any] = {"objective": objective, "model_config": model, "gradient_clip": None}
    whole = gradients(Run(tmp_path, **changes))
    cut = gradients(Run(tmp_path, resources={"accumulate": parts}, **changes))
    assert whole.keys() == cut.keys()
    for name in whole:
        # CoCa sums over words as well: its rounding is a little larger.
        assert agrees(whole[name], cut[name], 3e-6 if objective == "coca" else 1e-6), name


@pytest.mark.parametrize("resources", [{}, {"accumulate": 2}, {"gradient_checkpointing": True}])
@pytest.mark.parametrize("changes", [{}, {"objective": "siglip"}, {"patch_dropout": 0.5}])
def test_captions_without_their_padding_give_the_gradient_of_those_with_it(
    tmp_path: Path, resources: dict[str, Any], changes: dict[str, Any]
) -> None:
    packed, padded = (Run(tmp_path, resources=resources, gradient_clip=None, **changes) for _ in range(2))
    assert packed.engine.ends is not None
    padded.engine.ends = None  # rows of tokens, as open_clip's own tower takes them
    expected, found = gradients(padded), gradients(packed)
    assert found.keys() == expected.keys()
    for name in expected:
        assert agrees(found[name], expected[name], 1e-5), name


def test_gradient_checkpointing_changes_no_gradient(tmp_path: Path) -> None:
    plain = gradients(Run(tmp_path))
    checkpointed = gradients(Run(tmp_path, resources={"gradient_checkpointing": True}))
    for name in plain:
        assert agrees(plain[name], checkpointed[name]), name


@pytest.mark.slow
def test_a_compiled_model_gives_the_same_gradient(tmp_path: Path) -> None:
    plain = gradients(Run(tmp_path))
    compiled = gradients(Run(tmp_path, resources={"compile": True}))
    for name in plain:
        assert agrees(plain[name], compiled[name], 1e-5), name


def test_a_batch_that_cannot_be_cut_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="16 is not a multiple of 1 ranks x 3 micro-batches"):
        Run(tmp_path, resources={"accumulate": 3})


@pytest.mark.parametrize("precision", ["amp", "tf32"])
def test_a_precision_that_the_device_has_not_is_refused(tmp_path: Path, precision: str) -> None:
    with pytest.raises(TrainingError, match="needs a CUDA device"):
        Run(tmp_path, precision=precision)


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["fp32", "tf32", "amp", "amp_bf16"])
def test_a_run_on_a_gpu_continues_to_the_same_end(
    tmp_path: Path, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from clip_scaling.train.distributed import Ranks

    from . import conftest

    monkeypatch.setattr(conftest, "ALONE", Ranks(0, 1, 0, torch.device("cuda", 0)))
    whole = Run(tmp_path / "whole", precision=precision)
    whole.go()
    first = Run(tmp_path / "cut", precision=precision)
    loop = first.loop()
    loop.stop = 7
    loop.run()
    loop.save()
    second = Run(tmp_path / "cut", precision=precision)
    second.go()
    assert second.weights == whole.weights


def test_coca_and_a_plain_model_do_not_go_together() -> None:
    from clip_scaling.study.config.training import Recipe

    with pytest.raises(ConfigError, match="multimodal_cfg"):
        model_config_of(MODEL, Recipe(objective="coca"))
    with pytest.raises(ConfigError, match="multimodal_cfg"):
        model_config_of(COCA, Recipe())


def test_every_weight_of_coca_starts_from_the_seed() -> None:
    # open_clip leaves the decoder's projection as the allocator found it.
    torch.manual_seed(0)
    first = build_model(COCA).state_dict()
    torch.manual_seed(0)
    again = build_model(COCA).state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)


def test_a_batch_knows_the_length_of_each_caption() -> None:
    # 31 is the last token of the vocabulary, the end of text; 0 is a word too, as "!" is in CLIP's.
    tokens = torch.tensor([[29, 5, 31, 0, 0, 0], [29, 0, 0, 7, 31, 0], [29, 1, 2, 3, 4, 31]])
    batch = Batch(torch.zeros(3, 2, 2, 3, dtype=torch.uint8), tokens, np.arange(3))
    assert batch.lengths.tolist() == [3, 5, 6]


def test_one_micro_batch_at_a_time_is_floats() -> None:
    from clip_scaling.train.micro_batches import MicroBatches

    pixels = torch.arange(6 * 12, dtype=torch.uint8).reshape(6, 2, 2, 3)
    batch = Batch(pixels, torch.arange(12).reshape(6, 2), np.arange(6))
    parts = MicroBatches(batch, batch.tokens.chunk(3), torch.device("cpu"), (0, 0, 0))
    assert [part.dtype for part in parts.pixels] == [torch.uint8] * 3
    assert torch.equal(parts[1].pixels, normalise(pixels[2:4])) and parts[1].pixels is not parts[1].pixels
    assert torch.equal(torch.cat([part.text for part in parts]), batch.tokens)
    assert len({part.seed for part in parts}) == 3
