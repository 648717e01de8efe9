"""A study file is refused with the thing, the place and the next step; a good one resolves to its cells."""

import copy
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from clip_scaling.errors import ConfigError
from clip_scaling.study.config.evaluation import Suite
from clip_scaling.study.resolve import load_any_study, load_study
from clip_scaling.study.resolved import samples_trained
from clip_scaling.train.schedule import warmup_steps


@pytest.fixture
def raw(repository: Path) -> dict[str, Any]:
    return yaml.safe_load((repository / "config" / "offline.yaml").read_text())


def load(raw: dict[str, Any], repository: Path) -> Any:
    return load_study(raw, root=repository)


@pytest.mark.parametrize("name", ["laptop", "smoke", "offline"])
def test_every_study_of_the_project_is_valid(name: str, repository: Path) -> None:
    study = load(yaml.safe_load((repository / "config" / f"{name}.yaml").read_text()), repository)
    assert study.config.study == name


def test_a_file_with_tables_is_a_study_of_published_results(repository: Path) -> None:
    raw = yaml.safe_load((repository / "config" / "published.yaml").read_text())
    study = load_any_study(raw, repository)
    assert ("imagenet1k", "acc1") in study.targets()
    assert not any(dataset == "vtab" for dataset, _ in study.targets())
    raw["tables"][0]["sha256"] = "short"
    with pytest.raises(ConfigError, match=r"tables\.0\.sha256"):
        load_any_study(raw, repository)


def test_the_laptop_grid_is_as_large_as_promised(repository: Path) -> None:
    study = load(yaml.safe_load((repository / "config" / "laptop.yaml").read_text()), repository)
    assert len(study.cells) >= 36
    pairs = sorted(study.config.data[name].pairs for name in study.config.grid.data)
    assert len(pairs) >= 3 and pairs[-1] / pairs[0] >= 100
    budgets = sorted({cell.samples_seen for cell in study.cells.values()})
    assert len(budgets) >= 4 and budgets[-1] / budgets[0] >= 10**1.5


def test_the_grid_is_the_product_of_its_axes_in_order(raw: dict[str, Any], repository: Path) -> None:
    names = list(load(raw, repository).cells)
    assert len(names) == 8
    assert names[0] == "Model-ViT-nano-8_Data-Scenes-1K_Samples-8K_Seed-0"
    assert names[-1] == "Model-ViT-micro-8_Data-Scenes-8K_Samples-32K_Seed-0"


def test_epochs_are_a_budget_axis_too(raw: dict[str, Any], repository: Path) -> None:
    del raw["grid"]["samples_seen"]
    raw["grid"]["epochs"] = [2]
    budgets = {cell.data: cell.samples_seen for cell in load(raw, repository).cells.values()}
    assert budgets == {"Scenes-1K": 2_000, "Scenes-8K": 16_000}


def test_cells_may_be_excluded_and_added(raw: dict[str, Any], repository: Path) -> None:
    raw["grid"]["exclude"] = [{"model": "ViT-micro-8", "samples_seen": "32K"}]
    raw["grid"]["include"] = [{"model": "ViT-nano-8", "data": "Scenes-8K", "samples_seen": "64K", "seed": 3}]
    names = list(load(raw, repository).cells)
    assert len(names) == 8 - 2 + 1
    assert names[-1] == "Model-ViT-nano-8_Data-Scenes-8K_Samples-64K_Seed-3"


def test_a_later_override_wins(raw: dict[str, Any], repository: Path) -> None:
    raw["recipe"]["overrides"] = [
        {"model": "ViT-nano-8", "recipe": {"learning_rate": 0.5}},
        {"model": "ViT-nano-8", "samples_seen": "8K", "recipe": {"learning_rate": 0.25}},
    ]
    study = load(raw, repository)
    rates = {
        cell.samples_seen: study.recipe(cell).learning_rate for cell in study.cells.values() if "nano" in cell.model
    }
    assert rates == {8_000: 0.25, 32_000: 0.5}


