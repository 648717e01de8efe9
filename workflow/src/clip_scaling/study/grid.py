"""The cells of a study: (model, data, samples seen, seed), their names, and what follows from them."""

from __future__ import annotations

import re
from dataclasses import dataclass

from .counts import COUNT_PATTERN, format_count, parse_count

SEPARATORS = ("Model-", "_Data-", "_Samples-", "_Seed-")
_CELL = re.compile(
    rf"Model-(?P<model>.+?)_Data-(?P<data>.+?)_Samples-(?P<samples>{COUNT_PATTERN})_Seed-(?P<seed>[0-9]+)"
)


@dataclass(frozen=True, order=True)
class Cell:
    """One training run of the grid. Its name follows the names LAION gave the released models."""

    model: str
    data: str
    samples_seen: int
    seed: int

    @property
    def name(self) -> str:
        """`Model-ViT-B-32_Data-LAION-400M_Samples-13B_Seed-0`: one path component."""
        return f"Model-{self.model}_Data-{self.data}_Samples-{format_count(self.samples_seen)}_Seed-{self.seed}"

    @classmethod
    def parse(cls, name: str) -> Cell:
        """The inverse of `name`. ValueError where the text is no cell's name."""
        match = _CELL.fullmatch(name)
        if not match:
            raise ValueError(f"{name!r} is no cell's name (Model-..._Data-..._Samples-..._Seed-...)")
        cell = cls(match["model"], match["data"], parse_count(match["samples"]), int(match["seed"]))
        if cell.name != name:
            raise ValueError(f"{name!r} is not in canonical form; write {cell.name!r}")
        return cell


def steps_for(samples_seen: int, global_batch_size: int) -> int:
    """Optimizer steps of a budget: whole global batches, at least as many samples as asked for."""
    return -(-samples_seen // global_batch_size)


def cooldown_start(steps: int, cooldown_fraction: float) -> int:
    """The step (from 0) at which a run of `steps` steps leaves its trunk: the rest cools down, one step at least."""
    return steps - max(1, round(cooldown_fraction * steps))


def trunk_name(cell: Cell) -> str:
    """`Model-ViT-B-32_Data-LAION-400M_Seed-0`: what the cells of all budgets share under schedule wsd."""
    return f"Model-{cell.model}_Data-{cell.data}_Seed-{cell.seed}"
