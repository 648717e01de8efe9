"""Every set of the suite on each checkpoint and on states on its way, and the table of all metrics."""

from snakemake.persistence import PersistenceBase

EVALUATED_STATES = [
    *(f"{STUDY_DIR}/train/{name}/parts/{step}/metrics.json" for name, steps in PARTS.items() for step in steps),
    *(
        f"{STUDY_DIR}/trunk/{trunk}/{format_count(cell.samples_seen)}/metrics.json"
        for trunk, cells in TRUNKS.items()
        for cell in cells
    ),
]


def state_run(wildcards):
    """Split the place of a saved state: ("train", cell, step) or ("trunk", trunk, samples)."""
    parts = wildcards.run.split("/")
    return parts[0], parts[1], parts[-1]


def state_wildcards(wildcards):
    """Return the wildcards of the rule that writes the state."""
    kind, run, place = state_run(wildcards)
    return SimpleNamespace(cell=run, step=place) if kind == "train" else SimpleNamespace(trunk=run, samples=place)


def state_tokenizer(wildcards):
    found = state_wildcards(wildcards)
    return trunk_tokenizer(found) if hasattr(found, "trunk") else train_tokenizer(found)


def state_recipe(wildcards):
    found = state_wildcards(wildcards)
    return trunk_recipe_params(found) if hasattr(found, "trunk") else train_recipe(found)


def state_name(wildcards):
    return state_run(wildcards)[1]


def evaluate_tokenizer(wildcards):
    return data_tokenizer(study_cell(wildcards.cell))


def evaluate_suite(wildcards):
    """Probes and means that an evaluation measures beside the sets' own metrics; which get laws changes no number."""
    probes = {name: entry.linear_probe for name, entry in RESOLVED.evaluation_sets.items() if entry.linear_probe}
    suite = RESOLVED.suite.model_dump(mode="json", include={"aggregates"} | ({"linear_probe"} if probes else set()))
    # Only where it is not the default: another key would evaluate every cell again.
    skip = {"on_unreadable": "skip"} if RESOLVED.suite.on_unreadable == "skip" else {}
    precision = STUDY.evaluation.precision
    named = {} if precision == "fp32" else {"precision": precision}
    return canonical_json(suite | {"probes": probes} | skip | named)


def evaluation_jobs(wildcards):
    return Untracked(str(STUDY.evaluation.jobs))


def evaluation_shares(wildcards):
    """What the jobs that share an evaluation leave, beside what they put into its store; none where it is one job."""
    jobs = STUDY.evaluation.jobs
    folder = f"{STUDY_DIR}/evaluate/{wildcards.cell}/jobs"
    return [f"{folder}/{job}-of-{jobs}.json" for job in range(1, jobs + 1)] if jobs > 1 else []


def without_shares(recorded):
    """Snakemake's record of a job's inputs without the shares: their number must not evaluate anything again."""

    def inputs(persistence, job):
        return [path for path in recorded(persistence, job) if not re.search(r"/jobs/\d+-of-\d+\.json$", path)]

    return inputs


if STUDY.evaluation.jobs > 1:
    PersistenceBase._input = without_shares(PersistenceBase._input)


def fine_tune_settings(wildcards):
    """Settings of fine-tuning; which cells are fine-tuned changes no number."""
    settings = RESOLVED.suite.fine_tuning
    # Only where it is not the default: another key would fine-tune every cell again.
    usual = {"precision"} if settings.precision == "fp32" else set()
    return canonical_json(settings.model_dump(mode="json", exclude={"cells", "control"} | usual))


def fine_tune_model(wildcards):
    return study_cell(wildcards.cell).model


def fine_tune_control(wildcards):
    control = RESOLVED.suite.fine_tuning.control
    return f"results/data/eval-{control}/manifest.json" if control else []


rule evaluate:
    input:
        checkpoint=f"{STUDY_DIR}/train/{{cell}}/checkpoint.pt",
        tokenizer=evaluate_tokenizer,
        sets=expand("results/data/eval-{dataset}/manifest.json", dataset=EVALUATION_SETS),
        shares=evaluation_shares,
    output:
        metrics=f"{STUDY_DIR}/evaluate/{{cell}}/metrics.json",
    log:
        f"results/logs/{STUDY.study}/evaluate/{{cell}}.log",
    benchmark:
        f"results/benchmarks/{STUDY.study}/evaluate/{{cell}}.tsv"
    threads: after_threads
    resources:
        mem_mb=after_mem_mb,
        runtime=after_runtime,
        gpus=after_gpus,
        gpu_slots=after_gpu_slots,
        launcher=after_launcher,
    params:
        workers=after_workers,
        batch_size=STUDY.evaluation.batch_size,
        loss_batch_size=STUDY.evaluation.loss_batch_size,
        suite=evaluate_suite,
        store=f"{STUDY_DIR}/evaluate/{{cell}}/store",
    message:
        "Evaluate {wildcards.cell}"
    shell:
        # A signal ends it after the next batch: the shell and the log's writer must live on until it has.
        "trap : INT TERM USR1 USR2; {resources.launcher}python scripts/evaluate.py --checkpoint {input.checkpoint}"
        " --sets {input.sets} --tokenizer {input.tokenizer} --batch-size {params.batch_size}"
        " --loss-batch-size {params.loss_batch_size} --suite {params.suite:q} --store {params.store}"
        " --output {output.metrics} --threads {threads}{params.workers} 2>&1 | (trap '' INT TERM USR1 USR2; exec tee {log})"


