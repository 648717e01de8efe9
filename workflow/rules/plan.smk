"""The study's cells as a table, for people and for the rules that gather."""


rule plan:
    output:
        grid=f"{STUDY_DIR}/plan/grid.tsv",
    log:
        f"results/logs/{STUDY.study}/plan/grid.log",
    benchmark:
        f"results/benchmarks/{STUDY.study}/plan/grid.tsv"
    params:
        config=plan_config,
    message:
        f"Plan: {len(CELLS)} cells"
    shell:
        "python scripts/plan.py --config {params.config:q} --grid {output.grid} 2>&1 | tee {log}"
