"""What training, evaluation and fine-tuning ask of a machine, from `resources` of the study."""

from clip_scaling.cost.evaluation_needs import EvaluationNeeds
from clip_scaling.cost.needs import cells_per_gpu, job_mem_mb, with_compilation
from clip_scaling.cost.results import Results
from clip_scaling.machine.gpus import visible_gpus
from clip_scaling.machine.pool import gpu_slots
from snakemake_executor_plugin_submitit.launch import launcher

TRAIN_RESOURCES = canonical_json(STUDY.resources.model_dump(mode="json", exclude_unset=True))
"""For the scripts' command lines: a global, since resources among a rule's params would retrain what they change."""


# One machine: `gpu_slots` are its GPUs in parts, so that the scheduler starts as many cells as they hold. A limit that is
# given by `--resources gpu_slots=N` stays. On a cluster (--jobs) and in its jobs, the cluster counts.
IS_ONE_MACHINE = workflow.is_main_process and workflow.resource_settings.nodes is None
if IS_ONE_MACHINE and "gpu_slots" not in (workflow.resource_settings.resources or {}):
    workflow.global_resources["gpu_slots"] = gpu_slots(len(visible_gpus()), 1)


def trained_cell(wildcards):
    """The cell, the sweep's cell or the trunk's that a job trains."""
    if hasattr(wildcards, "trunk"):
        return trunk_cell(wildcards)
    return SWEEP_CELLS.get(wildcards.cell) or study_cell(wildcards.cell)


def cell_resources(wildcards):
    return STUDY.resources.train_of(trained_cell(wildcards))


def cell_demand(wildcards):
    """What a job's memory and its share of a GPU follow from."""
    cell = trained_cell(wildcards)
    return RESOLVED.models[cell.model], RESOLVED.recipe(cell), STUDY.resources.train_of(cell)


def train_threads(wildcards):
    """CPU cores a node: Snakemake counts a job's on one."""
    resources = cell_resources(wildcards)
    return resources.threads * resources.ranks_per_node


def train_mem_mb(wildcards):
    model, recipe, resources = cell_demand(wildcards)
    samples = trained_cell(wildcards).samples_seen
    return job_mem_mb(model, recipe, with_compilation(model, recipe, resources, samples))


def train_runtime(wildcards):
    return cell_resources(wildcards).runtime_minutes


def train_nodes(wildcards):
    return cell_resources(wildcards).nodes


def train_gpus(wildcards):
    """GPUs of the whole job, on all its nodes."""
    resources = cell_resources(wildcards)
    return resources.gpus_per_node * resources.nodes


def train_gpu_slots(wildcards):
    """The same in parts of one machine's GPUs; nothing on a cluster."""
    return gpu_slots(train_gpus(wildcards), cells_per_gpu(*cell_demand(wildcards))) if IS_ONE_MACHINE else 0


def train_tasks_per_node(wildcards):
    return cell_resources(wildcards).ranks_per_node


def train_launcher(wildcards):
    """What starts the ranks: nothing for one, else srun in a Slurm allocation or local processes.

    On one machine it waits for GPUs first that no other job holds.
    """
    resources = cell_resources(wildcards)
    ranks = launcher(resources.nodes, resources.ranks_per_node)
    gpus = train_gpus(wildcards) if IS_ONE_MACHINE else 0
    return f"{pool_prefix(gpus, cells_per_gpu(*cell_demand(wildcards)))}{ranks}" if gpus else ranks


def pool_prefix(gpus, sharing):
    """What waits for GPUs of this machine, before a job's command."""
    return f"python -m clip_scaling.machine.pool --gpus {gpus} --cells-per-gpu {sharing} -- "


# ---------------------------------------------------------------- after training: `resources.evaluate`, `.fine_tune`

NEEDS = EvaluationNeeds(RESOLVED, Results(Path("."), STUDY.study))


def measured_cell(wildcards):
    """The cell whose checkpoint, or whose or whose trunk's state, is measured."""
    return trained_cell(state_wildcards(wildcards) if hasattr(wildcards, "run") else wildcards)


def after_resources(wildcards):
    """`resources.fine_tune` of a job that fine-tunes, else `resources.evaluate`."""
    cell = measured_cell(wildcards)
    is_tuning = hasattr(wildcards, "dataset")
    return STUDY.resources.fine_tune_of(cell) if is_tuning else STUDY.resources.evaluate_of(cell)


def after_threads(wildcards):
    """CPU cores: of the job's threads and of its workers."""
    resources = after_resources(wildcards)
    return resources.threads + (resources.workers or 0)


def after_workers(wildcards):
    """Options for workers; none where the study does not say, and the script decides."""
    resources = after_resources(wildcards)
    if resources.workers is None:
        return Untracked("")
    return Untracked(f" --threads {resources.threads} --workers {resources.workers}")


def after_mem_mb(wildcards):
    cell = measured_cell(wildcards)
    if hasattr(wildcards, "dataset"):
        return NEEDS.fine_tune_mem_mb(cell, wildcards.dataset)
    return NEEDS.evaluate_mem_mb(cell)


def after_runtime(wildcards):
    cell = measured_cell(wildcards)
    if hasattr(wildcards, "dataset"):
        return NEEDS.fine_tune_minutes(cell, wildcards.dataset)
    return NEEDS.evaluate_minutes(cell, STUDY.evaluation.jobs if hasattr(wildcards, "jobs") else 1)


def after_gpus(wildcards):
    return after_resources(wildcards).gpus_of(STUDY.resources.train_of(measured_cell(wildcards)))


def after_sharing(wildcards):
    """Jobs like this on one GPU at a time."""
    asked = after_resources(wildcards).cells_per_gpu
    cell = measured_cell(wildcards)
    demand = RESOLVED.models[cell.model], RESOLVED.recipe(cell), STUDY.resources.train_of(cell)
    return cells_per_gpu(*demand) if asked == "auto" else asked


def after_gpu_slots(wildcards):
    """Parts of one machine's GPUs; nothing on a cluster."""
    gpus = after_gpus(wildcards) if IS_ONE_MACHINE else 0
    return gpu_slots(gpus, after_sharing(wildcards)) if gpus else 0


def after_launcher(wildcards):
    """A GPU of this machine's pool; none where the job is for the CPU though there is one."""
    if not IS_ONE_MACHINE or not visible_gpus():
        return ""
    gpus = after_gpus(wildcards)
    return pool_prefix(gpus, after_sharing(wildcards)) if gpus else "env CUDA_VISIBLE_DEVICES= "
