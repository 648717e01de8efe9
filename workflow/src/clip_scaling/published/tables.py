"""The paper's released tables, as the tidy table that every study has.

Sources: github.com/LAION-AI/scaling-laws-openclip (zero-shot results, run list, GMACs, learning curves) and
github.com/LAION-AI/CLIP_benchmark, folder probe_benchmark (linear probes). Neither table is kept in this repository.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TypeVar

import numpy as np
import pandas as pd

from ..errors import ClipScalingError, DataError
from ..records.filenames import MANIFEST
from ..records.files import FileEntry, read_object, remake, verify_files

METRICS = ("acc1", "image_retrieval_recall@5", "text_retrieval_recall@5", "mean_average_precision")
# The released row `vtab` is 1.1 to 1.9 points below the mean of its 19 sets, for no known reason.
UNUSED_TARGETS = ("vtab",)
UNIQUE_PAIRS = {  # One epoch of each data set: run configurations, and the papers for LAION-2B and WIT.
    "LAION-80M": 80_000_415,
    "LAION-400M": 407_332_084,
    "LAION-2B": 2_320_000_000,
    "CLIP-WIT": 400_000_000,
}
# Radford et al. 2021, tables 19 and 20.
OPENAI_RECIPE = {"global_batch_size": 32_768, "warmup_steps": 2000}
OPENAI_LEARNING_RATE = {"ViT-B-32": 5e-4, "ViT-B-16": 5e-4, "ViT-L-14": 4e-4}
# The paper's nominal samples (released notebook): 84 epochs of LAION-400M, and twice that.
NOMINAL_SAMPLES = {"34B": 407_332_084 * 84, "68B": 2 * 407_332_084 * 84}
PREDICTED_MODELS = ("ViT-H-14", "ViT-g-14", "ViT-G-14")
PROBED = {"imagenet1k-unverified": "imagenet1k", "cifar100": "cifar100"}
SHOTS = {10: "10-shot", 25: "25-shot", -1: "full"}


Read = TypeVar("Read")


def _of_released_tables(read: Callable[[Path], Read]) -> Callable[[Path], Read]:
    """Make a DataError of what a table that is not the paper's leads pandas to."""

    @wraps(read)
    def checked(folder: Path) -> Read:
        try:
            return read(folder)
        except (ClipScalingError, OSError):
            raise
        except Exception as error:  # pandas meets whatever an odd table leads it to
            raise DataError(
                f"a table is not in the released form ({type(error).__name__}: {error})",
                place=str(folder),
                remedy="Get the tables again: `snakemake --cores all retrieve_published`.",
            ) from None

    return checked


def read_published(folder: Path) -> pd.DataFrame:
    """Zero-shot and linear-probe results, tidy. Targets of linear probes begin with `linear_probe/`."""
    table = pd.concat([read_zeroshot(folder), read_linear_probes(folder)], ignore_index=True)
    # OpenCLIP first: the first source is a study's own in figures and tables.
    table = table.sort_values("source", ascending=False, kind="stable", ignore_index=True)
    return table.assign(ci_low=np.nan, ci_high=np.nan)  # the released tables have no intervals


