"""Sources of pairs that are there already: tars indexed where they lie (webdataset), image files (folder, table)."""

from clip_scaling.study.config.existing import ExistingSource, FolderSource, WebdatasetSource
from clip_scaling.data.sources.files.places import folders_of
from clip_scaling.data.sources.tars.lists import missing_tars, part_of, tars_of

EXISTING = {name: source for name, source in STUDY.sources.items() if isinstance(source, ExistingSource)}
BESIDE = canonical_json({name: source.beside() for name, source in EXISTING.items()})
"""By source, for the script's command line: a global, since data that moved, or whose authors are told otherwise, are
the same data."""


def existing_tars(source):
    """The tars of a source of kind webdataset."""
    missing = missing_tars(EXISTING[source].tars)
    if missing:
        raise refusal(f"sources.{source}.tars: {missing[0]}: no such file. Correct the path, or get the tars.")
    try:
        return tars_of(source, EXISTING[source].tars)
    except ClipScalingError as error:
        raise WorkflowError(told(error))


def existing_files(wildcards):
    """What is prepared anew when it changes: tars, the table, or every folder of the tree.

    A folder's time changes with the names in it: an image that is added, removed or renamed is noticed.
    """
    source = EXISTING[wildcards.source]
    if isinstance(source, FolderSource):
        return folders_of(source.path)
    if not isinstance(source, WebdatasetSource):
        return str(Path(source.path).expanduser())
    return [tar.location for tar in existing_tars(wildcards.source) if not tar.is_remote]


def index_parts(wildcards):
    """What the jobs of a spread indexing say of their parts; nothing where there is one job."""
    parts = getattr(EXISTING[wildcards.source], "index_jobs", 1)
    if parts == 1:
        return []
    parts = min(parts, len(existing_tars(wildcards.source)))
    return [f"results/data/{wildcards.source}/records/part-{part}-of-{parts}.json" for part in range(parts)]


def part_files(wildcards):
    tars = part_of(existing_tars(wildcards.source), int(wildcards.part), int(wildcards.parts))
    return [tar.location for tar in tars if not tar.is_remote]


def index_settings(wildcards):
    """What decides a tar's record beside the tar."""
    source = EXISTING[wildcards.source]
    return canonical_json({"caption_key": source.caption_key, "has_images_hashed": bool(source.held_out)})


def existing_recipe(wildcards):
    return canonical_json(EXISTING[wildcards.source].tracked())


def existing_mem_mb(wildcards):
    """Images are not kept in memory, but what is known of each: about 1.8 kB, and 150 MB a worker."""
    source = EXISTING[wildcards.source]
    return 4000 if isinstance(source, WebdatasetSource) else max(4000, 2000 + source.pairs // 500)


if EXISTING:

    rule prepare_existing:
        input:
            files=existing_files,
            parts=index_parts,
        output:
            manifest="results/data/{source}/manifest.json",
            attribution="results/data/{source}/ATTRIBUTION.md",
            tokenizer="results/data/{source}/tokenizer/merges.txt.gz",
        log:
            "results/logs/data/{source}/manifest.log",
        benchmark:
            "results/benchmarks/data/{source}/manifest.tsv"
        wildcard_constraints:
            source="|".join(map(re.escape, EXISTING)),
        priority: DATA_PRIORITY
        threads: 8
        resources:
            mem_mb=existing_mem_mb,
            runtime=720,
        params:
            recipe=existing_recipe,
        message:
            "Prepare source {wildcards.source}: index or read what is there, count what is lost by reason"
        shell:
            "python scripts/prepare_existing.py --name {wildcards.source} --recipe {params.recipe:q}"
            " --beside {BESIDE:q} --output {output.manifest} --workers {threads} 2>&1 | tee {log}"


if any(isinstance(source, WebdatasetSource) for source in EXISTING.values()):

    rule index_tars:
        input:
            files=part_files,
        output:
            # Records of tars lie beside it, undeclared on purpose: an indexing that was killed goes on after its last.
            part="results/data/{source}/records/part-{part}-of-{parts}.json",
        log:
            "results/logs/data/{source}/records/part-{part}-of-{parts}.log",
        benchmark:
            "results/benchmarks/data/{source}/records/part-{part}-of-{parts}.tsv"
        wildcard_constraints:
            source="|".join(map(re.escape, EXISTING)),
            part="[0-9]+",
            parts="[0-9]+",
        priority: DATA_PRIORITY
        threads: 8
        resources:
            mem_mb=4000,
            runtime=720,
        params:
            settings=index_settings,
        message:
            "Index part {wildcards.part} of {wildcards.parts} of the tars of source {wildcards.source}"
        shell:
            "python scripts/index_tars.py --name {wildcards.source} --settings {params.settings:q} --beside {BESIDE:q}"
            " --part {wildcards.part} --parts {wildcards.parts} --output {output.part} --workers {threads}"
            " 2>&1 | tee {log}"


LISTED = {name: data for name, data in STUDY.data.items() if isinstance(EXISTING.get(data.source), WebdatasetSource)}
VERIFICATION = canonical_json({name: EXISTING[data.source].verify for name, data in LISTED.items()})
"""By subset, for the script's command line: a global, since how tars were looked at changes no data."""


if LISTED:

    # Every subset has a prepare_subset; those of existing tars have this one instead.
    ruleorder: list_subset > prepare_subset

    rule list_subset:
        input:
            source=source_manifest,
            fingerprints=subset_fingerprints,
        output:
            manifest="results/data/{data}/manifest.json",
        log:
            "results/logs/data/{data}/manifest.log",
        benchmark:
            "results/benchmarks/data/{data}/manifest.tsv"
        wildcard_constraints:
            data="|".join(map(re.escape, LISTED)),
        priority: DATA_PRIORITY
        resources:
            mem_mb=2000,
            runtime=240,
        params:
            pairs=subset_pairs,
            composition=subset_composition,
        message:
            "Prepare subset {wildcards.data}: {params.pairs} pairs in existing tars, which are held against their hashes first"
        shell:
            "python scripts/prepare_subset.py --name {wildcards.data} --source {input.source} --pairs {params.pairs}"
            " {params.composition} --verify {VERIFICATION:q} --output {output.manifest} 2>&1 | tee {log}"