def test_an_override_of_the_warm_up_takes_the_place_of_the_defaults(raw: dict[str, Any], repository: Path) -> None:
    raw["recipe"]["defaults"]["warmup_steps"] = 5
    raw["recipe"]["overrides"] = [{"model": "ViT-nano-8", "recipe": {"warmup_fraction": 0.2}}]
    study = load(raw, repository)
    steps = {cell.model: warmup_steps(study.recipe(cell), 100) for cell in study.cells.values()}
    assert steps == {"ViT-nano-8": 20, "ViT-micro-8": 5}


def change(raw: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    changed = copy.deepcopy(raw)
    *parents, last = path.split("/")
    place = changed
    for part in parents:
        place = place[part]
    place[last] = value
    return changed


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("grid/modles", ["ViT-nano-8"], r"grid\.modles: unknown key.*models"),
        ("grid/models", ["ViT-nano8"], r"'ViT-nano8'.*not an open_clip model.*ViT-nano-8"),
        ("grid/data", ["Scenes-9K"], r"grid\.data: 'Scenes-9K'.*Scenes-8K"),
        ("grid/samples_seen", ["8k"], r"grid\.samples_seen\.0: '8k' is not a count"),
        ("grid/epochs", [1], r"exactly one of samples_seen and epochs"),
        (
            "recipe/defaults/warmup_steps",
            5_000,
            r"Samples-8K_Seed-0: warmup_steps 5000 is not shorter than the run of 63",
        ),
        ("recipe/defaults/warmup_fraction", 1.0, r"warmup_fraction.*less than 1"),
        (
            "recipe/defaults/global_batch_size",
            2_000,
            r"global_batch_size 2000 is more than the 1000 pairs of 'Scenes-1K'",
        ),
        ("data/Scenes-8K/pairs", "80K", r"data\.Scenes-8K\.pairs: 80K asked, but sources\.scenes\.pairs has 10K"),
        ("data/Scenes-8K/source", "scnes", r"'scnes' is not one of sources.*scenes"),
        ("data/scenes", {"source": "scenes", "pairs": "1K"}, r"same name"),
        ("data/Scenes-1K/is_copied", True, r"data\.Scenes-1K\.is_copied: sources\.scenes is of kind procedural"),
        ("study", "../elsewhere", r"study: .*no valid name"),
        ("evaluation/suite", "laptopp", r"laptopp\.yaml: no such file. There are: .*laptop"),
        ("evaluation/suite", "laptop", r"'iconify-icons' is not held out by any source.*scenes-captions"),
        ("evaluation/loss_batch_size", 501, r"loss_batch_size: 501 is more than the 500 pairs"),
        ("sources/scenes/vocabulary_size", 5_000, r"token table has 4096 rows.*5000"),
        (
            "recipe/overrides",
            [{"model": "ViT-nano", "recipe": {"learning_rate": 1}}],
            r"overrides\.0\.model: 'ViT-nano'.*ViT-nano-8",
        ),
        ("recipe/overrides", [{"recipe": {"learning_rte": 1}}], r"recipe\.learning_rte: unknown key.*learning_rate"),
        ("grid/exclude", [{"seed": 0}], r"no cell is left"),
    ],
)
def test_bad_input_is_refused_with_its_place(
    raw: dict[str, Any], repository: Path, path: str, value: Any, message: str
) -> None:
    with pytest.raises(ConfigError, match=f"(?s){message}"):
        load(change(raw, path, value), repository)


def test_all_problems_are_told_at_once(raw: dict[str, Any], repository: Path) -> None:
    raw["grid"]["models"] = ["ViT-nano8"]
    raw["grid"]["data"] = ["Scenes-9K"]
    with pytest.raises(ConfigError) as error:
        load(raw, repository)
    assert "ViT-nano8" in str(error.value) and "Scenes-9K" in str(error.value)


def wsd(raw: dict[str, Any], **changes: Any) -> dict[str, Any]:
    raw["recipe"]["defaults"] |= {"schedule": "wsd", "warmup_steps": 10} | changes
    return raw


