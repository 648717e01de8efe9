"""`kind: url_list`: image-text pairs behind lists of URLs."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from ....errors import ConfigError, DataError
from ....study.config.base import Count, Name, Strict
from ....study.config.expressions import columns_of
from ..base import Estimate, RetrievalHoldOut, SourceBase, Tracked, Work
from ..tables.config import TableForm
from .names import RE_LAION, Part, parts_of, withdrawn_list

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


class UrlListSource(TableForm, SourceBase):
    """Image-text pairs behind lists of URLs, such as LAION's. Without `lists` it can be planned only."""

    WHOLE: ClassVar[frozenset[str]] = frozenset(
        {"urls", "held_out", "shard_size", "vocabulary_size", "is_repeat_dropped"}
    )
    """Tracked settings that no download depends on."""

    kind: Tracked[Literal["url_list"]]
    urls: Tracked[str] = Field(description="where the lists of URLs and captions are published")
    pairs: Count = Field(description="training pairs that the lists give, as expected: for the plan")
    bytes_per_pair: int = Field(30_000, ge=1, description="of a stored pair, for the plan's estimate of storage")
    lists: list[str] = Field(
        [],
        description="parquet, CSV or TSV files, one part each: paths, globs, or URLs; {0000..0127} stands for a range",
    )
    columns: Tracked[dict[str, str]] = Field(
        {"url": "url", "caption": "caption"},
        description="our name: the lists' name. url and caption are required, sha256 (of the image) is checked, width, "
        "height, language, similarity, punsafe, ... are for filters and are kept with each pair",
    )
    filters: Tracked[dict[Name, str]] = Field(
        {}, description="name: condition on `columns`, such as {similar: similarity >= 0.3}; losses are counted by name"
    )
    min_caption_characters: Tracked[int] = Field(1, ge=1)
    max_caption_characters: Tracked[int | None] = Field(None, ge=1)
    min_image_bytes: Tracked[int] = Field(1, ge=1, description="of the image as it is served")
    max_image_bytes: Tracked[int] = Field(
        20_000_000, ge=1000, description="likewise; larger ones are not read to their end"
    )
    min_image_side: Tracked[int] = Field(0, ge=0, description="shorter side of the image as it is served, pixels")
    max_aspect_ratio: Tracked[float | None] = Field(None, ge=1, description="of the image as it is served")
    resize: Tracked[Literal["keep_ratio", "center_crop", "border", "keep_ratio_largest", "no"]] = Field(
        "keep_ratio", description="img2dataset's words; keep_ratio: the shorter side becomes image_size"
    )
    is_upscaling: Tracked[bool] = Field(False, description="resize images that are smaller than image_size, too")
    encode_format: Tracked[Literal["jpg", "png", "webp"]] = "jpg"
    encode_quality: Tracked[int] = Field(95, ge=0, le=100, description="PNG: the compression level, 0 to 9")
    is_robots_tag_heeded: Tracked[bool] = Field(
        True, description="leave out images whose X-Robots-Tag forbids their use"
    )
    is_repeat_dropped: Tracked[bool] = Field(
        True, description="of images served with equal bytes keep the first in hash order, and count the others"
    )
    safety: Tracked[Safety] = Safety()
    download: Download = Download()
    image_size: Tracked[int] = Field(256, ge=8, description="side of the stored images, pixels")
    shard_size: Tracked[int] = Field(10_000, ge=10, description="pairs a shard (tar file)")
    vocabulary_size: Tracked[int] = Field(
        49408, ge=600, le=49408, description="49408: CLIP's own token table; fewer rows: built from the captions"
    )
    held_out: Tracked[dict[Name, RetrievalHoldOut]] = Field({}, description="retrieval sets kept out of training")  # type: ignore[assignment]

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

    @property
    def is_only_planned(self) -> bool:
        return not self.lists

    def refusals(self, name: str) -> list[str]:
        place = withdrawn_list([*self.lists, self.urls])
        if not self.lists or place is None:
            return []
        if self.safety.is_withdrawn_original_accepted and self.safety.removal_list:
            return []
        return [
            f"sources.{name}: {place} is the original LAION-5B, withdrawn in 2023 because it links to illegal images. "
            f"Use Re-LAION instead ({RE_LAION}; config/sources/relaion-2b-en.yaml). Who must use the original sets "
            "safety.is_withdrawn_original_accepted: true and gives safety.removal_list"
        ]

    def missing(self, name: str) -> list[str]:
        if not self.lists:
            return [f"sources.{name}.lists: none is given, so the source can be planned only"]
        try:
            self.parts(name)
        except ConfigError as error:
            return [str(error)]
        return self.refusals(name)

    def parts(self, name: str) -> dict[str, Part]:
        """The lists by name, in order. ConfigError where one is missing or there twice."""
        return {part.name: part for part in parts_of(name, self.lists, self.urls)}

    def inputs(self, name: str) -> list[str]:
        return [self.safety.removal_list] if self.safety.removal_list else []

    def units(self, name: str) -> list[str]:
        last = self.download.retry_rounds
        return [f"parts/{part}/round-{last}.json" for part in self.parts(name)]

    def estimate(self, pairs: int) -> Estimate:
        each = float(self.bytes_per_pair)
        total, files = pairs * each, -(-pairs // self.shard_size) + 3
        if self.lists:
            # Downloads stay beside the shards that are joined from them: a removal or a filter needs no second one.
            total, files = 2 * total, files + 4 * -(-pairs // self.download.rows_per_shard)
        return Estimate(total, files, each, 4000, 240)

    def tracked(self, *, of_a_unit: bool = False) -> dict[str, Any]:
        fields = {key: value for key, value in super().tracked().items() if not (of_a_unit and key in self.WHOLE)}
        # The list of removals is a file, and an input of the rules: its content is tracked, not its place.
        fields["safety"] = {key: value for key, value in fields["safety"].items() if key != "removal_list"}
        return fields

    def beside(self) -> dict[str, Any]:
        return super().beside() | {"safety": self.safety.model_dump(mode="json")}

    def prepare(self, work: Work) -> None:
        from .removal import read_removal_list
        from .source import write_url_source

        if not self.lists:
            raise DataError(
                "names no `lists`, so it can be planned, not prepared",
                place=f"source {work.name}",
                remedy="Give them as the files of config/sources/ do.",
            )
        removal = read_removal_list(Path(self.safety.removal_list) if self.safety.removal_list else None)
        write_url_source(work.output.parent, work.name, self, work.units, removal, work.workers)

    def prepare_unit(self, work: Work, unit: dict[str, str]) -> None:
        from .part import download_part
        from .removal import read_removal_list

        part, removal = self.parts(work.name)[unit["part"]], self.safety.removal_list
        file = Path(part.file(work.name)), part.suffix
        removals = read_removal_list(Path(removal) if removal else None)
        download_part(work.output.parent, part.name, file, self, removals, int(unit["round"]))
