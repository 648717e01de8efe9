"""How long a plan takes for large grids, and Snakemake's dry run of the same DAG.

python benchmarks/plan_speed.py                        # clip-scaling plan for 100 to 10,000 cells
python benchmarks/plan_speed.py --snakemake 4686       # and snakemake -n --quiet over that many cells

Grids are of config/laion.yaml's models and data, with as many seeds as it takes; schedule cosine, or wsd by --wsd.
Wall seconds and peak memory of the process that is started, as the operating system counts them.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent
SIZES = (100, 300, 1000, 3000, 4686, 10_000)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, nargs="*", default=SIZES)
    parser.add_argument("--snakemake", type=int, nargs="*", default=[], help="cells of snakemake -n --quiet")
    parser.add_argument("--wsd", action="store_true", help="with trunks")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for name in ("Snakefile", "workflow", "scripts", "config", "profiles"):
            (root / name).symlink_to(ROOT / name)
        for count in args.cells:
            path = write_study(root, count, args.wsd)
            command = [sys.executable, "-m", "clip_scaling.cli.main", "plan", "--dry", "--configfile", str(path)]
            code = "import sys; from clip_scaling.cli.main import main; sys.argv[0] = 'clip-scaling'; main()"
            report("clip-scaling plan", count, [sys.executable, "-c", code, *command[3:]], root)
        for count in args.snakemake:
            path = write_study(root, count, args.wsd)
            command = [sys.executable, "-m", "snakemake", "-n", "--quiet", "--configfile", str(path)]
            report("snakemake -n --quiet", count, command, root)


def write_study(root: Path, count: int, is_wsd: bool) -> Path:
    """A study of exactly `count` cells: 3 models x 3 data x 11 budgets (1.28M to 3B) x seeds, and a rest by hand."""
    study: dict[str, Any] = yaml.safe_load((ROOT / "config" / "laion.yaml").read_text())
    models, data = ["ViT-B-32", "ViT-B-16", "ViT-L-14"], list(study["data"])
    budgets = ["1.28M", "3M", "6.4M", "12.8M", "30M", "64M", "128M", "300M", "640M", "1.28B", "3B"]
    axes = len(models) * len(data) * len(budgets)
    seeds = max(1, count // axes)
    study["grid"] = {"models": models, "data": data, "samples_seen": budgets, "seeds": list(range(seeds))}
    rest = count - axes * seeds
    if rest > 0:
        combinations = [(m, d, b) for m in models for d in data for b in budgets][:rest]
        study["grid"]["include"] = [
            {"model": m, "data": d, "samples_seen": b, "seed": seeds} for m, d, b in combinations
        ]  # fmt: skip
    study["recipe"] = {"defaults": {"global_batch_size": 4096, "precision": "amp_bf16", "warmup_steps": 100}}
    if is_wsd:
        study["recipe"]["defaults"]["schedule"] = "wsd"
    study["resources"]["train"] |= {"nodes": 2, "gradient_checkpointing": True, "accumulate": 2}
    path = root / f"grid-{count}.yaml"
    path.write_text(yaml.safe_dump(study))
    return path


def report(what: str, count: int, command: list[str], root: Path) -> None:
    """Run a command and print its cells, seconds and peak memory."""
    begun = time.monotonic()
    process = subprocess.Popen(command, cwd=root, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert process.stderr is not None
    errors = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{' '.join(command)}:\n{errors.decode()[-2000:]}")
    peak = usage.ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)
    cpu = usage.ru_utime + usage.ru_stime
    seconds = time.monotonic() - begun
    print(f"{what}: {count} cells, {seconds:.2f} s wall, {cpu:.2f} s CPU, {peak:.0f} MB", flush=True)


if __name__ == "__main__":
    main()
