"""Two ranks over gloo do what one process does."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.multiprocessing as mp

from clip_scaling.models.build import normalise
from clip_scaling.study.config.resources import TrainResources
from clip_scaling.study.config.training import Recipe
from clip_scaling.train.distributed import Ranks, join_ranks
from clip_scaling.train.engine import Engine
from clip_scaling.train.inputs import PackedInput
from clip_scaling.train.loop import Loop, Stretch
from clip_scaling.train.order import Order, rank_positions
from clip_scaling.train.schedule import schedule_of
from clip_scaling.train.state import StateFolder

from .conftest import ALONE, FIELDS, MODEL, agrees, some_pairs
from .test_objective import COCA

CASES: dict[str, dict[str, Any]] = {
    "clip-ddp": {},
    "siglip-ddp": {"objective": "siglip"},
    "coca-ddp": {"objective": "coca"},
    "clip-ddp-accumulated": {"resources": {"accumulate": 2}},
    "clip-ddp-tiled": {"tile": 3},
    "siglip-ddp-tiled": {"objective": "siglip", "tile": 3},
    "clip-fsdp2-accumulated-tiled": {"resources": {"parallel": "fsdp2", "accumulate": 2}, "tile": 5},
    "clip-fsdp2": {"resources": {"parallel": "fsdp2"}},
    "clip-fsdp2-accumulated": {"resources": {"parallel": "fsdp2", "accumulate": 2}},
}
MIXED: dict[str, dict[str, Any]] = {
    "ddp": {"precision": "amp_bf16"},
    "fsdp2": {"precision": "amp_bf16", "resources": {"parallel": "fsdp2"}},
    "fsdp2-accumulated": {"precision": "amp_bf16", "resources": {"parallel": "fsdp2", "accumulate": 2}},
}


def gradients(case: dict[str, Any], ranks: Ranks) -> dict[str, torch.Tensor]:
    """The whole gradient of one global batch, before any clipping."""
    changes = {key: value for key, value in case.items() if key not in ("resources", "tile")}
    recipe = Recipe(**FIELDS | {"gradient_clip": None} | changes)
    model = COCA if recipe.objective == "coca" else MODEL
    engine = Engine(model, recipe, TrainResources(**case.get("resources", {})), ranks, seed=0)
    engine.objective.tile = case.get("tile", engine.objective.tile)
    data = PackedInput(some_pairs(), Order([32], 0))
    engine.gradients(data.batch(rank_positions(0, 16, ranks.rank, ranks.size)), 0)
    found = {}
    for name, parameter in engine.model.base.named_parameters():
        gradient: Any = parameter.grad
        if gradient is not None:
            found[name] = gradient.full_tensor() if hasattr(gradient, "full_tensor") else gradient.clone()
    return found


def steps(parallel: str, ranks: Ranks, folder: Path, stop: int, lag: int = 0) -> tuple[Loop, str]:
    """A run of 20 steps to `stop`, continued from what is in the folder; its loop and its last action."""
    recipe = Recipe(**FIELDS)
    engine = Engine(MODEL, recipe, TrainResources(parallel=parallel), ranks, seed=0)
    data = PackedInput(some_pairs(), Order([32], 0))
    loop = Loop(engine, data, schedule_of(recipe, 20), StateFolder(folder), Stretch(stop, 20, "ranks", lag=lag))
    loop.continue_saved()
    outcome = loop.run()
    loop.save()
    return loop, outcome.state


def encoded(resources: dict[str, Any], precision: str, ranks: Ranks) -> list[torch.Tensor]:
    """Features of images and texts after a step, as a validation takes them, and the gradient's norm of the next."""
    engine = Engine(MODEL, Recipe(**FIELDS, precision=precision), TrainResources(**resources), ranks, seed=0)
    batches = (
        PackedInput(some_pairs(), Order([32], 0)).batch(rank_positions(n, 16, ranks.rank, ranks.size)) for n in range(2)
    )
    first, second = batches
    engine.gradients(first, 0)
    engine.move(1e-3)
    with engine.model.evaluated():
        encoder, shown = engine.model.encoder, some_pairs()
        features = [encoder.encode_image(normalise(torch.from_numpy(shown.pixels[:5])))]
        features.append(encoder.encode_text(torch.from_numpy(shown.tokens[:5]).long()))
    return [*(each.float() for each in features), engine.make_gradients(second, 1)[1]]


def _rank(rank: int, size: int, port: int, folder: str) -> None:
    torch.set_num_threads(1)
    place = {"RANK": str(rank), "WORLD_SIZE": str(size), "LOCAL_RANK": str(rank)}
    ranks = join_ranks(0, place | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)})
    results: dict[str, Any] = {name: gradients(case, ranks) for name, case in CASES.items()}
    results |= {f"mixed-{name}": gradients(case, ranks) for name, case in MIXED.items()}
    results |= {f"encoded-{each}": encoded({"parallel": "fsdp2"}, each, ranks) for each in ("fp32", "amp_bf16")}
    for parallel in ("ddp", "fsdp2"):
        steps(parallel, ranks, Path(folder) / f"{parallel}-whole", 20)
        steps(parallel, ranks, Path(folder) / f"{parallel}-cut", 7)
        steps(parallel, ranks, Path(folder) / f"{parallel}-ahead", 20, lag=3)
        loop, state = steps(parallel, ranks, Path(folder) / f"{parallel}-cut", 20)
        results[parallel] = (state, loop.progress.digest, loop.progress.text_tokens)
    if ranks.is_main:
        torch.save(results, Path(folder) / "results.pt")
    ranks.close()


