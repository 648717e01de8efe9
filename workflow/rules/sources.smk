"""Sources: what is fetched for them, their independent units, and each as a whole.

A unit's other files lie beside its record, undeclared on purpose: a job that was killed goes on after what is there.
"""

SOURCES = canonical_json({name: source.model_dump(mode="json") for name, source in STUDY.sources.items()})
BESIDE = canonical_json({name: source.beside() for name, source in STUDY.sources.items()})
"""By source, for the scripts' command lines: globals, since places and speeds among a rule's params would prepare again
what they do not change."""


def asked(question, *arguments):
    """A source's answer; what is wrong with its settings ends the plan."""
    try:
        return question(*arguments)
    except ClipScalingError as error:
        raise WorkflowError(full_message(error))


def source_files(wildcards):
    """What a source is prepared again for when it changes."""
    return [*map(without_braces, asked(STUDY.sources[wildcards.source].inputs, wildcards.source))]


def source_units(wildcards):
    """Records of the jobs before the whole."""
    units = asked(STUDY.sources[wildcards.source].units, wildcards.source)
    return [f"results/data/{wildcards.source}/{unit}" for unit in units]


def source_recipe(wildcards):
    return canonical_json(STUDY.sources[wildcards.source].tracked())


def source_mem_mb(wildcards):
    source = STUDY.sources[wildcards.source]
    return source.estimate(source.expected_pairs or 0).mem_mb


def source_runtime(wildcards):
    source = STUDY.sources[wildcards.source]
    return source.estimate(source.expected_pairs or 0).runtime_minutes


# ---------------------------------------------------------------- units


def unit_recipe(wildcards):
    return canonical_json(STUDY.sources[wildcards.source].tracked(of_a_unit=True))


def indexed_tars(wildcards):
    source = STUDY.sources[wildcards.source]
    found = asked(source.unit_inputs, wildcards.source, int(wildcards.part), int(wildcards.parts))
    return [*map(without_braces, found)]


def index_unit(wildcards):
    return Untracked(f"part={wildcards.part} parts={wildcards.parts}")


def download_unit(wildcards):
    return Untracked(f"part={wildcards.part} round={getattr(wildcards, 'round', 0)}")


LISTS = {
    name: asked(source.parts, name)
    for name, source in STUDY.sources.items()
    if source.kind == "url_list" and source.lists
}
"""The lists of URLs by source and name."""


def url_list(wildcards):
    """The list of that name; a name that is none is refused."""
    lists = LISTS[wildcards.source]
    if wildcards.part not in lists:
        raise refusal(
            f"{wildcards.part!r} is no list of source {wildcards.source!r}.{close_matches(wildcards.part, lists)}"
        )
    return lists[wildcards.part]


def list_file(wildcards):
    return url_list(wildcards).file(wildcards.source)


def list_suffix(wildcards):
    return url_list(wildcards).suffix


def list_url(wildcards):
    lists = LISTS[wildcards.source].values()
    return next(each.location for each in lists if f"{each.name}{each.suffix}" == wildcards.list)


def download_threads(wildcards):
    return STUDY.sources[wildcards.source].download.processes


def download_mem_mb(wildcards):
    return STUDY.sources[wildcards.source].download.mem_mb


def download_runtime(wildcards):
    return STUDY.sources[wildcards.source].download.runtime_minutes


def round_before(wildcards):
    return f"results/data/{wildcards.source}/parts/{wildcards.part}/round-{int(wildcards.round) - 1}.json"


# ---------------------------------------------------------------- what is fetched


def archive_sha256(wildcards):
    archives = (source for source in STUDY.sources.values() if source.kind == "iconify")
    return next(source.sha256 for source in archives if source.version == wildcards.version)


wildcard_constraints:
    list="[^/]+",


localrules:
    fetch_source,
    fetch_list,


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
        "python scripts/fetch_source.py --version {wildcards.version:q} --sha256 {params.sha256:q}"
        " --output {output.archive} 2>&1 | tee {log}"


rule fetch_list:
    output:
        list="results/data/{source}/lists/{list}",
    log:
        "results/logs/data/{source}/lists/{list}.log",
    benchmark:
        "results/benchmarks/data/{source}/lists/{list}.tsv"
    params:
        url=list_url,
    message:
        "Fetch list {wildcards.list} of source {wildcards.source}"
    shell:
        "python scripts/fetch_list.py --url {params.url:q} --output {output.list} 2>&1 | tee {log}"


# ---------------------------------------------------------------- preparation


rule prepare_unit:
    # Some of the tars of a source of kind webdataset.
    input:
        files=indexed_tars,
    output:
        record="results/data/{source}/records/part-{part}-of-{parts}.json",
    log:
        "results/logs/data/{source}/records/part-{part}-of-{parts}.log",
    benchmark:
        "results/benchmarks/data/{source}/records/part-{part}-of-{parts}.tsv"
    wildcard_constraints:
        part="[0-9]+",
        parts="[0-9]+",
    priority: DATA_PRIORITY
    threads: 8
    resources:
        mem_mb=4000,
        runtime=720,
    params:
        unit=index_unit,
        recipe=unit_recipe,
    message:
        "Index part {wildcards.part} of {wildcards.parts} of the tars of source {wildcards.source}"
    shell:
        "python scripts/prepare_unit.py --name {wildcards.source} --sources {SOURCES:q} --unit {params.unit}"
        " --output {output.record} --workers {threads} 2>&1 | tee {log}"


use rule prepare_unit as download_part with:
    input:
        list=list_file,
        removal=source_files,
    output:
        record="results/data/{source}/parts/{part}/round-0.json",
    log:
        "results/logs/data/{source}/parts/{part}/round-0.log",
    benchmark:
        "results/benchmarks/data/{source}/parts/{part}/round-0.tsv"
    wildcard_constraints:
        part="[^/]+",
    threads: download_threads
    resources:
        mem_mb=download_mem_mb,
        runtime=download_runtime,
    params:
        unit=download_unit,
        suffix=list_suffix,
    message:
        "Download part {wildcards.part} of source {wildcards.source}"


use rule download_part as retry_failed with:
    input:
        before=round_before,
        list=list_file,
        removal=source_files,
    output:
        record="results/data/{source}/parts/{part}/round-{round}.json",
    log:
        "results/logs/data/{source}/parts/{part}/round-{round}.log",
    benchmark:
        "results/benchmarks/data/{source}/parts/{part}/round-{round}.tsv"
    wildcard_constraints:
        part="[^/]+",
        round="[1-9][0-9]*",
    message:
        "Ask once more (round {wildcards.round}) for what part {wildcards.part} of {wildcards.source} did not get"


rule prepare_source:
    input:
        files=source_files,
        units=source_units,
    output:
        manifest="results/data/{source}/manifest.json",
        attribution="results/data/{source}/ATTRIBUTION.md",
        tokenizer="results/data/{source}/tokenizer/merges.txt.gz",
    log:
        "results/logs/data/{source}/manifest.log",
    benchmark:
        "results/benchmarks/data/{source}/manifest.tsv"
    priority: DATA_PRIORITY
    threads: 8
    resources:
        mem_mb=source_mem_mb,
        runtime=source_runtime,
    params:
        recipe=source_recipe,
    message:
        "Prepare source {wildcards.source}: find, filter, hold out, drop repeats, write shards or an index"
    shell:
        "python scripts/prepare_source.py --name {wildcards.source} --recipe {params.recipe:q} --beside {BESIDE:q}"
        " --units {input.units:q} --output {output.manifest} --workers {threads} 2>&1 | tee {log}"