if STUDY.evaluation.jobs > 1:

    localrules:
        cut_evaluation,

    rule cut_evaluation:
        input:
            sets=expand("results/data/eval-{dataset}/manifest.json", dataset=EVALUATION_SETS),
        output:
            cut=temp(f"{STUDY_DIR}/evaluate/{{cell}}/jobs/cut.json"),
        log:
            f"results/logs/{STUDY.study}/evaluate/{{cell}}/jobs/cut.log",
        benchmark:
            f"results/benchmarks/{STUDY.study}/evaluate/{{cell}}/jobs/cut.tsv"
        params:
            batch_size=STUDY.evaluation.batch_size,
            suite=evaluate_suite,
            jobs=evaluation_jobs,
            evaluations=f"{STUDY_DIR}/evaluate",
            model=fine_tune_model,
        message:
            "Cut the evaluation of {wildcards.cell} into {params.jobs} jobs"
        shell:
            "python scripts/cut_evaluation.py --sets {input.sets} --suite {params.suite:q}"
            " --batch-size {params.batch_size} --jobs {params.jobs} --evaluations {params.evaluations}"
            " --model {params.model} --output {output.cut} 2>&1 | tee {log}"

    rule evaluate_share:
        # Its share of the features and scores goes into the store, where `evaluate` finds them.
        input:
            cut=rules.cut_evaluation.output.cut,
            checkpoint=f"{STUDY_DIR}/train/{{cell}}/checkpoint.pt",
            tokenizer=evaluate_tokenizer,
            sets=expand("results/data/eval-{dataset}/manifest.json", dataset=EVALUATION_SETS),
        output:
            share=temp(f"{STUDY_DIR}/evaluate/{{cell}}/jobs/{{job}}-of-{{jobs}}.json"),
        log:
            f"results/logs/{STUDY.study}/evaluate/{{cell}}/jobs/{{job}}-of-{{jobs}}.log",
        benchmark:
            f"results/benchmarks/{STUDY.study}/evaluate/{{cell}}/jobs/{{job}}-of-{{jobs}}.tsv"
        wildcard_constraints:
            job="[1-9][0-9]*",
            jobs=str(STUDY.evaluation.jobs),
        threads: after_threads
        resources:
            mem_mb=after_mem_mb,
            runtime=after_runtime,
            gpus=after_gpus,
            gpu_slots=after_gpu_slots,
            launcher=after_launcher,
        params:
            workers=after_workers,
            batch_size=STUDY.evaluation.batch_size,
            loss_batch_size=STUDY.evaluation.loss_batch_size,
            suite=evaluate_suite,
            store=f"{STUDY_DIR}/evaluate/{{cell}}/store",
        message:
            "Evaluate {wildcards.cell}: job {wildcards.job} of {wildcards.jobs}"
        shell:
            "trap : INT TERM USR1 USR2; {resources.launcher}python scripts/evaluate.py --checkpoint {input.checkpoint}"
            " --sets {input.sets} --tokenizer {input.tokenizer} --batch-size {params.batch_size}"
            " --loss-batch-size {params.loss_batch_size} --suite {params.suite:q} --store {params.store}"
            " --cut {input.cut} --job {wildcards.job} --output {output.share} --threads {threads}{params.workers}"
            " 2>&1 | (trap '' INT TERM USR1 USR2; exec tee {log})"


