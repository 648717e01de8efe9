"""The study file: every key that may be written in it, as pydantic models.

Unknown keys are refused. `config/schema.json` and the table in `config/README.md` are generated from
these models (`make docs`). What the parts of a study demand of each other is checked in `study.py`.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from .counts import parse_count
from .expressions import columns_of
from .grid import SEPARATORS, Cell

Count = Annotated[int, BeforeValidator(parse_count), Field(gt=0, examples=["50K"])]


def _check_name(name: str) -> str:
    """Names become path components and parts of a cell's id."""
    allowed = set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_")
    if not name or not set(name) <= allowed or name[0] in ".-_" or any(part in name for part in SEPARATORS):
        raise ValueError(
            f"{name!r} is no valid name: letters, digits, '.', '-' and '_' only, none of {', '.join(SEPARATORS)} inside"
        )
    return name


Name = Annotated[str, AfterValidator(_check_name)]


def _check_set_name(name: str) -> str:
    """Names of sets as clip-benchmark and the paper have them: `vtab/flowers`, `vtab+`."""
    for part in name.split("/"):
        _check_name(part.rstrip("+"))
    return name


SetName = Annotated[str, AfterValidator(_check_set_name)]


class Strict(BaseModel):
    """Unknown keys are refused: a typo must not be planned."""

    model_config = ConfigDict(extra="forbid", frozen=True)


# ---------------------------------------------------------------- data


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

    _PLACES: ClassVar[set[str]] = set()
    _UNTRACKED: ClassVar[set[str]] = {"pairs", "bytes_per_pair"}

    def tracked(self) -> dict[str, Any]:
        """The settings that decide what is made: no places or expectations."""
        return self.model_dump(mode="json", exclude=self._UNTRACKED | self._PLACES)

    def places(self) -> dict[str, Any]:
        """The settings that say where the files lie."""
        return self.model_dump(mode="json", include=self._PLACES)


class WebdatasetSource(ExistingSource):
    """Existing webdataset tars, indexed where they lie and never rewritten."""

    _PLACES = {"tars"}
    _UNTRACKED = ExistingSource._UNTRACKED | {"image_size", "shard_size", "verify"}
    kind: Literal["webdataset"]
    tars: list[str] = Field(
        min_length=1,
        description="paths, globs, URLs or pipe: commands; {00000..00127} stands for a range",
    )
    caption_key: str | None = Field(None, description="of the .json member; null: the caption is the .txt member")
    verify: Literal["size", "sample", "full"] = Field(
        "sample",
        description="tars that are held against their sha256 before a subset lists them: none, one in twenty, all; "
        "sizes always are, and again when training starts",
    )
    shard_size: int = Field(10_000, ge=10, description="pairs a tar, as expected: for the plan")


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

    _PLACES = {"path"}
    kind: Literal["folder"]
    path: str = Field(description="the folder; sub-folders are part of it")


class TableSource(FileSource):
    """Images that a parquet, CSV or TSV file lists, each with its caption."""

    _PLACES = {"path", "root"}
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


Source = Annotated[
    IconifySource | ProceduralSource | UrlListSource | WebdatasetSource | FolderSource | TableSource,
    Field(discriminator="kind"),
]


class DropDuplicates(Strict):
    """Distances of perceptual hashes, in bits of 64, up to which an image is a repeat; equal bytes always are one."""

    within: int | None = Field(
        6, ge=0, le=16, description="of an earlier image in hash order, which stays; null: such repeats stay"
    )
    evaluation: int | None = Field(
        8, ge=0, le=16, description="of a test image of any set of the study's suite; null: such pairs stay"
    )

    @model_validator(mode="after")
    def _drops_something(self) -> DropDuplicates:
        if self.within is None and self.evaluation is None:
            raise ValueError("within and evaluation are both null: nothing would be dropped. Leave it out")
        return self


class Data(Strict):
    """A nested subset: the first `pairs` pairs of a source in hash order."""

    source: str
    pairs: Count
    coloured_share: float | None = Field(
        None,
        ge=0,
        le=1,
        description="share of pairs whose image has a pixel that is no shade of grey: the first of either kind in hash "
        "order; null: pairs as they come",
    )
    drop_duplicates: DropDuplicates | None = Field(
        None,
        description="leave out repeats, and take the first `pairs` pairs of what is left; {}: at the default distances",
    )
    distribution: Name | None = Field(
        None,
        description="training distribution, the tables' `source`: each has laws of its own, and laws are compared pair "
        "by pair; default: the study's name",
    )