def _compiled_rank(rank: int, size: int, port: int, folder: str) -> None:
    torch.set_num_threads(1)
    place = {"RANK": str(rank), "WORLD_SIZE": str(size), "LOCAL_RANK": str(rank)}
    ranks = join_ranks(0, place | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)})
    found = gradients({"resources": {"parallel": "fsdp2", "accumulate": 2, "compile": True}}, ranks)
    if ranks.is_main:
        torch.save(found, Path(folder) / "results.pt")
    ranks.close()


def spawn(rank: Callable[..., None], folder: Path) -> Path:
    """Run two ranks to their end; the folder of what they write."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    mp.spawn(rank, args=(2, port, str(folder)), nprocs=2)
    return folder


@pytest.fixture(scope="module")
def two_ranks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return spawn(_rank, tmp_path_factory.mktemp("ranks"))


@pytest.mark.slow
def test_blocks_that_are_sharded_and_compiled_give_the_same_gradient(tmp_path: Path) -> None:
    found = torch.load(spawn(_compiled_rank, tmp_path) / "results.pt", weights_only=False)
    for name, expected in gradients({}, ALONE).items():
        assert agrees(found[name], expected, 1e-5), name


@pytest.mark.parametrize("case", CASES)
def test_two_ranks_make_the_gradient_of_one_process(two_ranks: Path, case: str) -> None:
    found = torch.load(two_ranks / "results.pt", weights_only=False)[case]
    alone = gradients(CASES[case] | {"resources": {}, "tile": 16}, ALONE)  # the whole batch is one tile
    assert found.keys() == alone.keys()
    for name in alone:
        # CoCa sums over words as well: its rounding is a little larger.
        assert agrees(found[name], alone[name], 3e-6 if "coca" in case else 1e-6), name


@pytest.mark.parametrize("parallel", ["fsdp2", "fsdp2-accumulated"])
def test_parameters_gathered_in_bfloat16_give_a_gradient_near_that_of_autocast(two_ranks: Path, parallel: str) -> None:
    results, exact = torch.load(two_ranks / "results.pt", weights_only=False), gradients({}, ALONE)
    found, autocast = results[f"mixed-{parallel}"], results["mixed-ddp"]
    assert all(gradient.dtype == torch.float32 for gradient in found.values())

    def error(of: dict[str, torch.Tensor]) -> float:
        apart, whole = ([each[name].flatten() for name in exact] for each in (of, exact))
        return float((torch.cat(apart) - torch.cat(whole)).norm() / torch.cat(whole).norm())

    # What autocast leaves in fp32, such as gains and positions, is rounded too: 2.5 % against autocast's 1.2 %.
    assert 0 < error(found) < 3 * error(autocast)


@pytest.mark.parametrize("precision", ["fp32", "amp_bf16"])
def test_a_sharded_model_is_validated_as_a_whole_one(two_ranks: Path, precision: str) -> None:
    found = torch.load(two_ranks / "results.pt", weights_only=False)[f"encoded-{precision}"]
    tolerance = 1e-5 if precision == "fp32" else 0.02
    for ours, alone in zip(found, encoded({}, "fp32", ALONE), strict=True):
        assert (ours - alone).norm() < tolerance * alone.norm()


@pytest.mark.parametrize("other", ["cut", "ahead"])
@pytest.mark.parametrize("parallel", ["ddp", "fsdp2"])
def test_two_ranks_that_are_interrupted_or_ahead_end_with_the_same_bits(
    two_ranks: Path, parallel: str, other: str
) -> None:
    whole, cut = (StateFolder(two_ranks / f"{parallel}-{how}").saved()[0] for how in ("whole", other))
    a, b = (torch.load(state.path, weights_only=True) for state in (whole, cut))
    assert a["model"].keys() == b["model"].keys()
    assert all(torch.equal(a["model"][name], b["model"][name]) for name in a["model"])
    for name in ("digest", "losses", "tail_sum", "events"):
        assert a["progress"][name] == b["progress"][name], name


def test_the_order_is_the_same_on_two_ranks_as_on_one(two_ranks: Path, tmp_path: Path) -> None:
    loop, state = steps("ddp", ALONE, tmp_path, 20)
    results = torch.load(two_ranks / "results.pt", weights_only=False)
    # 20 steps of 16 captions, each of four tokens of the context's six.
    assert results["ddp"] == results["fsdp2"] == (state, loop.progress.digest, 20 * 16 * 4)


def test_ranks_are_read_from_a_slurm_step_too(monkeypatch: pytest.MonkeyPatch) -> None:
    from clip_scaling.train.distributed import _place

    assert _place({"SLURM_STEP_NUM_TASKS": "4", "SLURM_PROCID": "3", "SLURM_LOCALID": "1"}) == (3, 4, 1)
    assert _place({"SLURM_STEP_NUM_TASKS": "1", "SLURM_PROCID": "0", "SLURM_LOCALID": "0"}) == (0, 1, 0)
    assert _place({"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1"}) == (5, 8, 1)
    assert _place({}) == (0, 1, 0)


def test_positions_of_ranks_are_spread(two_ranks: Path) -> None:
    assert np.array_equal(rank_positions(2, 8, 1, 2), [17, 19, 21, 23])


def test_a_rank_among_several_validates_on_the_whole_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from clip_scaling.data.evaluation_sets.read import read_batches

    from ..evaluate.examples import random_images, write_set

    folder = write_set(tmp_path / "set", random_images(5, (8, 8)), {"cls": list("01010")}, {})
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert sum(len(batch.pixels) for batch in read_batches(folder, 8, 2)) == 5
