"""Figures in the manner of the paper, and the page that holds the study."""

import os

MAIN_TARGETS = STUDY.report.of(TARGETS)
MAIN_LAWS = [f"{STUDY_DIR}/laws/{dataset}/{metric}.json" for dataset, metric in MAIN_TARGETS]
PROBES = [pair for pair in TARGETS if pair[0].startswith("linear_probe/")]
FIGURES = ["laws", "predictions", "allocation", "bottleneck", "learning-curves", *(["linear-probes"] if PROBES else [])]
CURVES = expand(f"{STUDY_DIR}/train/{{cell}}/curve.jsonl", cell=CELLS) if IS_TRAINED else []
HAS_POINTS = IS_TRAINED and STUDY.evaluation.learning_curve > 0
"""Whether cells are evaluated on their way."""
RECORDS = expand(f"{STUDY_DIR}/train/{{cell}}/train.json", cell=CELLS) if IS_TRAINED else []
MANIFESTS = (
    expand("results/data/{name}/manifest.json", name=[*STUDY.sources, *STUDY.data])
    + expand("results/data/eval-{dataset}/manifest.json", dataset=EVALUATION_SETS)
    if IS_TRAINED
    else []
)
CARDS = expand(f"{STUDY_DIR}/data/{{name}}/card.json", name=list(STUDY.data)) if IS_TRAINED else []


def headline_methods(wildcards):
    """{source: method} that figures and page show first; by a function, for its braces."""
    return canonical_json(STUDY.laws.headline)


def probe_methods(wildcards):
    return canonical_json({"openclip": "ols-all", "openai": "ols-all"})


def study_file(wildcards):
    """The study file, as the commands on the page name it."""
    return os.path.relpath(workflow.configfiles[-1])


rule plot_law:
    input:
        metrics=f"{STUDY_DIR}/tables/metrics.parquet",
        law=f"{STUDY_DIR}/laws/{{dataset}}/{{metric}}.json",
    output:
        svg=report(
            f"{STUDY_DIR}/figures/laws/{{dataset}}/{{metric}}.svg",
            caption="../report/law.rst",
            category="Laws",
            labels={"target": "{dataset}", "metric": "{metric}"},
        ),
        pdf=f"{STUDY_DIR}/figures/laws/{{dataset}}/{{metric}}.pdf",
        png=f"{STUDY_DIR}/figures/laws/{{dataset}}/{{metric}}.png",
    log:
        f"results/logs/{STUDY.study}/figures/laws/{{dataset}}/{{metric}}.log",
    benchmark:
        f"results/benchmarks/{STUDY.study}/figures/laws/{{dataset}}/{{metric}}.tsv"
    params:
        methods=headline_methods,
    message:
        "Draw the law of {wildcards.dataset} {wildcards.metric}"
    shell:
        "python scripts/plot_laws.py --metrics {input.metrics} --laws {input.law:q} --methods {params.methods:q}"
        " --svg {output.svg:q} --pdf {output.pdf:q} --png {output.png:q} 2>&1 | tee {log:q}"


rule plot_laws:
    input:
        metrics=f"{STUDY_DIR}/tables/metrics.parquet",
        laws=MAIN_LAWS,
    output:
        svg=report(
            f"{STUDY_DIR}/figures/laws.svg",
            caption="../report/laws.rst",
            category="Laws",
            labels={"target": "all", "metric": "all"},
        ),
        pdf=f"{STUDY_DIR}/figures/laws.pdf",
        png=f"{STUDY_DIR}/figures/laws.png",
    log:
        f"results/logs/{STUDY.study}/figures/laws.log",
    benchmark:
        f"results/benchmarks/{STUDY.study}/figures/laws.tsv"
    params:
        methods=headline_methods,
    message:
        f"Draw the laws of {len(MAIN_TARGETS)} targets"
    shell:
        "python scripts/plot_laws.py --metrics {input.metrics} --laws {input.laws:q} --methods {params.methods:q}"
        " --svg {output.svg} --pdf {output.pdf} --png {output.png} 2>&1 | tee {log}"


rule plot_predictions:
    input:
        metrics=f"{STUDY_DIR}/tables/metrics.parquet",
        predictions=f"{STUDY_DIR}/tables/predictions.csv",
    output:
        svg=report(
            f"{STUDY_DIR}/figures/predictions.svg",
            caption="../report/predictions.rst",
            category="Laws",
            labels={"target": "all", "metric": "predicted against measured"},
        ),
        pdf=f"{STUDY_DIR}/figures/predictions.pdf",
        png=f"{STUDY_DIR}/figures/predictions.png",
    log:
        f"results/logs/{STUDY.study}/figures/predictions.log",
    benchmark:
        f"results/benchmarks/{STUDY.study}/figures/predictions.tsv"
    params:
        targets=canonical_json(MAIN_TARGETS),
        methods=headline_methods,
    message:
        "Draw predicted against measured error"
    shell:
        "python scripts/plot_study.py predictions --metrics {input.metrics} --predictions {input.predictions}"
        " --targets {params.targets:q} --methods {params.methods:q} --svg {output.svg} --pdf {output.pdf} --png {output.png} 2>&1 | tee {log}"


rule plot_allocation:
    input:
        metrics=f"{STUDY_DIR}/tables/metrics.parquet",
        allocation=f"{STUDY_DIR}/tables/allocation.csv",
    output:
        svg=report(
            f"{STUDY_DIR}/figures/allocation.svg",
            caption="../report/allocation.rst",
            category="Laws",
            labels={"target": "first", "metric": "allocation of compute"},
        ),
        pdf=f"{STUDY_DIR}/figures/allocation.pdf",
        png=f"{STUDY_DIR}/figures/allocation.png",
    log:
        f"results/logs/{STUDY.study}/figures/allocation.log",
    benchmark:
        f"results/benchmarks/{STUDY.study}/figures/allocation.tsv"
    message:
        "Draw the compute-optimal model and samples"
    shell:
        "python scripts/plot_study.py allocation --metrics {input.metrics} --allocation {input.allocation}"
        " --svg {output.svg} --pdf {output.pdf} --png {output.png} 2>&1 | tee {log}"


