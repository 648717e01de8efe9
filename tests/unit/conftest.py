"""Studies and tables that the tests of several rooms need."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from clip_scaling.published.tables import read_zeroshot
from clip_scaling.study.resolve import load_study
from clip_scaling.study.resolved import ResolvedStudy


@pytest.fixture
def raw(repository: Path) -> dict[str, Any]:
    return yaml.safe_load((repository / "config" / "offline.yaml").read_text())


@pytest.fixture
def study(raw: dict[str, Any], repository: Path) -> ResolvedStudy:
    return load_study(raw, repository)


@pytest.fixture
def laion(repository: Path) -> ResolvedStudy:
    return load_study(yaml.safe_load((repository / "config" / "laion.yaml").read_text()), repository)


@pytest.fixture(scope="session")
def published_table(published: Path) -> pd.DataFrame:
    """The released zero-shot results, tidy."""
    return read_zeroshot(published)
