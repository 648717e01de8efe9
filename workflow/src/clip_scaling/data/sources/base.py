"""What every kind of source is asked: the protocol of sources, and the settings that all kinds have.

A kind is one folder or file here: a pydantic model of its settings with these methods, the code that does the work
beside it, and one line in registry.py. Models load nothing slow; `prepare` and `prepare_unit` import what they need.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, TypeVar

from pydantic import Field

from ...study.config.base import Name, Strict

T = TypeVar("T")
_TRACKED = "decides the content"
Tracked = Annotated[T, _TRACKED]
"""A setting that decides which pairs there are, or their bytes: a change prepares the source again."""
_TRACKED_LATER = "decides the content where it is not the default"
TrackedLater = Annotated[T, _TRACKED_LATER]
"""The same for a setting that came after sources were prepared: at its default it is no part of what they are."""


@dataclass(frozen=True)
class Work:
    """One job of preparation. output: the source's manifest, or a unit's record. units: records of all units."""

    name: str
    output: Path
    units: tuple[Path, ...] = ()
    workers: int = 1


@dataclass(frozen=True)
class Estimate:
    """What a source takes on disk and of a machine, before it is prepared. bytes_per_pair: of a pair in a tar."""

    bytes: float
    files: int
    bytes_per_pair: float
    mem_mb: int
    runtime_minutes: int


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
    """Settings and answers that all kinds of source have."""

    is_in_place: ClassVar[bool] = False
    """Whether subsets list pairs in tars that stay as they are, instead of shards of their own."""

    image_size: Tracked[int] = Field(32, ge=8, description="side of the stored images, pixels")
    shard_size: Tracked[int] = Field(2000, ge=10, description="pairs a shard (tar file)")
    vocabulary_size: Tracked[int] = Field(
        4096, ge=600, le=49408, description="rows of the token table built from the training captions"
    )
    held_out: Tracked[dict[Name, HoldOut]] = Field(
        min_length=1, description="evaluation sets kept out of training; dataset name = {source}-{key}"
    )

    # What the plan and the rules ask

    @property
    def expected_pairs(self) -> int | None:
        """Training pairs that the study file promises; None where it promises none."""
        pairs: int | None = getattr(self, "pairs", None)
        return pairs

    @property
    def is_only_planned(self) -> bool:
        """Whether the settings name no data, so that a study can be planned and not run."""
        return False

    def refusals(self, name: str) -> list[str]:
        """What is wrong with the settings of source `name` on any machine, each with place and next step."""
        return []

    def missing(self, name: str) -> list[str]:
        """Why source `name` cannot be prepared on this machine, each with its place; empty where it can."""
        return self.refusals(name)

    def inputs(self, name: str) -> list[str]:
        """Files that the source is prepared again for when they change. ConfigError where one is not there."""
        return []

    def known_tars(self, name: str) -> int | None:
        """Number of existing tars of source `name`; None where it has none, or they are not there yet."""
        return None

    def units(self, name: str) -> list[str]:
        """Records of the independent jobs before the whole, below the source's folder."""
        return []

    def estimate(self, pairs: int) -> Estimate:
        """The time and space that this number of pairs takes."""
        # PNGs of flat artwork: about a byte a pixel at most; three tar members of 512-byte blocks and headers.
        each = 3 * 1024 + 0.75 * self.image_size**2
        return Estimate(pairs * each, -(-pairs // self.shard_size) + 3, each, 3000, 60)

    # The work

    def prepare(self, work: Work) -> None:
        """Write the source: shards or an index, held-out sets, tokenizer, attribution, and the manifest last."""
        raise NotImplementedError

    def prepare_unit(self, work: Work, unit: dict[str, str]) -> None:
        """Write the record of one unit. unit: the wildcards of its rule."""
        raise NotImplementedError

    # Settings in two parts, for the rules' command lines

    def tracked(self, *, of_a_unit: bool = False) -> dict[str, Any]:
        """The settings that decide the content: a rule's param. of_a_unit: of a unit alone."""
        marked = {
            name
            for name, field in type(self).model_fields.items()
            if _TRACKED in field.metadata
            or (
                _TRACKED_LATER in field.metadata and getattr(self, name) != field.get_default(call_default_factory=True)
            )
        }
        return self.model_dump(mode="json", include=marked)

    def beside(self) -> dict[str, Any]:
        """All other settings, which preparation needs too: places, speeds, expectations, thresholds."""
        return self.model_dump(mode="json", exclude=set(self.tracked()))
