"""What stands for a command when the documentation's shell blocks are run: `documented_command.py NAME ARGUMENT ...`.

Each command is run as far as it can be in seconds, on one machine, without network: for real, as a dry run, or up to
the end of its argument parser. What is in no class ends with code 64, and so fails the test of its block.
"""

from __future__ import annotations

import argparse
import os
import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path

UNKNOWN = 64
CLASSES = (
    # (command, how). The first that matches counts. "parse" stops where the arguments have been read.
    (r"snakemake --cores all --configfile study.yaml", "run"),  # the tour's study, which the fixture has trained
    (r"snakemake --report \S+", "report"),
    (r"snakemake --help", "run"),
    (r"snakemake\b.*", "dry run"),
    (r"make\b.*", "dry run"),
    (r"clip-scaling plan\b.*", "run"),
    (r"clip-scaling status\b.*", "one look"),
    (r"clip-scaling rerun .*--configfile study.yaml", "run"),
    (r"clip-scaling rerun .*", "dry run"),
    (r"clip-scaling (fit|compare|allocate|next|forecast|judge) .*\.csv .*", "run"),
    (r"clip-scaling\b.*", "parse"),
    (r"python (scripts|benchmarks)/[\w/]+\.py\b.*", "parse"),
)
CODE = {
    "clip-scaling": [sys.executable, "-c", "from clip_scaling.cli.main import main; main()"],
    "snakemake": [sys.executable, "-m", "snakemake"],
    "make": ["make"],
}


def main() -> int:
    name, *arguments = sys.argv[1:]
    line = shlex.join([name, *arguments])
    how = next((how for pattern, how in CLASSES if re.fullmatch(pattern, line, re.S)), None)
    if how is None:
        print(f"{line}: in no class of tests/workflow/{Path(__file__).name}. Add it there.")
        return UNKNOWN
    is_real = how == "dry run" and name == "snakemake" and not os.environ.get("IS_MENTION")
    if is_real and not re.search(r" (-n|--cores|--profile)\b", line):
        print(f"{line}: Snakemake asks for --cores, which a dry run would not show")
        return UNKNOWN
    done = Path(os.environ["DOCUMENTED_COMMANDS"])
    is_done = f"{line}\n" in done.read_text() if done.exists() else False
    if how == "dry run" and is_done:
        return 0  # named on several pages
    with done.open("a") as log:
        log.write(f"{line}\n")
    environment = os.environ | {"PATH": os.environ["REAL_PATH"]}
    if how == "parse":
        return parse(name, arguments)
    if how == "dry run":
        arguments = [*arguments, "-n", *(["--quiet", "rules"] if name == "snakemake" else [])]
    elif how == "report":
        arguments += ["--configfile", "study.yaml"]
    elif how == "one look":
        arguments = [each for each in arguments if each != "--watch"]
    return subprocess.run([*CODE[name], *arguments], env=environment).returncode


def parse(name: str, arguments: list[str]) -> int:
    """Let the command read its arguments, and stop there. "..." among them: its options are looked up only."""
    if name == "python":
        path, *arguments = arguments
        text = Path(path).read_text(encoding="utf-8")
        if "argparse" not in text:
            return len(arguments)  # it takes none
    is_mention = "..." in arguments or os.environ.get("IS_MENTION")
    accepted: list[argparse.ArgumentParser] = []

    def read(parser: argparse.ArgumentParser, *_: object, **__: object) -> None:
        accepted.append(parser)
        if is_mention:
            known = _options(parser)
            missing = [each for each in arguments if each.startswith("--") and each.split("=")[0] not in known]
            sys.exit(f"no such option: {', '.join(missing)}" if missing else 0)
        argparse.ArgumentParser.parse_known_args(parser, arguments)
        sys.exit(0)

    argparse.ArgumentParser.parse_args = read  # type: ignore[assignment, method-assign]
    sys.argv = [name, *arguments]
    if name == "python":
        sys.argv[0] = path
        sys.path.insert(0, str(Path(path).parent))
        runpy.run_path(path, run_name="__main__")
    else:
        from clip_scaling.cli.main import main as command

        command()
    print("it does not read its arguments by argparse")
    return UNKNOWN


def _options(parser: argparse.ArgumentParser) -> set[str]:
    """All options of a parser and of its subcommands."""
    found = set(parser._option_string_actions)
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            found |= {option for child in action.choices.values() for option in _options(child)}
    return found


if __name__ == "__main__":
    sys.exit(main())
