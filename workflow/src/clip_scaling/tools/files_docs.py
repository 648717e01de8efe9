"""The reference of result files and tables (docs/files.md), generated from the models in `records/`."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from types import ModuleType

from pydantic import BaseModel

from .. import records
from ..records.base import Table
from .config_docs import reachable_models, type_name

HEAD = """# Files and tables

Generated from `clip_scaling/records/` by `make docs`. Here is every file that one stage writes and another reads;
[design.md](design.md) says where each lies. JSON files hold `version` where their model is beyond version 1.
"""


def files_reference() -> str:
    """The whole page: JSON records by module, then tables."""
    modules = [
        importlib.import_module(f"{records.__name__}.{module.name}")
        for module in pkgutil.iter_modules(records.__path__)
    ]
    lines = [HEAD]
    for module in modules:
        for model in _records_of(module):
            lines += _record_section(model)
    lines.append("## Tables\n")
    for module in modules:
        for table in [value for value in vars(module).values() if isinstance(value, Table)]:
            lines += _table_section(table)
    return "\n".join(lines)


def _records_of(module: ModuleType) -> list[type[BaseModel]]:
    """The models of files, and of lines of files, that a module defines, in its order."""
    found = [
        value
        for value in vars(module).values()
        if inspect.isclass(value) and issubclass(value, BaseModel) and value.__module__ == module.__name__
    ]
    return [model for model in found if getattr(model, "FILE", "")]


def _record_section(model: type[BaseModel]) -> list[str]:
    lines = [f"## `{vars(model)['FILE']}`: {model.__name__}", "", _about(model), ""]
    for part in reachable_models(model):
        if part is not model:
            lines += [f"**{part.__name__}**: {_about(part)}", ""]
        lines += ["| field | type | meaning |", "|---|---|---|"]
        lines += [
            f"| `{name}` | {type_name(field.annotation)} | {field.description or ''} |"
            for name, field in part.model_fields.items()
        ]
        lines.append("")
    return lines


def _table_section(table: Table) -> list[str]:
    lines = [f"### `{table.place}`", "", table.about, "", "| column | unit | meaning |", "|---|---|---|"]
    lines += [f"| `{column.name}` | {column.unit} | {column.meaning} |" for column in table.columns]
    return [*lines, ""]


def _about(model: type[BaseModel]) -> str:
    """A docstring without its line breaks."""
    return " ".join((inspect.getdoc(model) or "").split())
