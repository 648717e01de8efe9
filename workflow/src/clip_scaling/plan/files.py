"""From a study file to a plan, and from a plan to its files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..cost.results import Results, last_plan
from ..errors import ConfigError
from ..records.filenames import GRID
from ..records.files import write_text
from ..study.file import PublishedStudy
from ..study.paths import StudyPaths
from ..study.resolve import load_any_study, load_yaml
from ..study.resolved import ResolvedStudy
from .gpus import exactness_notes, precision_notes
from .page import page
from .render import grid_tsv
from .schedule import make_schedule
from .sums import difference, plan_file, saved_by_trunks
from .table import Plan, make_plan


def open_study(configfile: Path, root: Path) -> ResolvedStudy:
    """The study of a file. ConfigError where it is none, or one of published results."""
    raw = load_yaml(configfile)
    if not isinstance(raw, dict):
        raise ConfigError(f"{configfile}: not a study. It must be a mapping with `study`, `grid`, ...")
    try:
        study = load_any_study(raw, root)
    except ConfigError as error:
        raise ConfigError(f"{error} ({configfile})") from None
    if not isinstance(study, ResolvedStudy):
        assert isinstance(study.config, PublishedStudy)
        raise ConfigError(f"{configfile}: study {study.config.study!r} is of published results: nothing is trained.")
    return study


def full_plan(study: ResolvedStudy, root: Path, goal: dict[str, Any] | None = None) -> Plan:
    """Plan, schedule and, where laws can be fitted to what has been measured, what the rest will teach."""
    plan = make_plan(study, root)
    plan.difference = difference(plan, last_plan(Results(root, plan.study)))
    plan.notes += saved_by_trunks(plan) + precision_notes(plan, study) + exactness_notes(plan, study)
    plan.schedule = make_schedule(plan, study)
    metrics = StudyPaths(plan.study, root / "results").table("metrics", "parquet")
    if plan.to_do and metrics.is_file():
        from .knowledge import what_it_teaches  # pandas: only where there is a table

        plan.knowledge, note = what_it_teaches(plan, study, metrics, goal or {})
        plan.notes += [note] if note else []
    return plan


def write_plan(plan: Plan, study: ResolvedStudy, root: Path) -> Path:
    """Write the table, the page and the record of a plan; returns their folder."""
    paths = StudyPaths(plan.study, root / "results")
    write_text(paths.plan(GRID), grid_tsv(plan))
    write_text(paths.plan("plan.html"), page(plan, study))
    plan_file(plan).write(paths.plan())
    return paths.plan().parent
