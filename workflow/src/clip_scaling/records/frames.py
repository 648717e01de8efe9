"""Reading of the tables that stages hand to each other: whole and unchanged, or an error."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from ..errors import ManifestError
from .files import remake
from .seal import check_seal


def read_frame(path: Path) -> pd.DataFrame:
    """Read a CSV or parquet file of a study. ManifestError where it is missing, damaged or no table."""
    check_seal(path)
    try:
        return pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path)
    except FileNotFoundError:
        remedy = f"Run `snakemake --cores all {path}` to make it."
        raise ManifestError("no such file", place=str(path), remedy=remedy) from None
    except Exception as error:  # pandas reads metadata of its own, and meets whatever the damage leads it to
        raise ManifestError(f"cannot be read as a table ({error})", place=str(path), remedy=remake(path)) from None
