"""`sources`: where pairs come from, one model a kind, and what is held out of them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from .base import Count, Name, Strict
from .expressions import columns_of


class ClassificationHoldOut(Strict):
    """Zero-shot classification on drawings of vendors (icon sets) that training never sees."""

    kind: Literal["zeroshot_classification"]
    sets: list[str] = Field(
        min_length=1,
        description="icon sets whose every icon is kept out of training; `[colour-shape]` in a procedural source",
    )
    near_twins: list[str] = Field(
        [], description="icon sets that redraw the held-out ones (forks, older versions): left out altogether"
    )
    classes: int = Field(100, ge=2, description="the most widespread captions become the classes")
    templates: list[str] = Field(
        ["{c}", "{c} icon", "an icon of {c}"], min_length=1, description="prompts; {c} is the class name"
    )


class RetrievalHoldOut(Strict):
    """Zero-shot retrieval over pairs whose caption training never sees."""

    kind: Literal["zeroshot_retrieval"]
    pairs: int = Field(1000, ge=10, description="held-out pairs, one per held-out caption")


HoldOut = Annotated[ClassificationHoldOut | RetrievalHoldOut, Field(discriminator="kind")]


class SourceBase(Strict):
    image_size: int = Field(32, ge=8, description="side of the stored images, pixels")
    shard_size: int = Field(2000, ge=10, description="pairs a shard (tar file)")
    vocabulary_size: int = Field(
        4096, ge=600, le=49408, description="rows of the token table built from the training captions"
    )
    held_out: dict[Name, HoldOut] = Field(
        min_length=1, description="evaluation sets kept out of training; dataset name = {source}-{key}"
    )


class IconifySource(SourceBase):
    """Captioned SVG icons of the npm package @iconify/json, each set with its own licence."""

    kind: Literal["iconify"]
    version: str = Field("2.2.535", description="version of the npm package @iconify/json")
    sha256: str = Field(
        "1a545f86fa224d6531d8fb101dcbe83aac2b28689a21cbed6fc68318a5af4d91",
        pattern="^[0-9a-f]{64}$",
        description="of the package's tarball",
    )
    path: str | None = Field(None, description="an already downloaded tarball; default: fetched by the npm client")
    licences: list[str] = Field(
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
    exclude_categories: list[str] = Field(["Logos"], description="iconify categories that are left out")
    include_sets: list[str] | None = Field(None, description="only these sets, for small studies; default: all allowed")
    max_icons_per_set: int = Field(8000, ge=1, description="cap a set, by hash order: one vendor must not dominate")


class ProceduralSource(SourceBase):
    """Captioned scenes of coloured shapes, drawn from a seed without any network."""

    kind: Literal["procedural"]
    pairs: Count = Field(20_000, description="training pairs to draw")
    seed: int = 0


SAFETY_COLUMNS = ("punsafe", "nsfw")
"""Names under `columns` that need a limit under `safety`: LAION's probability and its older tag."""
DERIVED_COLUMNS = ("caption_characters", "aspect_ratio")
"""What filters may name beside `columns`; aspect_ratio (the longer side over the shorter) needs width and height."""


class Safety(Strict):
    """What may not be downloaded. A row that lacks a value that is asked for is left out."""

    max: dict[str, float] = Field(
        {}, description="largest allowed value by column: {punsafe: 0.5}; required for each score that the lists give"
    )
    allowed: dict[str, list[str]] = Field({}, description="allowed values by column: {nsfw: [UNLIKELY]}")
    removal_list: str | None = Field(
        None,
        description="text file, one URL or sha256 of an image a line: applied on every rebuild, and to what is already "
        "on disk",
    )
    is_withdrawn_original_accepted: bool = Field(
        False, description="prepare LAION-5B's withdrawn lists all the same; needs removal_list"
    )


class Download(Strict):
    """How fast and how often. Never part of a result's name or of what is tracked, but for retry_rounds."""

    processes: int = Field(2, ge=1, description="of img2dataset, a part")
    threads: int = Field(64, ge=1, description="requests at a time, a process")
    rows_per_shard: int = Field(10_000, ge=10, description="rows between two points that a killed part resumes from")
    timeout_seconds: int = Field(10, ge=1, description="without an answer")
    requests_per_second_per_host: float | None = Field(
        50.0, gt=0, description="of one part, over its processes; null: no limit"
    )
    retry_rounds: int = Field(
        1, ge=0, le=20, description="rounds that ask once more for what failed for a passing reason, each a job a part"
    )
    user_agent: str | None = Field(None, description="named to the hosts, and matched against their X-Robots-Tag")
    mem_mb: int = Field(4000, ge=500, description="of a part's job")
    runtime_minutes: int = Field(720, ge=1, description="time limit of a part's job; a restarted one goes on")


