"""Turn the paper's released tables into a study's tidy table.

python scripts/prepare_published.py --folder results/data/published --output results/published/tables/metrics.parquet
"""

import argparse
from pathlib import Path

from clip_scaling.errors import run_script
from clip_scaling.laws.published import read_zeroshot
from clip_scaling.manifests import atomic_path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, help="the released tables")
    parser.add_argument("--output", type=Path, required=True, help="tidy table (parquet)")
    args = parser.parse_args()
    with atomic_path(args.output) as temporary:
        read_zeroshot(args.folder).to_parquet(temporary, index=False)


if __name__ == "__main__":
    run_script(main)
