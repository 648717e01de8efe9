"""A discrete-event simulation of jobs on a cluster: devices, limits, waits, time slices, failures."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from ..errors import ConfigError

ROUNDING = 1e-9
"""Of devices: thirds of one add up to a whole."""


@dataclass(frozen=True)
class Job:
    """hours: of work on `devices`; a job that shares a device takes a part of one.

    after: jobs that must have ended. priority: the greater goes first.
    """

    name: str
    hours: float
    devices: float
    after: tuple[str, ...] = ()
    priority: float = 0.0


@dataclass(frozen=True)
class Machines:
    """What the jobs run on; None is no limit. Waits are exponential with mean queue_wait_hours.

    restart_hours: of work that a slice after the first loses to starting. checkpoint_hours: between saved states.
    A failure (failures_per_device_hour) ends a slice, and what was done since the last saved state is done again.
    """

    devices: float | None = None
    concurrent_jobs: int | None = None
    time_limit_hours: float | None = None
    queue_wait_hours: float = 0.0
    restart_hours: float = 0.0
    failures_per_device_hour: float = 0.0
    checkpoint_hours: float = 0.5


@dataclass
class Outcome:
    """finish_hours: when the last job ends. Device-hours: busy is all that was held, lost what served no progress."""

    finish_hours: float = 0.0
    busy_device_hours: float = 0.0
    lost_device_hours: float = 0.0
    slices: int = 0
    failures: int = 0
    peak_devices: float = 0
    spans: dict[str, tuple[float, float]] = field(default_factory=dict)

    def utilisation(self, devices: float | None) -> float:
        """Share of the devices (by default the most that were held at a time) that was held until the finish."""
        whole = (devices or self.peak_devices) * self.finish_hours
        return self.busy_device_hours / whole if whole else 0.0


class _Ready:
    """Jobs that may start, by priority among those of each size: sizes are few, jobs may be many."""

    def __init__(self) -> None:
        self.heaps: dict[float, list[tuple[float, int, int]]] = {}
        self.order = itertools.count()

    def push(self, job: Job, index: int) -> None:
        heapq.heappush(self.heaps.setdefault(job.devices, []), (-job.priority, next(self.order), index))

    def pop(self, free: float) -> int | None:
        """The job of highest priority that fits; None where none does."""
        fitting = [heap for size, heap in self.heaps.items() if heap and size <= free + ROUNDING]
        return heapq.heappop(min(fitting, key=lambda heap: heap[0][:2]))[2] if fitting else None


def simulate(jobs: Sequence[Job], machines: Machines, seed: int = 0) -> Outcome:
    """Run the jobs: whatever may start and fits, starts, the highest priority first.

    ConfigError for a job that no machine can hold, for a time limit within a restart, and for jobs that wait for each
    other. Without waits and failures the seed has no say.
    """
    _check(jobs, machines)
    return _Simulation(jobs, machines, np.random.default_rng(seed)).run()


class _Simulation:
    """The state of the machines at one time. Events: (hours, order, is it an end, job, hours of work in the slice)."""

    def __init__(self, jobs: Sequence[Job], machines: Machines, random: np.random.Generator) -> None:
        self.jobs, self.machines, self.random = jobs, machines, random
        place = {job.name: index for index, job in enumerate(jobs)}
        self.waiting = [len(job.after) for job in jobs]
        self.followers: list[list[int]] = [[] for _ in jobs]
        for index, job in enumerate(jobs):
            for name in job.after:
                self.followers[place[name]].append(index)
        self.left, self.begun = [job.hours for job in jobs], [-1.0] * len(jobs)
        self.free, self.room = float(machines.devices or np.inf), float(machines.concurrent_jobs or np.inf)
        self.events: list[tuple[float, int, bool, int, float]] = []
        self.order = itertools.count()
        self.ready, self.out, self.held = _Ready(), Outcome(), 0.0

    def run(self) -> Outcome:
        """From the first job to the last."""
        for index in range(len(self.jobs)):
            if not self.waiting[index]:
                self._submit(index, 0.0)
        while self.events:
            now = self.events[0][0]
            while self.events and self.events[0][0] <= now:
                self._take_event(now)
            while self.room >= 1 and (chosen := self.ready.pop(self.free)) is not None:
                self._start(chosen, now)
            self.out.finish_hours = now
        if len(self.out.spans) < len(self.jobs):
            stuck = next(job.name for job in self.jobs if job.name not in self.out.spans)
            raise ConfigError(f"{stuck} waits for itself: its dependencies form a circle.")
        return self.out

    def _submit(self, index: int, now: float) -> None:
        mean = self.machines.queue_wait_hours
        wait = self.random.exponential(mean) if mean else 0.0
        heapq.heappush(self.events, (now + wait, next(self.order), False, index, 0.0))

    def _take_event(self, now: float) -> None:
        """A job has waited long enough, or a slice of it has ended."""
        _, _, is_end, index, work = heapq.heappop(self.events)
        job = self.jobs[index]
        if not is_end:
            self.ready.push(job, index)
            return
        self.free, self.room, self.held = self.free + job.devices, self.room + 1, self.held - job.devices
        self.left[index] -= work
        if self.left[index] > 1e-12:
            self._submit(index, now)
            return
        self.out.spans[job.name] = (self.begun[index], now)
        for follower in self.followers[index]:
            self.waiting[follower] -= 1
            if not self.waiting[follower]:
                self._submit(follower, now)

    def _start(self, index: int, now: float) -> None:
        job, out = self.jobs[index], self.out
        span, work, failed = _slice(self.left[index], job, self.machines, self.begun[index] >= 0, self.random)
        self.begun[index] = now if self.begun[index] < 0 else self.begun[index]
        self.free, self.room, self.held = self.free - job.devices, self.room - 1, self.held + job.devices
        out.peak_devices = max(out.peak_devices, self.held)
        out.slices += 1
        out.failures += failed
        out.busy_device_hours += span * job.devices
        out.lost_device_hours += (span - work) * job.devices
        heapq.heappush(self.events, (now + span, next(self.order), True, index, work))


def _slice(
    left: float, job: Job, machines: Machines, is_again: bool, random: np.random.Generator
) -> tuple[float, float, bool]:
    """Hours that one slice holds its devices, hours of work that it keeps, and whether it failed."""
    start = machines.restart_hours if is_again else 0.0
    span = start + left
    if machines.time_limit_hours is not None:
        span = min(span, machines.time_limit_hours)
    if machines.failures_per_device_hour:
        failure = random.exponential(1 / (machines.failures_per_device_hour * job.devices))
        if failure < span:
            work = max(0.0, failure - start)
            return failure, work // machines.checkpoint_hours * machines.checkpoint_hours, True
    return span, span - start, False


def _check(jobs: Sequence[Job], machines: Machines) -> None:
    names = {job.name for job in jobs}
    for job in jobs:
        if machines.devices is not None and job.devices > machines.devices:
            raise ConfigError(
                f"{job.name} needs {job.devices:g} devices at a time, but resources.cluster has {machines.devices:g}. "
                "Give it fewer nodes, or raise the cluster's."
            )
        missing = [name for name in job.after if name not in names]
        if missing:
            raise ConfigError(f"{job.name} waits for {missing[0]}, which is none of the jobs.")
    if machines.time_limit_hours is not None and machines.time_limit_hours <= machines.restart_hours:
        raise ConfigError(
            f"time_limit_hours {machines.time_limit_hours} leaves no time for work after {machines.restart_hours} h of "
            "restart. Raise it."
        )
