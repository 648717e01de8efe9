"""Sources, nested subsets, packed pairs and evaluation sets, shared by all studies.

Shards, arrays and images are undeclared on purpose: Snakemake deletes declared outputs before a rerun. Each manifest
is written last and lists them with size and sha256.
"""

from clip_scaling.records.data import PackedManifest
from clip_scaling.study.config.existing import ExistingSource
from clip_scaling.study.config.sources import IconifySource

MADE_SOURCES = [name for name, source in STUDY.sources.items() if not isinstance(source, ExistingSource)]
"""For existing.smk's sources prepare_source is no second choice: Snakemake would take it where their files are missing."""


def archive_path(source):
    """Where a source's archive lies: the path in the config, or the file that `fetch_source` writes."""
    if not isinstance(source, IconifySource):
        return []
    return source.path or f"results/data/downloads/iconify-json-{source.version}.tgz"


def source_archive(wildcards):
    return archive_path(STUDY.sources[wildcards.source])


def fetched_source(wildcards):
    """The source whose archive has this version."""
    return next(s for s in STUDY.sources.values() if isinstance(s, IconifySource) and s.version == wildcards.version)


def archive_sha256(wildcards):
    return fetched_source(wildcards).sha256


def source_recipe(wildcards):
    """All of a source's settings but the place of its archive, which is known by its hash."""
    source = STUDY.sources[wildcards.source]
    return canonical_json(source.model_dump(exclude={"path"}))


def source_manifest(wildcards):
    return f"results/data/{RESOLVED.source_of(wildcards.data)}/manifest.json"


def data_tokenizer(wildcards):
    return f"results/data/{RESOLVED.source_of(wildcards.data)}/tokenizer/merges.txt.gz"


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
        format=PackedManifest.FORMAT,
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
