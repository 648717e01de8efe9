"""The paper's released tables, as the tidy table that every study has.

Sources: github.com/LAION-AI/scaling-laws-openclip (zero-shot results, run list, GMACs, learning curves) and
github.com/LAION-AI/CLIP_benchmark, folder probe_benchmark (linear probes). Neither table is kept in this repository.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from ..errors import DataError

METRICS = ("acc1", "image_retrieval_recall@5", "text_retrieval_recall@5", "mean_average_precision")
# The released row `vtab` is 1.1 to 1.9 points below the mean of its 19 sets, for no known reason.
UNUSED_TARGETS = ("vtab",)
UNIQUE_PAIRS = {  # One epoch of each data set: run configurations, and the paper for LAION-2B and WIT.
    "LAION-80M": 80_000_415,
    "LAION-400M": 407_332_084,
    "LAION-2B": 2_320_000_000,
    "CLIP-WIT": 400_000_000,
}


def read_zeroshot(folder: Path) -> pd.DataFrame:
    """Tidy zero-shot results: 29 OpenCLIP runs and 3 of OpenAI on 40 targets."""
    released = pd.read_csv(_existing(folder / "zeroshot_results.csv"))
    rows = released[~released["downstream_dataset"].isin(UNUSED_TARGETS)]
    openai = rows["name"] == "openai"
    # The three OpenAI runs share a name; what tells them apart is the architecture.
    cells = rows["name"].str.removesuffix(".pt").where(~openai, "openai_" + rows["arch"])
    common = pd.DataFrame(
        {
            "cell": cells,
            "model": rows["arch"],
            "data": rows["upstream_dataset"],
            "unique_pairs": rows["upstream_dataset"].map(UNIQUE_PAIRS),
            "samples_seen": rows["samples_seen"],
            "seed": 0,
            "gmacs_per_sample": rows["gmacs"],
            # Not the released gmacs_total, whose last bits differ between rows of one run.
            "compute_gmacs": rows["gmacs"] * rows["samples_seen"],
            "dataset": rows["downstream_dataset"],
            "task": rows["task"],
            "source": openai.map({True: "openai", False: "openclip"}),
        }
    )
    long = [common.assign(metric=metric, value=rows[metric]) for metric in METRICS]
    return pd.concat(long).dropna(subset="value").reset_index(drop=True)


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise DataError(f"{path}: no such file. Run `snakemake retrieve_published`, or name a folder that holds it.")
    return path
