"""The pictures of docs/design.md as Mermaid text, which GitHub draws: rules and modules, with what each follows from.

An arrow that others imply is left out: of a -> b -> c and a -> c the last is not drawn.
"""

from __future__ import annotations

import ast
import re
import sys
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path

Arrows = dict[str, set[str]]
PACKAGE, PLUGIN = "clip_scaling", "snakemake_executor_plugin_submitit"
LIGHT, COMMANDS = "light modules", ("cli", "doctor")
LIGHT_IMPORTS = {*sys.stdlib_module_names, "pydantic", "pydantic_core", "yaml"}


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
        found = [
            name for name in re.findall(r"^ *rule (\w+):", path.read_text(encoding="utf-8"), re.M) if name in arrows
        ]
        groups[path.name] = found
    return _mermaid("LR", arrows, groups)


def module_graph(root: Path) -> str:
    """Who imports whom, by package; modules and packages that import nothing slow are one box. root: of the project."""
    source = root / "workflow" / "src"
    imports = {path: set(_imported(path, source)) for path in source.rglob("*.py")}
    outside: dict[str, set[str]] = {}  # what a module or package imports from elsewhere
    for path, names in imports.items():
        if path.is_relative_to(source / PACKAGE):
            part = path.relative_to(source / PACKAGE).with_suffix("").parts[0]
            outside.setdefault(part, set()).update(name.split(".")[0] for name in names)
    light = {part for part, names in outside.items() if names - {PACKAGE} <= LIGHT_IMPORTS} - {"__init__", *COMMANDS}

    def box(module: str) -> str:
        parts = module.split(".")
        if parts[0] != PACKAGE:
            return {PLUGIN: "executor plugin"}.get(parts[0], "")
        if parts[1:] in ([], ["__init__"]):
            return ""
        return LIGHT if parts[1] in light else COMMANDS[0] if parts[1] in COMMANDS else parts[1]

    arrows: Arrows = {"rules": {"scripts"}, "scripts": set()}
    for path, names in imports.items():
        arrows.setdefault(box(".".join(path.relative_to(source).with_suffix("").parts)), set()).update(map(box, names))
    for path in (root / "scripts").glob("*.py"):
        arrows["scripts"] |= {box(name) for name in _imported(path, source)}
    for path in (root / "workflow" / "rules").glob("*.smk"):
        text = path.read_text(encoding="utf-8")
        arrows["rules"] |= {box(name) for name in re.findall(r"^ *from ([\w.]+) import", text, re.M)}
    arrows = {name: ends - {name, ""} for name, ends in arrows.items() if name}
    library = sorted(arrows.keys() - {"rules", "scripts", "executor plugin", LIGHT})
    label = "<br>".join(textwrap.wrap(f"{LIGHT}: {', '.join(sorted(light))}", 50))
    return _mermaid("TB", arrows, {PACKAGE: [*library, LIGHT]}, {LIGHT: label})


def _imported(path: Path, source: Path) -> Iterator[str]:
    """Full names of the modules that a file imports, at its top or inside a function."""
    home = list(path.relative_to(source).parent.parts) if path.is_relative_to(source) else []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = home[: len(home) - node.level + 1] if node.level else []
            module = [*base, *(node.module.split(".") if node.module else [])]
            # `from . import doctor` names modules, `from .errors import told` what is in one.
            yield from (".".join([*module, alias.name] if not node.module else module) for alias in node.names)


def _mermaid(
    direction: str, arrows: Arrows, groups: Mapping[str, list[str]], labels: Mapping[str, str] | None = None
) -> str:
    """The text of a flowchart, byte-deterministic. groups: boxes around nodes, by title."""
    lines = [f"flowchart {direction}"]
    grouped = {name for members in groups.values() for name in members}

    def key(name: str) -> str:
        return re.sub(r"\W", "_", name)

    def node(name: str) -> str:
        label = (labels or {}).get(name, name)
        return key(name) if label == key(name) else f'{key(name)}["{label}"]'

    lines += [f"  {node(name)}" for name in sorted(arrows.keys() - grouped)]
    for title, members in groups.items():
        if members:
            # A box must not be named as a node is.
            lines += [
                f'  subgraph box_{key(title)}["{title}"]',
                *(f"    {node(name)}" for name in sorted(members)),
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
