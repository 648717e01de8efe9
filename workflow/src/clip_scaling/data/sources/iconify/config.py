"""`kind: iconify`: captioned icons of an npm package."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from ..base import SourceBase, Tracked, Work


class IconifySource(SourceBase):
    """Captioned SVG icons of the npm package @iconify/json, each set with its own licence."""

    kind: Tracked[Literal["iconify"]]
    version: Tracked[str] = Field(
        "2.2.535", pattern=r"^[\w.+-]+$", description="version of the npm package @iconify/json"
    )
    sha256: Tracked[str] = Field(
        "1a545f86fa224d6531d8fb101dcbe83aac2b28689a21cbed6fc68318a5af4d91",
        pattern="^[0-9a-f]{64}$",
        description="of the package's tarball",
    )
    path: str | None = Field(None, description="an already downloaded tarball; default: fetched by the npm client")
    licences: Tracked[list[str]] = Field(
        [
            "MIT",
            "Apache-2.0",
            "CC0-1.0",
            "ISC",
            "BSD-3-Clause",
            "Unlicense",
            "CC-BY-4.0",
            "CC-BY-3.0",
            "OFL-1.1",
            "MPL-2.0",
        ],
        min_length=1,
        description="SPDX ids that are allowed; sets under any other licence are left out",
    )
    exclude_categories: Tracked[list[str]] = Field(["Logos"], description="iconify categories that are left out")
    include_sets: Tracked[list[str] | None] = Field(
        None, description="only these sets, for small studies; default: all allowed"
    )
    max_icons_per_set: Tracked[int] = Field(
        8000, ge=1, description="cap a set, by hash order: one vendor must not dominate"
    )

    @property
    def archive(self) -> str:
        """Where the tarball lies, or where `fetch_source` puts it."""
        return self.path or f"results/data/downloads/iconify-json-{self.version}.tgz"

    def missing(self, name: str) -> list[str]:
        if self.path and not Path(self.path).is_file():
            return [f"sources.{name}.path: {self.path} is not there"]
        return []

    def inputs(self, name: str) -> list[str]:
        return [self.archive]

    def prepare(self, work: Work) -> None:
        from ..write import write_source
        from .package import build

        write_source(work.output.parent, work.name, self, build(Path(self.archive), self, work.workers))
