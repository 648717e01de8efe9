"""Memory and time limits of evaluations and fine-tunings."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from clip_scaling.cost.evaluation_needs import LEAST_MINUTES, MOST_MINUTES, EvaluationNeeds
from clip_scaling.cost.results import Results
from clip_scaling.data.evaluation_sets.size import SetSize
from clip_scaling.records.evaluation import CheckpointMetrics
from clip_scaling.study.config.evaluation import Suite
from clip_scaling.study.grid import Cell
from clip_scaling.study.resolve import load_study
from clip_scaling.study.resolved import ResolvedStudy

IMAGENET = SetSize(50_000, 80_000, 0, 1000)
DIGITS = {"dataset": "digits", "origin": "digits"}


@pytest.fixture
def make(raw: dict[str, Any], repository: Path) -> Callable[..., ResolvedStudy]:
    """Call it for a study of ViT-B-32 and ViT-L-14 with these resources and this suite."""

    def study(suite: dict[str, Any] | None = None, **resources: Any) -> ResolvedStudy:
        grid = {"models": ["ViT-B-32", "ViT-L-14"], "data": ["Scenes-8K"], "samples_seen": ["32K"]}
        sources = raw["sources"]["scenes"] | {"vocabulary_size": 4096}
        changed = raw | {"grid": grid, "sources": {"scenes": sources}, "resources": resources}
        found = load_study(
            changed | {"recipe": {"defaults": {"global_batch_size": 128, "learning_rate": 1e-3}}}, repository
        )
        given = {"datasets": [DIGITS | {"metrics": ["acc1"]}]} | (suite or {})
        object.__setattr__(found, "suite", Suite.model_validate(given))
        return found

    return study


def needs(study: ResolvedStudy, root: Path, **sizes: SetSize) -> tuple[EvaluationNeeds, Cell, Cell]:
    found = EvaluationNeeds(study, Results(root, study.config.study))
    found.sizes.update(sizes)
    base, large = study.cells.values()
    return found, base, large


def test_what_the_study_says_goes_before_any_estimate(make: Any, tmp_path: Path) -> None:
    override = {"model": "ViT-L-14", "evaluate": {"mem_mb": 900}, "fine_tune": {"runtime_minutes": 7}}
    study = make(evaluate={"runtime_minutes": 3, "mem_mb": 700}, overrides=[override])
    found, base, large = needs(study, tmp_path)
    assert (found.evaluate_mem_mb(base), found.evaluate_mem_mb(large)) == (700, 900)
    assert (found.evaluate_minutes(base), found.fine_tune_minutes(large, "digits")) == (3, 7)


def test_memory_follows_from_the_model_the_largest_set_and_the_gpu(make: Any, tmp_path: Path) -> None:
    found, base, large = needs(make(evaluate={"gpus": 1}), tmp_path, digits=IMAGENET)
    # Beside a process of 1 GB and a CUDA context of 4: the weights twice (151 M parameters, 428 M of ViT-L-14),
    # 130,000 features of 512 (768) twice, and 50 M scores.
    assert found.evaluate_mem_mb(base) == pytest.approx(5000 + 8 * 151 + 8 * 66.6 + 1000, abs=110)
    assert found.evaluate_mem_mb(large) == pytest.approx(5000 + 8 * 428 + 8 * 99.8 + 1000, abs=110)
    small, *_ = needs(make(evaluate={"gpus": 1}), tmp_path, digits=SetSize(100, 30, 0, 10))
    assert small.evaluate_mem_mb(base) == pytest.approx(5000 + 8 * 151, abs=110)
    # On a CPU a batch's activations are the host's, and there is no context.
    cpu, *_ = needs(make(evaluate={"gpus": 0}), tmp_path, digits=SetSize(100, 30, 0, 10))
    assert 2800 < cpu.evaluate_mem_mb(base) < 5000


def test_workers_take_memory_and_save_time(make: Any, tmp_path: Path) -> None:
    size = SetSize(739_000, 80_000, 0, 10)
    found, base, _ = needs(make(evaluate={"gpus": 1}), tmp_path, digits=size)
    quick, *_ = needs(make(evaluate={"gpus": 1, "workers": 15}), tmp_path, digits=size)
    assert quick.evaluate_mem_mb(base) == found.evaluate_mem_mb(base) + 15 * 500
    assert quick.evaluate_minutes(base) < found.evaluate_minutes(base) / 2


def test_the_limit_follows_from_the_model_the_sets_and_the_jobs(make: Any, tmp_path: Path) -> None:
    found, base, large = needs(make(evaluate={"gpus": 1}), tmp_path, digits=SetSize(739_000, 80_000, 0, 1000))
    # 819,000 passes, each decoded at 300 a second, three times over.
    assert 10 + 3 * 819_000 / 300 / 60 < found.evaluate_minutes(base) < found.evaluate_minutes(large) < MOST_MINUTES
    assert found.evaluate_minutes(base, jobs=4) == pytest.approx(10 + (found.evaluate_minutes(base) - 10) / 4, abs=1)
    cpu, *_ = needs(make(evaluate={"gpus": 0}), tmp_path, digits=SetSize(739_000, 80_000, 0, 1000))
    assert cpu.evaluate_minutes(large) == MOST_MINUTES
    small, *_ = needs(make(), tmp_path, digits=SetSize(100, 30, 0, 10))
    assert small.evaluate_minutes(base) == LEAST_MINUTES


def test_finished_evaluations_go_before_the_roofline(make: Any, tmp_path: Path) -> None:
    study = make(evaluate={"gpus": 1})
    found, base, large = needs(study, tmp_path, digits=IMAGENET)
    before = found.evaluate_minutes(large)
    seconds = {"digits": {"test": 3000.0, "measure": 600.0}}
    metrics = CheckpointMetrics(cell=base.name, state="trained", metrics=[], seconds=seconds)
    metrics.write(Results(tmp_path, study.config.study).paths.metrics(base.name))
    found, *_ = needs(study, tmp_path, digits=IMAGENET)
    assert (found.evaluate_minutes(base), found.evaluate_minutes(large)) == (10 + 180, before)


def test_probes_and_fine_tuning_take_their_sweeps_and_epochs(make: Any, tmp_path: Path) -> None:
    train = SetSize(10_000, 100, 50_000, 100)
    tuned = {"datasets": [DIGITS | {"linear_probe": ["full"], "fine_tune": True}], "fine_tuning": {"mixing": []}}
    study = make(tuned, fine_tune={"gpus": 1})
    found, base, _ = needs(study, tmp_path, digits=train)
    plain, *_ = needs(make(fine_tune={"gpus": 1}), tmp_path, digits=train)
    assert found.evaluate_minutes(base) > plain.evaluate_minutes(base)
    # 10 epochs of 3 passes over 50,000 images, and the test images twice.
    assert found.fine_tune_minutes(base, "digits") > 10 + 3 * 1_520_000 / 300 / 60
    # Weights, gradients, moments and the average, twice; three splits of 512 MB that are held, once more while read.
    assert found.fine_tune_mem_mb(base, "digits") == pytest.approx(5000 + 40 * 151 + 3072, abs=110)
    path = Results(tmp_path, study.config.study).paths.benchmark(f"fine_tune/{base.name}/digits")
    path.parent.mkdir(parents=True)
    path.write_text("s\th:m:s\n6000\t1:40:00\n")
    assert found.fine_tune_minutes(base, "digits") == 10 + 300
