"""What a room may import from outside the library. `lint-imports` holds the arrows between rooms (pyproject.toml)."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = {"torch", "torchvision", "open_clip", "clip_benchmark", "webdataset"}
SLOW = HEAVY | {"numpy", "pandas", "scipy", "matplotlib", "altair", "snakemake"}
FORBIDDEN = {
    "errors.py": SLOW,
    "machine": SLOW,
    "study": SLOW,
    "plan": HEAVY | {"snakemake", "submitit"},
    "cost": HEAVY | {"snakemake", "submitit"},
    "records": HEAVY | {"snakemake", "submitit"},
    "laws": HEAVY | {"snakemake"},
    "published": HEAVY | {"snakemake"},
    "report": HEAVY | {"snakemake"},
    "share": {"snakemake", "submitit"},
    "data": {"snakemake", "submitit"},
    "models": {"snakemake", "submitit"},
    "train": {"snakemake", "submitit"},
    "finetune": {"snakemake", "submitit"},
    "evaluate": {"snakemake", "submitit"},
}


def imports(path: Path) -> set[str]:
    """Top-level names that a module imports, at its top or inside a function."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            names.add(node.module.split(".")[0])
    return names


def modules(place: Path) -> list[Path]:
    return sorted(place.rglob("*.py")) if place.is_dir() else [place]


def test_the_snakefile_loads_nothing_slow(repository: Path, tmp_path: Path) -> None:
    """Every submitted job parses the Snakefile again, so that what it imports is paid a thousand times."""
    names = {
        name
        for path in (repository / "workflow" / "rules").glob("*.smk")
        for name in re.findall(r"^ *from (clip_scaling[\w.]*) import", path.read_text(encoding="utf-8"), re.M)
    }
    assert names
    code = f"import sys, {', '.join(sorted(names))}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=tmp_path)
    assert not SLOW & set(done.stdout.split())


@pytest.mark.parametrize("room", FORBIDDEN)
def test_a_room_imports_only_what_it_may(repository: Path, room: str) -> None:
    for path in modules(repository / "workflow" / "src" / "clip_scaling" / room):
        found = imports(path) & FORBIDDEN[room]
        assert not found, f"{path.name} imports {found}"


def test_only_an_export_needs_torch(repository: Path) -> None:
    folder = repository / "workflow" / "src" / "clip_scaling" / "share"
    heavy = {path.name for path in modules(folder) if imports(path) & (HEAVY | {"safetensors", "tokenizers"})}
    assert heavy == {"export.py", "hub_tokenizer.py"}


def test_scripts_are_thin_and_import_neither_snakemake_nor_each_other(repository: Path) -> None:
    scripts = modules(repository / "scripts")
    for path in scripts:
        assert not imports(path) & ({"snakemake"} | {other.stem for other in scripts}), path.name
        assert len(path.read_text().splitlines()) <= 100, path.name


@pytest.mark.parametrize(
    "command",
    [
        "scripts/evaluate.py --checkpoint no.pt --sets no.json --tokenizer no.gz --output no.json",
        "scripts/fine_tune.py --checkpoint no.pt --tokenizer no.gz --model m --set no.json --settings {} --resume no"
        " --output no.json",
        "scripts/train.py cell --cell Model-m_Data-d_Samples-1K_Seed-0 --data no.json --tokenizer no.gz --recipe {}"
        " --validation no.json --resume no --output no.pt no.json no.jsonl",
    ],
    ids=["evaluate", "fine_tune", "train"],
)
def test_short_jobs_load_open_clip_without_the_towers_of_others(repository: Path, command: str) -> None:
    """models/fast_import.py must come before all that imports open_clip: it saves two seconds of each job."""
    code = "import runpy, sys; sys.argv = sys.argv[1:]\ntry: runpy.run_path(sys.argv[0], run_name='__main__')\n"
    code += "except BaseException: pass\nprint({'open_clip', 'transformers'} & set(sys.modules))"
    run = [sys.executable, "-c", code, *command.split()]
    done = subprocess.run(run, check=True, capture_output=True, text=True, cwd=repository)
    assert done.stdout.splitlines()[-1] == "{'open_clip'}"