# ---------------------------------------------------------------- grid and recipe


class Selector(Strict):
    """Matches the cells that agree in every given key; a key may hold one value or a list."""

    model: str | list[str] | None = None
    data: str | list[str] | None = None
    samples_seen: Count | list[Count] | None = None
    seed: int | list[int] | None = None

    def matches(self, cell: Cell) -> bool:
        """True where every given key agrees with the cell's."""
        for key in ("model", "data", "samples_seen", "seed"):
            wanted = getattr(self, key)
            if wanted is not None and getattr(cell, key) not in (wanted if isinstance(wanted, list) else [wanted]):
                return False
        return True


class GridCell(Strict):
    """One cell by hand, with a recipe and resources of its own where it needs them."""

    model: str
    data: str
    samples_seen: Count
    seed: int = 0
    recipe: dict[str, Any] = Field({}, description="fields of the recipe for this cell: an override after all others")
    train: dict[str, Any] = Field({}, description="fields of resources.train for this cell, likewise")


class Grid(Strict):
    """Every combination of the axes, less `exclude`, plus `include`."""

    models: list[str] = Field([], description="open_clip model names, or files in config/models/")
    data: list[str] = Field([], description="keys of `data`")
    samples_seen: list[Count] | None = Field(None, min_length=1, description="budgets in samples, e.g. [10K, 100K]")
    epochs: list[int] | None = Field(
        None, min_length=1, description="budgets in epochs over the unique pairs, instead of samples_seen"
    )
    seeds: list[int] = Field([0], min_length=1)
    exclude: list[Selector] = Field([], description="cells to leave out")
    include: list[GridCell] = Field([], description="cells to add")

    @model_validator(mode="after")
    def _one_budget_axis(self) -> Grid:
        axes = {"models": bool(self.models), "data": bool(self.data)}
        axes["samples_seen or epochs"] = bool(self.samples_seen or self.epochs)
        if self.include and not any(axes.values()):
            return self  # every cell is given by hand
        missing = [axis for axis, is_given in axes.items() if not is_given and axis in ("models", "data")]
        if missing:
            raise ValueError(f"{' and '.join(missing)}: name at least one (or give all cells by include)")
        if (self.samples_seen is None) == (self.epochs is None):
            raise ValueError("give exactly one of samples_seen and epochs")
        return self


class Instability(Strict):
    """What is done about a loss or gradient that is not finite, and about a spike of the loss."""

    policy: Literal["stop", "skip", "rollback"] = Field(
        "stop",
        description="stop: the cell ends as `diverged`; skip: that batch makes no step; "
        "rollback: back to the last saved state, and on with the batches after the spike",
    )
    max_events: int = Field(10, ge=0, description="skips or rollbacks in one run; one more ends it as `diverged`")
    spike_factor: float | None = Field(
        20.0,
        gt=0,
        description="a spike is a loss above the recent median by this many robust standard deviations (1.4826 MAD); "
        "null: only what is not finite counts",
    )
    spike_nats: float = Field(
        0.5,
        ge=0,
        description="and by this much at least, in nats: pairs known by heart give losses near zero, whose spread says "
        "nothing of a harder batch",
    )
    window: int = Field(100, ge=10, description="recent losses, in steps, that the median is taken of")


