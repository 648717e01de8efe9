"""A split in blocks: the features of a run in one piece to the bit, whatever interrupts it and whoever encodes what."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from clip_scaling.data.evaluation_sets import parallel
from clip_scaling.data.evaluation_sets.read import EvaluationSet, open_set
from clip_scaling.data.evaluation_sets.webdataset import index_evaluation_set
from clip_scaling.errors import EvaluationError, ManifestError
from clip_scaling.evaluate import blocks
from clip_scaling.evaluate.features import Features
from clip_scaling.evaluate.store import Store
from clip_scaling.evaluate.suite import Protocol, Stopped, SuiteEvaluator
from clip_scaling.models.build import build_model
from clip_scaling.models.encode import Encoder

from .examples import encoder_of, hashed, random_images, write_set

MODEL: dict[str, Any] = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 16, "patch_size": 8, "width": 16, "head_width": 8, "layers": 1},
    "text_cfg": {"context_length": 6, "vocab_size": 64, "width": 16, "heads": 2, "layers": 1},
}
IMAGES = 23
"""With 2 batches of 3 a block: three whole blocks, and one of 5."""


@pytest.fixture(autouse=True)
def short_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "BLOCK_BATCHES", 2)


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    torch.manual_seed(0)
    return encoder_of(build_model(MODEL).eval(), hashed, size=16)


def pairs(folder: Path, images: int = IMAGES, broken: tuple[int, ...] = ()) -> EvaluationSet:
    """A retrieval set, in which image i has i % 3 + 1 captions; broken ones have none."""
    captions = [
        "" if row in broken else "\n".join(f"text {row} {k}" for k in range(row % 3 + 1)) for row in range(images)
    ]
    write_set(folder / "wds", random_images(images, (16, 16)), {"txt": captions}, {"dataset_type.txt": "retrieval"})
    index_evaluation_set(folder / "eval-pairs", "pairs", folder / "wds")
    return open_set(folder / "eval-pairs" / "manifest.json")


def evaluator(found: EvaluationSet, store: Store, is_stopped: Callable[[], bool] = lambda: False) -> SuiteEvaluator:
    protocol = Protocol(batch_size=3, loss_batch_size=4, on_unreadable="skip")
    return SuiteEvaluator([found], protocol, store, is_stopped=is_stopped)


def is_equal(first: Features, second: Features) -> bool:
    return all(torch.equal(getattr(first, name), getattr(second, name)) for name in vars(first))


def files(folder: Path) -> int:
    return len(list(folder.glob("*.safetensors")))


@pytest.mark.parametrize("images", [2, 6, 12, IMAGES])
def test_blocks_make_the_features_of_one_piece(
    encoder: Encoder, tmp_path: Path, images: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = pairs(tmp_path, images)
    pieces = evaluator(found, Store(tmp_path / "store")).features(encoder, found)
    monkeypatch.setattr(blocks, "BLOCK_BATCHES", 100)
    assert is_equal(pieces, evaluator(found, Store(None)).features(encoder, found))
    assert files(tmp_path / "store") == 1  # blocks are dropped once the whole is there


def test_a_stopped_evaluation_goes_on_behind_its_last_block(encoder: Encoder, tmp_path: Path) -> None:
    found = pairs(tmp_path)
    whole = evaluator(found, Store(None)).features(encoder, found)
    asked = 0

    def after_five_batches() -> bool:
        nonlocal asked
        asked += 1
        return asked == 5

    with pytest.raises(Stopped):
        evaluator(found, Store(tmp_path / "store"), after_five_batches).run(encoder, "c")
    assert files(tmp_path / "store") == 2
    encoded: list[int] = []
    counted = encoder_of(encoder.model, encoder.tokenizer, size=16)
    object.__setattr__(counted, "images", lambda pixels: encoded.append(len(pixels)) or encoder.images(pixels))
    assert is_equal(evaluator(found, Store(tmp_path / "store")).features(counted, found), whole)
    assert sum(encoded) == IMAGES - 2 * 6


def test_jobs_that_encode_other_blocks_make_the_same_features(encoder: Encoder, tmp_path: Path) -> None:
    found = pairs(tmp_path)
    whole = evaluator(found, Store(None)).features(encoder, found)
    evaluator(found, Store(tmp_path / "store")).blocks(encoder, found, "test").fill(2, None)
    evaluator(found, Store(tmp_path / "store")).blocks(encoder, found, "test").fill(0, 1)
    assert files(tmp_path / "store") == 3
    last = evaluator(found, Store(tmp_path / "store"))
    assert is_equal(last.features(encoder, found), whole)  # the second block is made where it is missed
    assert last.store.spent["test"] > 0
    # Nothing lies behind the end of the set.
    evaluator(found, Store(tmp_path / "other")).blocks(encoder, found, "test").fill(4, None)
    assert files(tmp_path / "other") == 0


def test_samples_that_are_left_out_count_where_a_stopped_evaluation_goes_on(encoder: Encoder, tmp_path: Path) -> None:
    found = pairs(tmp_path, broken=(1, 7))
    whole = evaluator(found, Store(None)).features(encoder, found)
    assert (len(whole.images), int(whole.skipped)) == (IMAGES - 2, 2)
    asked: list[int] = []
    with pytest.raises(Stopped):
        evaluator(found, Store(tmp_path / "store"), lambda: asked.append(1) or len(asked) == 3).run(encoder, "c")
    assert is_equal(evaluator(found, Store(tmp_path / "store")).features(encoder, found), whole)


def test_seconds_of_a_set_are_those_of_making_it_whenever_that_was(encoder: Encoder, tmp_path: Path) -> None:
    found = pairs(tmp_path)
    first = evaluator(found, Store(tmp_path / "store"))
    first.run(encoder, "c")
    again = evaluator(found, Store(tmp_path / "store"))
    again.run(encoder, "c")
    assert first.seconds["pairs"].keys() == {"test", "measure"}
    assert again.seconds["pairs"] == pytest.approx(first.seconds["pairs"], abs=0.002)
    for path in (tmp_path / "store").glob("*.scores.json"):
        path.unlink()
    measured = evaluator(found, Store(tmp_path / "store"))
    measured.run(encoder, "c")
    assert measured.seconds["pairs"]["test"] == pytest.approx(first.seconds["pairs"]["test"], abs=0.002)


def test_a_set_that_changes_while_it_is_read_is_an_error_and_nothing_of_it_is_kept(
    encoder: Encoder, tmp_path: Path
) -> None:
    found = pairs(tmp_path)
    tar = tmp_path / "wds" / "test" / "0.tar"
    asked = 0

    def change() -> bool:
        nonlocal asked
        asked += 1
        if asked == 3:  # within the second block
            content = bytearray(tar.read_bytes())
            content[-3000] ^= 1
            tar.write_bytes(content)
        return False

    with pytest.raises(ManifestError, match=r"0\.tar: sha256 differs from the manifest\. It changed while it was read"):
        evaluator(found, Store(tmp_path / "store"), change).run(encoder, "c")
    assert files(tmp_path / "store") == 1


def test_a_set_that_is_only_touched_goes_on(encoder: Encoder, tmp_path: Path) -> None:
    found = pairs(tmp_path)
    whole = evaluator(found, Store(None)).features(encoder, found)
    (tmp_path / "wds" / "test" / "0.tar").touch()
    assert is_equal(evaluator(found, Store(None)).features(encoder, found), whole)


def test_workers_change_no_bit_of_the_features(
    encoder: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parallel, "FEWEST", 1)
    found = pairs(tmp_path, broken=(1, 7))
    one = evaluator(found, Store(None))
    assert is_equal(replace(one, workers=2).features(encoder, found), one.features(encoder, found))


def test_a_batch_that_the_gpu_cannot_hold_is_halved_and_the_record_says_so(encoder: Encoder, tmp_path: Path) -> None:
    found = pairs(tmp_path)
    largest: list[int] = []

    def images(pixels: torch.Tensor) -> torch.Tensor:
        if len(pixels) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        largest.append(len(pixels))
        return encoder.images(pixels)

    small = encoder_of(encoder.model, encoder.tokenizer, size=16)
    object.__setattr__(small, "images", images)
    object.__setattr__(small, "in_precision", lambda name: small)
    rows = evaluator(found, Store(tmp_path / "store")).run(small, "c")
    assert set(largest) == {1} and len(largest) == IMAGES
    assert {row.halved_to for row in rows} == {1}
    usual = evaluator(found, Store(None)).run(encoder, "c")
    assert {row.halved_to for row in usual} == {None}
    assert [row.value for row in rows] == pytest.approx([row.value for row in usual], abs=1e-5)
    object.__setattr__(small, "images", lambda pixels: images(torch.cat([pixels, pixels])))
    with pytest.raises(EvaluationError, match="the GPU's memory is full with one image or text"):
        evaluator(found, Store(None)).run(small, "c")
