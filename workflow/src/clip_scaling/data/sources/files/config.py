"""`kind: folder` and `kind: table`: image files with captions."""

from __future__ import annotations

from glob import glob
from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from ....study.config.base import Name
from ....study.config.expressions import columns_of
from ...shards.limits import MAX_PIXELS, PILLOWS_LIMIT
from ..base import Tracked, TrackedLater, Work
from ..braces import expand_braces
from ..existing import ExistingSource
from ..tables.config import SUFFIXES, TableForm
from .places import FORMATS, IMAGE_SUFFIXES, folders_of

MEASURED_COLUMNS = ("width", "height", "aspect_ratio", "image_bytes")
"""What filters of image files may name beside `columns` and caption_characters: measured on the files, upright."""

RESERVED_COLUMNS = (
    *("caption_characters", "identity", "metadata", "problem", "reason", "sha256"),
    *("row_of_file", "image_offset", "image_length"),
)
"""Names that a table's `columns` may not give: preparation has columns of its own under them."""


class FileSource(ExistingSource):
    """Image files with captions: checked one by one, resized, and written into shards."""

    filters: Tracked[dict[Name, str]] = Field(
        {},
        description="name: condition, such as {sharp: width >= 200 and aspect_ratio <= 2}, on caption_characters, "
        "width, height, aspect_ratio, image_bytes and a table's `columns`; losses are counted by name",
    )
    min_caption_characters: Tracked[int] = Field(1, ge=1)
    max_caption_characters: Tracked[int | None] = Field(None, ge=1)
    min_image_bytes: Tracked[int] = Field(1, ge=1, description="of the file")
    max_image_bytes: Tracked[int] = Field(100_000_000, ge=1000, description="likewise; larger files are not read")
    image_suffixes: TrackedLater[tuple[str, ...]] = Field(
        IMAGE_SUFFIXES,
        min_length=1,
        description="kinds of image file that are read, in lower or upper case: besides these .jpe, .jfif, .bmp, .tif, "
        ".tiff, .avif",
    )
    max_image_pixels: TrackedLater[int] = Field(
        MAX_PIXELS,
        ge=1,
        le=PILLOWS_LIMIT,
        description="width times height as decoded, of a JPEG at the scale that is needed; larger images are not "
        "decoded, for a file of 1 MB may hold a picture of 1 GB",
    )
    min_image_side: Tracked[int] = Field(0, ge=0, description="shorter side of the image in the file, pixels")
    resize: Tracked[Literal["keep_ratio", "keep_ratio_largest", "no"]] = Field(
        "keep_ratio",
        description="keep_ratio: the shorter side becomes image_size, keep_ratio_largest: the longer one; smaller "
        "images keep their size, and their bytes where these are a plain JPEG, PNG or WebP",
    )
    encode_format: Tracked[Literal["jpg", "png", "webp"]] = Field(
        "jpg", description="of images that do not keep their bytes"
    )
    encode_quality: Tracked[int] = Field(95, ge=0, le=100, description="PNG: the compression level, 0 to 9")
    is_repeat_dropped: Tracked[bool] = Field(
        True, description="of files with equal bytes keep the first in hash order, and count the others"
    )
    image_size: Tracked[int] = Field(256, ge=8, description="side of the stored images, pixels")

    def prepare(self, work: Work) -> None:
        from .source import write_file_source

        write_file_source(work.output.parent, work.name, self, work.workers)

    def known_columns(self) -> set[str]:
        """Columns that a table gives beside image and caption, under our names."""
        return set()

    @model_validator(mode="after")
    def _fits_together(self) -> FileSource:
        known = {*self.known_columns(), *MEASURED_COLUMNS, "caption", "caption_characters"}
        for key, condition in self.filters.items():
            if unknown := sorted(columns_of(condition) - known):
                raise ValueError(f"filters.{key}: {', '.join(unknown)} is none of {', '.join(sorted(known))}")
        if unknown := [end for end in self.image_suffixes if end not in FORMATS]:
            raise ValueError(f"image_suffixes: {', '.join(unknown)} is none of {', '.join(FORMATS)}")
        if self.encode_format == "png" and self.encode_quality > 9:
            raise ValueError("encode_quality: for png it is the compression level, 0 to 9")
        return self


class FolderSource(FileSource):
    """A tree of images, each with its caption in a file of the same stem beside it."""

    kind: Tracked[Literal["folder"]]
    path: str = Field(description="the folder; sub-folders are part of it")
    caption_suffix: TrackedLater[str] = Field(
        ".txt", pattern=r"^\.[^/]+$", description="of the file of an image's caption, which has the image's stem"
    )
    caption_key: TrackedLater[str | None] = Field(
        None,
        description="of the caption in that file, which is then JSON; a list there gives a pair for each caption, "
        "`captions.0` the first alone. "
        "null: the file is the caption",
    )

    def refusals(self, name: str) -> list[str]:
        if Path(self.path).expanduser().is_dir():
            return []
        return [f"sources.{name}.path: {self.path}: no such folder. {_from_here()}"]

    def inputs(self, name: str) -> list[str]:
        # A folder's time changes with the names in it: an image that is added, removed or renamed is noticed.
        return folders_of(self.path)


class TableSource(TableForm, FileSource):
    """Images that a parquet, CSV or TSV file lists, each with its caption."""

    kind: Tracked[Literal["table"]]
    path: str = Field(
        description="the table; .parquet, .csv, .csv.gz, .tsv or .tsv.gz; of one in several files a glob or a range, "
        "such as data/train-*.parquet"
    )
    root: str | None = Field(None, description="folder that the images' paths start from; null: that of the table")
    columns: Tracked[dict[str, str]] = Field(
        {"image": "image", "caption": "caption"},
        description="our name: the table's name. image (a path, or in a parquet the image itself) and caption (a text, "
        "or a list of texts) are required; others are for filters and are kept with each pair",
    )

    def tables(self) -> list[Path]:
        """The files of the table, by name. ValueError for a range that cannot be."""
        path = Path(self.path).expanduser()
        if path.is_file():
            return [path]
        places = [place for each in expand_braces(str(path)) for place in sorted(glob(each))]
        return [Path(place) for place in dict.fromkeys(places)]

    def known_columns(self) -> set[str]:
        return self.columns.keys() - {"image", "caption"}

    @model_validator(mode="after")
    def _names_columns(self) -> TableSource:
        if missing := [name for name in ("image", "caption") if name not in self.columns]:
            raise ValueError(f"columns: {' and '.join(missing)} must be named")
        for name, column in self.columns.items():
            if name in (*MEASURED_COLUMNS, *RESERVED_COLUMNS) or not name.isidentifier():
                raise ValueError(f"columns: {name!r} (for {column!r}) is no name for a column here")
        if not self.path.endswith(SUFFIXES):
            raise ValueError(f"path: {self.path!r} is none of {', '.join(SUFFIXES)}")
        return self

    def refusals(self, name: str) -> list[str]:
        try:
            tables = self.tables()
        except ValueError as error:
            return [f"sources.{name}.path: {self.path}: {error}"]
        if not tables:
            return [f"sources.{name}.path: {self.path}: no such file. {_from_here()}"]
        if self.root is not None and not Path(self.root).expanduser().is_dir():
            return [f"sources.{name}.root: {self.root}: no such folder. {_from_here()}"]
        return []

    def inputs(self, name: str) -> list[str]:
        return [str(path) for path in self.tables()]


def _from_here() -> str:
    return f"Relative paths start from the working directory, {Path.cwd().name}/"
