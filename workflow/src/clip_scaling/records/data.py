"""Records of prepared data: manifests of sources, subsets, packed pairs and evaluation sets; duplicates; data cards."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from ..errors import DataError
from . import filenames
from .base import Record
from .files import FileEntry, ShardEntry, read_json

Task = Literal["zeroshot_classification", "zeroshot_multilabel", "zeroshot_retrieval"]
CLASSIFICATION: Task = "zeroshot_classification"
MULTILABEL: Task = "zeroshot_multilabel"
RETRIEVAL: Task = "zeroshot_retrieval"


class Entry(BaseModel):
    """An object inside a record."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class KindRecord(Record):
    """A record whose `kind` and `format` in the file are those of its class."""

    KIND: ClassVar[str] = ""
    FORMAT: ClassVar[int] = 1

    @classmethod
    def parse(cls, raw: Any, path: Path) -> Self:
        """Check what was read from `path`. DataError: a file of another kind or format. ManifestError: a field."""
        head = {"kind": cls.KIND, "format": cls.FORMAT}
        if not isinstance(raw, dict) or {key: raw.get(key) for key in head} != head:
            raise DataError(
                f"not a manifest of kind {cls.KIND!r}, format {cls.FORMAT}",
                place=str(path),
                remedy=cls.REMEDY.format(path=path),
            )
        return super().parse({key: value for key, value in raw.items() if key not in head}, path)

    def write(self, path: Path) -> None:
        """Write canonical JSON atomically, with its seal: kind, format, and the fields that were given."""
        head = {"kind": self.KIND, "format": self.FORMAT}
        self._write(path, self.model_dump(mode="json", exclude_unset=True) | head)


class Manifest(KindRecord):
    """A list of the files of one data set, beside them."""

    files: list[FileEntry] = Field(description="path, bytes, sha256 of each file beside the shards")


class SourceCounts(Entry):
    """The balance of a source: parsed = kept + held out + dropped."""

    parsed: int = Field(description="pairs that were found")
    kept: int = Field(description="training pairs")
    held_out: dict[str, int] = Field(description="pairs that left for each held-out set, shown in it or not")
    dropped: dict[str, int] = Field(description="pairs that left, by reason")


class HeldOutImages(Entry):
    """One held-out set of a source: a tar of its test images."""

    kind: Task = Field(description="what the set measures")
    path: str = Field(description="tar, below the source's folder")
    images: int
    classes: list[str] = Field(description="class names, in the order of the labels; empty for retrieval")
    templates: list[str] = Field(description="prompts; `{c}` stands for the class")


def retrieval_images(path: str, images: int) -> HeldOutImages:
    """A held-out set for retrieval, which has no classes."""
    return HeldOutImages(kind=RETRIEVAL, path=path, images=images, classes=[], templates=[])


class TarLosses(Entry):
    """Samples that one existing tar kept and lost."""

    tar: str = Field(description="name of the tar")
    bytes: int
    sha256: str
    kept: int = Field(description="usable samples")
    lost: dict[str, int] = Field(description="samples lost, by reason")
    problems: list[str] = Field(description="damages of the tar as a whole")
    is_exact: bool = Field(description="whether `lost` counts every lost sample")
    recorded: int | None = Field(description="samples that the tar's writer says it wrote; null: no record")


class DownloadStep(Entry):
    """One part of a list of URLs: rows asked for, fetched and failed."""

    part: str = Field(description="name of the part")
    rows: int = Field(description="rows of the lists")
    not_asked: dict[str, int] = Field(description="rows left out before the download, by reason")
    asked: int
    fetched: int
    failed: dict[str, int] = Field(description="failed downloads, by reason")


class PartRecord(KindRecord):
    """One part of a list of URLs after a round of downloads, with a table of its images beside it.

    Written by `download_part`; read by the preparation of the source.
    """

    FILE: ClassVar[str] = "round-N.json"
    KIND: ClassVar[str] = "part"

    part: str = Field(description="name of the part")
    round: int = Field(description="0: every row was asked for; later ones: what failed for a passing reason")
    rows: int = Field(description="rows of the lists")
    not_asked: dict[str, int] = Field(description="rows left out before the download, by reason")
    asked: int
    fetched: int
    failed: dict[str, int] = Field(description="failed downloads, by reason")
    may_pass: int = Field(description="failures that another round may mend")
    outcomes_digest: str = Field(description="sha256 of the outcome of every row")

    @property
    def step(self) -> DownloadStep:
        """The part's line in the manifest of its source."""
        return DownloadStep(**{name: getattr(self, name) for name in DownloadStep.model_fields})


