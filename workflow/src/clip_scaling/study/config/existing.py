"""`sources` of pairs that are there already: tars, folders and tables."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from .base import Count, Name
from .expressions import columns_of
from .sources import RetrievalHoldOut, SourceBase


class ExistingSource(SourceBase):
    """Image-text pairs that are there already."""

    pairs: Count = Field(description="training pairs that are there, as expected: for the plan")
    bytes_per_pair: int = Field(30_000, ge=1, description="of a stored pair, for the plan's estimate of storage")
    max_lost_fraction: float = Field(
        0.01, ge=0, lt=1, description="share of samples that may be unusable before preparation ends with an error"
    )
    attribution: str | None = Field(None, description="what ATTRIBUTION.md says of origin and licences")
    image_size: int = Field(256, ge=8, description="side of the stored images, pixels, for the plan's estimates")
    shard_size: int = Field(10_000, ge=10, description="pairs a shard (tar file)")
    vocabulary_size: int = Field(
        49408, ge=600, le=49408, description="49408: CLIP's own token table; fewer rows: built from the captions"
    )
    held_out: dict[Name, RetrievalHoldOut] = Field({}, description="retrieval sets kept out of training")  # type: ignore[assignment]

    _BESIDE: ClassVar[set[str]] = {"max_lost_fraction", "attribution"}
    _UNTRACKED: ClassVar[set[str]] = {"pairs", "bytes_per_pair"}

    def tracked(self) -> dict[str, Any]:
        """The settings that decide which pairs there are: a change prepares and trains anew."""
        return self.model_dump(mode="json", exclude=self._UNTRACKED | self._BESIDE)

    def beside(self) -> dict[str, Any]:
        """Those that preparation needs, but that change no pair: where files lie, what may be lost, whose they are."""
        return self.model_dump(mode="json", include=self._BESIDE)


class WebdatasetSource(ExistingSource):
    """Existing webdataset tars, indexed where they lie and never rewritten."""

    _BESIDE = ExistingSource._BESIDE | {"tars"}
    _UNTRACKED = ExistingSource._UNTRACKED | {"image_size", "shard_size", "verify", "index_jobs"}
    kind: Literal["webdataset"]
    tars: list[str] = Field(
        min_length=1,
        description="paths, globs, URLs or pipe: commands; {00000..00127} stands for a range",
    )
    caption_key: str | None = Field(None, description="of the .json member; null: the caption is the .txt member")
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


MEASURED_COLUMNS = ("width", "height", "aspect_ratio", "image_bytes")
"""What filters of image files may name beside `columns` and caption_characters: measured on the files, upright."""

RESERVED_COLUMNS = ("caption_characters", "identity", "metadata", "problem", "reason", "sha256")
"""Names that a table's `columns` may not give: preparation has columns of its own under them."""


class FileSource(ExistingSource):
    """Image files with captions: checked one by one, resized, and written into shards."""

    filters: dict[Name, str] = Field(
        {},
        description="name: condition, such as {sharp: width >= 200 and aspect_ratio <= 2}, on caption_characters, "
        "width, height, aspect_ratio, image_bytes and a table's `columns`; losses are counted by name",
    )
    min_caption_characters: int = Field(1, ge=1)
    max_caption_characters: int | None = Field(None, ge=1)
    min_image_bytes: int = Field(1, ge=1, description="of the file")
    max_image_bytes: int = Field(100_000_000, ge=1000, description="likewise; larger files are not read")
    min_image_side: int = Field(0, ge=0, description="shorter side of the image in the file, pixels")
    resize: Literal["keep_ratio", "keep_ratio_largest", "no"] = Field(
        "keep_ratio",
        description="keep_ratio: the shorter side becomes image_size, keep_ratio_largest: the longer one; smaller "
        "images keep their size, and their bytes where these are a plain JPEG, PNG or WebP",
    )
    encode_format: Literal["jpg", "png", "webp"] = Field("jpg", description="of images that do not keep their bytes")
    encode_quality: int = Field(95, ge=0, le=100, description="PNG: the compression level, 0 to 9")
    is_repeat_dropped: bool = Field(
        True, description="of files with equal bytes keep the first in hash order, and count the others"
    )
    image_size: int = Field(256, ge=8, description="side of the stored images, pixels")

    def known_columns(self) -> set[str]:
        """Columns that a table gives beside image and caption, under our names."""
        return set()

    @model_validator(mode="after")
    def _fits_together(self) -> FileSource:
        known = {*self.known_columns(), *MEASURED_COLUMNS, "caption", "caption_characters"}
        for key, condition in self.filters.items():
            if unknown := sorted(columns_of(condition) - known):
                raise ValueError(f"filters.{key}: {', '.join(unknown)} is none of {', '.join(sorted(known))}")
        if self.encode_format == "png" and self.encode_quality > 9:
            raise ValueError("encode_quality: for png it is the compression level, 0 to 9")
        return self


class FolderSource(FileSource):
    """A tree of images, each with its caption in a .txt file of the same stem beside it."""

    _BESIDE = ExistingSource._BESIDE | {"path"}
    kind: Literal["folder"]
    path: str = Field(description="the folder; sub-folders are part of it")


class TableSource(FileSource):
    """Images that a parquet, CSV or TSV file lists, each with its caption."""

    _BESIDE = ExistingSource._BESIDE | {"path", "root"}
    kind: Literal["table"]
    path: str = Field(description="the table; .parquet, .csv, .csv.gz, .tsv or .tsv.gz")
    root: str | None = Field(None, description="folder that the images' paths start from; null: that of the table")
    columns: dict[str, str] = Field(
        {"image": "image", "caption": "caption"},
        description="our name: the table's name. image (a path) and caption are required; others are for filters and "
        "are kept with each pair",
    )

    def known_columns(self) -> set[str]:
        return self.columns.keys() - {"image", "caption"}

    @model_validator(mode="after")
    def _names_columns(self) -> TableSource:
        if missing := [name for name in ("image", "caption") if name not in self.columns]:
            raise ValueError(f"columns: {' and '.join(missing)} must be named")
        for name, column in self.columns.items():
            if name in (*MEASURED_COLUMNS, *RESERVED_COLUMNS) or not name.isidentifier():
                raise ValueError(f"columns: {name!r} (for {column!r}) is no name for a column here")
        if not self.path.endswith((".parquet", ".csv", ".csv.gz", ".tsv", ".tsv.gz")):
            raise ValueError(f"path: {self.path!r} is none of .parquet, .csv, .csv.gz, .tsv, .tsv.gz")
        return self
