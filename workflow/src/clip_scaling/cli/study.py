"""The commands on a study: `clip-scaling plan | status | rerun`."""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from rich.live import Live
from rich.text import Text

from ..errors import ConfigError
from ..plan.budget import check_budget
from ..plan.files import full_plan, open_study, write_plan
from ..plan.live import STALE_SECONDS, Standing, as_json, standings, summary
from ..plan.render import duration, human, text_plan
from ..plan.rerun import choose_cells, drop_replaced, plan_rerun, set_aside
from ..plan.room import room_problems
from ..plan.sums import plan_file
from ..plan.terminal import table, terminal_width, wrapped
from ..records.filenames import GRID, PLAN
from ..records.files import canonical_json
from ..study.resolved import ResolvedStudy

Parsers = Any  # argparse keeps the type of its subparsers to itself.
SHOWN = 60
"""Cells that `status` lists; --all lists every one."""
ORDER = "failed interrupted running finishing saved trunk waiting diverged done evaluated".split()
"""States as `status` lists them."""


def add_commands(commands: Parsers) -> None:
    """Add the three commands to a parser's subcommands."""
    parser = _command(commands, plan, "what a study will do, cost and teach, before it runs")
    parser.add_argument("--json", action="store_true", help="print the plan as JSON instead of the table")
    parser.add_argument("--dry", action="store_true", help="write no files")
    parser.add_argument("--target", help="dataset of the goal; default: the suite's first")
    parser.add_argument("--metric", help="metric of the goal")
    goal = parser.add_mutually_exclusive_group()
    goal.add_argument("--parameter", help="goal: this exponent (default alpha)")
    goal.add_argument(
        "--prediction", nargs="+", metavar="FACTOR=VALUE", help="goal: the error at compute=, gmacs=, ..."
    )
    goal.add_argument("--crossover", nargs=2, metavar="MODEL", help="goal: the compute at which two models are equal")

    parser = _command(commands, status, "where each cell stands, from files alone")
    parser.add_argument("--watch", action="store_true", help="show it again every few seconds, until interrupted")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--all", action="store_true", help=f"list more than {SHOWN} cells")
    parser.add_argument("--interval", type=float, default=5.0, help="seconds between two looks of --watch")
    parser.add_argument(
        "--stale", type=float, default=STALE_SECONDS, metavar="SECONDS", help="age at which a heartbeat is stale"
    )

    parser = _command(commands, rerun, "train cells again by name; the old results stay until the new ones exist")
    parser.add_argument("cells", nargs="+", metavar="CELL", help="names, or filters: model=ViT-B-32 samples=3B")
    parser.add_argument("-n", "--dry-run", action="store_true", help="only show what would be done")
    parser.add_argument("--snakemake", default="", metavar="OPTIONS", help='handed on, e.g. "--profile cluster"')

    _command(commands, verify_study, "data and results of a study against the hashes they were written with")


def plan(args: argparse.Namespace) -> None:
    """What every cell will do and why, what it costs, when it ends, and what it will teach."""
    root, study = _open(args)
    goal = {"target": args.target, "metric": args.metric, "parameter": args.parameter, "crossover": args.crossover}
    goal["at"] = dict(_factor(text) for text in args.prediction) if args.prediction else None
    found = full_plan(study, root, goal)
    found.notes += room_problems(study, found.stages, root)
    print(canonical_json(plan_file(found).as_json(), indent=1) if args.json else text_plan(found, terminal_width()))
    if not args.dry:
        folder = write_plan(found, study, root)
        if not args.json:
            print(f"written: {folder}/{GRID}, {PLAN}, plan.html")
    check_budget(found, study.config.budget)


def status(args: argparse.Namespace) -> None:
    """A live table: state, share of samples, loss, pairs/s, time left, attempts, used and lost hours, last error."""
    root, study = _open(args)
    if not args.watch:
        print(_look(study, root, args))
        return
    try:
        with Live(auto_refresh=False) if sys.stdout.isatty() and not args.json else nullcontext() as view:
            while True:
                if view is None:
                    print(_look(study, root, args), flush=True)
                else:
                    view.update(Text(_look(study, root, args)), refresh=True)
                time.sleep(args.interval)
    except KeyboardInterrupt:
        return


def rerun(args: argparse.Namespace) -> None:
    """Train cells again, then all that follows from them."""
    root, study = _open(args)
    wanted = plan_rerun(
        study, choose_cells(study, args.cells), root, _configfile(args, root), shlex.split(args.snakemake)
    )
    print("\n".join(wanted.lines))
    print(f"$ {shlex.join(wanted.command)}", flush=True)
    if args.dry_run:
        return
    set_aside(study, wanted.cells, root)
    code = subprocess.run([sys.executable, "-m", *wanted.command], cwd=root).returncode
    kept = drop_replaced(study, root)
    for name in kept:
        print(f"{name}: the old results are still in train/{name}/previous, the new ones do not exist yet")
    if code:
        sys.exit(code)