class Recipe(Strict):
    """How a cell is trained. All of it is tracked: a change retrains the cells that it touches."""

    trainer: Literal["clip_scaling", "open_clip_train"] = Field(
        "clip_scaling", description="open_clip_train: run the cell through the peer, for comparison (docs/training.md)"
    )
    objective: Literal["clip", "siglip", "coca"] = Field(
        "clip", description="InfoNCE (CLIP), pairwise sigmoid (SigLIP), or InfoNCE with captioning (CoCa)"
    )
    global_batch_size: int = Field(256, ge=2, description="pairs a step, over all ranks")
    learning_rate: float = Field(1e-3, gt=0, description="peak of AdamW's learning rate")
    schedule: Literal["cosine", "wsd"] = Field(
        "cosine",
        description="cosine: one run a budget, as the paper; wsd: warm-up, constant, cooldown: one trunk serves all "
        "budgets of a (model, data, seed)",
    )
    warmup_fraction: float | None = Field(
        0.1, ge=0, lt=1, description="linear warm-up, share of all steps; cosine only"
    )
    warmup_steps: int | None = Field(
        None, ge=0, description="linear warm-up in steps, instead of warmup_fraction; wsd needs it"
    )
    cooldown_fraction: float = Field(0.2, gt=0, lt=1, description="wsd: share of a budget's steps that cools down")
    cooldown_shape: Literal["1-sqrt", "linear"] = Field("1-sqrt", description="wsd: the rate's way from peak to 0")
    weight_decay: float = Field(0.2, ge=0, description="not applied to gains, biases and the logit scale")
    beta1: float = Field(0.9, ge=0, lt=1)
    beta2: float = Field(0.98, ge=0, lt=1)
    eps: float = Field(1e-6, gt=0)
    gradient_clip: float | None = Field(1.0, gt=0, description="maximum norm of the gradient; null for none")
    precision: Literal["fp32", "tf32", "amp", "amp_bf16"] = Field(
        "fp32", description="amp: fp16 with a gradient scaler (CUDA only); amp_bf16: bfloat16; weights stay fp32"
    )
    patch_dropout: float = Field(0.0, ge=0, lt=1, description="share of image patches left out in training")
    crop_scale: tuple[float, float] | None = Field(
        None, description="random resized crop: bounds of the area's share, open_clip's are [0.9, 1.0]; null: none"
    )
    sampling: Literal["shuffle", "replacement"] = Field(
        "shuffle", description="shuffle: each pair once an epoch; replacement: draws with replacement, as the paper's"
    )
    virtual_epoch: Count | None = Field(
        None, description="samples an epoch under sampling: replacement; default: the number of pairs"
    )
    readers: int | None = Field(
        None,
        ge=1,
        description="virtual readers, dealt to ranks and workers, each of which walks whole shards: for streams from "
        "disks and URLs; a multiple of the ranks; null: a full shuffle, which reads at random",
    )
    shuffle_window: int = Field(4096, ge=1, description="pairs that a virtual reader shuffles at a time")
    max_lost_fraction: float = Field(
        0.001, ge=0, lt=1, description="share of samples that may be unreadable before the run ends"
    )
    instability: Instability = Instability()

    @model_validator(mode="after")
    def _fits_together(self) -> Recipe:
        if self.schedule == "wsd" and self.warmup_steps is None:
            raise ValueError("schedule wsd needs warmup_steps: its trunk serves all budgets, so a share has no meaning")
        if self.virtual_epoch is not None and self.sampling != "replacement":
            raise ValueError("virtual_epoch needs sampling: replacement; a shuffled epoch is all pairs once")
        if self.crop_scale is not None and not 0 < self.crop_scale[0] <= self.crop_scale[1] <= 1:
            raise ValueError(f"crop_scale {list(self.crop_scale)} must be two shares, the smaller first, within (0, 1]")
        return self


class RecipeOverride(Selector):
    """Recipe fields for the cells that match the selector."""

    recipe: dict[str, Any] = Field(min_length=1, description="fields of the recipe, as under defaults")


class Recipes(Strict):
    """Defaults, then overrides in order: a later one wins."""

    defaults: Recipe = Recipe()
    overrides: list[RecipeOverride] = []


class Sweep(Strict):
    """The recorded search behind the learning rates: `snakemake sweep` trains each model at each rate."""

    data: str = Field(
        description="key of `data`; larger than samples_seen, so that the training loss is that of unseen pairs"
    )
    samples_seen: Count
    learning_rates: list[float] = Field(min_length=2)
    seed: int = 1000


# ---------------------------------------------------------------- evaluation, laws, resources


class Validation(Strict):
    """A small evaluation while a cell trains: the points of its learning curves."""

    datasets: list[SetName] = Field(min_length=1, description="sets of the suite")
    times: int = Field(10, ge=1, description="evaluations a run, evenly spread; the last is after the last step")
    max_samples: int = Field(1000, ge=10, description="the first images or pairs of a set that are used")


class Evaluation(Strict):
    validation: Validation | None = Field(None, description="while training; null: at the end only")
    suite: str = Field(description="a file of config/evaluation/, without .yaml")
    batch_size: int = Field(256, ge=1, description="images or captions a forward pass")
    loss_batch_size: int = Field(250, ge=2, description="fixed batch of the held-out contrastive loss")
    learning_curve: int = Field(
        0,
        ge=0,
        le=100,
        description="points before its end at which each cell is evaluated in full, evenly spread: each as soon as "
        "training has come there. Another number trains the cells anew, to the same weights",
    )


