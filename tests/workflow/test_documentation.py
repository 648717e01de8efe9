"""Every command of README and docs/ is run, as far as it can be in seconds and without network; every page is held up.

A shell block is run by bash in a project whose `snakemake`, `clip-scaling`, `python` and `make` are those of
documented_command.py. A command that is in no class there fails its block: say there what is to be done with it.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from pydantic import ValidationError

from clip_scaling.study.config.evaluation import Suite
from clip_scaling.study.file import Study

from .documented_command import UNKNOWN
from .test_extending import put

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "config/README.md")] + sorted(ROOT.glob("docs/*.md"))
LANGUAGES = {"sh", "text", "yaml", "python", "json", "diff", "mermaid", "bibtex"}
TOOLS = ("sha256sum",)  # of the system, and as they are
STANDS_FOR = {
    # The tour's study is that of the other tests: two cells, trained once for all.
    "config/offline.yaml": "study.yaml",
    "results/offline/tables": "results/laptop/tables",  # made up, since two cells carry no law
    "results/offline": "results/tiny",
    "Scenes-1K_Samples-8K": "Scenes-1K_Samples-2K",
}


@dataclass(frozen=True)
class Block:
    """A fenced block, or a command inside a sentence, and where it stands."""

    page: Path
    line: int
    language: str
    text: str

    @property
    def place(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(page: Path) -> list[Block]:
    """All fenced blocks of a page."""
    text = page.read_text(encoding="utf-8")
    found = re.finditer(r"^```([^\n]*)\n(.*?)^```$", text, flags=re.M | re.S)
    return [Block(page, text.count("\n", 0, each.start()) + 1, each[1], each[2]) for each in found]


def mentions(page: Path) -> list[Block]:
    """Commands of this project inside sentences and tables."""
    text = re.sub(
        r"^```.*?^```$", lambda each: "\n" * each[0].count("\n"), page.read_text(encoding="utf-8"), flags=re.M | re.S
    )
    found = re.finditer(r"`((?:snakemake|clip-scaling|make|python (?:scripts|benchmarks)/\S+)(?: [^`\n]*)?)`", text)
    return [Block(page, text.count("\n", 0, each.start()) + 1, "", each[1]) for each in found]


SHELL = [block for page in PAGES for block in blocks(page) if block.language == "sh"]
MENTIONS = list({block.text: block for page in PAGES for block in mentions(page)}.values())


@pytest.fixture(scope="module")
def project(finished: Any, repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The finished study with tables of laws that hold, and shims before the real commands."""
    root = tmp_path_factory.mktemp("documented")
    for path in repository.iterdir():
        if not path.name.startswith(".") and path.name not in ("results", "tests"):
            (root / path.name).symlink_to(path.resolve())
    for name in ("results", ".snakemake"):
        shutil.copytree(finished.root / name, root / name, symlinks=True)
    shutil.copy2(finished.root / "study.yaml", root)
    change = next(block for block in blocks(repository / "docs/tour.md") if block.language == "yaml")
    study = put(yaml.safe_load((root / "study.yaml").read_text()), yaml.safe_load(change.text))
    (root / "mine.yaml").write_text(yaml.safe_dump(study))
    (root / ".venv/bin").mkdir(parents=True)
    (root / ".venv/bin/activate").touch()
    (root / "bin").mkdir()
    for name in ("snakemake", "clip-scaling", "python", "make"):
        shim = root / "bin" / name
        shim.write_text(
            f'#!/bin/sh\nexec "{sys.executable}" "{Path(__file__).with_name("documented_command.py")}" {name} "$@"\n'
        )
        shim.chmod(0o755)
    for name in TOOLS:
        (root / "bin" / name).symlink_to(str(shutil.which(name)))
    write_tables(root / "results")
    return root


