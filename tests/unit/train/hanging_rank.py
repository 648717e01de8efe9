"""One of two ranks, the second of which sleeps in its first batch: python -m tests.unit.train.hanging_rank FOLDER."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from clip_scaling.study.config.resources import TrainResources
from clip_scaling.study.config.training import Recipe
from clip_scaling.train.distributed import join_ranks
from clip_scaling.train.engine import Engine
from clip_scaling.train.inputs import Batch, PackedInput
from clip_scaling.train.loop import Loop, Stretch
from clip_scaling.train.order import Indices, Order
from clip_scaling.train.schedule import schedule_of
from clip_scaling.train.state import StateFolder
from clip_scaling.train.watchdog import Watchdog

from .conftest import FIELDS, MODEL, some_pairs


class Bed(PackedInput):
    """An input that never gives a batch."""

    def batch(self, positions: Indices) -> Batch:
        while True:
            time.sleep(1)


def main() -> None:
    ranks, recipe = join_ranks(0), Recipe(**FIELDS)
    engine = Engine(MODEL, recipe, TrainResources(), ranks, seed=0)
    data = (PackedInput if ranks.is_main else Bed)(some_pairs(), Order([32], 0))
    loop = Loop(engine, data, schedule_of(recipe, 20), StateFolder(Path(sys.argv[1])), Stretch(20, 20, "ranks"))
    loop.watchdog = Watchdog(1 / 60, ranks.rank, ranks.size)
    ranks.meet()
    loop.run()


if __name__ == "__main__":
    main()
