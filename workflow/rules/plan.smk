"""The study's cells as a table, for people.

No rule takes it for input: Snakemake plans what follows a rerun job without looking at changed params or new cells.
"""


rule plan:
    output:
        grid=f"{STUDY_DIR}/plan/grid.tsv",
    log:
        f"results/logs/{STUDY.study}/plan/grid.log",
    benchmark:
        f"results/benchmarks/{STUDY.study}/plan/grid.tsv"
    params:
        config=cells_config,
    message:
        f"Plan: {len(CELLS)} cells"
    shell:
        "python scripts/plan.py --config {params.config:q} --grid {output.grid} 2>&1 | tee {log}"
