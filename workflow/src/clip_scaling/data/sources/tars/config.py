"""`kind: webdataset`: existing tars, indexed where they lie."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field

from ....errors import ConfigError
from ..base import Estimate, Tracked, Work
from ..existing import ExistingSource
from .lists import Tar, missing_tars, part_of, tars_of

INDEX_BYTES = 160
"""Of a pair in existing tars: index, identity, and both again in the tar's record."""


class WebdatasetSource(ExistingSource):
    """Existing webdataset tars, indexed where they lie and never rewritten."""

    is_in_place: ClassVar[bool] = True
    kind: Tracked[Literal["webdataset"]]
    tars: list[str] = Field(
        min_length=1,
        description="paths, globs, URLs (http, s3, gs, hf, ...) or pipe: commands; {00000..00127} stands for a range",
    )
    caption_key: Tracked[str | None] = Field(
        None,
        description="of the .json member, or the way to it: `meta.caption`, `captions.0` for the first of a list; "
        "null: the caption is the .txt member",
    )
    index_jobs: int = Field(
        1, ge=1, description="jobs that the indexing is spread over, each with an equal part of the tars"
    )
    verify: Literal["size", "sample", "full"] = Field(
        "sample",
        description="tars that are held against their sha256 before a subset lists them: none, one in twenty, all; "
        "sizes always are, and again when training starts",
    )
    shard_size: int = Field(
        10_000, ge=10, description="pairs a tar, as expected, for the plan; and of shards that subsets are copied into"
    )
    image_size: int = Field(256, ge=8, description="side of the stored images, pixels, for the plan's estimates")

    def missing(self, name: str) -> list[str]:
        return missing_tars(name, self.tars)

    def all_tars(self, name: str) -> list[Tar]:
        """The tars in the order of their names. ConfigError where one is missing or there twice."""
        return tars_of(name, self.tars)

    def known_tars(self, name: str) -> int | None:
        try:
            return len(self.all_tars(name))
        except ConfigError:
            return None

    def inputs(self, name: str) -> list[str]:
        return [tar.location for tar in self.all_tars(name) if not tar.is_remote]

    def units(self, name: str) -> list[str]:
        if self.index_jobs == 1:
            return []
        parts = min(self.index_jobs, len(self.all_tars(name)))
        return [f"records/part-{part}-of-{parts}.json" for part in range(parts)]

    def unit_inputs(self, name: str, part: int, parts: int) -> list[str]:
        """The tars that a job of the indexing reads."""
        return [tar.location for tar in part_of(self.all_tars(name), part, parts) if not tar.is_remote]

    def estimate(self, pairs: int) -> Estimate:
        tars = -(-pairs // self.shard_size)
        # A link and a record a tar.
        return Estimate(pairs * INDEX_BYTES, 2 * tars + 5, float(self.bytes_per_pair), 4000, 720)

    def tracked(self, *, of_a_unit: bool = False) -> dict[str, Any]:
        if not of_a_unit:
            return super().tracked()
        # Of the held-out sets a tar's record knows only whether there are any.
        return {"caption_key": self.caption_key, "has_images_hashed": bool(self.held_out)}

    def prepare(self, work: Work) -> None:
        from .source import write_tar_source

        write_tar_source(work.output.parent, work.name, self, self.all_tars(work.name), work.workers)

    def prepare_unit(self, work: Work, unit: dict[str, str]) -> None:
        from .records import IndexSettings, index_part

        tars = part_of(self.all_tars(work.name), int(unit["part"]), int(unit["parts"]))
        settings = IndexSettings(self.caption_key, has_images_hashed=bool(self.held_out))
        index_part(work.output, tars, settings, work.workers)
