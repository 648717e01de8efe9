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


def locked_config(wildcards):
    """Study and suite as validated, but for the places of files, which are known by their hashes."""
    places = {"published": True, "sources": {"__all__": {"path"}}}
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
        "Gather what every result was made by and from into {output.locks}"
    shell:
        f"python scripts/gather_provenance.py --study {STUDY.study} --config {{params.config:q}} --cells {{input.cells}}"
        " --evaluations {input.evaluations} --states {input.states} --laws {input.laws:q} --pages {input.page}"
        " --manifests {input.manifests} --output {output.locks} 2>&1 | tee {log}"


rule provenance:
    input:
        rules.gather_provenance.output.locks,
    message:
        "The provenance of every result: see {input}"
