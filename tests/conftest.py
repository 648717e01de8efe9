"""Fixtures shared by all tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the checkout."""
    return REPOSITORY


@pytest.fixture(scope="session")
def published() -> Path:
    """Folder of the paper's released tables, which carry no licence and are never committed.

    Set CLIP_SCALING_PUBLISHED to a folder that holds them; without one these tests are skipped.
    """
    folder = Path(os.environ.get("CLIP_SCALING_PUBLISHED", REPOSITORY.parent / "shared" / "published"))
    if not (folder / "zeroshot_results.csv").is_file():
        pytest.skip(f"the released tables are not in {folder}")
    return folder
