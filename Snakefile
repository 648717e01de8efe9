"""clip-scaling: one study file -> data -> training grid -> evaluation -> laws -> report.

  snakemake --cores all                                  the default study on this machine
  snakemake --cores 1 plan                               what would run, and why, and what it costs
  snakemake --cores all pilot                            two minutes of training, for a plan from measured speeds
  snakemake -n                                           the jobs
  snakemake --cores all --configfile config/smoke.yaml   another study
  snakemake --cores all results/laptop/train/CELL/checkpoint.pt      one cell
  snakemake --cores all sweep                            the search behind the learning rates
  snakemake --cores all ro_crate                         the study as one archive that others can cite and rerun

Path grammar (CELL = Model-{model}_Data-{data}_Samples-{count}_Seed-{seed}):
  results/data/{source|data|eval-dataset}/manifest.json
  results/{study}/train/CELL/{checkpoint.pt,train.json,curve.jsonl}
  results/{study}/evaluate/CELL/metrics.json
  results/{study}/tables/{metrics,laws,predictions}.csv
  results/{study}/laws/{dataset}/{metric}.json
  results/{study}/figures/*.svg, results/{study}/report.html, results/{study}/provenance.json
"""

from snakemake.utils import min_version

min_version("9.27")

if not workflow.configfiles:  # a study given by --configfile replaces the default one, it is not merged into it

    configfile: "config/laptop.yaml"


include: "workflow/rules/common.smk"


if IS_TRAINED:

    include: "workflow/rules/cells.smk"
    include: "workflow/rules/resources.smk"
    include: "workflow/rules/sources.smk"
    include: "workflow/rules/data.smk"
    include: "workflow/rules/duplicates.smk"
    include: "workflow/rules/train.smk"
    include: "workflow/rules/plan.smk"
    include: "workflow/rules/evaluate.smk"
    include: "workflow/rules/evaluation_checks.smk"

else:

    include: "workflow/rules/published.smk"


include: "workflow/rules/laws.smk"
include: "workflow/rules/report.smk"
include: "workflow/rules/provenance.smk"


# On a cluster these stay with the driver: seconds each, or in need of the network.
localrules:
    all,
    fit,
    gather_laws,
    plot_law,
    plot_laws,
    plot_predictions,
    plot_allocation,
    plot_bottleneck,
    plot_learning_curves,
    report,
    gather_provenance,
    write_crate,


if IS_TRAINED:

    localrules:
        plan,
        pilot,
        collect,

else:

    localrules:
        retrieve_published,


rule all:
    default_target: True
    input:
        f"{STUDY_DIR}/report.html",
        f"{STUDY_DIR}/tables/laws.csv",
        f"{STUDY_DIR}/tables/predictions.csv",
        f"{STUDY_DIR}/provenance.json",
        # By name: a result that was deleted is made again, even where all that follows from it exists.
        CELL_RESULTS if IS_TRAINED else [],
    message:
        f"Study {STUDY.study} is complete: open {{input[0]}}"
