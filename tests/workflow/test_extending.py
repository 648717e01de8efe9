"""The changes that docs/extend.md shows, taken from the page, applied to a copy of the project, and run."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image

from .conftest import Project

pytestmark = pytest.mark.slow
CELL = "Model-ViT-nano-8_Data-Scenes-1K_Samples-2K_Seed-0"
HEADINGS = ("A model", "A source", "An evaluation set", "A law", "An objective")


class Extended(Project):
    """A project with files of its own, whose library goes before the installed one."""

    def environment(self) -> dict[str, str]:
        return super().environment() | {
            "PYTHONPATH": str(self.root / "workflow" / "src"),
            "MY_SETS": str(self.root / "my_sets"),
        }

    def python(self, code: str, *arguments: str) -> str:
        """Run Python code with the library of the project; its stdout."""
        command = [sys.executable, "-c", code, *arguments]
        done = subprocess.run(command, cwd=self.root, env=self.environment(), capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout


def sections(repository: Path) -> dict[str, str]:
    """The page's sections by heading."""
    parts = re.split(r"^## (.*)\n", (repository / "docs/extend.md").read_text(encoding="utf-8"), flags=re.M)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def put(old: Any, new: Any) -> Any:
    """The old value with the new one in its place; mappings key by key."""
    is_mapping = isinstance(old, dict) and isinstance(new, dict)
    return old | {key: put(old.get(key), value) for key, value in new.items()} if is_mapping else new


def merged(study: dict[str, Any], section: str) -> dict[str, Any]:
    """The study with what the section says under "In the study file" put into it."""
    change = re.search(r"^In the study file:\n\n```yaml\n(.*?)```", section, flags=re.M | re.S)
    assert change, section
    return put(study, yaml.safe_load(change[1]))


@pytest.fixture(scope="module")
def shown(repository: Path) -> dict[str, str]:
    return sections(repository)


