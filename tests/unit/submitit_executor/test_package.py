"""The plugin stands alone, and is cheap to import."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

PACKAGE = Path("workflow/src/snakemake_executor_plugin_submitit")


def imported(path: Path) -> set[str]:
    """Top-level names of absolute imports, at the module's top or inside a function."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            names.add(node.module.split(".")[0])
    return names


def test_no_module_knows_the_study(repository: Path) -> None:
    for path in (repository / PACKAGE).glob("*.py"):
        assert "clip_scaling" not in imported(path), path.name


def test_the_launcher_needs_only_the_standard_library(repository: Path) -> None:
    assert imported(repository / PACKAGE / "launch.py") <= set(sys.stdlib_module_names)


def test_importing_the_plugin_does_not_import_submitit() -> None:
    code = "import sys, snakemake_executor_plugin_submitit; sys.exit('submitit' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
