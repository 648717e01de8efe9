"""The pictures of docs/design.md as Mermaid text, which GitHub draws: rules and rooms, with what each follows from.

An arrow that others imply is left out: of a -> b -> c and a -> c the last is not drawn.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import grimp

Arrows = dict[str, set[str]]
PACKAGE = "clip_scaling"
STUDY_WORDS = ("config", "grid", "counts", "paths")
"""Modules of the study room that all stages use; the study as a whole (file, checks, resolve) lies above the stages."""


def replace_picture(text: str, name: str, picture: str) -> str:
    """A page with the picture between its markers replaced. ValueError where the page has no such markers."""
    begin, end = f"<!-- {name}: begin, drawn by `make docs` -->", f"<!-- {name}: end -->"
    before, rest = text.split(begin, 1)
    return f"{before}{begin}\n\n```mermaid\n{picture}```\n\n{end}{rest.split(end, 1)[1]}"


def rule_graph(drawn: str, rules: Path) -> str:
    """Which rules read what a rule writes, in a box a file. drawn: of `snakemake --rulegraph mermaid-js`."""
    names = dict(re.findall(r"(id\d+)\[(\w+)\]", drawn))
    arrows: Arrows = {name: set() for name in names.values()}
    for begin, end in re.findall(r"(id\d+) --> (id\d+)", drawn):
        arrows[names[begin]].add(names[end])
    groups = {}
    for path in sorted(rules.glob("*.smk")):
        # `use rule train as train_part with:` is a rule, too.
        found = re.findall(r"^ *(?:rule|use rule \w+ as) (\w+)(?: with)?:", path.read_text(encoding="utf-8"), re.M)
        groups[path.name] = [name for name in found if name in arrows]
    return _mermaid("LR", arrows, groups)


def module_graph(package: str = PACKAGE) -> str:
    """Who imports whom, by room of the library. package: importable; its modules are read, not run."""
    graph = grimp.build_graph(package)
    arrows: Arrows = {}
    for module in graph.modules:
        ends = map(_room, graph.find_modules_directly_imported_by(module))
        arrows.setdefault(_room(module), set()).update(ends)
    arrows = {name: ends - {name, ""} for name, ends in arrows.items() if name}
    return _mermaid("TB", arrows, {})


def _room(module: str) -> str:
    """`train` of `clip_scaling.train.loop`. The study room is drawn as its two halves."""
    parts = module.split(".")[1:]
    if parts[:1] != ["study"]:
        return parts[0] if parts else ""
    return "study_words" if parts[1:] and parts[1] in STUDY_WORDS else "study"


def _mermaid(direction: str, arrows: Arrows, groups: Mapping[str, list[str]]) -> str:
    """The text of a flowchart, byte-deterministic. groups: boxes around nodes, by title."""
    lines = [f"flowchart {direction}"]
    grouped = {name for members in groups.values() for name in members}

    def key(name: str) -> str:
        return re.sub(r"\W", "_", name)

    lines += [f"  {key(name)}" for name in sorted(arrows.keys() - grouped)]
    for title, members in groups.items():
        if members:
            # A box must not be named as a node is.
            lines += [
                f'  subgraph box_{key(title)}["{title}"]',
                *(f"    {key(name)}" for name in sorted(members)),
                "  end",
            ]
    for name, ends in sorted(_needed(arrows).items()):
        lines += [f"  {key(name)} --> {key(end)}" for end in sorted(ends)]
    return "\n".join(lines) + "\n"


def _needed(arrows: Arrows) -> Arrows:
    """The arrows that no chain of others implies; within a circle all stay."""

    def reached(name: str) -> set[str]:
        found: set[str] = set()
        open_ = [name]
        while open_:
            new = arrows.get(open_.pop(), set()) - found
            found |= new
            open_ += new
        return found

    reach = {name: reached(name) for name in arrows}

    def is_implied(begin: str, end: str) -> bool:
        between = (name for name in arrows[begin] - {begin, end} if end in reach.get(name, set()))
        return any(begin not in reach[name] and name not in reach.get(end, set()) for name in between)

    return {begin: {end for end in ends if not is_implied(begin, end)} for begin, ends in arrows.items()}
