"""Training of the grid's cells, and the search for learning rates."""


rule train:
    input:
        packed=train_input,
    output:
        checkpoint=f"{STUDY_DIR}/train/{{cell}}/checkpoint.pt",
        record=f"{STUDY_DIR}/train/{{cell}}/train.json",
        curve=f"{STUDY_DIR}/train/{{cell}}/curve.jsonl",
    log:
        f"results/logs/{STUDY.study}/train/{{cell}}.log",
    benchmark:
        f"results/benchmarks/{STUDY.study}/train/{{cell}}.tsv"
    priority: train_priority
    threads: STUDY.resources.train.threads
    resources:
        mem_mb=STUDY.resources.train.mem_mb,
        runtime=STUDY.resources.train.runtime_minutes,
        gpus=STUDY.resources.train.gpus,
    params:
        recipe=train_recipe,
    message:
        "Train {wildcards.cell}"
    shell:
        "python scripts/train.py --cell {wildcards.cell} --packed {input.packed} --recipe {params.recipe:q}"
        " --checkpoint {output.checkpoint} --record {output.record} --curve {output.curve}"
        " --threads {threads} 2>&1 | tee {log}"


if STUDY.sweep:

    rule train_at_learning_rate:
        input:
            packed=sweep_input,
        output:
            checkpoint=temp(f"{STUDY_DIR}/sweep/{{cell}}/lr-{{learning_rate}}/checkpoint.pt"),
            record=f"{STUDY_DIR}/sweep/{{cell}}/lr-{{learning_rate}}/train.json",
            curve=f"{STUDY_DIR}/sweep/{{cell}}/lr-{{learning_rate}}/curve.jsonl",
        log:
            f"results/logs/{STUDY.study}/sweep/{{cell}}/lr-{{learning_rate}}.log",
        benchmark:
            f"results/benchmarks/{STUDY.study}/sweep/{{cell}}/lr-{{learning_rate}}.tsv"
        threads: STUDY.resources.train.threads
        resources:
            mem_mb=STUDY.resources.train.mem_mb,
            runtime=STUDY.resources.train.runtime_minutes,
            gpus=STUDY.resources.train.gpus,
        params:
            recipe=sweep_recipe,
        message:
            "Train {wildcards.cell} at learning rate {wildcards.learning_rate}"
        shell:
            "python scripts/train.py --cell {wildcards.cell} --packed {input.packed} --recipe {params.recipe:q}"
            " --checkpoint {output.checkpoint} --record {output.record} --curve {output.curve}"
            " --threads {threads} 2>&1 | tee {log}"

    rule gather_learning_rates:
        input:
            records=expand(
                f"{STUDY_DIR}/sweep/{{cell}}/lr-{{learning_rate:g}}/train.json",
                cell=SWEEP_CELLS,
                learning_rate=STUDY.sweep.learning_rates,
            ),
        output:
            table=f"{STUDY_DIR}/tables/learning_rates.csv",
        log:
            f"results/logs/{STUDY.study}/tables/learning_rates.log",
        benchmark:
            f"results/benchmarks/{STUDY.study}/tables/learning_rates.tsv"
        message:
            "Gather {output.table}: the final training loss of each model at each learning rate"
        shell:
            "python scripts/gather_learning_rates.py {input.records} --output {output.table} 2>&1 | tee {log}"

    rule sweep:
        input:
            rules.gather_learning_rates.output.table,
        message:
            "The search for learning rates is complete: see {input}"
