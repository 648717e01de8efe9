"""What every result was made by and from, in one file, and the study as an RO-Crate.

Locks lie beside their results, undeclared on purpose: no rule takes one for input, so that what they say of time and
machine makes nothing run again.
"""

CELL_EVALUATIONS = (
    expand(f"{STUDY_DIR}/evaluate/{{cell}}/metrics.json", cell=CELLS)
    + expand(
        f"{STUDY_DIR}/fine_tune/{{cell}}/{{dataset}}/metrics.json",
        cell=RESOLVED.fine_tuned_cells(),
        dataset=RESOLVED.fine_tuned_sets(),
    )
    + (EVALUATED_STATES if HAS_POINTS else [])
    if IS_TRAINED
    else []
)
TRUNK_STATES = [trunk_state(cell) for cells in TRUNKS.values() for cell in cells] if IS_TRAINED else []


def unused_keys():
    """Keys that only studies of this release have, and that this one does not use, or that change no result."""
    names = ("evaluate", "fine_tune")
    sections = {name: True for name in names if not getattr(STUDY.resources, name).model_fields_set}
    overrides = STUDY.resources.overrides
    keys = {name for name in names if not any(getattr(override, name) for override in overrides)}
    return {"evaluation": {"jobs"}, "resources": sections | {"overrides": {"__all__": keys}}}


def locked_config(wildcards):
    """Study and suite as validated, but for the places of files, which are known by their hashes."""
    places = {"published": True, "sources": {"__all__": {"path"}}}
    if STUDY.report.targets is None:
        places["report"] = True  # a key that studies of an older release do not know
    if IS_TRAINED:
        places |= unused_keys()
    suite = RESOLVED.suite.model_dump(mode="json") if IS_TRAINED else None
    return canonical_json({"study": STUDY.model_dump(mode="json", exclude=places), "suite": suite})


rule gather_provenance:
    input:
        cells=RECORDS,
        evaluations=CELL_EVALUATIONS,
        states=TRUNK_STATES,
        laws=[f"{STUDY_DIR}/laws/{dataset}/{metric}.json" for dataset, metric in TARGETS],
        page=f"{STUDY_DIR}/report.html",
        manifests=MANIFESTS if IS_TRAINED else "results/data/published/manifest.json",
    output:
        locks=f"{STUDY_DIR}/provenance.json",
    log:
        f"results/logs/{STUDY.study}/provenance.log",
    benchmark:
        f"results/benchmarks/{STUDY.study}/provenance.tsv"
    params:
        config=locked_config,
    message:
        "Gather the code, data and machine behind every result into {output.locks}"
    shell:
        f"python scripts/gather_provenance.py --study {STUDY.study} --config {{params.config:q}} --cells {{input.cells}}"
        " --evaluations {input.evaluations} --states {input.states} --laws {input.laws:q} --pages {input.page}"
        " --manifests {input.manifests} --output {output.locks} 2>&1 | tee {log}"


rule provenance:
    input:
        rules.gather_provenance.output.locks,
    message:
        "The provenance of every result: see {input}"


CRATE_FILES = [
    f"{STUDY_DIR}/tables/metrics.csv",
    f"{STUDY_DIR}/tables/metrics.parquet",
    f"{STUDY_DIR}/tables/cells.csv" if IS_TRAINED else f"{STUDY_DIR}/tables/scenarios.csv",
    *([f"{STUDY_DIR}/tables/learning_curves.csv"] if HAS_POINTS else []),
    *rules.gather_laws.output,
    *expand(f"{STUDY_DIR}/figures/{{kind}}.{{form}}", kind=FIGURES, form=["svg", "pdf", "png"]),
    *(
        f"{STUDY_DIR}/figures/laws/{dataset}/{metric}.{form}"
        for dataset, metric in MAIN_TARGETS
        for form in ["svg", "pdf", "png"]
    ),
]


rule write_crate:
    input:
        locks=f"{STUDY_DIR}/provenance.json",
        files=CRATE_FILES,
    output:
        crate=f"{STUDY_DIR}/{STUDY.study}.crate.zip",
    log:
        f"results/logs/{STUDY.study}/crate.log",
    benchmark:
        f"results/benchmarks/{STUDY.study}/crate.tsv"
    params:
        title=literal(STUDY.title),
        configfile=study_file,
    message:
        "Write the study as an RO-Crate: {output.crate}"
    shell:
        "python scripts/write_crate.py --provenance {input.locks} --configfile {params.configfile:q}"
        " --title {params.title:q} --files {input.files:q} --output {output.crate} 2>&1 | tee {log}"


rule ro_crate:
    input:
        rules.write_crate.output.crate,
    message:
        "The study as an RO-Crate: see {input}"
