"""What a run shows while it goes on: its curve, a heartbeat, a progress line, TensorBoard, Weights & Biases."""

from __future__ import annotations

import logging
import os
import resource
import socket
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from ..errors import TrainingError
from ..records.curve import CurvePoints, TrainingPoint, ValidationPoint, curve_so_far, write_curve
from ..records.filenames import ATTEMPTS, CURVE, HEARTBEAT
from ..records.lines import append_line
from ..records.provenance import code, job
from ..records.training import Heartbeat

log = logging.getLogger(__name__)
LOG_SECONDS = 5.0
"""Between two progress lines and two heartbeats."""


def memory_mb() -> float:
    """Peak memory of this process: the GPU's where it uses one, else resident, MB."""
    if torch.cuda.is_initialized():
        return torch.cuda.max_memory_allocated() / 1e6
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak / 1e3  # macOS counts bytes, Linux KiB


class Monitor:
    """Writes a run's curve and heartbeat into its folder, on the main rank.

    folder: of the resume states; holds the curve, the heartbeat, the attempts and tensorboard/.
    name: shown in front of each line. total: samples at the end. step: continues after this step.
    """

    def __init__(self, folder: Path, name: str, total: int, step: int, wandb_project: str | None = None) -> None:
        from tensorboardX import SummaryWriter

        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.name, self.total = folder, name, total
        self.curve = folder / CURVE
        self._forget_after(step)
        self.board = SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1, write_to_disk=True)
        self.wandb = _start_wandb(wandb_project, name, folder) if wandb_project else None
        self.said = 0.0
        self.started = time.monotonic()
        self.first_samples: int | None = None
        attempt = {"host": socket.gethostname(), "pid": os.getpid(), "started": time.time(), "from_step": step}
        attempt |= job() | {"commit": code().commit, "diff_sha256": code().diff_sha256}
        attempt |= self._lost(step)
        append_line(folder / ATTEMPTS, attempt)

    def _lost(self, step: int) -> dict[str, float]:
        """What the attempt before had done beyond the state that this one goes on from, by its last heartbeat."""
        beat = Heartbeat.last(self.folder)
        if beat is None:
            return {}
        lost = beat.samples - step * beat.samples / max(1, beat.step)
        if lost <= 0 or not beat.pairs_per_second:
            return {}
        return {"lost_samples": round(lost), "lost_seconds": lost / beat.pairs_per_second}

    def _forget_after(self, step: int) -> None:
        """Drop the lines of steps that will be made again."""
        if self.curve.exists():
            write_curve(self.curve, (point for point in self.points() if point.step <= step))

    def points(self) -> CurvePoints:
        """The curve so far. A line that a kill cut short is left out."""
        return curve_so_far(self.curve)

    def rewind(self, step: int) -> None:
        """Forget the points after a step, to which the run has gone back."""
        self._forget_after(step)

    def add(self, point: TrainingPoint) -> None:
        """Take one point of the curve."""
        self._append(point, point.model_dump(exclude={"step", "samples"}))
        now = time.monotonic()
        self.first_samples = point.samples if self.first_samples is None else self.first_samples
        if now - self.said >= LOG_SECONDS or point.samples >= self.total:
            self.said = now
            self.beat(point.step, point.samples, point.loss, point.pairs_per_second)
            speed = max(point.pairs_per_second, 1e-9)
            log.info(
                f"{self.name} step={point.step} samples={point.samples} loss={_text(point.loss)} "
                f"lr={point.learning_rate:.2e} pairs/s={speed:.0f} wait={100 * point.data_wait_share:.0f}% "
                f"left={max(0, self.total - point.samples) / speed:.0f}s"
            )

    def beat(
        self, step: int, samples: int, loss: float | None, pairs_per_second: float, state: str = "running"
    ) -> None:
        """Write the heartbeat: what `clip-scaling status` reads."""
        beat = Heartbeat(
            state=state,
            step=step,
            samples=samples,
            total_samples=self.total,
            loss=loss,
            pairs_per_second=pairs_per_second,
            time=time.time(),
            host=socket.gethostname(),
            pid=os.getpid(),
        )
        beat.write(self.folder / HEARTBEAT)

    def validated(self, step: int, samples: int, metrics: dict[str, float]) -> None:
        """Take the metrics of a validation."""
        self._append(ValidationPoint(step=step, samples=samples, validation=metrics), metrics)
        log.info(f"{self.name} step={step} " + " ".join(f"{name}={value:.4f}" for name, value in metrics.items()))

    def _append(self, point: TrainingPoint | ValidationPoint, values: Mapping[str, float | None]) -> None:
        append_line(self.curve, point.model_dump())
        for name, value in values.items():
            if value is not None:
                # TensorBoard takes no @ in a name.
                self.board.add_scalar(name.replace("@", "_at_"), value, point.step)
        if self.wandb is not None:
            self.wandb.log({**values, "samples": point.samples}, step=point.step)

    def close(self) -> None:
        """Write out what is buffered."""
        self.board.close()
        if self.wandb is not None:
            self.wandb.finish()


def _text(loss: float | None) -> str:
    return "nan" if loss is None else f"{loss:.3f}"


def _start_wandb(project: str, name: str, folder: Path) -> Any:
    try:
        import wandb
    except ModuleNotFoundError:
        raise TrainingError(
            "resources.train.wandb_project needs the package wandb: `pip install wandb`, or remove the key."
        ) from None
    # One id a run: a continued run goes on in the same place.
    return wandb.init(project=project, name=name, id=name.replace("/", "-"), resume="allow", dir=str(folder))
