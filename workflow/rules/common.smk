"""The validated study, the names that all rules share, and the lock of a study."""

import atexit
import contextlib
import fcntl
import os
import re
import sys
import threading
import time
from pathlib import Path
from shlex import quote

from snakemake.exceptions import WorkflowError
from snakemake.io import WILDCARD_REGEX

try:
    from clip_scaling.study.file import PublishedStudy
    from clip_scaling.plan.claims import Claims, folders_of
    from clip_scaling.errors import ClipScalingError, close_matches, entry, full_message
    from clip_scaling.machine.warm import can_be_warm, warm_folder
    from clip_scaling.records.files import canonical_json
    from clip_scaling.study.resolve import load_any_study
    from clip_scaling.study.resolved import ResolvedStudy
except ModuleNotFoundError as error:
    raise WorkflowError(f"{error}. Install the project first: `make env`, then `. .venv/bin/activate`.")

try:
    RESOLVED = load_any_study(config, root=Path(workflow.basedir))
except ClipScalingError as error:
    raise WorkflowError(full_message(error, place=", ".join(map(str, workflow.configfiles))))


def refusal(text):
    """A WorkflowError that leads to its entry in the failure catalogue."""
    return WorkflowError(f"{text}\n{entry('WorkflowError')}")


class Untracked:
    """A param that may change without a rerun: Snakemake compares params that are builtin values, and no others."""

    def __init__(self, text):
        self.text = text

    def __str__(self):
        return self.text


def claim_data(workflow):
    """Claim the folders of results/data that this run makes. Where another run makes one: wait, and plan again."""
    jobs = {}
    for job in workflow.dag.needrun_jobs():
        for name in folders_of(map(str, job.output), "results/data"):
            jobs.setdefault(name, []).append(job)
    claims = Claims(Path("results/data"), STUDY.study)
    taken = claims.take(jobs)
    if taken is None:
        threading.Thread(target=release_data, args=(workflow.dag, jobs, claims), daemon=True).start()
        return
    print(f"Waiting for results/data/{taken}: {claims.holder(taken)} makes it.", file=sys.stderr, flush=True)
    claims.wait(taken)
    os.chdir(workflow.workdir_init)
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def release_data(dag, jobs, claims):
    """Release each folder as soon as its jobs are done; the rest goes with this process."""
    while claims.held:
        time.sleep(0.5)
        claims.release(*(name for name in claims.held if all(map(dag.finished, jobs[name]))))


def literal(text):
    """A param that is taken as it is: in a plain string, Snakemake would take braces for wildcards."""

    def given(wildcards):
        return text

    return given


def without_braces(path):
    """A path of the study file that is an input; Snakemake has no way to write braces in it."""
    if WILDCARD_REGEX.search(path):
        raise refusal(f"{path}: Snakemake takes the braces for a wildcard. Rename it, or give a link to it.")
    return path


STUDY = RESOLVED.config
STUDY_DIR = f"results/{STUDY.study}"
IS_TRAINED = isinstance(RESOLVED, ResolvedStudy)
TARGETS = RESOLVED.targets()
DATASETS = list(dict.fromkeys(dataset for dataset, _ in TARGETS))
EVALUATION_SETS = list(RESOLVED.evaluation_sets) if IS_TRAINED else []


wildcard_constraints:
    dataset="|".join(map(re.escape, [*DATASETS, *EVALUATION_SETS])),
    metric="|".join(map(re.escape, dict.fromkeys(metric for _, metric in TARGETS))),


WHILE_RUNNING = contextlib.ExitStack()
"""Ends with this process."""

atexit.register(WHILE_RUNNING.close)


onstart:
    # Snakemake's own lock outlives a killed driver and needs --unlock by hand; the profile switches it off (nolock).
    # This one is the operating system's: it goes with its process, so a killed study continues by the same command.
    try:
        Path(STUDY_DIR).mkdir(parents=True, exist_ok=True)
        STUDY_LOCK = open(f"{STUDY_DIR}/.lock", "w")
    except OSError as error:
        raise refusal(f"{error.filename} cannot be written ({error.strerror}). Give this user the right to it.")
    try:
        fcntl.flock(STUDY_LOCK, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise refusal(
            f"Another snakemake is running study {STUDY.study!r} in this folder. Wait for it, or stop it."
        )
    claim_data(workflow)
    if IS_TRAINED:
        plan_before_start()
        if workflow.local_exec and can_be_warm():
            WHILE_RUNNING.enter_context(warm_folder())