def write_tables(results: Path) -> None:
    """Tables of measurements that follow E = 2 m^-0.1 s^-0.15 + u^-0.3 nearly, for the commands on laws."""
    random = np.random.default_rng(0)

    def runs(source: str, dataset: str, metric: str, scale: float = 1.0) -> pd.DataFrame:
        axes = [(m, s, u) for m in (7.4, 41.0, 175.0, 290.0) for s in (3e9, 13e9, 34e9) for u in (80e6, 400e6, 2e9)]
        table = pd.DataFrame(axes, columns=["gmacs_per_sample", "samples_seen", "unique_pairs"])
        m, s, u = (table[name] for name in table)
        error = (
            (2 * m**-0.1 * (s / 1e9) ** -0.15 + (u / 1e6) ** -0.3)
            / 4
            * scale
            * np.exp(random.normal(0, 0.02, len(table)))
        )
        names = {value: f"Model-{value:g}" for value in set(m)}
        cells = [f"{source}-{number}" for number in range(len(table))]
        return table.assign(
            cell=cells, model=m.map(names), data=u.map("Data-{:g}".format), seed=0, compute_gmacs=m * s,
            dataset=dataset, metric=metric, source=source, value=error if "loss" in metric else 1 - error, n=50_000,
        )  # fmt: skip

    own = [runs("laptop", dataset, "contrastive_loss") for dataset in ("iconify-captions", "scenes-captions")]
    own.append(runs("laptop", "iconify-icons", "acc1"))
    accuracies = [runs("openclip", "imagenet1k", "acc1"), runs("openai", "imagenet1k", "acc1", scale=1.1)]
    for study, tables in (("laptop", own), ("published", accuracies)):
        folder = results / study / "tables"
        folder.mkdir(parents=True)
        table = pd.concat(tables)
        table.to_csv(folder / "metrics.csv", index=False)
        table.to_parquet(folder / "metrics.parquet", index=False)
    mine = runs("own", "imagenet", "acc1")[["cell", "dataset", "metric"]]
    mine = mine.assign(train_flops=accuracies[0]["compute_gmacs"] * 6e9, top1_error=1 - accuracies[0]["value"])
    mine.to_csv(results.parent / "runs.csv", index=False)
    sizes, flop = (axis.ravel() for axis in np.meshgrid(np.geomspace(6e7, 1.6e10, 6), np.geomspace(1e18, 1e21, 4)))
    loss = 1.82 + 482 * sizes**-0.348 + 2085 * (flop / 6 / sizes) ** -0.366
    chinchilla = pd.DataFrame({"Model Size": sizes, "Training FLOP": flop, "loss": loss})
    chinchilla.to_csv(results.parent / "chinchilla.csv", index=False)


def run(project: Path, block: Block, **environment: str) -> None:
    """Run the block by bash, up to its first command that fails."""
    text = block.text
    for shown, tested in STANDS_FOR.items():
        text = text.replace(shown, tested)
    env = os.environ | {
        "PATH": str(project / "bin"),
        "REAL_PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "DOCUMENTED_COMMANDS": str(project / "commands.log"),
        "OMP_NUM_THREADS": "1",
    }
    done = subprocess.run(
        [str(shutil.which("bash")), "-euo", "pipefail", "-c", text],
        cwd=project, env=env | environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    hint = f" (127 and {UNKNOWN}: a command in no class of documented_command.py)"
    assert done.returncode == 0, f"{block.place} ended with {done.returncode}{hint}:\n{text}\n{done.stdout[-3000:]}"


@pytest.mark.slow
@pytest.mark.parametrize("block", SHELL, ids=lambda block: block.place)
def test_a_block_of_commands_runs(project: Path, block: Block) -> None:
    run(project, block)


@pytest.mark.slow
@pytest.mark.parametrize("mention", MENTIONS, ids=lambda mention: mention.place)
def test_a_command_in_a_sentence_is_one(project: Path, mention: Block) -> None:
    run(project, mention, IS_MENTION="1")


@pytest.mark.slow
@pytest.mark.parametrize(
    "command",
    [
        "curl https://example.org",  # in no class
        "python -c pass",
        "snakemake --no-such-option",
        "snakemake --cores all results/laptop/no-such-file",
        "snakemake results/laptop/report.html",  # without --cores
        "make no-such-target",
        "clip-scaling export",  # a cell is required
        "python scripts/train.py --no-such-option ...",
        "python scripts/no_such_script.py",
    ],
)
def test_a_command_that_is_wrong_or_in_no_class_fails(project: Path, command: str) -> None:
    with pytest.raises(AssertionError, match="ended with"):
        run(project, Block(ROOT / "README.md", 1, "sh", command))


@pytest.mark.slow
def test_the_python_of_a_page_runs(project: Path) -> None:
    code = "".join(block.text for block in blocks(ROOT / "docs/laws.md") if block.language == "python")
    done = subprocess.run([sys.executable, "-c", code], cwd=project, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_fenced_block_says_its_language(page: Path) -> None:
    unknown = [block.place for block in blocks(page) if block.language not in LANGUAGES]
    assert not unknown, f"{unknown}: write one of {', '.join(sorted(LANGUAGES))} after the fence; sh is run"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_options_that_a_page_shows_are_accepted(page: Path) -> None:
    """A block of YAML is part of a study file, put into a study that has what it leaves out, or a suite."""
    if page.name == "extend.md":
        return  # with the changes of code that it shows: test_extending.py
    for block in blocks(page):
        if block.language == "yaml":
            part = yaml.safe_load(block.text)
            try:
                Suite.model_validate(part)
            except ValidationError:
                whole = put(yaml.safe_load((ROOT / "config/laptop.yaml").read_text()), part)
                Study.model_validate(whole)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files_and_headings_that_are_there(page: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        path, _, anchor = link.partition("#")
        if path.startswith("http"):
            continue
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{page.name}: {link}"
        if anchor:
            assert anchor in anchors(target), f"{page.name}: {link} is no heading there"


def anchors(page: Path) -> set[str]:
    """GitHub's anchors of a page's headings."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), flags=re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_contents_page_lists_every_page() -> None:
    listed = set(re.findall(r"\]\(([\w.]+\.md)\)", (ROOT / "docs/README.md").read_text(encoding="utf-8")))
    assert listed == {page.name for page in ROOT.glob("docs/*.md")} - {"README.md"}