class UrlListSource(SourceBase):
    """Image-text pairs behind lists of URLs, such as LAION's. Without `lists` it can be planned only."""

    kind: Literal["url_list"]
    urls: str = Field(description="where the lists of URLs and captions are published")
    pairs: Count = Field(description="training pairs that the lists give, as expected: for the plan")
    bytes_per_pair: int = Field(30_000, ge=1, description="of a stored pair, for the plan's estimate of storage")
    lists: list[str] = Field(
        [],
        description="parquet, CSV or TSV files, one part each: paths, globs, or URLs; {0000..0127} stands for a range",
    )
    columns: dict[str, str] = Field(
        {"url": "url", "caption": "caption"},
        description="our name: the lists' name. url and caption are required, sha256 (of the image) is checked, width, "
        "height, language, similarity, punsafe, ... are for filters and are kept with each pair",
    )
    filters: dict[Name, str] = Field(
        {}, description="name: condition on `columns`, such as {similar: similarity >= 0.3}; losses are counted by name"
    )
    min_caption_characters: int = Field(1, ge=1)
    max_caption_characters: int | None = Field(None, ge=1)
    min_image_bytes: int = Field(1, ge=1, description="of the image as it is served")
    max_image_bytes: int = Field(20_000_000, ge=1000, description="likewise; larger ones are not read to their end")
    min_image_side: int = Field(0, ge=0, description="shorter side of the image as it is served, pixels")
    max_aspect_ratio: float | None = Field(None, ge=1, description="of the image as it is served")
    resize: Literal["keep_ratio", "center_crop", "border", "keep_ratio_largest", "no"] = Field(
        "keep_ratio", description="img2dataset's words; keep_ratio: the shorter side becomes image_size"
    )
    is_upscaling: bool = Field(False, description="resize images that are smaller than image_size, too")
    encode_format: Literal["jpg", "png", "webp"] = "jpg"
    encode_quality: int = Field(95, ge=0, le=100, description="PNG: the compression level, 0 to 9")
    is_robots_tag_heeded: bool = Field(True, description="leave out images whose X-Robots-Tag forbids their use")
    is_repeat_dropped: bool = Field(
        True, description="of images served with equal bytes keep the first in hash order, and count the others"
    )
    safety: Safety = Safety()
    download: Download = Download()
    image_size: int = Field(256, ge=8, description="side of the stored images, pixels")
    shard_size: int = Field(10_000, ge=10, description="pairs a shard (tar file)")
    vocabulary_size: int = Field(
        49408, ge=600, le=49408, description="49408: CLIP's own token table; fewer rows: built from the captions"
    )
    held_out: dict[Name, RetrievalHoldOut] = Field({}, description="retrieval sets kept out of training")  # type: ignore[assignment]

    @model_validator(mode="after")
    def _fits_together(self) -> UrlListSource:
        missing = [name for name in ("url", "caption") if name not in self.columns]
        if missing:
            raise ValueError(f"columns: {' and '.join(missing)} must be named")
        for name, column in self.columns.items():
            if name in DERIVED_COLUMNS or not name.isidentifier():
                raise ValueError(f"columns: {name!r} (for {column!r}) is no name for a column here")
        derived = {"caption_characters", *(["aspect_ratio"] if {"width", "height"} <= self.columns.keys() else [])}
        for key, condition in self.filters.items():
            unknown = sorted(columns_of(condition) - self.columns.keys() - derived)
            if unknown:
                raise ValueError(f"filters.{key}: {', '.join(unknown)} is not under columns: {', '.join(self.columns)}")
        for key, limits in (("max", self.safety.max), ("allowed", self.safety.allowed)):
            if unknown := sorted(limits.keys() - self.columns.keys()):
                raise ValueError(f"safety.{key}: {', '.join(unknown)} is not under columns")
        unlimited = [
            name
            for name in SAFETY_COLUMNS
            if name in self.columns and name not in {*self.safety.max, *self.safety.allowed}
        ]
        if unlimited:
            raise ValueError(
                f"safety: the lists give {' and '.join(unlimited)}; say what is allowed, as safety.max: "
                "{punsafe: 0.5} or safety.allowed: {nsfw: [UNLIKELY]}"
            )
        if self.encode_format == "png" and self.encode_quality > 9:
            raise ValueError("encode_quality: for png it is the compression level, 0 to 9")
        return self

    def tracked(self, *, of_a_part: bool = False) -> dict[str, Any]:
        """The settings that decide what is made: no places, speeds or expectations. of_a_part: of a download alone."""
        untracked = {"lists", "download", "pairs", "bytes_per_pair"}
        later = {"urls", "held_out", "shard_size", "vocabulary_size", "is_repeat_dropped"}
        fields = self.model_dump(mode="json", exclude=untracked | later if of_a_part else untracked)
        # The list of removals is a file, and an input of the rules: its content is tracked, not its place.
        del fields["safety"]["removal_list"]
        return fields

    @classmethod
    def from_tracked(cls, fields: dict[str, Any], **untracked: Any) -> UrlListSource:
        """The other way, for scripts: what is not given has its default."""
        return cls.model_validate({"urls": "", "pairs": 1} | fields | untracked)
