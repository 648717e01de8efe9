"""Arrows between the rings point inward only (docs/design.md)."""

import ast
from pathlib import Path

import pytest

LIGHT = {
    *("grid", "counts", "manifests", "errors", "compute", "study", "config_docs", "provenance"),
    *("study_checks", "expressions", "url_lists", "tar_lists", "image_places"),
}
HEAVY = {"torch", "torchvision", "open_clip", "clip_benchmark", "webdataset"}
SLOW = HEAVY | {"numpy", "pandas", "scipy", "matplotlib", "altair", "snakemake"}
FORBIDDEN = {
    "plan": HEAVY | {"snakemake", "submitit"},
    "laws": HEAVY | {"snakemake"},
    "report": HEAVY | {"snakemake"},
    "share": {"snakemake", "submitit"},
    "data": {"snakemake", "submitit"},
    "train": {"snakemake", "submitit"},
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


def modules(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.py"))


def test_the_light_modules_import_nothing_slow(repository: Path) -> None:
    library = repository / "workflow" / "src" / "clip_scaling"
    for path in [*(library / f"{name}.py" for name in LIGHT), *modules(library / "config")]:
        found = imports(path) & SLOW
        assert not found, f"{path.name} imports {found}"


@pytest.mark.parametrize("package", FORBIDDEN)
def test_a_stage_imports_only_what_it_may(repository: Path, package: str) -> None:
    for path in modules(repository / "workflow" / "src" / "clip_scaling" / package):
        found = imports(path) & FORBIDDEN[package]
        assert not found, f"{path.name} imports {found}"


def test_only_an_export_needs_torch(repository: Path) -> None:
    folder = repository / "workflow" / "src" / "clip_scaling" / "share"
    heavy = {path.name for path in modules(folder) if imports(path) & (HEAVY | {"safetensors", "tokenizers"})}
    assert heavy == {"export.py", "tokenizer.py"}


def test_scripts_are_thin_and_import_neither_snakemake_nor_each_other(repository: Path) -> None:
    scripts = modules(repository / "scripts")
    for path in scripts:
        assert not imports(path) & ({"snakemake"} | {other.stem for other in scripts}), path.name
        assert len(path.read_text().splitlines()) <= 100, path.name
