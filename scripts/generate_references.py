"""Write what documents the models: config/schema.json, the options in config/README.md, docs/files.md."""

import argparse
from pathlib import Path

from clip_scaling.errors import run_script
from clip_scaling.records.files import write_text
from clip_scaling.tools.config_docs import option_table, replace_between, schema
from clip_scaling.tools.files_docs import files_reference


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path(__file__).resolve().parent.parent, help="of the project")
    args = parser.parse_args()
    readme = args.folder / "config" / "README.md"
    write_text(args.folder / "config" / "schema.json", schema())
    write_text(args.folder / "docs" / "files.md", files_reference())
    write_text(readme, replace_between(readme.read_text(encoding="utf-8"), option_table()))


if __name__ == "__main__":
    run_script(main)
