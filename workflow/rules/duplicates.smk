"""Images that repeat one another, or that an evaluation set shows: fingerprints once an image, counts once a subset."""


localrules:
    count_duplicates,


rule fingerprint_source:
    input:
        manifest="results/data/{source}/manifest.json",
    output:
        fingerprints="results/data/{source}/fingerprints.npy",
    log:
        "results/logs/data/{source}/fingerprints.log",
    benchmark:
        "results/benchmarks/data/{source}/fingerprints.tsv"
    threads: 8
    resources:
        mem_mb=2000,
        runtime=240,
    message:
        "Fingerprint the images of source {wildcards.source}"
    shell:
        "python scripts/fingerprint_images.py --source {input.manifest} --output {output.fingerprints}"
        " --workers {threads} 2>&1 | tee {log}"


rule fingerprint_evaluation:
    input:
        manifest="results/data/eval-{dataset}/manifest.json",
    output:
        fingerprints="results/data/eval-{dataset}/fingerprints.npy",
    log:
        "results/logs/data/eval-{dataset}/fingerprints.log",
    benchmark:
        "results/benchmarks/data/eval-{dataset}/fingerprints.tsv"
    resources:
        mem_mb=1000,
        runtime=60,
    message:
        "Fingerprint the test images of {wildcards.dataset}"
    shell:
        "python scripts/fingerprint_images.py --evaluation {input.manifest} --output {output.fingerprints}"
        " 2>&1 | tee {log}"


rule count_duplicates:
    input:
        data="results/data/{data}/manifest.json",
        source=source_fingerprints,
        sets=evaluation_fingerprints,
    output:
        # Of the study, not of the shared data: it follows from the study's evaluation sets.
        duplicates=f"{STUDY_DIR}/data/{{data}}/duplicates.json",
    log:
        f"results/logs/{STUDY.study}/data/{{data}}/duplicates.log",
    benchmark:
        f"results/benchmarks/{STUDY.study}/data/{{data}}/duplicates.tsv"
    message:
        "Count what {wildcards.data} repeats, of itself and of the evaluation sets"
    shell:
        "python scripts/count_duplicates.py --data {input.data} --source {input.source} --sets {input.sets}"
        " --output {output.duplicates} 2>&1 | tee {log}"
