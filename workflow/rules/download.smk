"""Sources of kind url_list: one job a list, a round of retries a job, then the join of all parts.

A part's images and tables lie beside its records, undeclared on purpose: a rerun asks only for what is not there.
"""

from clip_scaling.study.config.sources import UrlListSource
from clip_scaling.data.sources.urls.names import parts_of

try:
    URL_PARTS = {
        name: {part.name: part for part in parts_of(name, source)}
        for name, source in STUDY.sources.items()
        if isinstance(source, UrlListSource) and source.lists
    }
except ClipScalingError as error:
    raise WorkflowError(told(error))


def url_source(wildcards):
    return STUDY.sources[wildcards.source]


def url_part(wildcards):
    """The part of that name; a name that is in no list is refused."""
    parts = URL_PARTS[wildcards.source]
    if wildcards.part not in parts:
        raise refusal(
            f"{wildcards.part!r} is no list of source {wildcards.source!r}.{close_matches(wildcards.part, parts)}"
        )
    return parts[wildcards.part]


def list_file(source, part):
    """Where a list lies: its own path, or where `fetch_list` puts it."""
    return f"results/data/{source}/lists/{part.name}{part.suffix}" if part.is_remote else part.location


def part_list(wildcards):
    return list_file(wildcards.source, url_part(wildcards))


def part_suffix(wildcards):
    return url_part(wildcards).suffix


def list_url(wildcards):
    parts = URL_PARTS[wildcards.source].values()
    return next(part.location for part in parts if f"{part.name}{part.suffix}" == wildcards.list)


def removal_list(wildcards):
    return url_source(wildcards).safety.removal_list or []


def part_recipe(wildcards):
    return canonical_json(url_source(wildcards).tracked(of_a_part=True))


def url_list_recipe(wildcards):
    return canonical_json(url_source(wildcards).tracked())


DOWNLOADS = canonical_json({name: STUDY.sources[name].download.model_dump(mode="json") for name in URL_PARTS})
"""By source, for the script's command line: a global, since speeds among a rule's params would download again what they change."""


def part_threads(wildcards):
    return url_source(wildcards).download.processes


def part_mem_mb(wildcards):
    return url_source(wildcards).download.mem_mb


def part_runtime(wildcards):
    return url_source(wildcards).download.runtime_minutes


def round_before(wildcards):
    return f"results/data/{wildcards.source}/parts/{wildcards.part}/round-{int(wildcards.round) - 1}.json"


def last_rounds(wildcards):
    last = url_source(wildcards).download.retry_rounds
    return [f"results/data/{wildcards.source}/parts/{part}/round-{last}.json" for part in URL_PARTS[wildcards.source]]


if URL_PARTS:

    wildcard_constraints:
        part="[^/]+",
        list="[^/]+",
        round="[1-9][0-9]*",

    localrules:
        fetch_list,

    # Every source has a prepare_source; those with lists have this one instead.
    ruleorder: prepare_url_list > prepare_source

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

    rule download_part:
        input:
            list=part_list,
            removal=removal_list,
        output:
            record="results/data/{source}/parts/{part}/round-0.json",
        log:
            "results/logs/data/{source}/parts/{part}/round-0.log",
        benchmark:
            "results/benchmarks/data/{source}/parts/{part}/round-0.tsv"
        wildcard_constraints:
            source="|".join(map(re.escape, URL_PARTS)),
        priority: DATA_PRIORITY
        threads: part_threads
        resources:
            mem_mb=part_mem_mb,
            runtime=part_runtime,
        params:
            recipe=part_recipe,
            suffix=part_suffix,
        message:
            "Download part {wildcards.part} of source {wildcards.source}"
        shell:
            "python scripts/download_part.py --part {wildcards.part} --recipe {params.recipe:q}"
            " --source {wildcards.source} --downloads {DOWNLOADS:q} --list {input.list:q} --suffix {params.suffix}"
            " --removal-list {input.removal:q} --output {output.record} 2>&1 | tee {log}"

    rule retry_failed:
        input:
            before=round_before,
            list=part_list,
            removal=removal_list,
        output:
            record="results/data/{source}/parts/{part}/round-{round}.json",
        log:
            "results/logs/data/{source}/parts/{part}/round-{round}.log",
        benchmark:
            "results/benchmarks/data/{source}/parts/{part}/round-{round}.tsv"
        wildcard_constraints:
            source="|".join(map(re.escape, URL_PARTS)),
        priority: DATA_PRIORITY
        threads: part_threads
        resources:
            mem_mb=part_mem_mb,
            runtime=part_runtime,
        params:
            recipe=part_recipe,
            suffix=part_suffix,
        message:
            "Ask once more (round {wildcards.round}) for what part {wildcards.part} of {wildcards.source} did not get"
        shell:
            "python scripts/download_part.py --part {wildcards.part} --recipe {params.recipe:q}"
            " --source {wildcards.source} --downloads {DOWNLOADS:q} --list {input.list:q} --suffix {params.suffix}"
            " --removal-list {input.removal:q} --round {wildcards.round} --output {output.record} 2>&1 | tee {log}"

    rule prepare_url_list:
        input:
            parts=last_rounds,
            removal=removal_list,
        output:
            manifest="results/data/{source}/manifest.json",
            attribution="results/data/{source}/ATTRIBUTION.md",
            tokenizer="results/data/{source}/tokenizer/merges.txt.gz",
        log:
            "results/logs/data/{source}/manifest.log",
        benchmark:
            "results/benchmarks/data/{source}/manifest.tsv"
        wildcard_constraints:
            source="|".join(map(re.escape, URL_PARTS)),
        priority: DATA_PRIORITY
        threads: 8
        resources:
            mem_mb=4000,
            runtime=240,
        params:
            recipe=url_list_recipe,
        message:
            "Join the parts of source {wildcards.source}: remove, drop repeats, hold out, order by hash, write shards"
        shell:
            "python scripts/prepare_url_list.py --name {wildcards.source} --recipe {params.recipe:q}"
            " --parts {input.parts:q} --removal-list {input.removal:q} --output {output.manifest}"
            " --workers {threads} 2>&1 | tee {log}"
