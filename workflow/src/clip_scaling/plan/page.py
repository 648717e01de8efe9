"""The plan as one HTML page without any network: sums, the DAG by stage, the schedule, the cells."""

from __future__ import annotations

from html import escape
from typing import Any

from ..study.resolved import ResolvedStudy
from .render import duration, text_plan
from .table import Plan, Row

STATES = {"run": "#2166ac", "resume": "#d6a02a", "skip": "#5aa05a", "blocked": "#b2182b"}
DRAWN = 400
"""Bars of the schedule, the longest; more than that is no picture."""
_STYLE = """body{font:15px/1.45 system-ui,sans-serif;margin:2rem auto;max-width:1100px;padding:0 1rem;color:#222}
pre{background:#f6f6f6;padding:1rem;overflow-x:auto;font-size:12px}svg{max-width:100%;height:auto}
table{border-collapse:collapse;font-size:12px}td,th{padding:.15rem .5rem;text-align:right;border-bottom:1px solid #ddd}
td:first-child,th:first-child,td:last-child,th:last-child{text-align:left}"""


def page(plan: Plan, study: ResolvedStudy) -> str:
    """The whole page."""
    title = f"Plan of study {plan.study}"
    parts = [
        "<!doctype html>", '<html lang="en"><head><meta charset="utf-8">', f"<title>{escape(title)}</title>",
        f"<style>{_STYLE}</style></head><body>", f"<h1>{escape(title)}</h1>", f"<p>{escape(study.config.title)}</p>",
        "<h2>What runs after what</h2>", dag(plan, study),
        *(["<h2>Schedule</h2>", gantt(plan)] if plan.schedule else []),
        "<h2>Summary</h2>", f"<pre>{escape(_summary(plan))}</pre>",
        "<h2>Cells</h2>", _cells(plan.rows), "</body></html>",
    ]  # fmt: skip
    return "\n".join(parts) + "\n"


def dag(plan: Plan, study: ResolvedStudy) -> str:
    """The DAG by stage: a box a kind of job, with how many there are and how many of them are still to do."""
    config, to_do = study.config, len(plan.to_do)
    branching = sum(1 for cell in study.cells.values() if study.branch_step(cell))
    boxes = [("prepare source", len(config.sources)), ("prepare subset", len(config.data))]
    boxes += [("train trunk", branching)] if branching else []
    boxes += [
        ("train", len(plan.rows)),
        ("evaluate", len(plan.rows)),
        ("fit laws", len(study.targets())),
        ("report", 1),
    ]
    width, gap = 130, 30
    shapes = []
    for place, (name, count) in enumerate(boxes):
        x = place * (width + gap)
        rest = f"{to_do} to do" if name in ("train", "evaluate") else ""
        shapes.append(
            f'<rect x="{x}" y="10" width="{width}" height="60" rx="6" fill="#eef3f8" stroke="#2166ac"/>'
            f'<text x="{x + width / 2}" y="34" text-anchor="middle" font-size="14">{escape(name)}</text>'
            f'<text x="{x + width / 2}" y="54" text-anchor="middle" font-size="12">{count:,}'
            f"{escape(f' ({rest})' if rest else '')}</text>"
        )
        if place:
            shapes.append(f'<path d="M{x - gap} 40h{gap - 6}m-6 -5l6 5l-6 5" fill="none" stroke="#444"/>')
    whole = len(boxes) * (width + gap) - gap
    return _svg(whole, 80, shapes, "The stages of the study and their numbers of jobs")


def gantt(plan: Plan) -> str:
    """The simulated schedule: a bar a job from its first start to its end, coloured by the cell's state."""
    schedule: dict[str, Any] = plan.schedule or {}
    states = {row.cell: row.state for row in plan.rows}
    spans = sorted(schedule["spans"].items(), key=lambda item: item[1][0] - item[1][1])[:DRAWN]
    spans.sort(key=lambda item: item[1])
    finish = max((end for _, (_, end) in spans), default=0.0) or 1.0
    left, width, row = 330, 640, 14
    shapes = []
    for place, (name, (start, end)) in enumerate(spans):
        y = 20 + place * row
        colour = STATES[states[name.removeprefix("trunk ")]]
        label = name.replace("Model-", "").replace("_Data-", " ").replace("_Samples-", " ").replace("_Seed-", " ")
        shapes.append(
            f'<text x="{left - 6}" y="{y + 9}" text-anchor="end" font-size="10">{escape(label)}</text>'
            f'<rect x="{left + width * start / finish:.1f}" y="{y}" height="{row - 4}" fill="{colour}" '
            f'width="{max(1.0, width * (end - start) / finish):.1f}">'
            f"<title>{escape(name)}: {duration(start)} to {duration(end)}</title></rect>"
        )
    bottom = 20 + len(spans) * row
    for part in range(5):
        x = left + width * part / 4
        shapes.append(f'<path d="M{x} 14V{bottom}" stroke="#ccc" fill="none"/>')
        shapes.append(f'<text x="{x}" y="10" text-anchor="middle" font-size="10">{duration(finish * part / 4)}</text>')
    legend = ", ".join(f'<span style="color:{colour}">{state}</span>' for state, colour in STATES.items())
    more = len(schedule["spans"]) - len(spans)
    told = f"<p>{legend}{f'; the {len(spans)} longest jobs of {len(spans) + more}' if more else ''}</p>"
    return told + _svg(left + width + 20, bottom + 10, shapes, "The simulated schedule of the training jobs")


def _summary(plan: Plan) -> str:
    """The terminal's text below its table of cells."""
    return text_plan(plan).split("\n\n", 1)[-1]


def _cells(rows: list[Row]) -> str:
    header = ("cell", "state", "steps", "GMAC a sample", "devices", "device-hours", "90 %", "reason")
    body = []
    for row in rows:
        low = row.gpu_hours_low + row.cpu_hours_low
        high = row.gpu_hours_high + row.cpu_hours_high
        values = (
            row.cell, row.state, f"{row.steps:,}", f"{row.gmacs_per_sample:.4g}", str(row.gpus or row.cores),
            f"{row.gpu_hours + row.cpu_hours:,.4g}", f"{low:,.3g} to {high:,.3g}", row.reason,
        )  # fmt: skip
        body.append("<tr>" + "".join(f"<td>{escape(value)}</td>" for value in values) + "</tr>")
    head = "".join(f"<th>{escape(name)}</th>" for name in header)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table>"


def _svg(width: float, height: float, shapes: list[str], label: str) -> str:
    return (
        f'<svg viewBox="0 0 {width:g} {height:g}" width="{width:g}" role="img" aria-label="{escape(label)}" '
        f'font-family="system-ui,sans-serif">{"".join(shapes)}</svg>'
    )
