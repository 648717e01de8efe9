"""What training jobs ask of a machine, from `resources.train` of the study."""

from snakemake_executor_plugin_submitit.launch import launcher

TRAIN_RESOURCES = canonical_json(STUDY.resources.model_dump(mode="json", exclude_unset=True))
"""For the scripts' command lines: a global, since resources among a rule's params would retrain what they change."""


def cell_resources(wildcards):
    """Resources of the cell, the sweep's cell or the trunk that a job trains."""
    if hasattr(wildcards, "trunk"):
        return STUDY.resources.train_of(trunk_cell(wildcards))
    return STUDY.resources.train_of(SWEEP_CELLS.get(wildcards.cell) or study_cell(wildcards.cell))


def train_threads(wildcards):
    """CPU cores a node: Snakemake counts a job's on one."""
    resources = cell_resources(wildcards)
    return resources.threads * resources.ranks_per_node


def train_mem_mb(wildcards):
    return cell_resources(wildcards).mem_mb


def train_runtime(wildcards):
    return cell_resources(wildcards).runtime_minutes


def train_nodes(wildcards):
    return cell_resources(wildcards).nodes


def train_gpus(wildcards):
    """GPUs of the whole job, on all its nodes."""
    resources = cell_resources(wildcards)
    return resources.gpus_per_node * resources.nodes


def train_tasks_per_node(wildcards):
    return cell_resources(wildcards).ranks_per_node


def train_launcher(wildcards):
    """What starts the ranks: nothing for one, else srun in a Slurm allocation or local processes."""
    resources = cell_resources(wildcards)
    return launcher(resources.nodes, resources.ranks_per_node)
