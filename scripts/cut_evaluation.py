"""Cut the evaluation of a checkpoint into jobs of equal cost, by the seconds that finished evaluations took."""

import argparse
import json
from pathlib import Path

from clip_scaling.data.evaluation_sets.size import SetSize, set_size
from clip_scaling.errors import ManifestError, run_script
from clip_scaling.evaluate.cut import BLOCK_BATCHES, Costs, cut
from clip_scaling.records.data import EvaluationSetManifest
from clip_scaling.records.evaluation import CheckpointMetrics, EvaluationCut
from clip_scaling.records.filenames import METRICS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sets", required=True, type=Path, nargs="+", help="manifests of the evaluation sets")
    parser.add_argument("--suite", type=json.loads, default={}, help="JSON, as scripts/evaluate.py takes it")
    parser.add_argument("--batch-size", required=True, type=int, help="images a forward pass")
    parser.add_argument("--jobs", required=True, type=int)
    parser.add_argument("--evaluations", required=True, type=Path, help="folder of the study's evaluations")
    parser.add_argument("--model", required=True, help="evaluations of its cells go before those of others")
    parser.add_argument("--output", required=True, type=Path, help="the cut, JSON")
    args = parser.parse_args()
    sizes = {}
    for path in args.sets:
        manifest = EvaluationSetManifest.read(path)
        sizes[manifest.dataset] = set_size(manifest, path) or SetSize(0, 0, 0)
    probed = frozenset(name for name, shots in args.suite.get("probes", {}).items() if shots)
    costs = Costs(sizes, probed, recorded(args.evaluations, args.model))
    may_cut_sets = args.suite.get("on_unreadable", "error") == "error"
    jobs = cut(costs, args.jobs, BLOCK_BATCHES * args.batch_size, may_cut_sets)
    EvaluationCut(jobs=jobs).write(args.output)
    for number, pieces in enumerate(jobs, start=1):
        names = ", ".join(piece.dataset + (f" ({piece.split})" if piece.split else "") for piece in pieces)
        print(f"job {number}: {sum(piece.seconds for piece in pieces):.4g} s or images: {names or 'nothing'}")


def recorded(evaluations: Path, model: str) -> dict[str, dict[str, float]]:
    """Seconds by set of the first finished evaluation that has any; those of the model's cells first."""
    found = sorted(
        evaluations.glob(f"*/{METRICS}"), key=lambda path: not path.parent.name.startswith(f"Model-{model}_")
    )
    for path in found:
        try:
            seconds = CheckpointMetrics.read(path).seconds
        except (ManifestError, FileNotFoundError):
            continue  # damaged, or being made again: its own job says so
        if seconds:
            return seconds
    return {}


if __name__ == "__main__":
    run_script(main)