class LinearProbes(Strict):
    """How linear probes are trained and chosen; the values are those of the paper."""

    solver: Literal["adamw", "lbfgs"] = Field("adamw", description="lbfgs: logistic regression to its minimum")
    learning_rates: list[float] = Field([0.1, 0.01, 0.001], min_length=1, description="adamw only")
    weight_decays: list[float] = Field([0.0], min_length=1, description="lbfgs: penalties, each above 0")
    epochs: list[int] = Field([10, 20, 40], min_length=1, description="adamw only")
    batch_size: int = Field(256, ge=1)
    choose_on: Literal["validation", "test"] = Field(
        "validation", description="validation: a part carved from train; test: as the paper did, to reproduce it"
    )
    validation_share: float = Field(0.2, gt=0, lt=1, description="of each class of train")
    draws: int = Field(3, ge=1, description="draws of the examples of a k-shot probe; their mean is the value")
    seed: int = 0


class FineTuning(Strict):
    """How image towers are fine-tuned end to end; the fields are those of the paper's recipes."""

    cells: Selector = Field(Selector(), description="the cells that are fine-tuned; default: all")
    head: Literal["zeroshot", "linear"] = Field(
        "zeroshot",
        description="zeroshot: the frozen zero-shot classifier, which patching needs; linear: trained from it",
    )
    epochs: int = Field(10, ge=1)
    warmup_epochs: int = Field(1, ge=0)
    batch_size: int = Field(128, ge=1)
    learning_rate: float = Field(1e-3, gt=0, description="peak, of the head and the uppermost layer")
    learning_rates: dict[str, float] = Field({}, description="peak rate by model, where it is not the default")
    layer_decay: float = Field(0.65, gt=0, le=1, description="the rate's factor from each layer to the one below")
    weight_decay: float = Field(0.05, ge=0)
    ema: float = Field(0.98, ge=0, lt=1, description="decay a step of the average of weights that is evaluated")
    label_smoothing: float = Field(0.1, ge=0, lt=1)
    stochastic_depth: float = Field(0.1, ge=0, lt=1, description="of the last block; linear from 0 at the first")
    gradient_clip: float = Field(3.0, gt=0)
    rand_augment: str | None = Field(None, description="timm's words, such as rand-m9-n2")
    random_erase: float = Field(0.0, ge=0, le=1, description="share of images with an erased patch")
    crop_scale: tuple[float, float] | None = Field(None, description="random resized crop, as in the recipe")
    mixing: list[float] = Field(
        [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0],
        description="patching: shares of the fine-tuned weights that are tried; [] for none",
    )
    control: SetName | None = Field(
        None, description="patching: a zero-shot set of the suite whose accuracy may fall by max_control_loss"
    )
    max_control_loss: float = Field(0.01, ge=0, description="as a fraction; the paper's is one percentage point")
    validation_share: float = Field(0.2, gt=0, lt=1, description="of each class of train, to choose the mixture on")
    seed: int = 0


class SuiteEntry(Strict):
    """One evaluation set, and the targets that get a law."""

    dataset: SetName = Field(description="`{source}-{held_out key}`, or clip-benchmark's name of a set")
    origin: Literal["held_out", "digits", "idx", "webdataset"] = Field(
        "held_out",
        description="held_out: kept out of one of the study's sources; digits: scikit-learn's; idx: a folder of the "
        "four files of MNIST or Fashion-MNIST; webdataset: a folder in clip-benchmark's layout",
    )
    folder: str | None = Field(
        None, description="of an idx or webdataset; default: the suite's, with the name for {dataset}"
    )
    metrics: list[str] = Field([], description="zero-shot metrics that get a law")
    linear_probe: list[Annotated[int, Field(ge=1)] | Literal["full"]] = Field(
        [], description="probes that get a law: examples a class, or full; needs a training split"
    )

    fine_tune: bool = Field(False, description="fine-tune end to end on its training split")

    @model_validator(mode="after")
    def _has_a_target(self) -> SuiteEntry:
        if not self.metrics and not self.linear_probe and not self.fine_tune:
            raise ValueError(f"{self.dataset}: give metrics, linear_probe or fine_tune, or leave the set out")
        return self


class Aggregate(Strict):
    """The plain mean of one metric over sets, itself a target."""

    dataset: SetName = Field(description="name of the mean")
    metric: str
    of: list[str] = Field(min_length=2, description="datasets of the suite")


