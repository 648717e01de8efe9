"""Nested subsets, packed pairs and evaluation sets, shared by all studies.

Shards, arrays and images are undeclared on purpose: Snakemake deletes declared outputs before a rerun. Each manifest
is written last and lists them with size and sha256.
"""

from clip_scaling.records.data import PackedManifest


def source_manifest(wildcards):
    return f"results/data/{RESOLVED.source_of(wildcards.data)}/manifest.json"


def data_tokenizer(wildcards):
    return f"results/data/{RESOLVED.source_of(wildcards.data)}/tokenizer/merges.txt.gz"


def is_listed(data):
    """Whether a subset is of pairs in tars that stay as they are, which are compared with their hashes first."""
    return STUDY.sources[STUDY.data[data].source].is_in_place


def subset_mem_mb(wildcards):
    return 2000 if is_listed(wildcards.data) else 1000


def subset_runtime(wildcards):
    return 240 if is_listed(wildcards.data) else 30


def subset_pairs(wildcards):
    return STUDY.data[wildcards.data].pairs


def evaluation_fingerprints(wildcards):
    return [f"results/data/eval-{dataset}/fingerprints.npy" for dataset in EVALUATION_SETS]


def source_fingerprints(wildcards):
    return f"results/data/{RESOLVED.source_of(wildcards.data)}/fingerprints.npy"


def subset_fingerprints(wildcards):
    """What a subset without repeats is chosen by; nothing for a subset of pairs as they come."""
    drop = STUDY.data[wildcards.data].drop_duplicates
    if drop is None:
        return []
    return [
        source_fingerprints(wildcards),
        *(evaluation_fingerprints(wildcards) if drop.evaluation is not None else []),
    ]


def subset_composition(wildcards):
    """Options of the script: in one param, so that a study without them has the command it always had."""
    data = STUDY.data[wildcards.data]
    options = [] if data.coloured_share is None else [f"--coloured-share {data.coloured_share}"]
    if data.drop_duplicates is not None:
        source, *sets = subset_fingerprints(wildcards)
        options.append(f"--fingerprints {source}")
        if data.drop_duplicates.within is not None:
            options.append(f"--within {data.drop_duplicates.within}")
        if data.drop_duplicates.evaluation is not None:
            options.append(f"--against {data.drop_duplicates.evaluation} --sets {' '.join(sets)}")
    if data.is_copied:
        options.append(f"--copy {STUDY.sources[data.source].shard_size}")
    return " ".join(options)


def evaluation_source(wildcards):
    """The source that holds the set out; none for a set from outside."""
    if RESOLVED.evaluation_sets[wildcards.dataset].origin != "held_out":
        return []
    return f"results/data/{RESOLVED.hold_out(wildcards.dataset)[0]}/manifest.json"


def evaluation_origin(wildcards):
    return RESOLVED.evaluation_sets[wildcards.dataset].origin


def evaluation_set(wildcards):
    """Key of the source's held-out sets; the folder of a webdataset; the name of any other."""
    entry = RESOLVED.evaluation_sets[wildcards.dataset]
    if entry.origin == "held_out":
        return RESOLVED.hold_out(wildcards.dataset)[1]
    return str(RESOLVED.suite.folder_of(entry)) if entry.origin in ("idx", "webdataset") else wildcards.dataset


# ---------------------------------------------------------------- rules


VERIFICATION = canonical_json(
    {name: STUDY.sources[data.source].verify for name, data in STUDY.data.items() if is_listed(name)}
)
"""By subset in existing tars, for the script's command line: a global, since how tars were looked at changes no data."""


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
        mem_mb=subset_mem_mb,
        runtime=subset_runtime,
    params:
        pairs=subset_pairs,
        composition=subset_composition,
    message:
        "Prepare subset {wildcards.data}: {params.pairs} pairs of its source in hash order"
    shell:
        "python scripts/prepare_subset.py --name {wildcards.data} --source {input.source} --pairs {params.pairs}"
        " {params.composition} --verify {VERIFICATION:q} --output {output.manifest} 2>&1 | tee {log}"


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


LOST = canonical_json(
    {name: source.max_lost_fraction for name, source in STUDY.sources.items() if hasattr(source, "max_lost_fraction")}
)
"""By source, for the script's command line: a global, since a limit that holds changes no data."""


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
        format=PackedManifest.FORMAT,
    message:
        "Pack {wildcards.data}: decode to {wildcards.image_size} px and tokenise to {wildcards.context_length} tokens, once"
    shell:
        "python scripts/pack_subset.py --data {input.manifest} --tokenizer {input.tokenizer}"
        " --image-size {wildcards.image_size} --context-length {wildcards.context_length} --lost {LOST:q}"
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
