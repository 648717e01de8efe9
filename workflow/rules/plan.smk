"""The plan: what every cell will do and why, what it costs, when it ends (`snakemake plan`), and the pilots it learns from.

No rule takes it for input: Snakemake plans what follows a rerun job without looking at changed params or new cells.
"""

import subprocess
import sys


CELL_RESULTS = expand(f"{STUDY_DIR}/train/{{cell}}/checkpoint.pt", cell=CELLS) + expand(
    f"{STUDY_DIR}/evaluate/{{cell}}/metrics.json", cell=CELLS
)


def study_config(wildcards):
    """The whole study as JSON, by a function: Snakemake would take the braces of a plain string for wildcards."""
    return canonical_json(STUDY.model_dump(mode="json"))


def plan_before_start():
    """Write the plan before the first job. A study over its budget is stopped here."""
    if set(workflow.dag_settings.targets) == {"plan"}:
        return  # the rule itself writes and prints it
    done = subprocess.run(
        [sys.executable, f"{workflow.basedir}/scripts/plan.py", "--quiet", "--config", study_config(None)],
        stderr=subprocess.PIPE,
        text=True,
    )
    if done.returncode:
        raise WorkflowError(done.stderr)


rule plan:
    params:
        config=study_config,
    message:
        f"Plan: {len(CELLS)} cells"
    shell:
        "python scripts/plan.py --config {params.config:q}"
