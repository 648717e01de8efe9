"""Interruptions on a real Slurm: saved work goes on, no step is lost or done twice, the weights are the undisturbed."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from .conftest import GENERIC, Driver, wait_for
from .slurm_cluster import Cluster

pytestmark = pytest.mark.cluster

# A trainer of a logistic map: chaotic, so that one step lost or done twice changes every later digit.
TRAINER = """
import json, os, pathlib, signal, sys, time
name, steps, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
stop = []
for number in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM):
    signal.signal(number, lambda *_: stop.append(1))
state = pathlib.Path(f"state-{name}.json")
step, weight = json.loads(state.read_text()) if state.exists() else (0, 0.3)
with open(f"starts-{name}", "a") as starts:
    starts.write(f"{os.environ['SLURM_JOB_ID']} {os.environ['SLURMD_NODENAME']} {step}\\n")
while step < steps:
    weight = 3.9 * weight * (1 - weight)
    step += 1
    time.sleep(seconds)
    if stop or step % 20 == 0:
        new = state.with_suffix(".new")
        new.write_text(json.dumps([step, weight]))
        new.rename(state)
    if stop:
        print(f"saved step={step}")
        sys.exit(75)
pathlib.Path(f"{name}.txt").write_text(f"{step} {weight!r}\\n")
"""
SNAKEFILE = """
STEPS = {"preempted": (300, 0.1), "limited": (600, 0.1), "powercut": (200, 0.1)}

rule all:
    input: expand("{name}.txt", name=STEPS), "memory.txt"

rule train:
    output: "{name}.txt"
    wildcard_constraints: name="|".join(STEPS)
    params: steps=lambda wildcards: " ".join(map(str, STEPS[wildcards.name]))
    resources:
        runtime=lambda wildcards: 1 if wildcards.name == "limited" else 10,
        cpus_per_task=8,
        mem_mb=1000,
    shell: "python train.py {wildcards.name} {params.steps} 2>&1 | tee {wildcards.name}.log"

rule memory:
    output: "memory.txt"
    resources: runtime=5, mem_mb=300
    shell: "python eat.py 500 && touch {output}"  # 300 MB more are for Snakemake in the job