def test_trunks_save_more_than_a_third_over_doubling_budgets(raw: dict[str, Any], repository: Path) -> None:
    # Budgets 1, 2, 4, 8: cosine trains 15; a trunk to 0.8 x 8 and four cooldowns of a fifth train 6.4 + 3 = 9.4.
    raw["grid"]["samples_seen"] = ["128K", "256K", "512K", "1024K"]
    cosine, trunks = (
        sum(samples_trained(study, cell) for cell in study.cells.values())
        for study in (load(raw, repository), load(wsd(copy.deepcopy(raw)), repository))
    )
    assert trunks / cosine == pytest.approx(9.4 / 15, rel=1e-3)


def test_a_cell_leaves_its_trunk_where_its_cooldown_begins(raw: dict[str, Any], repository: Path) -> None:
    study = load(wsd(raw, cooldown_fraction=0.25), repository)
    small, large = list(study.cells.values())[:2]
    # 8,000 and 32,000 samples at batch 128: 63 and 250 steps, of which 16 and 62 cool down.
    assert (study.branch_step(small), study.branch_step(large)) == (47, 188)
    assert study.trunk(large) == [small, large]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"recipe": {"defaults": {"schedule": "wsd", "warmup_fraction": 0.1}}}, "schedule wsd needs warmup_steps"),
        (
            {"recipe": {"defaults": {"schedule": "wsd", "warmup_steps": 30}}},
            "warmup_steps 30 is not shorter than the 26 steps before its cooldown",
        ),
        (
            {
                "recipe": {
                    "defaults": {"schedule": "wsd", "warmup_steps": 5},
                    "overrides": [{"samples_seen": "32K", "recipe": {"learning_rate": 1e-4}}],
                }
            },
            "learning_rate is not that of",
        ),
        ({"recipe": {"defaults": {"virtual_epoch": "1K"}}}, "virtual_epoch needs sampling: replacement"),
        ({"recipe": {"defaults": {"crop_scale": [0.9, 0.5]}}}, "must be two shares, the smaller first"),
        (
            {"recipe": {"defaults": {"precision": "amp"}}, "resources": {"train": {"gpus": 0}}},
            "precision 'amp' needs resources.train.gpus",
        ),
        ({"recipe": {"defaults": {"objective": "coca"}}}, "objective 'coca' does not go with"),
        ({"recipe": {"defaults": {"readers": 64}}}, "64 readers for 1 shards"),
        ({"resources": {"train": {"tasks_per_node": 3}}}, "not a multiple of 3 ranks x 1 micro-batches"),
        ({"resources": {"train": {"gpus": 4, "tasks_per_node": 2}}}, "one rank a GPU"),
        ({"resources": {"overrides": [{"model": "ViT-nano-8", "train": {"nodez": 2}}]}}, "nodez: unknown key"),
        ({"resources": {"evaluate": {"gpus": 2}}}, "gpus 2: such a job uses one GPU; `evaluation.jobs` gives"),
        (
            {"resources": {"evaluate": {"runtime": 9}}},
            "resources.evaluate.runtime: unknown key",
        ),
        (
            {"resources": {"overrides": [{"model": "ViT-nano-8", "evaluate": {"mem": 2}}]}},
            "Samples-8K_Seed-0: resources.evaluate.mem: unknown key",
        ),
        (
            {"resources": {"overrides": [{"fine_tune": {"gpus": 3}}]}},
            "Samples-8K_Seed-0: resources.fine_tune: gpus 3: such a job uses one GPU",
        ),
        ({"resources": {"overrides": [{"model": "ViT-nano-8"}]}}, "give fields of train, evaluate or fine_tune"),
        ({"evaluation": {"suite": "offline", "validation": {"datasets": ["x"]}}}, "'x' is not in the suite"),
        (
            {"evaluation": {"suite": "offline", "validation": {"datasets": ["scenes-captions"], "max_samples": 20}}},
            "max_samples: 20 is less than evaluation.loss_batch_size 250",
        ),
    ],
)
def test_training_that_cannot_be_is_refused_at_the_plan(
    raw: dict[str, Any], repository: Path, changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigError, match=re.escape(said)):
        load(raw | changes, repository)


