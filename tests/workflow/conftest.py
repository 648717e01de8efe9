"""A project of its own for the workflow's tests: this checkout's files by link, results and study files of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml


@dataclass
class Project:
    """A folder in which snakemake runs as in a fresh clone."""

    root: Path

    def study(self, **changes: Any) -> dict[str, Any]:
        """A procedural study of 2 models x 1 data size x 1 budget, with whole sections replaced."""
        study = yaml.safe_load((self.root / "config" / "offline.yaml").read_text())
        study["study"] = "tiny"
        study["sources"]["scenes"]["pairs"] = "2K"
        study["sources"]["scenes"]["held_out"]["captions"]["pairs"] = 60
        study["data"] = {"Scenes-1K": {"source": "scenes", "pairs": "1K"}}
        study["grid"] = {"models": ["ViT-nano-8", "ViT-micro-8"], "data": ["Scenes-1K"], "samples_seen": ["2K"]}
        study["evaluation"] |= {"loss_batch_size": 50}
        study["evaluation"]["validation"] |= {"times": 2, "max_samples": 50}
        return study | changes

    def write(self, study: dict[str, Any], name: str = "study.yaml") -> Path:
        """Write a study file into the project."""
        path = self.root / name
        path.write_text(yaml.safe_dump(study))
        return path

    def snakemake(self, *arguments: str | Path, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run snakemake in the project; its stdout and stderr together."""
        done = subprocess.run(
            [sys.executable, "-m", "snakemake", "--cores", "2", *map(str, arguments)],
            cwd=self.root,
            env=self.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        if check and done.returncode:
            pytest.fail(
                f"snakemake {' '.join(map(str, arguments))} ended with {done.returncode}:\n{done.stdout[-6000:]}"
            )
        return done

    def environment(self) -> dict[str, str]:
        """This interpreter first on PATH, so that rules run `python` of the same environment."""
        return os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}

    def planned(self, study: Path, *arguments: str) -> dict[str, int]:
        """Jobs by rule of a dry run; without `all`."""
        text = self.snakemake(*arguments, "-n", "--quiet", "rules", "--configfile", study).stdout
        jobs: dict[str, int] = {}
        if "job stats" not in text.lower():
            assert "Nothing to be done" in text, text
            return jobs
        for line in text.lower().split("job stats:")[1].splitlines():
            parts = line.split()
            if len(parts) == 2 and parts[1].isdigit() and parts[0] not in ("total", "all"):
                jobs[parts[0]] = int(parts[1])
        return jobs


@pytest.fixture(scope="session")
def make_project(tmp_path_factory: pytest.TempPathFactory, repository: Path) -> Any:
    """Call it for a new project without results."""

    def make() -> Project:
        root = tmp_path_factory.mktemp("project")
        for name in ("Snakefile", "workflow", "scripts", "config", "profiles"):
            (root / name).symlink_to(repository / name)
        return Project(root)

    return make


@pytest.fixture(scope="session")
def finished(make_project: Any) -> Project:
    """A project whose tiny study (study.yaml) has run to the report. Tests must leave its results as they are."""
    project = make_project()
    project.snakemake("--configfile", project.write(project.study()))
    return project


@pytest.fixture
def copied(finished: Project, make_project: Any) -> Project:
    """A copy of the finished project, for tests that run something: every run writes a new plan."""
    project = make_project()
    for name in ("results", ".snakemake"):
        shutil.copytree(finished.root / name, project.root / name, symlinks=True)
    shutil.copy2(finished.root / "study.yaml", project.root / "study.yaml")
    return project
