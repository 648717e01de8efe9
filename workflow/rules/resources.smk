"""What training jobs ask of a machine, from `resources.train` of the study."""

from clip_scaling.cost.needs import cells_per_gpu, job_mem_mb
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
    return job_mem_mb(*cell_demand(wildcards))


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
    return f"{gpu_prefix(train_gpus(wildcards), wildcards)}{ranks}"


def gpu_prefix(gpus, wildcards):
    """What waits for the GPUs of a job of a cell on this machine, before its command."""
    if not gpus or not IS_ONE_MACHINE:
        return ""
    sharing = cells_per_gpu(*cell_demand(wildcards))
    return f"python -m clip_scaling.machine.pool --gpus {gpus} --cells-per-gpu {sharing} -- "


# ---------------------------------------------------------------- after training: one GPU, shared as in training


def evaluated(wildcards):
    """The wildcards of the training job whose result is measured."""
    return state_wildcards(wildcards) if hasattr(wildcards, "run") else wildcards


def evaluation_gpu_slots(wildcards):
    if not IS_ONE_MACHINE or not visible_gpus() or cell_resources(evaluated(wildcards)).gpus == 0:
        return 0
    return gpu_slots(1, cells_per_gpu(*cell_demand(evaluated(wildcards))))


def evaluation_launcher(wildcards):
    """A GPU of this machine's pool; none where the study trains on the CPU though there is one."""
    if not IS_ONE_MACHINE or not visible_gpus():
        return ""
    if cell_resources(evaluated(wildcards)).gpus == 0:
        return "env CUDA_VISIBLE_DEVICES= "
    return gpu_prefix(1, evaluated(wildcards))
