"""Draw the graphs of rules and of modules into docs/design.md."""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from clip_scaling.errors import run_script
from clip_scaling.records.files import write_text
from clip_scaling.tools.pictures import module_graph, replace_picture, rule_graph

ROOT = Path(__file__).resolve().parent.parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--page", type=Path, default=ROOT / "docs" / "design.md")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as empty:  # a folder without results: every rule is planned
        command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--directory", empty]
        study = ["--configfile", str(ROOT / "config" / "laptop.yaml")]
        drawn = subprocess.run([*command, "--rulegraph", "mermaid-js", *study], stdout=subprocess.PIPE, text=True)
    if drawn.returncode:
        sys.exit(drawn.returncode)
    text = replace_picture(
        args.page.read_text(encoding="utf-8"), "rules", rule_graph(drawn.stdout, ROOT / "workflow/rules")
    )
    write_text(args.page, replace_picture(text, "modules", module_graph()))


if __name__ == "__main__":
    run_script(main)