class Suite(Strict):
    """A file of config/evaluation/: which sets every checkpoint is evaluated on."""

    description: str = ""
    folder: str | None = Field(
        None,
        description="where such folders lie, with {dataset} for the name (its slash as a dash); environment variables "
        "are replaced",
    )
    datasets: list[SuiteEntry] = Field(min_length=1)
    on_unreadable: Literal["error", "skip"] = Field(
        "error", description="an image, label or caption that cannot be read: stop, or leave it out and count it"
    )
    linear_probe: LinearProbes = LinearProbes()
    fine_tuning: FineTuning = FineTuning()
    aggregates: list[Aggregate] = []

    def folder_of(self, entry: SuiteEntry) -> Path:
        """Where a webdataset lies."""
        template = entry.folder or self.folder or "{dataset}"
        return Path(os.path.expandvars(template.replace("{dataset}", entry.dataset.replace("/", "-")))).expanduser()


METRICS = {
    "zeroshot_classification": ("acc1", "acc5", "mean_per_class_recall"),
    "zeroshot_multilabel": ("mean_average_precision",),
    "zeroshot_retrieval": (
        *(f"{way}_retrieval_recall@{k}" for way in ("image", "text") for k in (1, 5, 10)),
        "contrastive_loss",
    ),
}
"""What each task measures, in clip-benchmark's names; `contrastive_loss` is ours."""


class Laws(Strict):
    methods: list[str] = Field(["binned-min-5", "ols-all"], min_length=1, description="how to fit; see docs/laws.md")
    headline: dict[str, str] = Field(
        {}, description="method drawn and told first, by source; default: the first of methods"
    )


class TrainResources(Strict):
    """Where a training job runs, and how its work is cut up. Never part of a name or of what is tracked."""

    threads: int = Field(1, ge=1, description="CPU threads a rank")
    mem_mb: int = Field(2000, ge=100, description="memory a node, MB")
    runtime_minutes: int = Field(60, ge=1, description="time limit; a run that meets it is saved and continued")
    nodes: int = Field(1, ge=1)
    gpus: int = Field(0, ge=0, description="GPUs a node, one rank each; 0 trains on CPU")
    gpu_kind: str | None = Field(None, description="such as A100-40GB: for the plan's estimates of time and memory")
    tasks_per_node: int | None = Field(None, ge=1, description="ranks a node; default: its GPUs, or 1 without any")
    parallel: Literal["ddp", "fsdp2"] = Field("ddp", description="fsdp2: for models that one GPU cannot hold")
    accumulate: int = Field(1, ge=1, description="micro-batches a step; the contrastive batch stays whole")
    gradient_checkpointing: bool = Field(False, description="less memory for one more forward pass")
    compile: bool = Field(False, description="torch.compile: pays on long runs")
    input: Literal["packed", "stream"] = Field(
        "packed", description="packed: decoded once, mapped into memory; stream: decoded by workers from the tars"
    )
    workers: int = Field(0, ge=0, description="processes a rank that decode a stream; 0: the rank itself")
    checkpoint_minutes: float = Field(15, gt=0, description="minutes between saved states")
    keep_states: int = Field(2, ge=1, description="saved states kept a cell")
    max_state_gb: float | None = Field(None, gt=0, description="cap on a cell's saved states; the newest always stays")
    wandb_project: str | None = Field(None, description="log to Weights & Biases too (needs the package wandb)")

    @property
    def ranks_per_node(self) -> int:
        """Processes a node."""
        return self.tasks_per_node or max(1, self.gpus)

    @property
    def ranks(self) -> int:
        """Processes of a job."""
        return self.nodes * self.ranks_per_node

    @model_validator(mode="after")
    def _one_rank_a_gpu(self) -> TrainResources:
        if self.gpus and self.ranks_per_node != self.gpus:
            raise ValueError(f"tasks_per_node {self.tasks_per_node} with {self.gpus} GPUs a node: one rank a GPU")
        return self


class TrainResourcesOverride(Selector):
    """Resources of the training jobs that match the selector."""

    train: dict[str, Any] = Field(min_length=1, description="fields of resources.train")


class Cluster(Strict):
    """The machines that the plan's simulated schedule runs on."""

    gpus: int | None = Field(None, ge=1, description="GPUs that the study may use at a time; default: no limit")
    cores: int | None = Field(None, ge=1, description="CPU cores, for cells without GPUs; default: this machine's")
    concurrent_jobs: int | None = Field(None, ge=1, description="jobs at a time; default: no limit")
    time_limit_hours: float | None = Field(None, gt=0, description="of a job; a longer run is cut into slices")
    queue_wait_hours: float = Field(0.0, ge=0, description="mean wait of a submitted job, exponential")
    restart_hours: float = Field(0.05, ge=0, description="start-up of a slice: ranks, model, saved state")
    failures_per_gpu_hour: float = Field(
        0.0, ge=0, description="failures that end a job; it goes on from its last state"
    )


