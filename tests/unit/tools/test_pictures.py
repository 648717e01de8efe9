"""The pictures of docs/design.md: what is drawn, and that the page shows what is there."""

import shutil
import subprocess
import sys
from pathlib import Path

from clip_scaling.tools.pictures import module_graph, replace_picture, rule_graph


def test_an_arrow_that_others_imply_is_left_out_and_rules_stand_in_the_box_of_their_file(tmp_path: Path) -> None:
    (tmp_path / "data.smk").write_text("rule fetch:\nrule unused:\n")
    (tmp_path / "cells.smk").write_text("def not_a_rule():\n")
    (tmp_path / "train.smk").write_text("if True:\n    rule train:\n    rule report:\n")
    drawn = "flowchart TB\n\tid0[report]\n\tid1[train]\n\tid2[fetch]\n\tid2 --> id1\n\tid1 --> id0\n\tid2 --> id0\n"
    assert rule_graph(drawn, tmp_path).splitlines() == [
        "flowchart LR",
        '  subgraph box_data_smk["data.smk"]',
        "    fetch",
        "  end",
        '  subgraph box_train_smk["train.smk"]',
        "    report",
        "    train",
        "  end",
        "  fetch --> train",
        "  train --> report",
    ]


def test_modules_are_drawn_by_package_and_those_that_import_nothing_slow_as_one_box(tmp_path: Path) -> None:
    files = {
        "workflow/src/clip_scaling/__init__.py": "",
        "workflow/src/clip_scaling/config/__init__.py": "from .base import Name\n",
        "workflow/src/clip_scaling/config/base.py": "import pydantic\nfrom ..errors import told\n",
        "workflow/src/clip_scaling/cli.py": "from . import doctor\nfrom .train.loop import run\n",
        "workflow/src/clip_scaling/doctor.py": "import os\n",
        "workflow/src/clip_scaling/errors.py": "import sys\n",
        "workflow/src/clip_scaling/grid.py": "from .errors import told\n",
        "workflow/src/clip_scaling/metrics.py": "import numpy\n",
        "workflow/src/clip_scaling/train/__init__.py": "",
        "workflow/src/clip_scaling/train/loop.py": "import torch\nfrom ..grid import Cell\nfrom .step import step\n",
        "workflow/src/clip_scaling/train/step.py": "def f():\n    from .. import metrics\n",
        "workflow/src/snakemake_executor_plugin_submitit/launch.py": "import os\n",
        "scripts/train.py": "from clip_scaling.train.loop import run\nfrom clip_scaling.study.grid import Cell\n",
        "workflow/rules/common.smk": "from snakemake_executor_plugin_submitit.launch import launcher\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    arrows = [line.strip() for line in module_graph(tmp_path).splitlines() if "-->" in line]
    assert arrows == [
        "cli --> train",
        "rules --> executor_plugin",
        "rules --> scripts",
        "scripts --> train",
        "train --> light_modules",
        "train --> metrics",
    ]
    assert 'light_modules["light modules: config, errors, grid"]' in module_graph(tmp_path)


def test_what_stands_around_a_picture_stays() -> None:
    page = "a\n<!-- x: begin, drawn by `make docs` -->\nold\n<!-- x: end -->\nb\n"
    new = "a\n<!-- x: begin, drawn by `make docs` -->\n\n```mermaid\nnew\n```\n\n<!-- x: end -->\nb\n"
    assert replace_picture(page, "x", "new\n") == replace_picture(new, "x", "new\n") == new


def test_the_page_shows_the_rules_and_modules_that_are_there(repository: Path, tmp_path: Path) -> None:
    page = shutil.copy(repository / "docs/design.md", tmp_path / "design.md")
    command = [sys.executable, str(repository / "scripts/generate_pictures.py"), "--page", str(page)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert Path(page).read_text() == (repository / "docs/design.md").read_text(), "run `make docs`"
