"""The pictures of docs/design.md: what is drawn, and that the page shows what is there."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from clip_scaling.tools.pictures import module_graph, replace_picture, rule_graph


def test_an_arrow_that_others_imply_is_left_out_and_rules_stand_in_the_box_of_their_file(tmp_path: Path) -> None:
    (tmp_path / "data.smk").write_text("rule fetch:\nrule unused:\n")
    (tmp_path / "cells.smk").write_text("def not_a_rule():\n")
    (tmp_path / "train.smk").write_text("rule part:\nif True:\n    use rule part as train with:\n    rule report:\n")
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


def test_rooms_are_drawn_and_the_study_as_its_two_halves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {
        "house/__init__.py": "",
        "house/errors.py": "",
        "house/study/__init__.py": "",
        "house/study/config/__init__.py": "from ..grid import Cell\n",
        "house/study/grid.py": "from ..errors import Bad\n",
        "house/study/resolve.py": "from .config import Cell\nfrom ..train.loop import run\n",
        "house/train/__init__.py": "",
        "house/train/loop.py": "import json\nfrom ..study.grid import Cell\nfrom .step import step\n",
        "house/train/step.py": "def f():\n    from .. import errors\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    arrows = [line.strip() for line in module_graph("house").splitlines() if "-->" in line]
    assert arrows == ["study --> train", "study_words --> errors", "train --> study_words"]


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