class SourceManifest(Manifest):
    """Training pairs in hash order, in tars, with the sets held out of them.

    Written by `prepare_source` and its like, last of all; read by the preparation of subsets and evaluation sets, the
    report and the model card.
    """

    FILE: ClassVar[str] = filenames.MANIFEST
    KIND: ClassVar[str] = "source"

    name: str
    recipe: dict[str, Any] = Field(description="settings that decide the content")
    pairs: int = Field(description="training pairs")
    counts: SourceCounts
    shards: list[ShardEntry] = Field(description="tars: path, bytes, sha256, pairs")
    held_out: dict[str, HeldOutImages]
    order_digest: str = Field(description="sha256 of the identities in order, one a line")
    is_in_place: bool = Field(False, description="whether the shards are existing tars, which are never rewritten")
    caption_key: str | None = Field(None, description="key of the caption in a sample's JSON; null: the txt member")
    quarantine: list[TarLosses] = Field([], description="existing tars with losses or damages")
    steps: list[DownloadStep] = Field([], description="parts of a download")
    ignored: dict[str, int] = Field({}, description="files of a folder that are no pairs, by kind")
    notes: dict[str, int] = Field({}, description="usable pairs of existing tars that are odd, by kind")


class SubsetCounts(Entry):
    """The balance of a subset: source = kept + dropped + left in the source."""

    source: int = Field(description="training pairs of the source")
    kept: int = Field(description="pairs of the subset")
    left_in_source: int
    coloured: int | None = Field(None, description="pairs with a coloured image, where a share was asked for")
    colourless: int | None = None
    dropped: dict[str, int] | None = Field(None, description="repeats passed over, by reason")


class DroppedDuplicates(Entry):
    """Repeats that a subset leaves out: distances in bits of the perceptual hash; null: such repeats stay."""

    within: int | None = Field(description="largest distance to an earlier image of the source")
    evaluation: int | None = Field(description="largest distance to an image of an evaluation set")


class SubsetManifest(Manifest):
    """A training set: pairs of a source, the first ones or chosen ones.

    Written by `prepare_subset`, last of all; read by packing, training, the data card, the report and `overlap`.
    """

    FILE: ClassVar[str] = filenames.MANIFEST
    KIND: ClassVar[str] = "subset"

    name: str
    source: str = Field(description="name of the source")
    source_order_digest: str = Field(description="`order_digest` of the source")
    pairs: int
    counts: SubsetCounts
    shards: list[ShardEntry] = Field(description="tars: path, bytes, sha256, pairs")
    order_digest: str = Field(description="sha256 of the identities in hash order, one a line")
    is_in_place: bool = Field(False, description="whether the shards are existing tars, of which the index lists pairs")
    is_copied: bool = Field(False, description="whether the pairs were copied out of existing tars")
    caption_key: str | None = Field(None, description="key of the caption in a sample's JSON; null: the txt member")
    coloured_share: float | None = Field(None, description="share of pairs with a coloured image; null: as they come")
    drop_duplicates: DroppedDuplicates | None = Field(None, description="null: repeats stay")

    @property
    def shard_pairs(self) -> list[int]:
        """Number of pairs of each shard."""
        return [entry.pairs for entry in self.shards]

    @property
    def is_in_hash_order(self) -> bool:
        """Whether pairs stand in hash order; those from existing tars stand tar by tar."""
        return not (self.is_in_place or self.is_copied)


class PackedManifest(Manifest):
    """A subset decoded and tokenised once: pixels.npy and tokens.npy.

    Written by `pack_subset`, last of all; read by training.
    """

    FILE: ClassVar[str] = filenames.MANIFEST
    KIND: ClassVar[str] = "packed"
    FORMAT: ClassVar[int] = 2

    data: str = Field(description="name of the subset")
    pairs: int
    shard_pairs: list[int] = Field(description="number of pairs of each shard of the subset")
    image_size: int = Field(description="side of the images, pixels")
    context_length: int = Field(description="tokens a caption, start and end included")
    vocabulary_size: int
    tokenizer_sha256: str
    truncated_captions: int = Field(description="captions cut to fit")
    order_digest: str = Field(description="that of the subset")
    unreadable: list[int] = Field([], description="rows whose pair cannot be read; each holds the next one that can")


