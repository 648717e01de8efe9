"""Training of the grid's cells and of their trunks, and the search for learning rates.

Saved states, the live curve and the heartbeat lie in `resume/`, undeclared on purpose: Snakemake deletes declared
outputs before a retry, and an interrupted run continues from there.
"""


rule train:
    input:
        data=train_input,
        tokenizer=train_tokenizer,
        start=train_start,
        validation=expand("results/data/eval-{dataset}/manifest.json", dataset=VALIDATION_SETS),
    output:
        checkpoint=f"{STUDY_DIR}/train/{{cell}}/checkpoint.pt",
        record=f"{STUDY_DIR}/train/{{cell}}/train.json",
        curve=f"{STUDY_DIR}/train/{{cell}}/curve.jsonl",
    log:
        f"results/logs/{STUDY.study}/train/{{cell}}.log",
    benchmark:
        f"results/benchmarks/{STUDY.study}/train/{{cell}}.tsv"
    priority: train_priority
    threads: train_threads
    resources:
        mem_mb=train_mem_mb,
        runtime=train_runtime,
        nodes=train_nodes,
        gpus=train_gpus,
        gpu_slots=train_gpu_slots,
        tasks_per_node=train_tasks_per_node,
        launcher=train_launcher,
    params:
        what=whole_cell,
        recipe=train_recipe,
        resume=f"{STUDY_DIR}/train/{{cell}}/resume",
    message:
        "Train {wildcards.cell}"
    shell:
        # A signal saves the run at its next step: the shell and the log's writer must live on until it has.
        "trap : INT TERM USR1 USR2; {resources.launcher} python scripts/train.py {params.what}"
        " --data {input.data} --tokenizer {input.tokenizer} --recipe {params.recipe:q} --resources {TRAIN_RESOURCES:q}"
        " --start {input.start} --validation {input.validation} {VALIDATION_OPTIONS}"
        " --batch-size {STUDY.evaluation.batch_size} --loss-batch-size {STUDY.evaluation.loss_batch_size}"
        " --resume {params.resume} --output {output}"
        " 2>&1 | (trap '' INT TERM USR1 USR2; exec tee {log})"


use rule train as train_trunk with:
    input:
        data=trunk_input,
        tokenizer=trunk_tokenizer,
        start=trunk_start,
        validation=[],
    output:
        state=f"{STUDY_DIR}/trunk/{{trunk}}/{{samples}}/state.pt",
    log:
        f"results/logs/{STUDY.study}/trunk/{{trunk}}/{{samples}}.log",
    benchmark:
        f"results/benchmarks/{STUDY.study}/trunk/{{trunk}}/{{samples}}.tsv"
    priority: DATA_PRIORITY
    params:
        what=part_of_trunk,
        recipe=trunk_recipe_params,
        cell=trunk_cell_name,
        stop=trunk_stop,
        resume=f"{STUDY_DIR}/trunk/{{trunk}}/{{samples}}/resume",
    message:
        "Train {wildcards.trunk} to the cooldown of {wildcards.samples}"


use rule train as train_part with:
    output:
        state=f"{STUDY_DIR}/train/{{cell}}/parts/{{step}}/state.pt",
    log:
        f"results/logs/{STUDY.study}/train/{{cell}}/parts/{{step}}.log",
    benchmark:
        f"results/benchmarks/{STUDY.study}/train/{{cell}}/parts/{{step}}.tsv"
    wildcard_constraints:
        step="[1-9][0-9]*",
    params:
        what=part_of_cell,
        steps=cell_steps,
    message:
        "Train {wildcards.cell} to step {wildcards.step} of {params.steps}, to be evaluated there"


if STUDY.sweep:

    use rule train as train_at_learning_rate with:
        input:
            data=sweep_input,
            tokenizer=sweep_tokenizer,
            start=[],
            validation=[],
        output:
            checkpoint=temp(f"{STUDY_DIR}/sweep/{{cell}}/lr-{{learning_rate}}/checkpoint.pt"),
            record=f"{STUDY_DIR}/sweep/{{cell}}/lr-{{learning_rate}}/train.json",
            curve=f"{STUDY_DIR}/sweep/{{cell}}/lr-{{learning_rate}}/curve.jsonl",
        log:
            f"results/logs/{STUDY.study}/sweep/{{cell}}/lr-{{learning_rate}}.log",
        benchmark:
            f"results/benchmarks/{STUDY.study}/sweep/{{cell}}/lr-{{learning_rate}}.tsv"
        priority: 0
        params:
            recipe=sweep_recipe,
            resume=f"{STUDY_DIR}/sweep/{{cell}}/lr-{{learning_rate}}/resume",
        message:
            "Train {wildcards.cell} at learning rate {wildcards.learning_rate}"

    rule gather_learning_rates:
        input:
            records=expand(
                f"{STUDY_DIR}/sweep/{{cell}}/lr-{{learning_rate:g}}/train.json",
                cell=SWEEP_CELLS,
                learning_rate=STUDY.sweep.learning_rates,
            ),
        output:
            table=f"{STUDY_DIR}/tables/learning_rates.csv",
            optima=f"{STUDY_DIR}/tables/optimal_learning_rates.csv",
        log:
            f"results/logs/{STUDY.study}/tables/learning_rates.log",
        benchmark:
            f"results/benchmarks/{STUDY.study}/tables/learning_rates.tsv"
        message:
            "Gather {output.table}: the final training loss of each model at each learning rate"
        shell:
            "python scripts/gather_learning_rates.py {input.records} --output {output.table} --optima {output.optima}"
            " 2>&1 | tee {log}"

    rule sweep:
        input:
            rules.gather_learning_rates.output.table,
        message:
            "The search for learning rates is complete: see {input}"
