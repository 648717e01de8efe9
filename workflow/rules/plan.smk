"""The plan: what each cell will do and why, what it costs, when it ends (`snakemake plan`), and the pilots it learns from.

No rule takes it for input: Snakemake plans what follows a rerun job without looking at changed params or new cells.
"""

import subprocess
import sys

CELL_RESULTS = expand(f"{STUDY_DIR}/train/{{cell}}/checkpoint.pt", cell=CELLS) + expand(
    f"{STUDY_DIR}/evaluate/{{cell}}/metrics.json", cell=CELLS
)
if STUDY.evaluation.learning_curve:
    CELL_RESULTS.append(f"{STUDY_DIR}/tables/learning_curves.csv")


def pilot_cells():
    """A cell of each model and resources, the one with the most samples: its speed is that of the others."""
    chosen = {}
    for cell in sorted(RESOLVED.cells.values(), key=lambda cell: cell.samples_seen):
        resources = STUDY.resources.train_of(cell)
        chosen[cell.model, resources.gpus_per_node, resources.nodes, resources.threads] = cell.name
    return list(chosen.values())


PILOT_SECONDS = 120  # of training, over all pilots


def short_trial(wildcards):
    return Untracked(f"pilot --cell {wildcards.cell} --seconds {PILOT_SECONDS / len(pilot_cells())}")


def study_config(wildcards):
    """The whole study as JSON, by a function: Snakemake would take the braces of a plain string for wildcards."""
    return canonical_json(STUDY.model_dump(mode="json"))


def plan_before_start():
    """Write the plan before the first job. A study over its budget, or without the GPUs it asks for, is stopped here."""
    if set(workflow.dag_settings.targets) == {"plan"}:
        return  # the rule itself writes and prints it
    done = subprocess.run(
        [sys.executable, f"{workflow.basedir}/scripts/plan.py", "--quiet", "--config", study_config(None)]
        + (["--here"] if workflow.local_exec else []),
        stderr=subprocess.PIPE,
        text=True,
    )
    if done.returncode:
        raise WorkflowError(done.stderr)
    sys.stderr.write(done.stderr)


rule plan:
    params:
        config=study_config,
    message:
        f"Plan: {len(CELLS)} cells"
    shell:
        "python scripts/plan.py --config {params.config:q}"


use rule train as pilot_cell with:
    input:
        data=train_input,
        tokenizer=train_tokenizer,
        start=[],
        validation=expand("results/data/eval-{dataset}/manifest.json", dataset=VALIDATION_SETS),
    output:
        speed=f"{STUDY_DIR}/plan/pilot/{{cell}}.json",
    log:
        f"results/logs/{STUDY.study}/plan/pilot/{{cell}}.log",
    benchmark:
        f"results/benchmarks/{STUDY.study}/plan/pilot/{{cell}}.tsv"
    priority: 0
    resources:
        mem_mb=train_mem_mb,
        runtime=30,
        nodes=train_nodes,
        gpus=train_gpus,
        gpu_slots=train_gpu_slots,
        tasks_per_node=train_tasks_per_node,
        launcher=train_launcher,
    params:
        what=short_trial,
        seconds=PILOT_SECONDS / len(pilot_cells()),
        resume=f"{STUDY_DIR}/plan/pilot",
    message:
        "Pilot of {wildcards.cell}: how fast it trains"


rule pilot:
    input:
        expand(f"{STUDY_DIR}/plan/pilot/{{cell}}.json", cell=pilot_cells()),
    params:
        config=study_config,
    message:
        "Plan from the pilots' speeds"
    shell:
        "python scripts/plan.py --config {params.config:q}"
