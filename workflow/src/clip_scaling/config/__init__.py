"""The study file: every key that may be written in it, as pydantic models, one module a section.

Unknown keys are refused. `config/schema.json` and the table in `config/README.md` are generated from
these models (`make docs`). What the parts of a study demand of each other is checked in `study_checks.py`.
"""

from .base import Strict
from .data import PACKED_FORMAT, Data, Source
from .evaluation import METRICS, Aggregate, FineTuning, LinearProbes, Suite, SuiteEntry, probe_name
from .existing import MEASURED_COLUMNS, ExistingSource, FileSource, FolderSource, TableSource, WebdatasetSource
from .resources import Budget, Resources, TrainResources
from .sources import (
    ClassificationHoldOut,
    IconifySource,
    ProceduralSource,
    RetrievalHoldOut,
    SourceBase,
    UrlListSource,
)
from .study_file import PublishedStudy, Study
from .training import RECIPE_VERSION, Instability, Recipe, RecipeOverride, Selector

__all__ = [
    "MEASURED_COLUMNS",
    "METRICS",
    "PACKED_FORMAT",
    "RECIPE_VERSION",
    "Aggregate",
    "Budget",
    "ClassificationHoldOut",
    "Data",
    "ExistingSource",
    "FileSource",
    "FineTuning",
    "FolderSource",
    "IconifySource",
    "Instability",
    "LinearProbes",
    "ProceduralSource",
    "PublishedStudy",
    "Recipe",
    "RecipeOverride",
    "Resources",
    "RetrievalHoldOut",
    "Selector",
    "Source",
    "SourceBase",
    "Strict",
    "Study",
    "Suite",
    "SuiteEntry",
    "TableSource",
    "TrainResources",
    "UrlListSource",
    "WebdatasetSource",
    "probe_name",
]