@_of_released_tables
def read_zeroshot(folder: Path) -> pd.DataFrame:
    """Tidy zero-shot results: 29 OpenCLIP runs and 3 of OpenAI on 40 targets, with the recipes they were trained by."""
    released = _csv(folder, "zeroshot_results.csv")
    rows = released[~released["downstream_dataset"].isin(UNUSED_TARGETS)]
    openai = rows["name"] == "openai"
    common = pd.DataFrame(
        {
            # The three OpenAI runs share a name; only the architecture differs.
            "cell": rows["name"].str.removesuffix(".pt").where(~openai, "openai_" + rows["arch"]),
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
    ).merge(_recipes(folder), on="cell", how="left")
    values = rows.reset_index(drop=True)
    long = [common.assign(metric=metric, value=values[metric]) for metric in METRICS]
    return pd.concat(long).dropna(subset="value").reset_index(drop=True)


@_of_released_tables
def read_linear_probes(folder: Path) -> pd.DataFrame:
    """Tidy linear probes: ImageNet and CIFAR-100 at 10 and 25 shots and full, and the mean of VTAB's 19 sets.

    As the released code does: the best of each sweep, and the best run of each (model, samples, data); compute of
    ViT-B-32 on LAION-2B is the released one, of 39.3B samples where the zero-shot table has 34.7B.
    """
    sweeps = _json(folder, "linear_probe/scaling_experiment_data2.json")
    vtab = _json(folder, "linear_probe/scaling_experiment_data_vtab.json")
    probes = sweeps[sweeps["dataset"].isin(PROBED)]
    probes = probes.assign(
        dataset="linear_probe/" + probes["dataset"].map(PROBED) + "-" + probes["fewshot_k"].map(SHOTS)
    )
    rows = pd.concat([probes, vtab.assign(dataset="linear_probe/vtab")], ignore_index=True)
    run = ["dataset", "model", "samples_seen_pretty", "upstream_dataset"]
    rows = rows.loc[rows.groupby(run, sort=False)["lp_acc1"].idxmax()]
    openai = rows["upstream_dataset"] == "CLIP-WIT"
    samples = sweeps.groupby(["model", "pretrained"])["samples_seen"].first()
    seen = samples.reindex(pd.MultiIndex.from_frame(rows[["model", "pretrained"]])).to_numpy()
    return pd.DataFrame(
        {
            "cell": rows["model"] + "_" + rows["pretrained"],
            "model": rows["model"],
            "data": rows["upstream_dataset"],
            "unique_pairs": rows["upstream_dataset"].map(UNIQUE_PAIRS),
            "samples_seen": seen,
            "seed": 0,
            "gmacs_per_sample": rows["gmacs_total"] / seen,
            "compute_gmacs": rows["gmacs_total"],
            "dataset": rows["dataset"],
            "task": "linear_probe",
            "source": openai.map({True: "openai", False: "openclip"}),
            "metric": "acc1",
            "value": rows["lp_acc1"],
        }
    ).reset_index(drop=True)


@_of_released_tables
def read_learning_curves(folder: Path) -> dict[str, pd.DataFrame]:
    """Zero-shot ImageNet accuracy during each OpenCLIP run: cell -> rows (`samples`, `imagenet_acc1`), by samples.

    Samples seen at an epoch are the run's own total shared out over its epochs; epochs that were not released are
    missing.
    """
    released = _csv(folder, "imagenet_zeroshot_learning_curves.csv")
    epochs = _csv(folder, "trained_models_info.csv").set_index("name")["epochs"]
    seen = _csv(folder, "zeroshot_results.csv").groupby("name")["samples_seen"].first()
    rows = pd.DataFrame(
        {
            "cell": released["name"].str.removesuffix(".pt"),
            "samples": released["epoch"] / released["name"].map(epochs) * released["name"].map(seen),
            "imagenet_acc1": released["imagenet-zeroshot-val-top1"],
        }
    )
    return {str(cell): curve.sort_values("samples") for cell, curve in rows.groupby("cell")}


@_of_released_tables
def read_scenarios(folder: Path) -> pd.DataFrame:
    """Cells that the paper predicts: H/14, g/14, G/14 at 34B and 68B nominal samples, for either source's data."""
    gmacs = _csv(folder, "arch_info.csv").set_index("model")["gmacs"]
    rows = [
        {"source": source, "model": model, "data": data, "samples_seen": samples}
        for source, data in (("openclip", "LAION-2B"), ("openai", "CLIP-WIT"))
        for model in PREDICTED_MODELS
        for samples in NOMINAL_SAMPLES.values()
    ]
    table = pd.DataFrame(rows)
    return table.assign(gmacs_per_sample=table["model"].map(gmacs), unique_pairs=table["data"].map(UNIQUE_PAIRS))


def targets(table: pd.DataFrame) -> list[tuple[str, str]]:
    """The (dataset, metric) pairs of a tidy table, in its order."""
    pairs = table[["dataset", "metric"]].drop_duplicates()
    return list(zip(pairs["dataset"], pairs["metric"], strict=True))


def _recipes(folder: Path) -> pd.DataFrame:
    """global_batch_size, learning_rate and warmup_steps of each cell."""
    info = _csv(folder, "trained_models_info.csv")
    ours = pd.DataFrame(
        {
            "cell": info["name"].str.removesuffix(".pt"),
            "global_batch_size": info["gpus"] * info["local_bs"],
            "learning_rate": info["lr"],
            "warmup_steps": info["warmup"],
        }
    )
    theirs = [
        {"cell": f"openai_{model}", "learning_rate": rate, **OPENAI_RECIPE}
        for model, rate in OPENAI_LEARNING_RATE.items()
    ]
    return pd.concat([ours, pd.DataFrame(theirs)], ignore_index=True)


def _csv(folder: Path, name: str) -> pd.DataFrame:
    return pd.read_csv(_existing(folder, name))


def _json(folder: Path, name: str) -> pd.DataFrame:
    found = pd.read_json(_existing(folder, name))
    if not isinstance(found, pd.DataFrame):
        raise TypeError(f"{name} holds no table")
    return found


def _existing(folder: Path, name: str) -> Path:
    """A table that is there, and unchanged since `retrieve` wrote the folder's manifest, where there is one."""
    path, manifest = folder / name, folder / MANIFEST
    if not path.is_file():
        raise DataError(
            f"{path}: no such file. Run `snakemake --cores all retrieve_published`, or name a folder that holds the "
            "tables."
        )
    if manifest.is_file():
        found = read_object(manifest).get("files", [])
        entries = [FileEntry(**each) for each in found if each["path"] == name]
        verify_files(entries, folder, remake(manifest))
    return path
