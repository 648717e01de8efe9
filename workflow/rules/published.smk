"""The paper's released tables: retrieved at a fixed commit or copied from a folder, and made tidy."""


rule retrieve_published:
    output:
        manifest="results/data/published/manifest.json",
    log:
        "results/logs/data/published.log",
    benchmark:
        "results/benchmarks/data/published.tsv"
    params:
        files=literal(canonical_json([table.model_dump() for table in STUDY.tables])),
        # Where the tables come from does not change what they are: their sha256 are in `files`.
        folder=literal(f"--folder {quote(STUDY.published)}" if STUDY.published else ""),
    message:
        "Retrieve the released tables"
    shell:
        "python scripts/retrieve_published.py --files {params.files:q} {params.folder}"
        " --destination results/data/published 2>&1 | tee {log}"


rule prepare_published:
    input:
        manifest=rules.retrieve_published.output.manifest,
    output:
        metrics=f"{STUDY_DIR}/tables/metrics.parquet",
        csv=f"{STUDY_DIR}/tables/metrics.csv",
        scenarios=f"{STUDY_DIR}/tables/scenarios.csv",
    log:
        f"results/logs/{STUDY.study}/tables/metrics.log",
    benchmark:
        f"results/benchmarks/{STUDY.study}/tables/metrics.tsv"
    message:
        "Make the released tables tidy"
    shell:
        "python scripts/prepare_published.py --folder results/data/published --metrics {output.metrics}"
        " --scenarios {output.scenarios} 2>&1 | tee {log}"