class Resources(Strict):
    """Where and how long; never part of a result."""

    train: TrainResources = TrainResources()
    cluster: Cluster = Cluster()
    overrides: list[TrainResourcesOverride] = Field([], description="in order: a later one wins")

    def train_of(self, cell: Cell) -> TrainResources:
        """Resources of a cell's training job: the defaults plus every matching override."""
        fields = self.train.model_dump(exclude_unset=True)
        for override in self.overrides:
            if override.matches(cell):
                fields.update(override.train)
        return TrainResources.model_validate(fields)


class Budget(Strict):
    """What the study may cost: a plan beyond it stops before the first job."""

    max_gpu_hours: float | None = Field(None, gt=0, description="of the cells that are still to run, by the estimate")
    max_storage_gb: float | None = Field(None, gt=0, description="at the peak, by the estimate")


class Costs(Strict):
    """What the plan's estimates start from, beside what runs and pilots have measured."""

    throughput: str | None = Field(
        None, description="CSV of known speeds, relative to the project folder (docs/plan.md has its columns)"
    )
    watts_per_gpu: float | None = Field(None, gt=0, description="with its share of the node; default: by gpu_kind")
    watts_per_core: float = Field(10.0, gt=0, description="of a CPU core, for cells without GPUs")


class Study(Strict):
    """One study file."""

    study: Name = Field(description="name of the study; results go to results/{study}/")
    title: str = ""
    sources: dict[Name, Source] = Field(min_length=1)
    data: dict[Name, Data] = Field(min_length=1)
    grid: Grid
    recipe: Recipes = Recipes()
    sweep: Sweep | None = None
    evaluation: Evaluation
    laws: Laws = Laws()
    resources: Resources = Resources()
    budget: Budget = Budget()
    costs: Costs = Costs()

    @model_validator(mode="before")
    @classmethod
    def _spread_cells_by_hand(cls, raw: Any) -> Any:
        """A cell's own recipe and resources become overrides, so that all else knows one mechanism only."""
        cells = (
            raw.get("grid", {}).get("include") if isinstance(raw, dict) and isinstance(raw.get("grid"), dict) else []
        )
        if not isinstance(cells, list):
            return raw
        overrides: dict[str, list[Any]] = {"recipe": [], "train": []}
        for cell in cells:
            axes = {"seed": 0} | {key: value for key, value in cell.items() if key not in overrides}
            for key, gathered in overrides.items():
                if cell.get(key):
                    gathered.append(axes | {key: cell[key]})
        if not any(overrides.values()):
            return raw
        bare = [{key: value for key, value in cell.items() if key not in overrides} for cell in cells]
        raw = raw | {"grid": raw["grid"] | {"include": bare}}
        for section, key in (("recipe", "recipe"), ("resources", "train")):
            given = raw.get(section) or {}
            raw[section] = given | {"overrides": [*given.get("overrides", []), *overrides[key]]}
        return raw


# ---------------------------------------------------------------- a study of published results


class PublishedTable(Strict):
    """A released file, at a fixed commit."""

    path: str = Field(description="its place in the folder of tables")
    url: str
    sha256: str = Field(pattern="^[0-9a-f]{64}$")


class Target(Strict):
    dataset: str = Field(description="as in the released table")
    metrics: list[str] = Field(min_length=1)


class LeaveOut(Strict):
    """Models that every method is fitted without and then predicts."""

    models: list[str] = Field(min_length=1)
    datasets: list[str] = Field(min_length=1)


class PublishedStudy(Strict):
    """Laws of results that others published: no data, no training."""

    study: Name = Field(description="name of the study; results go to results/{study}/")
    title: str = ""
    published: str | None = Field(None, description="a folder that holds the tables; default: fetched from their URLs")
    tables: list[PublishedTable] = Field(min_length=1)
    targets: list[Target] = Field(min_length=1)
    laws: Laws = Laws()
    leave_out: LeaveOut | None = None


PACKED_FORMAT = 2
"""Of packed manifests; older ones are packed anew."""
RECIPE_VERSION = 2
"""Moves only when the meaning of training changes: every cell is then trained anew."""