"""
EATER = """
import sys, time
eaten = bytearray(int(sys.argv[1]) * 2**20)
for place in range(0, len(eaten), 4096): eaten[place] = 1
time.sleep(6)
"""


def weight_after(steps: int) -> float:
    weight = 0.3
    for _ in range(steps):
        weight = 3.9 * weight * (1 - weight)
    return weight


def starts(folder: Path, name: str) -> list[list[str]]:
    path = folder / f"starts-{name}"
    return [line.split() for line in path.read_text().splitlines()] if path.exists() else []


def saved_step(folder: Path, name: str) -> int:
    path = folder / f"state-{name}.json"
    return int(json.loads(path.read_text())[0]) if path.exists() else 0


def preempt(node: str) -> None:
    """A job of the urgent partition that needs the whole node for a moment."""
    command = ["sbatch", "-p", "urgent", "-w", node, "-c", "8", "--mem=100", "-o", "/dev/null", "--wrap", "sleep 1"]
    subprocess.run(command, check=True, capture_output=True)


@pytest.fixture
def disturbed(cluster: Cluster, folder: Path) -> Iterator[tuple[Path, str]]:
    """The workflow above, run to its end while one job after the other is disturbed, and its driver killed."""
    (folder / "train.py").write_text(TRAINER)
    (folder / "eat.py").write_text(EATER)
    (folder / "Snakefile").write_text(SNAKEFILE)
    first = Driver(folder, *GENERIC, "--submitit-max-continuations", "9")
    wait_for(lambda: all(starts(folder, name) for name in ("preempted", "limited", "powercut")), "the jobs' start")

    node = wait_for(lambda: saved_step(folder, "powercut") and starts(folder, "powercut")[0][1], "a saved state")
    preempt(starts(folder, "preempted")[0][1])
    cluster.kill_node(node)
    try:
        wait_for(
            lambda: "preempted.txt: job" in first.text() and "requeued (preemption)" in first.text(),
            "the first preemption",
            first,
        )
        first.process.send_signal(signal.SIGKILL)
        first.process.wait()
        second = Driver(folder, *GENERIC, "--submitit-max-continuations", "9")
        wait_for(
            lambda: (
                len(starts(folder, "preempted")) == 2
                and saved_step(folder, "preempted") > int(starts(folder, "preempted")[1][2])
            ),
            "the continuation",
            second,
        )
        wait_for(lambda: "was already submitted" in second.text(), "the second driver", second)
        preempt(starts(folder, "preempted")[1][1])
        assert second.ended() == 0, second.text()[-6000:]
    finally:
        cluster.start_node(node)
    yield folder, first.text() + second.text()


def test_a_study_survives_preemption_limits_power_cuts_lack_of_memory_and_its_drivers_death(
    disturbed: tuple[Path, str],
) -> None:
    folder, text = disturbed
    for name, steps in (("preempted", 300), ("limited", 600), ("powercut", 200)):
        assert (folder / f"{name}.txt").read_text() == f"{steps} {weight_after(steps)!r}\n", name

    preempted = starts(folder, "preempted")
    assert len(preempted) == 3 and len({job for job, _, _ in preempted}) == 1, "one submission, requeued twice"
    assert [int(step) for _, _, step in preempted] == sorted({int(step) for _, _, step in preempted})

    limited = starts(folder, "limited")
    # Slurm may send the signal up to a minute early, so one minute may become more than two parts.
    assert len(limited) >= 2 and len({job for job, _, _ in limited}) == 1
    assert "limited.txt: job" in text and "requeued (time limit)" in text

    powercut = starts(folder, "powercut")
    assert len(powercut) == 2 and powercut[0][1] != powercut[1][1], "it goes on at another node"
    assert int(powercut[1][2]) % 20 == 0 and int(powercut[1][2]) > 0, "from the last state before the power cut"

    assert "OUT_OF_MEMORY" in text or "gets more memory as job" in text


def test_a_failed_job_shows_job_log_and_last_lines(folder: Path) -> None:
    (folder / "Snakefile").write_text(
        "rule broken:\n    output: 'a'\n    resources: runtime=5, mem_mb=600\n    shell: 'echo no images >&2; exit 3'\n"
    )
    driver = Driver(folder, *GENERIC)
    assert driver.ended() == 1
    text = driver.text()
    assert "broken: a: job" in text and "exit code 3" in text and "no images" in text and "_0_log.out" in text
    assert text.count("no images") >= 1 and len(list((folder / ".snakemake/submitit").glob("*_submission.sh"))) == 1


def test_a_cancelled_job_is_not_requeued(folder: Path) -> None:
    (folder / "train.py").write_text(TRAINER)
    (folder / "Snakefile").write_text(
        "rule train:\n    output: 'a.txt'\n    resources: runtime=5, mem_mb=600\n"
        "    shell: 'python train.py a 9999 0.1'\n"
    )
    driver = Driver(folder, *GENERIC)
    job = wait_for(lambda: starts(folder, "a"), "the job's start")[0][0]
    subprocess.run(["scancel", job], check=True)
    assert driver.ended() == 1
    assert "Slurm state CANCELLED" in driver.text() and len(starts(folder, "a")) == 1


@pytest.mark.parametrize("round", range(4))
def test_two_drivers_at_once_submit_no_job_twice(folder: Path, round: int) -> None:
    studies = [folder / str(number) for number in range(5)]  # 20 pairs of drivers in all
    for study in studies:
        study.mkdir()
        (study / "Snakefile").write_text(
            "rule all:\n    input: expand('out/{i}', i=range(4))\n"
            "rule work:\n    output: 'out/{i}'\n    resources: runtime=5, mem_mb=600\n"
            "    shell: 'echo {wildcards.i} >> started; sleep 2; touch {output}'\n"
        )
    drivers = [Driver(study, *GENERIC) for study in studies for _ in range(2)]
    assert [driver.ended() for driver in drivers] == [0] * 10, [driver.text()[-3000:] for driver in drivers]
    for study in studies:
        assert sorted((study / "started").read_text().split()) == ["0", "1", "2", "3"]


def test_ranks_on_two_nodes_add_up_over_gloo_and_save_on_request(folder: Path) -> None:
    (folder / "reduce.py").write_text(
        "import datetime, os, pathlib, signal, sys, time\n"
        "import torch, torch.distributed as dist\n"
        "stop = []\n"
        "signal.signal(signal.SIGUSR2, lambda *_: stop.append(1))\n"
        "dist.init_process_group('gloo', timeout=datetime.timedelta(seconds=120))\n"
        "again = pathlib.Path('saved').exists()\n"
        "dist.barrier()\n"
        "while not again:\n"
        "    wish = torch.tensor(float(bool(stop)))\n"
        "    dist.all_reduce(wish)\n"
        "    pathlib.Path('running').touch()\n"
        "    if wish:\n"
        "        pathlib.Path('saved').touch()\n"
        "        dist.destroy_process_group()\n"
        "        sys.exit(75)\n"
        "    time.sleep(0.1)\n"
        "total = torch.tensor(float(dist.get_rank()))\n"
        "dist.all_reduce(total)\n"
        "node, local = os.environ['SLURMD_NODENAME'], os.environ['LOCAL_RANK']\n"
        "pathlib.Path(f'rank-{dist.get_rank()}').write_text(f'{total.item()} {node} {local}')\n"
        "dist.destroy_process_group()\n"
    )
    (folder / "Snakefile").write_text(
        "from snakemake_executor_plugin_submitit.launch import launcher\n"
        "rule reduce:\n    output: 'done'\n    params: launcher=launcher(2, 2)\n"
        "    resources: runtime=10, mem_mb=2000, nodes=2, gpus_per_node=2, tasks_per_node=2\n"
        "    shell: '{params.launcher} python reduce.py && touch {output}'\n"
    )
    driver = Driver(folder, *GENERIC)
    wait_for((folder / "running").exists, "the ranks")
    job = subprocess.run(["squeue", "-h", "-o", "%i"], capture_output=True, text=True, check=True).stdout.split()[0]
    subprocess.run(["scancel", "--signal=USR2", job], check=True)
    assert driver.ended() == 0, driver.text()[-4000:]
    ranks = [(folder / f"rank-{rank}").read_text().split() for rank in range(4)]
    assert [total for total, _, _ in ranks] == ["6.0"] * 4
    assert [local for _, _, local in ranks] == ["0", "1", "0", "1"]
    assert ranks[0][1] == ranks[1][1] != ranks[2][1] == ranks[3][1]