def test_readers_are_held_against_the_tars_that_are_there_not_against_an_estimate(
    raw: dict[str, Any], repository: Path, tmp_path: Path
) -> None:
    web = {"kind": "webdataset", "tars": [f"{tmp_path}/{{0..4}}.tar"], "pairs": "10K", "vocabulary_size": 600}
    raw["sources"]["web"] = web
    for data in raw["data"].values():
        data |= {"source": "web"}
    raw["recipe"]["defaults"]["readers"] = 4
    load(raw, repository)  # 10,000 pairs would be one tar, as expected; none is there
    for number in range(5):
        (tmp_path / f"{number}.tar").touch()
    load(raw, repository)
    raw["recipe"]["defaults"]["readers"] = 6
    with pytest.raises(ConfigError, match="6 readers for 5 shards"):
        load(raw, repository)


def test_resources_follow_their_overrides(raw: dict[str, Any], repository: Path) -> None:
    raw["resources"] = {
        "train": {"tasks_per_node": 2},
        "overrides": [{"model": "ViT-micro-8", "train": {"nodes": 2, "runtime_minutes": 90}}],
    }
    study = load(raw, repository)
    nano, micro = (study.config.resources.train_of(cell) for cell in (list(study.cells.values())[n] for n in (0, -1)))
    assert (nano.ranks, micro.ranks, micro.ranks_per_node, micro.runtime_minutes) == (2, 4, 2, 90)


def test_jobs_after_training_take_a_gpu_where_it_does_unless_they_are_given_their_own(
    raw: dict[str, Any], repository: Path, fake_gpus: Callable[..., None]
) -> None:
    def gpus(here: int, **resources: Any) -> tuple[int, int]:
        fake_gpus(*["NVIDIA H100 80GB HBM3"] * here)
        study = load(raw | {"resources": resources}, repository)
        cell, found = list(study.cells.values())[-1], study.config.resources
        return found.evaluate_of(cell).gpus_of(found.train_of(cell)), found.fine_tune_of(cell).gpus_of(
            found.train_of(cell)
        )

    assert (gpus(0), gpus(2)) == ((0, 0), (1, 1))
    assert gpus(0, train={"gpus": 4}) == (1, 1)  # on a cluster, whose login node has none
    assert gpus(2, train={"gpus": 0}) == (0, 0)
    assert gpus(0, train={"gpus": 4}, evaluate={"gpus": 0}) == (0, 1)
    assert gpus(2, train={"gpus": 0}, overrides=[{"model": "ViT-micro-8", "fine_tune": {"gpus": 1}}]) == (0, 1)


def write_suite(root: Path, suite: dict[str, Any], repository: Path) -> Path:
    """A project folder whose suite `offline` is this one."""
    (root / "config" / "evaluation").mkdir(parents=True)
    (root / "config" / "models").symlink_to(repository / "config" / "models")
    (root / "config" / "evaluation" / "offline.yaml").write_text(yaml.safe_dump(suite))
    return root


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"dataset": "scenes-captions"}, "give metrics, linear_probe or fine_tune"),
        ({"dataset": "scenes-captions", "metrics": ["acc1"]}, "'acc1' is not measured in zeroshot_retrieval"),
        ({"dataset": "scenes-captions", "linear_probe": [10]}, "has no training split"),
        ({"dataset": "digits", "origin": "digits", "linear_probe": ["half"]}, "linear_probe"),
        (
            {"dataset": "vtab/flowers", "origin": "webdataset", "folder": "/nowhere/{dataset}", "metrics": ["acc1"]},
            "/nowhere/vtab-flowers has no test/nshards.txt. Get it by `git clone",
        ),
        (
            {"dataset": "cars", "origin": "webdataset", "folder": "/nowhere", "linear_probe": ["full"]},
            "no test/nshards.txt and no train/nshards.txt",
        ),
    ],
)
def test_a_set_that_is_not_there_or_cannot_be_measured_is_refused_at_the_plan(
    raw: dict[str, Any], repository: Path, tmp_path: Path, entry: dict[str, Any], said: str
) -> None:
    del raw["evaluation"]["validation"]
    with pytest.raises(ConfigError, match=re.escape(said)):
        load(raw, write_suite(tmp_path, {"datasets": [entry]}, repository))


