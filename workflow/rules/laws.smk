"""Laws of every target, gathered into tables."""

LEAVE_OUT = getattr(STUDY, "leave_out", None)  # Only a published study leaves models out, and predicts scenarios.
SCENARIOS = f"{STUDY_DIR}/tables/scenarios.csv" if hasattr(STUDY, "tables") else []


def left_out_models(wildcards):
    """Models that every method is fitted without, and then predicts, on this target."""
    return canonical_json(LEAVE_OUT.models if LEAVE_OUT and wildcards.dataset in LEAVE_OUT.datasets else [])


def fit_options(wildcards):
    """What the fit of this target reads beside the table: scenarios of a published study, the chance level of a task."""
    chance = RESOLVED.chance(wildcards.dataset, wildcards.metric)
    return " ".join([*([f"--scenarios {SCENARIOS}"] if SCENARIOS else []), *([f"--chance {chance}"] if chance else [])])


rule fit:
    input:
        metrics=f"{STUDY_DIR}/tables/metrics.parquet",
        scenarios=SCENARIOS,
    output:
        law=f"{STUDY_DIR}/laws/{{dataset}}/{{metric}}.json",
    log:
        f"results/logs/{STUDY.study}/laws/{{dataset}}/{{metric}}.log",
    benchmark:
        f"results/benchmarks/{STUDY.study}/laws/{{dataset}}/{{metric}}.tsv"
    params:
        methods=literal(canonical_json(STUDY.laws.methods)),
        leave_out=left_out_models,
        scenarios=fit_options,
    message:
        "Fit the laws of {wildcards.dataset} {wildcards.metric}"
    shell:
        "python scripts/fit_law.py --metrics {input.metrics} --target {wildcards.dataset:q} --metric {wildcards.metric:q}"
        " --methods {params.methods:q} --leave-out {params.leave_out:q} {params.scenarios} --output {output.law:q}"
        " 2>&1 | tee {log:q}"


rule gather_laws:
    input:
        laws=[f"{STUDY_DIR}/laws/{dataset}/{metric}.json" for dataset, metric in TARGETS],
    output:
        laws=f"{STUDY_DIR}/tables/laws.csv",
        predictions=f"{STUDY_DIR}/tables/predictions.csv",
        methods=f"{STUDY_DIR}/tables/methods.csv",
        comparisons=f"{STUDY_DIR}/tables/comparisons.csv",
        sensitivity=f"{STUDY_DIR}/tables/sensitivity.csv",
        leave_out=f"{STUDY_DIR}/tables/leave_out.csv",
        allocation=f"{STUDY_DIR}/tables/allocation.csv",
        next_cells=f"{STUDY_DIR}/tables/next_cells.csv",
    log:
        f"results/logs/{STUDY.study}/tables/laws.log",
    benchmark:
        f"results/benchmarks/{STUDY.study}/tables/laws.tsv"
    message:
        "Gather the laws into {output.laws}"
    shell:
        "python scripts/gather_laws.py {input.laws:q} --laws {output.laws} --predictions {output.predictions}"
        " --methods {output.methods} --comparisons {output.comparisons} --sensitivity {output.sensitivity}"
        " --leave-out {output.leave_out} --allocation {output.allocation} --next-cells {output.next_cells}"
        " 2>&1 | tee {log}"
