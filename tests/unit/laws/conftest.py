"""Small tidy tables for the tests of laws."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

MakeTable = Callable[..., pd.DataFrame]


@pytest.fixture
def make_table() -> MakeTable:
    """Build a tidy table of one target from compute (GMAC) and error (a fraction)."""

    def make(compute: list[float], error: list[float], **columns: object) -> pd.DataFrame:
        table = pd.DataFrame({"compute_gmacs": compute, "value": 1 - np.asarray(error, dtype=float)})
        table["cell"] = [f"cell-{i}" for i in range(len(table))]
        return table.assign(dataset="target", metric="acc1", **columns)

    return make