def test_probes_and_means_are_targets(raw: dict[str, Any], repository: Path, tmp_path: Path) -> None:
    del raw["evaluation"]["validation"]
    suite: dict[str, Any] = {
        "datasets": [
            {"dataset": "scenes-colour-shape", "metrics": ["acc1"]},
            {"dataset": "digits", "origin": "digits", "linear_probe": [5, "full"]},
        ],
        "aggregates": [
            {"dataset": "both", "metric": "acc1", "of": ["scenes-colour-shape", "linear_probe/digits-full"]}
        ],
    }
    study = load(raw, write_suite(tmp_path, suite, repository))
    assert study.targets() == [
        ("scenes-colour-shape", "acc1"),
        ("linear_probe/digits-5-shot", "acc1"),
        ("linear_probe/digits-full", "acc1"),
        ("both", "acc1"),
    ]
    suite["aggregates"][0]["of"][1] = "digits-full"
    with pytest.raises(ConfigError, match="'digits-full' is no target of the suite"):
        load(raw, write_suite(tmp_path / "again", suite, repository))


@pytest.mark.parametrize("name", ["vtab_plus", "imagenet_robustness", "retrieval", "linear_probe"])
def test_the_papers_suites_are_whole(name: str, repository: Path) -> None:
    suite = Suite.model_validate(yaml.safe_load((repository / "config" / "evaluation" / f"{name}.yaml").read_text()))
    sizes = {"vtab_plus": 35, "imagenet_robustness": 6, "retrieval": 2, "linear_probe": 20}
    assert len({entry.dataset for entry in suite.datasets}) == sizes[name]
    means = {mean.dataset: len(set(mean.of)) for mean in suite.aggregates}
    expected = {
        "vtab_plus": {"vtab+": 35, "imagenet_robustness": 5},
        "imagenet_robustness": {"imagenet_robustness": 5},
        "linear_probe": {"linear_probe/vtab": 19},
    }
    assert means == expected.get(name, {})


def test_the_report_shows_the_first_seven_targets_or_those_that_it_is_given(
    raw: dict[str, Any], repository: Path
) -> None:
    study = load(raw, repository)
    assert study.config.report.of(study.targets()) == study.targets()[:7]
    dataset, metric = study.targets()[-1]
    raw["report"] = {"targets": [{"dataset": dataset, "metrics": [metric]}]}
    study = load(raw, repository)
    assert study.config.report.of(study.targets()) == [(dataset, metric)]
    raw["report"] = {"targets": [{"dataset": dataset, "metrics": ["acc2"]}]}
    said = rf"report.targets: '{dataset} acc2' is no target of the study. Close matches"
    with pytest.raises(ConfigError, match=said):
        load(raw, repository)


def test_credentials_in_a_study_file_are_refused_without_being_shown(raw: dict[str, Any], repository: Path) -> None:
    raw["sources"]["scenes"] = {"kind": "webdataset", "tars": ["https://me:secret@host/{00..10}.tar"]}
    with pytest.raises(ConfigError, match=r"sources\.scenes\.tars\.0: https://\*\*\*@host.*netrc") as error:
        load_study(raw, repository)
    assert "secret" not in str(error.value)


@pytest.mark.parametrize("name", ["a;touch x", "a$(id)", "a b", "a\nb"])
def test_a_model_whose_name_would_run_a_command_is_refused(tmp_path: Path, name: str) -> None:
    from clip_scaling.study.resolve import model_config

    (tmp_path / "config" / "models").mkdir(parents=True)
    (tmp_path / "config" / "models" / f"{name}.json").write_text("{}")
    with pytest.raises(ConfigError, match="is no valid name of a model"):
        model_config(name, tmp_path)
