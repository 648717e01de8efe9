"""Base of everything that one stage writes and another reads: a JSON record, or a table with named columns.

A record is a frozen pydantic model of one file. A file without the key `version` is of version 1.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from ..errors import ManifestError
from .files import canonical_json, read_json, write_json
from .seal import check_seal, sealed_path


class Record(BaseModel):
    """The content of one JSON file.

    FILE: the file's name. VERSION: rises when a field changes its meaning. REMEDY: the next step where a file cannot
    be read, a sentence; `{path}` stands for the file. IS_SEALED: whether its sha256 is kept beside it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", validate_by_name=True, validate_by_alias=True)

    FILE: ClassVar[str] = ""
    VERSION: ClassVar[int] = 1
    REMEDY: ClassVar[str] = "Delete it and run `snakemake --cores all {path}`."
    IS_SEALED: ClassVar[bool] = True

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a file. ManifestError names the file, the first field that is wrong, and the next step."""
        found = cls.parse(read_json(path), path)
        if cls.IS_SEALED:
            check_seal(path, cls.REMEDY.format(path=path))
        return found

    @classmethod
    def parse(cls, raw: Any, path: Path) -> Self:
        """Check what was read from `path`. ManifestError as `read`."""
        about = {"place": str(path), "remedy": cls.REMEDY.format(path=path)}
        if not isinstance(raw, dict):
            raise ManifestError("holds no JSON object", **about)
        fields = dict(raw)
        version = fields.pop("version", 1)
        if version != cls.VERSION:
            raise ManifestError(f"version {version} of this file; this code reads version {cls.VERSION}", **about)
        try:
            return cls.model_validate(fields)
        except ValidationError as error:
            problem = error.errors()[0]
            field = ".".join(map(str, problem["loc"])) or "the file"
            raise ManifestError(f"{field}: {problem['msg']}", **about) from None

    def as_json(self) -> dict[str, Any]:
        """The fields that were given, as JSON values, and the version where it is not 1."""
        fields = self.model_dump(mode="json", exclude_unset=True, by_alias=True)
        return fields if self.VERSION == 1 else fields | {"version": self.VERSION}

    def write(self, path: Path) -> None:
        """Write canonical JSON atomically, with its seal."""
        self._write(path, self.as_json())

    def _write(self, path: Path, content: dict[str, Any]) -> None:
        if not self.IS_SEALED:
            write_json(path, content)
            return
        with sealed_path(path) as temporary:
            temporary.write_text(canonical_json(content, indent=1) + "\n", encoding="utf-8")


@dataclass(frozen=True)
class Column:
    """One column of a table. unit: empty for names, counts and fractions."""

    name: str
    meaning: str
    unit: str = ""


@dataclass(frozen=True)
class Table:
    """A CSV (or parquet) file of a study. place: below results/{study}. earlier: older names of columns."""

    place: str
    about: str
    columns: Sequence[Column]
    earlier: Mapping[str, str] = field(default_factory=dict)

    @property
    def names(self) -> list[str]:
        """Names of the columns, in order."""
        return [column.name for column in self.columns]

    def check(self, found: Iterable[str], path: Path) -> None:
        """ManifestError where a table lacks a column."""
        missing = [name for name in self.names if name not in set(found)]
        if missing:
            raise ManifestError(
                f"has no column {', '.join(missing)}",
                place=str(path),
                remedy=f"Delete it and run `snakemake --cores all {path}`.",
            )
