"""Gather the code, data, config and machine behind every result of a study into one file, provenance.json."""

import argparse
import json
from pathlib import Path

from clip_scaling.errors import run_script
from clip_scaling.records.files import write_json
from clip_scaling.share.locks import Results, gather


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--study", required=True, help="name of the study")
    parser.add_argument("--config", required=True, type=json.loads, help='JSON {"study", "suite"}, as validated')
    parser.add_argument("--cells", type=Path, nargs="*", default=[], help="records of cells")
    parser.add_argument("--evaluations", type=Path, nargs="*", default=[], help="evaluations, JSON")
    parser.add_argument("--states", type=Path, nargs="*", default=[], help="state.pt of trunks")
    parser.add_argument("--laws", type=Path, nargs="*", default=[], help="law files")
    parser.add_argument("--pages", type=Path, nargs="*", default=[], help="report.html")
    parser.add_argument("--manifests", type=Path, nargs="*", default=[], help="of sources, subsets, evaluation sets")
    parser.add_argument("--output", required=True, type=Path, help="provenance.json")
    args = parser.parse_args()
    results = Results(
        args.study, args.config, args.cells, args.evaluations, args.laws, args.pages, args.states, args.manifests
    )
    found = gather(results)
    write_json(args.output, found)
    locked = sum(result["lock"] is not None for result in found["results"])
    print(f"{locked} of {len(found['results'])} results with their lock -> {args.output}")


if __name__ == "__main__":
    run_script(main)
