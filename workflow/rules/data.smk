"""Sources, nested subsets, packed pairs and evaluation sets, shared by all studies.

Shards, arrays and images are undeclared on purpose: Snakemake deletes declared outputs before a rerun. Each manifest
is written last and lists them with size and sha256.
"""


rule fetch_source:
    output:
        archive="results/data/downloads/iconify-json-{version}.tgz",
    log:
        "results/logs/data/downloads/iconify-json-{version}.log",
    benchmark:
        "results/benchmarks/data/downloads/iconify-json-{version}.tsv"
    params:
        sha256=archive_sha256,
    message:
        "Fetch @iconify/json {wildcards.version} (about 100 MB) with npm"
    shell:
        "python scripts/fetch_source.py --version {wildcards.version} --sha256 {params.sha256}"
        " --output {output.archive} 2>&1 | tee {log}"


rule prepare_source:
    input:
        archive=source_archive,
    output:
        manifest="results/data/{source}/manifest.json",
        attribution="results/data/{source}/ATTRIBUTION.md",
        tokenizer="results/data/{source}/tokenizer/merges.txt.gz",
    log:
        "results/logs/data/{source}/manifest.log",
    benchmark:
        "results/benchmarks/data/{source}/manifest.tsv"
    wildcard_constraints:
        source="|".join(map(re.escape, MADE_SOURCES)) or "(?!)",  # matches nothing
    priority: DATA_PRIORITY
    threads: 8
    resources:
        mem_mb=3000,
        runtime=60,
    params:
        recipe=source_recipe,
    message:
        "Prepare source {wildcards.source}: parse, filter, hold out, render, drop duplicates, write shards"
    shell:
        "python scripts/prepare_source.py --name {wildcards.source} --recipe {params.recipe:q}"
        " --archive {input.archive:q} --output {output.manifest} --workers {threads} 2>&1 | tee {log}"


rule prepare_subset:
    input:
        source=source_manifest,
        fingerprints=subset_fingerprints,
    output:
        manifest="results/data/{data}/manifest.json",
    log:
        "results/logs/data/{data}/manifest.log",
    benchmark:
        "results/benchmarks/data/{data}/manifest.tsv"
    priority: DATA_PRIORITY
    resources:
        mem_mb=1000,
        runtime=30,
    params:
        pairs=subset_pairs,
        composition=subset_composition,
    message:
        "Prepare subset {wildcards.data}: the first {params.pairs} pairs of its source in hash order"
    shell:
        "python scripts/prepare_subset.py --name {wildcards.data} --source {input.source} --pairs {params.pairs}"
        " {params.composition} --output {output.manifest} 2>&1 | tee {log}"


localrules:
    data_card,


rule data_card:
    input:
        manifest="results/data/{data}/manifest.json",
        source=source_manifest,
        duplicates=f"{STUDY_DIR}/data/{{data}}/duplicates.json",
    output:
        card=f"{STUDY_DIR}/data/{{data}}/card.json",
        sheet=report(
            f"{STUDY_DIR}/data/{{data}}/contact_sheet.png",
            caption="../report/contact_sheet.rst",
            category="Data",
            labels={"training set": "{data}"},
        ),
    log:
        f"results/logs/{STUDY.study}/data/{{data}}/card.log",
    benchmark:
        f"results/benchmarks/{STUDY.study}/data/{{data}}/card.tsv"
    message:
        "Write the data card of {wildcards.data}"
    shell:
        "python scripts/write_data_card.py --data {input.manifest} --source {input.source}"
        " --duplicates {input.duplicates} --output {output.card}"
        " 2>&1 | tee {log}"


rule pack_subset:
    input:
        manifest="results/data/{data}/manifest.json",
        tokenizer=data_tokenizer,
    output:
        manifest="results/data/{data}/packed/{image_size}px-{context_length}tokens/manifest.json",
    log:
        "results/logs/data/{data}/packed/{image_size}px-{context_length}tokens/manifest.log",
    benchmark:
        "results/benchmarks/data/{data}/packed/{image_size}px-{context_length}tokens/manifest.tsv"
    priority: DATA_PRIORITY
    resources:
        mem_mb=2000,
        runtime=60,
    params:
        format=PACKED_FORMAT,
    message:
        "Pack {wildcards.data}: decode to {wildcards.image_size} px and tokenise to {wildcards.context_length} tokens, once"
    shell:
        "python scripts/pack_subset.py --data {input.manifest} --tokenizer {input.tokenizer}"
        " --image-size {wildcards.image_size} --context-length {wildcards.context_length}"
        " --output {output.manifest} 2>&1 | tee {log}"


rule prepare_evaluation:
    input:
        source=evaluation_source,
    output:
        manifest="results/data/eval-{dataset}/manifest.json",
    log:
        "results/logs/data/eval-{dataset}/manifest.log",
    benchmark:
        "results/benchmarks/data/eval-{dataset}/manifest.tsv"
    priority: DATA_PRIORITY
    params:
        origin=evaluation_origin,
        held_out=evaluation_set,
    message:
        "Prepare evaluation set {wildcards.dataset} in clip-benchmark's webdataset layout"
    shell:
        "python scripts/prepare_evaluation.py --name {wildcards.dataset} --origin {params.origin} --source {input.source}"
        " --set {params.held_out:q} --output {output.manifest} 2>&1 | tee {log}"