class EvaluationSetManifest(Manifest):
    """An evaluation set in clip-benchmark's webdataset layout.

    Written by `prepare_evaluation`, last of all; read by evaluation, validation, fine-tuning, the plan and the report.
    """

    FILE: ClassVar[str] = filenames.MANIFEST
    KIND: ClassVar[str] = "evaluation"

    dataset: str = Field(description="name of the set")
    source: str = Field(description="where the images come from")
    folder: str | None = Field(None, description="where the files lie; null: beside the manifest")
    task: Task
    classes: list[str] = Field(description="class names, in the order of the labels; empty for retrieval")
    templates: list[str] = Field(description="prompts; `{c}` stands for the class")
    n: int | None = Field(None, description="test images; null: not counted")
    n_train: int | None = Field(None, description="training images; null: none, or not counted")

    def home(self, path: Path) -> Path:
        """Folder of the set's files. path: of the manifest."""
        return path.parent if self.folder is None else Path(self.folder)


MANIFESTS: dict[str, type[Manifest]] = {
    kind.KIND: kind for kind in (SourceManifest, SubsetManifest, PackedManifest, EvaluationSetManifest)
}


def read_any_manifest(path: Path) -> Manifest:
    """Read a manifest of whatever kind. DataError where it is of none."""
    raw = read_json(path)
    kind = raw.get("kind") if isinstance(raw, dict) else None
    if kind not in MANIFESTS:
        raise DataError(
            f"not a manifest of kind {', '.join(MANIFESTS)}", place=str(path), remedy=Manifest.REMEDY.format(path=path)
        )
    return MANIFESTS[kind].parse(raw, path)


class RepeatCounts(Entry):
    """Images of a training set that repeat an earlier one."""

    equal_bytes: int
    near_by_bits: dict[str, int | None] = Field(
        description="by distance in bits, equal bytes included; null: too many images are alike to be searched"
    )


class ShownImages(Entry):
    """Images of an evaluation set that a training set shows."""

    images: int = Field(description="test images of the set")
    plain_images: int = Field(description="images of one colour, whose perceptual hash is noise")
    equal_bytes: int
    near_by_bits: dict[str, int | None] = Field(description="by distance in bits, as for repeats")


class DuplicateCounts(Record):
    """Images of a training set that repeat one another, or that the study's evaluation sets show.

    Written by `count_duplicates`; read by the data card.
    """

    FILE: ClassVar[str] = filenames.DUPLICATES

    pairs: int
    plain_images: int = Field(description="images of one colour, whose perceptual hash is noise")
    unreadable_images: int
    repeat_an_earlier_image: RepeatCounts
    evaluation_images_in_training: dict[str, ShownImages] = Field(description="by evaluation set")


class Quantiles(Entry):
    """Values that occur: least, 5 %, median, 95 % and greatest."""

    least: int
    p5: int
    median: int
    p95: int
    greatest: int


class CaptionNumbers(Entry):
    """Captions of the measured pairs."""

    characters: Quantiles | None
    words: Quantiles | None
    distinct: int
    share_of_letters_by_script: dict[str, float] = Field(description="fractions of all letters")
    share_by_language: dict[str, float] | str = Field(
        "not measured", description="fractions of captions, or why they were not measured"
    )


class ImageNumbers(Entry):
    """Images of the measured pairs, as encoded."""

    pixels_wide: Quantiles | None
    pixels_high: Quantiles | None
    bytes: Quantiles | None


class DataCard(Record):
    """A training set in numbers, measured on a sample of its pairs.

    Written by `data_card`, with contact_sheet.png beside it; read by the report.
    """

    FILE: ClassVar[str] = filenames.CARD

    pairs: int
    source: str = Field(description="name of the source")
    licences: list[str] | str = Field(description="licences that the source admits, or why there is no list")
    pairs_of_the_source: SourceCounts
    pairs_chosen: SubsetCounts
    measured_on_first_pairs: int = Field(description="number of sampled pairs")
    unreadable: int = Field(description="pairs whose image cannot be decoded, of all")
    captions: CaptionNumbers
    images: ImageNumbers
    duplicates: DuplicateCounts | None = Field(None, description="null: made by an earlier version")
    order_digest: str = Field(description="that of the subset")
