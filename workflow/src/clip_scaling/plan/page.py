"""The plan as one HTML page without any network: the DAG by stage, the schedule, sums, the cells."""

from __future__ import annotations

from dataclasses import dataclass

from jinja2 import Environment, PackageLoader, StrictUndefined

from ..study.resolved import ResolvedStudy
from .render import duration, text_plan
from .table import Plan

STATES = {"run": "#2166ac", "resume": "#d6a02a", "skip": "#5aa05a", "blocked": "#b2182b"}
"""Colour of each state."""
DRAWN = 400
"""Bars of the schedule, the longest; more than that is no picture."""


@dataclass(frozen=True)
class Box:
    """A kind of job in the picture of the DAG. is_cells: a job is a cell, of which some may be done."""

    name: str
    jobs: int
    is_cells: bool = False


@dataclass(frozen=True)
class Bar:
    """A job in the picture of the schedule. start, end: hours."""

    job: str
    label: str
    colour: str
    start: float
    end: float


def page(plan: Plan, study: ResolvedStudy) -> str:
    """The whole page."""
    environment = Environment(
        loader=PackageLoader("clip_scaling.plan"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["duration"] = duration
    bars = _bars(plan)
    return environment.get_template("plan.html.j2").render(
        title=f"Plan of study {plan.study}",
        about=study.config.title,
        boxes=_boxes(plan, study),
        to_do=len(plan.to_do),
        colours=STATES,
        bars=bars,
        more=len(plan.schedule["spans"]) - len(bars) if plan.schedule else 0,
        finish=max((bar.end for bar in bars), default=0.0) or 1.0,
        summary=text_plan(plan).split("\n\n", 1)[-1],  # the terminal's text below its table of cells
        rows=plan.rows,
    )


def _boxes(plan: Plan, study: ResolvedStudy) -> list[Box]:
    """The DAG by stage, with its numbers of jobs."""
    shares = sum(row.evaluation_jobs for row in plan.rows)
    branching = sum(1 for cell in study.cells.values() if study.branch_step(cell))
    return [
        Box("prepare source", len(study.config.sources)),
        Box("prepare subset", len(study.config.data)),
        *([Box("train trunk", branching)] if branching else []),
        Box("train", len(plan.rows), is_cells=True),
        *([Box("evaluate a share", shares)] if shares > len(plan.rows) else []),
        Box("evaluate", len(plan.rows), is_cells=True),
        Box("fit laws", len(study.targets())),
        Box("report", 1),
    ]


def _bars(plan: Plan) -> list[Bar]:
    """The simulated schedule: a bar a job from its first start to its end, coloured by the cell's state."""
    if not plan.schedule:
        return []
    states = {row.cell: row.state for row in plan.rows}
    longest = sorted(plan.schedule["spans"].items(), key=lambda item: item[1][0] - item[1][1])[:DRAWN]
    bars = []
    for job, (start, end) in sorted(longest, key=lambda item: item[1]):
        label = job.replace("Model-", "").replace("_Data-", " ").replace("_Samples-", " ").replace("_Seed-", " ")
        bars.append(Bar(job, label, STATES[states[job.removeprefix("trunk ")]], start, end))
    return bars