rule plot_bottleneck:
    input:
        metrics=f"{STUDY_DIR}/tables/metrics.parquet",
    output:
        svg=report(
            f"{STUDY_DIR}/figures/bottleneck.svg",
            caption="../report/bottleneck.rst",
            category="Training and data scale",
            labels={"figure": "data bottleneck"},
        ),
        pdf=f"{STUDY_DIR}/figures/bottleneck.pdf",
        png=f"{STUDY_DIR}/figures/bottleneck.png",
    log:
        f"results/logs/{STUDY.study}/figures/bottleneck.log",
    benchmark:
        f"results/benchmarks/{STUDY.study}/figures/bottleneck.tsv"
    params:
        # A trained study shows its held-out loss, the smoothest of its metrics.
        target=literal("" if IS_TRAINED else "--target {} {}".format(*map(quote, TARGETS[0]))),
    message:
        "Draw held-out error against samples seen by data size"
    shell:
        "python scripts/plot_study.py bottleneck --metrics {input.metrics} {params.target}"
        " --svg {output.svg} --pdf {output.pdf} --png {output.png} 2>&1 | tee {log}"


rule plot_learning_curves:
    input:
        metrics=f"{STUDY_DIR}/tables/metrics.parquet",
        curves=CURVES,
    output:
        svg=report(
            f"{STUDY_DIR}/figures/learning-curves.svg",
            caption="../report/learning_curves.rst",
            category="Training and data scale",
            labels={"figure": "learning curves"},
        ),
        pdf=f"{STUDY_DIR}/figures/learning-curves.pdf",
        png=f"{STUDY_DIR}/figures/learning-curves.png",
    log:
        f"results/logs/{STUDY.study}/figures/learning-curves.log",
    benchmark:
        f"results/benchmarks/{STUDY.study}/figures/learning-curves.tsv"
    params:
        curves=f"--runs {STUDY_DIR}/train" if IS_TRAINED else "--published results/data/published",
    message:
        "Draw the learning curves"
    shell:
        "python scripts/plot_study.py learning-curves --metrics {input.metrics} {params.curves}"
        " --svg {output.svg} --pdf {output.pdf} --png {output.png} 2>&1 | tee {log}"


if PROBES:

    rule plot_linear_probes:
        input:
            metrics=f"{STUDY_DIR}/tables/metrics.parquet",
            laws=[f"{STUDY_DIR}/laws/{dataset}/{metric}.json" for dataset, metric in PROBES],
        output:
            svg=report(
                f"{STUDY_DIR}/figures/linear-probes.svg",
                caption="../report/laws.rst",
                category="Laws",
                labels={"target": "linear probes", "metric": "all"},
            ),
            pdf=f"{STUDY_DIR}/figures/linear-probes.pdf",
            png=f"{STUDY_DIR}/figures/linear-probes.png",
        log:
            f"results/logs/{STUDY.study}/figures/linear-probes.log",
        benchmark:
            f"results/benchmarks/{STUDY.study}/figures/linear-probes.tsv"
        params:
            # The released code fits linear probes by least squares over all runs.
            methods=probe_methods,
        message:
            "Draw the laws of linear probes"
        shell:
            "python scripts/plot_laws.py --metrics {input.metrics} --laws {input.laws:q} --methods {params.methods:q}"
            " --svg {output.svg} --pdf {output.pdf} --png {output.png} 2>&1 | tee {log}"


rule report:
    input:
        metrics=f"{STUDY_DIR}/tables/metrics.parquet",
        law_table=f"{STUDY_DIR}/tables/laws.csv",
        method_table=f"{STUDY_DIR}/tables/methods.csv",
        laws=[f"{STUDY_DIR}/laws/{dataset}/{metric}.json" for dataset, metric in TARGETS],
        records=RECORDS,
        curves=CURVES,
        points=f"{STUDY_DIR}/tables/learning_curves.csv" if HAS_POINTS else [],
        manifests=MANIFESTS,
        cards=CARDS,
        figures=expand(f"{STUDY_DIR}/figures/{{kind}}.{{form}}", kind=FIGURES, form=["svg", "png"]),
        single_figures=[f"{STUDY_DIR}/figures/laws/{dataset}/{metric}.png" for dataset, metric in MAIN_TARGETS],
    output:
        page=report(f"{STUDY_DIR}/report.html", caption="../report/report.rst", category="Report"),
    log:
        f"results/logs/{STUDY.study}/report.log",
    benchmark:
        f"results/benchmarks/{STUDY.study}/report.tsv"
    params:
        study=STUDY.study,
        title=literal(STUDY.title),
        methods=headline_methods,
        single_figures=literal(canonical_json(MAIN_TARGETS)),
        figures=FIGURES,
        configfile=study_file,
        released="" if IS_TRAINED else "--released results/data/published",
    message:
        "Write {output.page}, one file that opens offline"
    shell:
        f"python scripts/write_report.py --folder {STUDY_DIR} --study {{params.study}} --title {{params.title:q}}"
        " --configfile {params.configfile:q} --laws {input.laws:q} --methods {params.methods:q} --manifests {input.manifests}"
        " --cards {input.cards} --learning-curves {input.points} --figures {params.figures} --single-figures {params.single_figures:q} {params.released}"
        " --output {output.page} 2>&1 | tee {log}"