def verify_study(args: argparse.Namespace) -> None:
    """Hash data and results of a study, name what is damaged, and print the commands that make it again."""
    from ..plan.verify import verify_study as look

    root, study = _open(args)
    found = look(study, root)
    print(f"{found.files:,} files agree, {len(found.damages):,} are damaged")
    for damage in found.damages:
        target = damage.target.relative_to(root)
        print(f"{damage.path.relative_to(root)}: {damage.thing}")
        command = ["snakemake", "--cores", "all", "--configfile", _configfile(args, root), str(target)]
        print(f"  rm {shlex.quote(str(target))} && {shlex.join(map(str, command))}")
    if found.damages:
        sys.exit(1)


def _look(study: ResolvedStudy, root: Path, args: argparse.Namespace) -> str:
    """Where the cells stand now, as a table or as JSON."""
    rows = standings(study, root, args.stale)
    if args.json:
        return canonical_json(as_json(study, root, rows))
    return _status_text(study, root, rows, args.all)


def _status_text(study: ResolvedStudy, root: Path, rows: list[Standing], is_all: bool) -> str:
    shown = sorted(rows, key=lambda row: ORDER.index(row.state))
    shown = shown if is_all else shown[:SHOWN]
    is_cpu = not any(study.config.resources.train_of(study.cells[row.cell]).gpus_per_node for row in rows)
    unit = "CPU-h" if is_cpu else "GPU-h"
    header = "cell state samples loss pairs/s left attempts".split() + [f"used {unit}", "lost", "job", "last sign"]
    width = terminal_width()
    cells = [_status_row(row) for row in shown]
    lines = table(header, cells, right=header[2:9], folded=("cell", "last sign"),
                  optional=("attempts", "lost", "pairs/s", "job"), width=width)  # fmt: skip
    if len(rows) > len(shown):
        lines.append(f"... and {len(rows) - len(shown)} more (--all)")
    sums = summary(study, root, rows)
    counts = ", ".join(f"{count} {state}" for state, count in sorted(sums["states"].items()))
    planned = f" of {human(sums['planned_hours'])} planned" if sums["planned_hours"] else ""
    lines.append(f"{sums['cells']} cells: {counts}; {human(sums['used_hours'])} {unit} used{planned}, "
                 f"{human(sums['lost_hours'])} lost")  # fmt: skip
    lines += [f"node {name} is avoided: {why}" for name, why in sums["avoided_nodes"].items()]
    return "\n".join(wrapped(lines, width))


def _status_row(row: Standing) -> list[str]:
    sign = row.error or ("" if row.heartbeat_seconds is None else f"{duration(row.heartbeat_seconds / 3600)} ago")
    return [
        row.cell,
        row.state,
        f"{row.share:.0%}",
        "" if row.loss is None else f"{row.loss:.3f}",
        "" if not row.pairs_per_second else human(row.pairs_per_second),
        "" if not row.eta_seconds else duration(row.eta_seconds / 3600),
        str(row.attempts),
        f"{row.used_hours:.3g}",
        f"{row.lost_hours:.3g}",
        row.job,
        sign,
    ]


def _command(commands: Parsers, run: Any, text: str) -> argparse.ArgumentParser:
    parser = commands.add_parser(run.__name__.replace("_", "-"), help=text, description=run.__doc__)
    parser.add_argument("--configfile", type=Path, help="the study file (default config/laptop.yaml)")
    parser.add_argument("--root", type=Path, default=Path("."), help="the project folder (default: this one)")
    parser.set_defaults(run=run)
    return parser


def _configfile(args: argparse.Namespace, root: Path) -> Path:
    return args.configfile or root / "config" / "laptop.yaml"


def _open(args: argparse.Namespace) -> tuple[Path, ResolvedStudy]:
    root: Path = args.root
    if not (root / "config").is_dir():
        raise ConfigError(
            f"{root.resolve()} has no folder config/. Run the command in the project folder, or give --root."
        )
    return root, open_study(_configfile(args, root), root)


def _factor(text: str) -> tuple[str, float]:
    name, _, value = text.partition("=")
    try:
        return name, float(value)
    except ValueError:
        raise ConfigError(f"--prediction {text}: write FACTOR=NUMBER, for example compute=1e12.") from None
