"""Pinned environments: each package with its version and the hashes of its files, and pip made to compare them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PINS = sorted((ROOT / "envs").glob("*.txt"))


def requirements(path: Path) -> list[str]:
    """Requirements of a file, each on one line with its hashes."""
    return path.read_text().replace("\\\n", " ").splitlines()


@pytest.mark.parametrize("path", PINS, ids=lambda path: path.name)
def test_every_pin_is_one_version_with_hashes_of_its_files(path: Path) -> None:
    pin = re.compile(r"[a-z0-9-]+==[\w.]+( ; [^#]+?)?(\s+--hash=sha256:[0-9a-f]{64})+")
    assert [line for line in requirements(path) if not pin.fullmatch(line)] == []


def test_every_installation_from_pins_compares_hashes() -> None:
    text = (ROOT / "Makefile").read_text()
    install = re.search(r"^INSTALL := (.*)$", text, re.MULTILINE)
    assert install is not None
    lines = text.replace("$(INSTALL)", install[1]).splitlines()
    installations = [line for line in lines if re.search(r"pip install .*-r ", line)]
    assert len(installations) == 5
    assert all("--require-hashes" in line for line in installations)
