"""Names of the released models: `Model-B-32_Data-80M_Samples-34B_lr-1e-3_bs-88k.pt`."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from ..errors import EvaluationError
from ..study.counts import parse_count

_NAME = re.compile(
    r"Model-(?P<model>[BLHgG]-[0-9]+)_Data-(?P<data>80M|400M|2B)_Samples-(?P<samples>[0-9]+B)"
    r"_lr-(?P<rate>[0-9]e-[0-9])_bs-(?P<batch>[0-9]+k)(?:\.pt)?"
)
# open_clip's `laion2b_s32b_b82k`, which is this run, has the mean and deviation of Inception and not of CLIP.
_PREPROCESS = {
    ("L-14", "2B", "34B"): {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)},
}


@dataclass(frozen=True)
class ReleasedRun:
    """A run, as its name describes it; samples_seen and global_batch_size are nominal."""

    model: str
    data: str
    samples_seen: int
    learning_rate: float
    global_batch_size: int
    preprocess: dict[str, Any] = field(default_factory=dict)


def parse_released(name: str) -> ReleasedRun:
    """Parse a released model's name, with or without `.pt`. EvaluationError where it is none."""
    match = _NAME.fullmatch(name)
    if not match:
        raise EvaluationError(
            f"{name!r} is no name of a released model, like Model-B-32_Data-80M_Samples-34B_lr-1e-3_bs-88k.pt."
        )
    return ReleasedRun(
        f"ViT-{match['model']}",
        f"LAION-{match['data']}",
        parse_count(match["samples"]),
        float(match["rate"]),
        parse_count(match["batch"].upper()),
        _PREPROCESS.get((match["model"], match["data"], match["samples"]), {}),
    )
