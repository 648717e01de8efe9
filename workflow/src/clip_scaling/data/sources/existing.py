"""Settings of the kinds whose pairs are there already: tars, folders and tables."""

from __future__ import annotations

from pydantic import Field

from ...study.config.base import Count, Name
from .base import Estimate, RetrievalHoldOut, SourceBase, Tracked


class ExistingSource(SourceBase):
    """Image-text pairs that are there already, in whatever form."""

    pairs: Count = Field(description="training pairs that are there, as expected: for the plan")
    bytes_per_pair: int = Field(30_000, ge=1, description="of a stored pair, for the plan's estimate of storage")
    max_lost_fraction: float = Field(
        0.01, ge=0, lt=1, description="share of samples that may be unusable before preparation ends with an error"
    )
    attribution: str | None = Field(None, description="what ATTRIBUTION.md says of origin and licences")
    image_size: Tracked[int] = Field(
        256, ge=8, description="side of the stored images, pixels, for the plan's estimates"
    )
    shard_size: Tracked[int] = Field(10_000, ge=10, description="pairs a shard (tar file)")
    vocabulary_size: Tracked[int] = Field(
        49408, ge=600, le=49408, description="49408: CLIP's own token table; fewer rows: built from the captions"
    )
    held_out: Tracked[dict[Name, RetrievalHoldOut]] = Field({}, description="retrieval sets kept out of training")  # type: ignore[assignment]

    def estimate(self, pairs: int) -> Estimate:
        each = float(self.bytes_per_pair)
        # Images are not kept in memory, but what is known of each: about 1.8 kB, and 150 MB a worker.
        memory = max(4000, 2000 + self.pairs // 500)
        return Estimate(pairs * each, -(-pairs // self.shard_size) + 3, each, memory, 720)