@pytest.fixture(scope="module")
def extended(repository: Path, finished: Any, shown: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The finished study in a copy of the project that has every change of the page."""
    root = tmp_path_factory.mktemp("extended")
    for name in ("workflow", "scripts", "config", "profiles"):
        shutil.copytree(repository / name, root / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    shutil.copy2(repository / "Snakefile", root)
    for name in ("results", ".snakemake"):
        shutil.copytree(finished.root / name, root / name, symlinks=True)
    shutil.copy2(finished.root / "study.yaml", root)
    page = "".join(shown.values())
    for path, text in re.findall(r"`([\w./-]+)`:\n\n```\w+\n(.*?)```", page, flags=re.S):
        assert not (root / path).exists(), f"docs/extend.md: {path} is no new file"
        (root / path).write_text(text)
    # Where a temporary folder lies inside a repository, git would look for the files there.
    env = os.environ | {"GIT_CEILING_DIRECTORIES": str(root.parent)}
    for change in re.findall(r"```diff\n(.*?)```", page, flags=re.S):
        done = subprocess.run(["git", "apply", "-"], input=change, cwd=root, env=env, capture_output=True, text=True)
        assert done.returncode == 0, f"docs/extend.md: bring this change up to date ({done.stderr.strip()})\n{change}"
    return Extended(root)


def test_the_page_shows_each_kind_of_change(shown: dict[str, str]) -> None:
    assert tuple(shown) == HEADINGS
    for heading in ("A source", "A law", "An objective"):
        assert "```diff" in shown[heading]


def test_what_is_trained_and_evaluated_stays_under_all_the_changes(extended: Any) -> None:
    assert extended.planned(extended.root / "study.yaml") == {}


def test_a_model_of_ones_own_is_trained_and_the_others_stay(extended: Any, shown: dict[str, str]) -> None:
    file = extended.write(merged(extended.study(), shown["A model"]), "model.yaml")
    jobs = extended.planned(file)
    assert jobs["train"] == jobs["evaluate"] == 1
    target = f"results/tiny/train/{CELL.replace('nano', 'pico')}/train.json"
    extended.snakemake(target, "--configfile", file)
    record = json.loads((extended.root / target).read_text())
    assert (record["state"], record["model_config"]["embed_dim"]) == ("trained", 32)


def test_a_source_of_ones_own_becomes_a_subset_and_an_evaluation_set(extended: Any, shown: dict[str, str]) -> None:
    folder = extended.root / "pictures"
    folder.mkdir()
    for number in range(90):
        picture = Image.new("RGB", (40, 40), (number, 2 * number, 200))
        picture.save(folder / f"{number}.png")
        (folder / f"{number}.txt").write_text(f"picture number {number}\n")
    Image.new("RGB", (9, 9), "white").save(folder / "blank.png")
    shutil.copy(folder / "0.png", folder / "again.png")
    (folder / "again.txt").write_text("the first once more")
    study = merged(extended.study(), shown["A source"])
    targets = ("results/data/Mine-50/manifest.json", "results/data/mine/manifest.json")
    extended.snakemake(*targets, "--configfile", extended.write(study, "source.yaml"))
    subset, source = (json.loads((extended.root / target).read_text()) for target in targets)
    counts = source["counts"]
    assert subset["pairs"] == 50 and counts["parsed"] == 92 and counts["held_out"] == {"captions": 20}
    assert counts["kept"] + sum(counts["dropped"].values()) == 92 - 20
    assert counts["dropped"]["blank"] == 1


def test_laws_of_ones_own_are_fitted_and_nothing_is_trained(extended: Any, shown: dict[str, str]) -> None:
    study = extended.write(merged(extended.study(), shown["A law"]), "laws.yaml")
    jobs = extended.planned(study)
    assert jobs["fit"] and "train" not in jobs and "evaluate" not in jobs
    # Flat below 1e4 GMAC, then E = 2 C^-0.2: only a choice of the upper half finds that exponent.
    compute = np.array([1e2, 3e2, 1e3, 1e5, 1e6, 1e7])
    error = np.where(compute < 1e4, 0.5, 2 * compute**-0.2)
    table = {"cell": [f"c{i}" for i in range(6)], "compute_gmacs": compute, "dataset": "d", "metric": "acc1"}
    pd.DataFrame(table | {"value": 1 - error}).to_csv(extended.root / "table.csv", index=False)
    code = (
        "import sys, pandas as pd; from clip_scaling.laws import fit;"
        "print(fit(pd.read_csv('table.csv'), target='d', metric='acc1', method=sys.argv[1]).alpha)"
    )
    assert float(extended.python(code, "upper-half")) == pytest.approx(-0.2, abs=1e-9)
    assert float(extended.python(code, "ols-all")) != pytest.approx(-0.2, abs=0.02)
    # E = 3 m^-0.1 s^-0.3: alpha is the mean of both exponents.
    rows = pd.DataFrame([(m, s) for m in (1.0, 4.0, 9.0) for s in (1e5, 1e6, 1e7)])
    rows.columns = pd.Index(["gmacs_per_sample", "samples_seen"])
    rows["value"] = 1 - 3 * rows["gmacs_per_sample"] ** -0.1 * rows["samples_seen"] ** -0.3
    rows["compute_gmacs"] = rows["gmacs_per_sample"] * rows["samples_seen"]
    rows.assign(cell=rows.index.map("c{}".format), dataset="d", metric="acc1").to_csv(extended.root / "table.csv")
    assert float(extended.python(code, "model-samples")) == pytest.approx(-0.2, abs=1e-9)


def test_an_evaluation_set_of_ones_own_is_measured_without_training(extended: Any, shown: dict[str, str]) -> None:
    data = extended.root / "results" / "data"
    shutil.copytree(data / "eval-scenes-colour-shape", extended.root / "my_sets" / "shapes")
    file = extended.write(merged(extended.study(), shown["An evaluation set"]), "evaluation.yaml")
    jobs = extended.planned(file)
    assert jobs["evaluate"] == 2 and jobs["prepare_evaluation"] == 1 and "train" not in jobs
    target = extended.root / "results" / "tiny" / "evaluate" / CELL / "metrics.json"
    accuracy = {row["dataset"]: row["value"] for row in read_metrics(target) if row["metric"] == "acc1"}
    extended.snakemake(target.relative_to(extended.root), "--configfile", file)
    again = {row["dataset"]: row["value"] for row in read_metrics(target) if row["metric"] == "acc1"}
    assert again == {"shapes": accuracy["scenes-colour-shape"]}  # the same images under another name


def read_metrics(path: Path) -> list[dict[str, Any]]:
    return json.loads(path.read_text())["metrics"]


def test_an_objective_of_ones_own_trains_the_cells_that_ask_for_it(extended: Any, shown: dict[str, str]) -> None:
    # Two orthogonal pairs at scale 10: the own logit is 10, the only other one 0, so the loss is log(e^0) - 10.
    code = (
        "import torch; from clip_scaling.train.objective import DecoupledLoss;"
        "print(DecoupledLoss()(torch.eye(2), torch.eye(2), torch.tensor(10.0)).item())"
    )
    assert float(extended.python(code)) == pytest.approx(-10.0)
    file = extended.write(merged(extended.study(), shown["An objective"]), "objective.yaml")
    assert extended.planned(file)["train"] == 1
    target = f"results/tiny/train/{CELL}/train.json"
    extended.snakemake(target, "--configfile", file)
    record = json.loads((extended.root / target).read_text())
    assert (record["state"], record["recipe"]["objective"]) == ("trained", "decoupled")
