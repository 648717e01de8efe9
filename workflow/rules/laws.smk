"""Laws of every target, gathered into tables."""


rule fit:
    input:
        metrics=f"{STUDY_DIR}/tables/metrics.parquet",
    output:
        law=f"{STUDY_DIR}/laws/{{dataset}}/{{metric}}.json",
    log:
        f"results/logs/{STUDY.study}/laws/{{dataset}}/{{metric}}.log",
    benchmark:
        f"results/benchmarks/{STUDY.study}/laws/{{dataset}}/{{metric}}.tsv"
    params:
        methods=canonical_json(STUDY.laws.methods),
    message:
        "Fit the laws of {wildcards.dataset} {wildcards.metric}"
    shell:
        "python scripts/fit_law.py --metrics {input.metrics} --target {wildcards.dataset} --metric {wildcards.metric}"
        " --methods {params.methods:q} --output {output.law} 2>&1 | tee {log}"


rule gather_laws:
    input:
        laws=[f"{STUDY_DIR}/laws/{dataset}/{metric}.json" for dataset, metric in TARGETS],
    output:
        laws=f"{STUDY_DIR}/tables/laws.csv",
        predictions=f"{STUDY_DIR}/tables/predictions.csv",
    log:
        f"results/logs/{STUDY.study}/tables/laws.log",
    benchmark:
        f"results/benchmarks/{STUDY.study}/tables/laws.tsv"
    message:
        "Gather the laws into {output.laws}"
    shell:
        "python scripts/gather_laws.py {input.laws} --laws {output.laws} --predictions {output.predictions}"
        " 2>&1 | tee {log}"
