"""Do the laws of trunks with cooldowns (wsd) agree with those of one cosine run a budget?

    python benchmarks/training_schedules.py --folder /tmp/schedules --figure docs/images/schedules.svg

Runs two studies of procedural scenes by snakemake, the same but for the schedule: two models, one data size, budgets in
ratio 1:2:4:8. Prints each cell's held-out loss and retrieval under both, the exponents with 95 % intervals, their
difference, and the samples that each schedule trained; draws loss against compute.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import pandas as pd
import yaml
from matplotlib.figure import Figure

from clip_scaling.laws import compare, fit
from clip_scaling.report.style import COLUMN_WIDTH, INK, MARKERS, PALETTE, figure_style
from clip_scaling.study.resolve import load_study
from clip_scaling.study.resolved import samples_trained

ROOT = Path(__file__).resolve().parent.parent
SCHEDULES = {"cosine": {}, "wsd": {"schedule": "wsd", "warmup_steps": 12}}
TARGET = "scenes-captions"
METRICS = {"contrastive_loss": "held-out loss, nats", "text_retrieval_recall@5": "text retrieval, recall@5"}


def study(name: str, recipe: dict, seeds: int) -> dict:
    """The study file of one schedule."""
    base = yaml.safe_load((ROOT / "config" / "offline.yaml").read_text())
    base["sources"]["scenes"]["pairs"] = "20K"
    base["recipe"]["defaults"] |= {"learning_rate": 2e-3} | recipe
    return base | {
        "study": name,
        "data": {"Scenes-20K": {"source": "scenes", "pairs": "20K"}},
        "grid": {
            "models": ["ViT-nano-8", "ViT-micro-8"],
            "data": ["Scenes-20K"],
            "samples_seen": ["16K", "32K", "64K", "128K"],
            "seeds": list(range(seeds)),
        },
        "evaluation": {"suite": "offline"},
    }


def run(folder: Path, name: str, recipe: dict, seeds: int) -> tuple[pd.DataFrame, int]:
    """Run one study in a project folder; its metrics and the samples that it trained."""
    file = folder / f"{name}.yaml"
    file.write_text(yaml.safe_dump(study(name, recipe, seeds)))
    tables = folder / "results" / name / "tables"
    options = ["--cores", "2", "--quiet", "rules", "--configfile", str(file)]
    command = [sys.executable, "-m", "snakemake", f"results/{name}/tables/metrics.csv", *options]
    subprocess.run(command, cwd=folder, check=True)
    resolved = load_study(study(name, recipe, seeds), ROOT)
    trained = sum(samples_trained(resolved, cell) for cell in resolved.cells.values())
    return pd.read_csv(tables / "metrics.csv"), trained


def draw(metrics: dict[str, pd.DataFrame], laws: dict[str, dict], path: Path) -> None:
    """Loss against compute under both schedules, with their laws."""
    with figure_style():
        figure = Figure(figsize=(COLUMN_WIDTH, 2.6), layout="constrained")
        axes = figure.subplots()
        for (name, table), colour, marker in zip(metrics.items(), PALETTE[1:], MARKERS, strict=False):
            rows = table[table["metric"] == "contrastive_loss"]
            axes.scatter(rows["compute_gmacs"], rows["value"], s=14, color=colour, marker=marker, label=name, zorder=3)
            law = laws[name]["contrastive_loss"]
            ends = sorted(rows["compute_gmacs"])[:: len(rows) - 1]
            axes.plot(ends, [law.beta * c**law.alpha for c in ends], color=colour, linewidth=1)
        axes.set(xscale="log", yscale="log", xlabel="compute, GMAC", ylabel="held-out contrastive loss, nats")
        axes.yaxis.set_minor_formatter("{x:g}")
        axes.legend(labelcolor=INK)
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, facecolor="white")  # GitHub shows the page in dark too


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, help="of the two studies; continued where it exists")
    parser.add_argument("--figure", type=Path, help="SVG to draw")
    parser.add_argument("--seeds", type=int, default=1)
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    for name in ("Snakefile", "workflow", "scripts", "config", "profiles"):
        if not (args.folder / name).exists():
            (args.folder / name).symlink_to(ROOT / name)
    metrics, trained = {}, {}
    for name, recipe in SCHEDULES.items():
        metrics[name], trained[name] = run(args.folder, name, recipe, args.seeds)
        metrics[name]["source"] = name
    both = pd.concat(metrics.values())
    keys = ["metric", "model", "samples_seen", "source"]
    table = both[both["metric"].isin(METRICS) & (both["dataset"] == TARGET)].groupby(keys)["value"].mean().unstack()
    print(table.round(4).to_string())
    laws: dict[str, dict] = {name: {} for name in SCHEDULES}
    for metric in METRICS:
        for name in SCHEDULES:
            law = fit(both, target=TARGET, metric=metric, method="ols-all", source=name)
            laws[name][metric] = law
            low, high = law.intervals["alpha"]
            print(f"{metric} {name}: alpha {law.alpha:.3f} ({low:.3f} to {high:.3f}), R2 {law.r2:.2f}")
        found = compare(laws["wsd"][metric], laws["cosine"][metric])
        interval = f"{found.difference_low:+.3f} to {found.difference_high:+.3f}"
        print(f"{metric} wsd - cosine: {found.difference:+.3f} ({interval})")
    print(f"samples trained: {trained}, {1 - trained['wsd'] / trained['cosine']:.0%} less")
    if args.figure:
        draw(metrics, laws, args.figure)


if __name__ == "__main__":
    main()
