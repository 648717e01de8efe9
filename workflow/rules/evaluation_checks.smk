"""What is known of an evaluation beside its metrics: its noise, and what training data repeat.

Neither is part of `all`: snakemake evaluation_noise, snakemake contamination.
"""


def largest_cell():
    """The cell of most compute: the noise of a suite is measured on it."""
    return max(CELLS, key=cell_compute)


def data_checkpoints(wildcards):
    """The checkpoint of the cell of most compute on these data."""
    on_data = [name for name, cell in RESOLVED.cells.items() if cell.data == wildcards.data]
    return f"{STUDY_DIR}/train/{max(on_data, key=cell_compute)}/checkpoint.pt"


def noise_tokenizer():
    return f"results/data/{RESOLVED.source_of(RESOLVED.cells[largest_cell()].data)}/tokenizer/merges.txt.gz"


USED_DATA = list(dict.fromkeys(cell.data for cell in RESOLVED.cells.values()))


rule measure_evaluation_noise:
    input:
        checkpoint=f"{STUDY_DIR}/train/{largest_cell()}/checkpoint.pt",
        tokenizer=noise_tokenizer(),
        sets=expand("results/data/eval-{dataset}/manifest.json", dataset=EVALUATION_SETS),
    output:
        table=f"{STUDY_DIR}/tables/evaluation_noise.csv",
    log:
        f"results/logs/{STUDY.study}/tables/evaluation_noise.log",
    benchmark:
        f"results/benchmarks/{STUDY.study}/tables/evaluation_noise.tsv"
    resources:
        mem_mb=2000,
        runtime=60,
    params:
        batch_size=STUDY.evaluation.batch_size,
        other_batch_size=max(1, STUDY.evaluation.batch_size * 2 // 5),
        loss_batch_size=STUDY.evaluation.loss_batch_size,
        suite=evaluate_suite,
    message:
        "Measure how far number formats and another batch size move each metric"
    shell:
        "python scripts/measure_evaluation_noise.py --checkpoint {input.checkpoint} --sets {input.sets}"
        " --tokenizer {input.tokenizer} --batch-size {params.batch_size} --other-batch-size {params.other_batch_size}"
        " --loss-batch-size {params.loss_batch_size} --suite {params.suite:q} --output {output.table}"
        " --threads {threads} 2>&1 | tee {log}"


rule check_contamination:
    input:
        data="results/data/{data}/manifest.json",
        fingerprints=source_fingerprints,
        checkpoint=data_checkpoints,
        tokenizer=data_tokenizer,
        sets=expand("results/data/eval-{dataset}/manifest.json", dataset=EVALUATION_SETS),
    output:
        table=f"{STUDY_DIR}/contamination/{{data}}.csv",
    log:
        f"results/logs/{STUDY.study}/contamination/{{data}}.log",
    benchmark:
        f"results/benchmarks/{STUDY.study}/contamination/{{data}}.tsv"
    resources:
        mem_mb=2000,
        runtime=120,
    params:
        batch_size=STUDY.evaluation.batch_size,
        loss_batch_size=STUDY.evaluation.loss_batch_size,
        on_unreadable=RESOLVED.suite.on_unreadable,
    message:
        "Find evaluation images that {wildcards.data} repeats"
    shell:
        "python scripts/check_contamination.py --data {input.data} --fingerprints {input.fingerprints}"
        " --checkpoints {input.checkpoint} --sets {input.sets}"
        " --tokenizer {input.tokenizer} --batch-size {params.batch_size} --loss-batch-size {params.loss_batch_size}"
        " --on-unreadable {params.on_unreadable} --output {output.table} --threads {threads} 2>&1 | tee {log}"


rule gather_contamination:
    input:
        tables=expand(f"{STUDY_DIR}/contamination/{{data}}.csv", data=USED_DATA),
    output:
        table=f"{STUDY_DIR}/tables/contamination.csv",
    log:
        f"results/logs/{STUDY.study}/tables/contamination.log",
    benchmark:
        f"results/benchmarks/{STUDY.study}/tables/contamination.tsv"
    message:
        "Gather what the training data repeat of the evaluation sets"
    shell:
        "awk 'FNR > 1 || NR == 1' {input.tables} > {output.table} 2> {log}"


rule evaluation_noise:
    input:
        f"{STUDY_DIR}/tables/evaluation_noise.csv",


rule contamination:
    input:
        f"{STUDY_DIR}/tables/contamination.csv",
