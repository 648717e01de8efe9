"""A small study with known laws: 2 models x 2 data sizes x 3 budgets, E = 2 C^-0.25 for the large data."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from clip_scaling.laws.study_tables import laws_table
from clip_scaling.records.laws import FittedLaw, LawFile
from clip_scaling.records.training import TrainRecord
from clip_scaling.report.page import StudyResults

from ..records.filled import filled, law_file
from ..records.manifests import evaluation_manifest, source_manifest, subset_manifest

MODELS = {"ViT-small": 0.01, "ViT-large": 0.1}
DATA = {"Few": 1_000, "Many": 100_000}
BUDGETS = {"10K": 9_984, "100K": 99_840, "1M": 1_000_192}


def make_metrics(source: str = "study") -> pd.DataFrame:
    rows = []
    for model, gmacs in MODELS.items():
        for data, pairs in DATA.items():
            for name, samples in BUDGETS.items():
                compute = gmacs * samples
                error = 2 * compute**-0.25 if data == "Many" else 0.9
                cell = {
                    "cell": f"Model-{model}_Data-{data}_Samples-{name}_Seed-0",
                    "model": model,
                    "data": data,
                    "unique_pairs": pairs,
                    "samples_seen": samples,
                    "seed": 0,
                    "gmacs_per_sample": gmacs,
                    "compute_gmacs": compute,
                    "n": 1000,
                    "source": source,
                }
                top1 = {"dataset": "icons", "task": "zeroshot_classification", "metric": "acc1", "value": 1 - error}
                loss = {
                    "dataset": "captions",
                    "task": "zeroshot_retrieval",
                    "metric": "contrastive_loss",
                    "value": 5 * error,
                }
                for measured in (top1, loss):
                    interval = {"ci_low": measured["value"] - 0.02, "ci_high": measured["value"] + 0.01}
                    rows.append(cell | measured | interval)
    return pd.DataFrame(rows)


def make_fit(verdict: str = "law", source: str = "study", method: str = "ols-all", **given: Any) -> FittedLaw:
    compute = np.geomspace(100, 4e5, 9)
    curve = [
        {"compute_gmacs": float(c), "error": float(2 * c**-0.25), "low": float(1.9 * c**-0.25), "high": None}
        for c in compute
    ]
    numbers = {"alpha": -0.25, "alpha_low": -0.2712, "alpha_high": -0.2288, "beta": 2.0, "r2": 0.987, "curve": curve}
    about = {"source": source, "method": method, "form": "power", "n_points": 6, "verdict": verdict}
    return filled(FittedLaw, **about, **((numbers | given) if verdict.startswith("law") else given))


@pytest.fixture
def metrics() -> pd.DataFrame:
    return make_metrics()


@pytest.fixture
def law() -> LawFile:
    return law_file(fits=[make_fit()])


@pytest.fixture
def no_law() -> LawFile:
    verdict = "no law: flat, over all 12 runs the exponent is -0.0012"
    return law_file("captions", "contrastive_loss", fits=[make_fit(verdict)])


@pytest.fixture
def records(metrics: pd.DataFrame) -> list[TrainRecord]:
    return [
        filled(
            TrainRecord,
            cell=row.cell,
            model=row.model,
            data=row.data,
            recipe={
                "learning_rate": 2e-3 if row.model == "ViT-small" else 1e-3,
                "global_batch_size": 256,
                "gradient_clip": None,
            },
            samples_seen=row.samples_seen,
            gmacs_per_sample=row.gmacs_per_sample,
            compute_gmacs=row.compute_gmacs,
            parameters=123_456,
            final_loss=3.5,
            seconds=300.0,
            samples_per_second=1234.5,
            device="cpu",
            threads=2,
            ranks=1,
            state="trained",
            provenance={
                "commit": "abc123",
                "uncommitted_changes": False,
                "versions": {"torch": "2.14.1"},
                "platform": "Linux",
                "finished_utc": f"2026-01-01T00:00:{i:02d}+00:00",
            },
        )
        for i, row in enumerate(metrics.drop_duplicates("cell").itertuples())
    ]


@pytest.fixture
def study(metrics: pd.DataFrame, law: LawFile, no_law: LawFile, records: list[TrainRecord]) -> StudyResults:
    laws = [law, no_law]
    manifests = [source_manifest(), subset_manifest(), evaluation_manifest()]
    return StudyResults(
        name="tiny",
        title="A <tiny> study",
        metrics=metrics,
        law_table=laws_table(laws),
        laws=laws,
        records=records,
        job_seconds={record.cell: record.seconds for record in records},
        manifests=manifests,
    )
