"""Write config/schema.json and the option table of config/README.md from the pydantic models."""

import argparse
from pathlib import Path

from clip_scaling.errors import run_script
from clip_scaling.records.files import write_text
from clip_scaling.tools.config_docs import option_table, replace_between, schema


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path(__file__).resolve().parent.parent / "config")
    args = parser.parse_args()
    readme = args.folder / "README.md"
    write_text(args.folder / "schema.json", schema())
    write_text(readme, replace_between(readme.read_text(encoding="utf-8"), option_table()))


if __name__ == "__main__":
    run_script(main)
