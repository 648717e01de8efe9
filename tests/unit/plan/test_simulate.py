"""The simulation against closed forms."""

import math
import time
from pathlib import Path

import pytest

from clip_scaling.errors import ConfigError
from clip_scaling.plan.simulate import Job, Machines, simulate


def equal(count: int, hours: float = 2.0, devices: int = 4) -> list[Job]:
    return [Job(f"j{n}", hours, devices) for n in range(count)]


@pytest.mark.parametrize(("jobs", "devices"), [(1, 4), (7, 4), (7, 8), (9, 15), (100, 64)])
def test_equal_jobs_end_after_as_many_rounds_as_the_machine_needs(jobs: int, devices: int) -> None:
    outcome = simulate(equal(jobs), Machines(devices=devices))
    rounds = math.ceil(jobs / (devices // 4))
    assert outcome.finish_hours == pytest.approx(2 * rounds)
    assert outcome.busy_device_hours == pytest.approx(jobs * 8)
    assert outcome.utilisation(devices) == pytest.approx(jobs * 8 / (2 * rounds * devices))
    assert outcome.lost_device_hours == 0


def test_jobs_at_a_time_are_limited_too() -> None:
    assert simulate(equal(10), Machines(devices=1000, concurrent_jobs=3)).finish_hours == pytest.approx(8)
    assert simulate(equal(10), Machines()).finish_hours == pytest.approx(2)


def test_a_time_limit_cuts_a_run_into_slices_that_each_pay_a_restart() -> None:
    # 10 h of work in slices of 4 h, half an hour of each but the first lost: 4 + 3.5 + 2.5, and two restarts.
    outcome = simulate([Job("a", 10, 2)], Machines(devices=2, time_limit_hours=4, restart_hours=0.5))
    assert outcome.slices == 3
    assert outcome.finish_hours == pytest.approx(11)
    assert outcome.lost_device_hours == pytest.approx(2)


def test_a_job_waits_for_those_before_it_and_the_greater_priority_goes_first() -> None:
    jobs = [Job("c", 1, 1, ("a",)), Job("a", 3, 1, (), 1), Job("b", 2, 1, (), 2)]
    outcome = simulate(jobs, Machines(devices=1))
    assert outcome.spans == {"b": (0, 2), "a": (2, 5), "c": (5, 6)}


def test_a_small_job_fills_what_a_large_one_leaves() -> None:
    jobs = [Job("first", 4, 3), Job("large", 4, 4, (), 1), Job("small", 1, 1)]
    outcome = simulate(jobs, Machines(devices=4))
    assert outcome.spans["large"] == (0, 4) and outcome.spans["small"] == (4, 5)


def test_queue_waits_have_the_mean_that_is_asked() -> None:
    # One job after the other, each waits: the finish is the sum of 2,000 waits of mean 3 and 2,000 runs of 1 hour.
    jobs = [Job(f"j{n}", 1, 1, (f"j{n - 1}",) if n else ()) for n in range(2000)]
    outcome = simulate(jobs, Machines(devices=1, queue_wait_hours=3), seed=1)
    assert outcome.finish_hours == pytest.approx(8000, rel=4 * 3 * math.sqrt(2000) / 8000)


def test_failures_lose_what_theory_says() -> None:
    # Work w between checkpoints, rate r, no restart: a checkpoint takes (e^(rw) - 1) / r hours on average (Daly 2006).
    rate, work, count = 0.5, 1.0, 4000
    machines = Machines(devices=1, failures_per_device_hour=rate, checkpoint_hours=work)
    outcome = simulate([Job("a", count * work, 1)], machines, seed=3)
    assert outcome.finish_hours == pytest.approx(count * math.expm1(rate * work) / rate, rel=0.05)
    assert outcome.lost_device_hours == pytest.approx(outcome.finish_hours - count * work)


@pytest.mark.parametrize(
    ("jobs", "machines", "said"),
    [
        (equal(1, devices=8), Machines(devices=4), "j0 needs 8 devices"),
        ([Job("a", 1, 1, ("b",))], Machines(), "none of the jobs"),
        ([Job("a", 1, 1, ("b",)), Job("b", 1, 1, ("a",))], Machines(), "circle"),
        (equal(1), Machines(time_limit_hours=0.1, restart_hours=0.2), "leaves no time"),
    ],
)
def test_what_can_never_run_is_refused(jobs: list[Job], machines: Machines, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        simulate(jobs, machines)


def test_ten_thousand_jobs_on_a_hundred_thousand_gpus_take_seconds() -> None:
    jobs = [Job(f"j{n}", 10 + n % 90, 8 * (1 + n % 128), (), n % 1000) for n in range(10_000)]
    machines = Machines(devices=100_000, time_limit_hours=24, restart_hours=0.1, failures_per_device_hour=1e-5)
    begun = time.process_time()
    outcome = simulate(jobs, machines)
    assert len(outcome.spans) == 10_000 and outcome.peak_devices <= 100_000
    assert time.process_time() - begun < 20


def test_a_study_for_a_cluster_is_planned_on_a_small_machine(raw: dict, repository: Path) -> None:
    from clip_scaling.plan.schedule import machines_of
    from clip_scaling.study.resolve import load_study

    study = load_study(raw, repository)
    assert machines_of(study, is_cpu=True, widest=100_000).devices == 100_000
    raw["resources"] = {"cluster": {"cores": 4}}
    assert machines_of(load_study(raw, repository), is_cpu=True, widest=100_000).devices == 4


@pytest.mark.parametrize(("sharing", "finish"), [(1, 12.0), (2, 6.0), (3, 4.0), (4, 3.0), (6, 2.0), (12, 1.0)])
def test_cells_that_share_a_gpu_run_beside_each_other(sharing: int, finish: float) -> None:
    """Twelve cells of an hour: thirds, sixths and twelfths of a GPU add up to a whole one."""
    jobs = [Job(f"cell {n}", 1.0, 1 / sharing) for n in range(12)]
    outcome = simulate(jobs, Machines(devices=1))
    assert outcome.finish_hours == pytest.approx(finish)
    assert outcome.busy_device_hours == pytest.approx(12 / sharing)
    assert outcome.peak_devices == pytest.approx(1.0)
