"""`data`: nested subsets of the sources."""

from __future__ import annotations

from pydantic import Field, model_validator

from .base import Count, Name, Strict


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
    is_copied: bool = Field(
        False,
        description="webdataset sources: copy the pairs into shards of their own, of the source's shard_size, instead "
        "of a list of places: for tars that are far away or on slow disks. Training comes to the same weights",
    )
    distribution: Name | None = Field(
        None,
        description="training distribution, the tables' `source`: each has laws of its own, and laws are compared pair "
        "by pair; default: the study's name",
    )