rule evaluate_state:
    # As `evaluate`, of a state saved in training: a part of a cell, or a trunk at a branch point.
    input:
        state=f"{STUDY_DIR}/{{run}}/state.pt",
        tokenizer=state_tokenizer,
        sets=expand("results/data/eval-{dataset}/manifest.json", dataset=EVALUATION_SETS),
    output:
        metrics=f"{STUDY_DIR}/{{run}}/metrics.json",
    log:
        f"results/logs/{STUDY.study}/{{run}}/metrics.log",
    benchmark:
        f"results/benchmarks/{STUDY.study}/{{run}}/metrics.tsv"
    wildcard_constraints:
        run="trunk/Model-[^/]+/[^/]+|train/Model-[^/]+/parts/[^/]+",
    threads: after_threads
    resources:
        mem_mb=after_mem_mb,
        runtime=after_runtime,
        gpus=after_gpus,
        gpu_slots=after_gpu_slots,
        launcher=after_launcher,
    params:
        recipe=state_recipe,
        name=state_name,
        workers=after_workers,
        batch_size=STUDY.evaluation.batch_size,
        loss_batch_size=STUDY.evaluation.loss_batch_size,
        suite=evaluate_suite,
    message:
        "Evaluate {wildcards.run}"
    shell:
        # The store is for an evaluation that is stopped, and empty at its end.
        "trap : INT TERM USR1 USR2; {resources.launcher}python scripts/evaluate.py --checkpoint {input.state}"
        " --sets {input.sets} --tokenizer {input.tokenizer} --recipe {params.recipe:q} --cell {params.name}"
        " --batch-size {params.batch_size} --loss-batch-size {params.loss_batch_size} --suite {params.suite:q}"
        " --store {STUDY_DIR}/{wildcards.run}/store --store-mb 0 --output {output.metrics}"
        " --threads {threads}{params.workers} 2>&1 | (trap '' INT TERM USR1 USR2; exec tee {log})"


localrules:
    gather_learning_curves,


rule gather_learning_curves:
    input:
        states=EVALUATED_STATES,
        cells=f"{STUDY_DIR}/tables/metrics.csv",
    output:
        table=f"{STUDY_DIR}/tables/learning_curves.csv",
    log:
        f"results/logs/{STUDY.study}/tables/learning_curves.log",
    benchmark:
        f"results/benchmarks/{STUDY.study}/tables/learning_curves.tsv"
    message:
        "Gather every metric of every cell on its way"
    shell:
        "python scripts/gather_learning_curves.py {input.states} --cells {input.cells} --output {output.table}"
        " 2>&1 | tee {log}"


rule learning_curves:
    input:
        rules.gather_learning_curves.output.table,
    message:
        "Learning curves are complete: see {input}"


rule collect:
    input:
        trained=expand(f"{STUDY_DIR}/train/{{cell}}/train.json", cell=CELLS),
        evaluated=expand(f"{STUDY_DIR}/evaluate/{{cell}}/metrics.json", cell=CELLS),
        fine_tuned=expand(
            f"{STUDY_DIR}/fine_tune/{{cell}}/{{dataset}}/metrics.json",
            cell=RESOLVED.fine_tuned_cells(),
            dataset=RESOLVED.fine_tuned_sets(),
        ),
    output:
        csv=f"{STUDY_DIR}/tables/metrics.csv",
        parquet=f"{STUDY_DIR}/tables/metrics.parquet",
        cells=f"{STUDY_DIR}/tables/cells.csv",
    log:
        f"results/logs/{STUDY.study}/tables/metrics.log",
    benchmark:
        f"results/benchmarks/{STUDY.study}/tables/metrics.tsv"
    params:
        config=cells_config,
        folder=STUDY_DIR,
    message:
        f"Collect the metrics of {len(CELLS)} cells into one table"
    shell:
        "python scripts/collect.py --config {params.config:q} --study-folder {params.folder}"
        " --csv {output.csv} --parquet {output.parquet} --cells {output.cells} 2>&1 | tee {log}"


if RESOLVED.fine_tuned_sets():

    rule fine_tune:
        input:
            checkpoint=f"{STUDY_DIR}/train/{{cell}}/checkpoint.pt",
            tokenizer=evaluate_tokenizer,
            set="results/data/eval-{dataset}/manifest.json",
            control=fine_tune_control,
        output:
            metrics=f"{STUDY_DIR}/fine_tune/{{cell}}/{{dataset}}/metrics.json",
        log:
            f"results/logs/{STUDY.study}/fine_tune/{{cell}}/{{dataset}}.log",
        benchmark:
            f"results/benchmarks/{STUDY.study}/fine_tune/{{cell}}/{{dataset}}.tsv"
        threads: after_threads
        resources:
            mem_mb=after_mem_mb,
            runtime=after_runtime,
            gpus=after_gpus,
            gpu_slots=after_gpu_slots,
            launcher=after_launcher,
        params:
            workers=after_workers,
            settings=fine_tune_settings,
            model=fine_tune_model,
            resume=f"{STUDY_DIR}/fine_tune/{{cell}}/{{dataset}}/resume",
        message:
            "Fine-tune {wildcards.cell} on {wildcards.dataset}"
        shell:
            "trap : INT TERM USR1 USR2; {resources.launcher}python scripts/fine_tune.py --checkpoint {input.checkpoint}"
            " --tokenizer {input.tokenizer} --model {params.model} --set {input.set} --control {input.control}"
            " --settings {params.settings:q} --resume {params.resume} --output {output.metrics} --threads {threads}{params.workers}"
            " 2>&1 | (trap '' INT TERM USR1 USR2; exec tee {log})"
