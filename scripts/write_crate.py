"""Write a study as an RO-Crate: workflow, study file, tables, laws, figures, report, manifests; no data, no weights.

python scripts/write_crate.py --provenance results/laptop/provenance.json --configfile config/laptop.yaml \\
    --files results/laptop/tables/*.csv results/laptop/figures/*.svg --output results/laptop/laptop.crate.zip
"""

import argparse
from pathlib import Path

from clip_scaling.errors import run_script
from clip_scaling.records.files import read_json
from clip_scaling.share.crate import Contents, write_crate
from clip_scaling.study.resolve import load_yaml


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--provenance", required=True, type=Path, help="provenance.json of the study")
    parser.add_argument("--configfile", required=True, type=Path, help="the study file")
    parser.add_argument("--title", default="", help="name of the crate; default: the study's name")
    parser.add_argument("--files", type=Path, nargs="*", default=[], help="tables and figures")
    parser.add_argument("--output", required=True, type=Path, help="zip file to write")
    args = parser.parse_args()
    contents = Contents(
        title=args.title,
        locks=read_json(args.provenance),
        configfile=args.configfile,
        files=[*args.files, args.provenance],
        citation=load_yaml(Path("CITATION.cff")),
    )
    count = write_crate(contents, Path("."), args.output)
    print(f"{count} files, {args.output.stat().st_size / 1e6:.1f} MB -> {args.output}")


if __name__ == "__main__":
    run_script(main)
