"""`kind: procedural`: captioned scenes drawn from a seed."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ....study.config.base import Count
from ..base import SourceBase, Tracked, Work


class ProceduralSource(SourceBase):
    """Captioned scenes of coloured shapes, drawn from a seed without any network."""

    kind: Tracked[Literal["procedural"]]
    pairs: Tracked[Count] = Field(20_000, description="training pairs to draw")
    seed: Tracked[int] = 0

    def prepare(self, work: Work) -> None:
        from ..write import write_source
        from .scenes import build

        write_source(work.output.parent, work.name, self, build(self))
