"""The ledger of nodes: which failed, when and how, so that later submissions keep away from them for a while.

Only the standard library: other programs read the file through `avoided_nodes`.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path

FILE = "nodes.jsonl"


@dataclass(frozen=True)
class FailedNode:
    """One line. node: in Slurm's words, `n3` or `n[1-4]`. state: of its job. minutes: how long to avoid it.

    time: seconds since 1970.
    """

    node: str
    state: str
    job: str
    minutes: float
    time: float = field(default_factory=time.time)

    @property
    def until(self) -> float:
        """When the node is used again, seconds since 1970."""
        return self.time + 60 * self.minutes


def report_nodes(folder: Path, failed: Iterable[FailedNode]) -> None:
    """Add lines in one write, which other drivers' lines cannot cut."""
    text = "".join(json.dumps(asdict(node), sort_keys=True) + "\n" for node in failed)
    if text:
        # The line break before: a driver that was killed while it wrote leaves half a line.
        with open(folder / FILE, "a", encoding="utf-8") as file:
            file.write("\n" + text)
            file.flush()
            os.fsync(file.fileno())


def avoided_nodes(folder: Path, now: float | None = None) -> dict[str, FailedNode]:
    """The nodes that are avoided at this time, each with its latest failure; half lines are passed over."""
    now = time.time() if now is None else now
    try:
        lines = (folder / FILE).read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return {}
    found: dict[str, FailedNode] = {}
    for line in lines:
        try:
            node = FailedNode(**json.loads(line))
            if isinstance(node.node, str) and node.until > now:
                found[node.node] = node
        except (ValueError, TypeError, RecursionError):
            continue
    return found
