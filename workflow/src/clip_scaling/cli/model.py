"""The command on a trained cell: `clip-scaling export`."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import Any

from ..errors import ConfigError, EvaluationError, close_matches
from ..plan.files import open_study
from ..records.data import SourceManifest
from ..records.evaluation import CheckpointMetrics
from ..records.filenames import ATTRIBUTION, MANIFEST
from ..records.laws import LawFile
from ..records.provenance import provenance
from ..records.training import TrainRecord
from ..study.paths import StudyPaths
from ..study.resolved import ResolvedStudy

Parsers = Any  # argparse keeps the type of its subparsers to itself.
REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")


def add_commands(commands: Parsers) -> None:
    """Add the command to a parser's subcommands."""
    parser = commands.add_parser(
        "export", help="a trained cell as a folder that open_clip loads", description=export.__doc__
    )
    parser.add_argument("cell", metavar="CELL", help="Model-..._Data-..._Samples-..._Seed-...")
    parser.add_argument("--configfile", type=Path, help="the study file (default config/laptop.yaml)")
    parser.add_argument("--root", type=Path, default=Path("."), help="the project folder (default: this one)")
    parser.add_argument("--output", type=Path, required=True, metavar="FOLDER", help="new or empty")
    parser.add_argument("--hub", default="", metavar="OWNER/NAME", help="repository that the folder will be pushed to")
    parser.add_argument("--license", default="mit", metavar="ID", help="of the weights, in the card (default mit)")
    parser.set_defaults(run=export)


def export(args: argparse.Namespace) -> None:
    """Write a trained cell with model card, tokenizer and provenance into a folder for open_clip (`local-dir:`).

    The folder is also laid out as a repository of the Hugging Face hub; nothing is sent anywhere.
    """
    root, folder = args.root, args.output
    study = open_study(args.configfile or root / "config" / "laptop.yaml", root)
    if args.cell not in study.cells:
        name = study.config.study
        raise ConfigError(f"{args.cell!r} is not a cell of study {name!r}.{close_matches(args.cell, study.cells)}")
    if args.hub and not REPOSITORY.fullmatch(args.hub):
        raise ConfigError(f"--hub {args.hub}: write OWNER/NAME.")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"--output {folder}: there is something already. Name a new folder, or empty it.")
    write_folder(study, args.cell, root, folder, args.hub, args.license)
    place = f"hf-hub:{args.hub}" if args.hub else f"local-dir:{folder}"
    print(f'{args.cell} -> {folder}\nopen_clip.create_model_and_transforms("local-dir:{folder}")')
    if args.hub:
        print(f"to publish it: hf upload {args.hub} {folder}   (then {place})")


def write_folder(study: ResolvedStudy, cell: str, root: Path, folder: Path, hub: str, licence: str) -> None:
    """All files of an exported cell. EvaluationError where it was not trained, or diverged."""
    results = root / "results" / study.config.study
    trained = Path("results") / study.config.study / "train" / cell / "checkpoint.pt"
    if not (root / trained).is_file():
        raise EvaluationError(f"{cell} is not trained yet. Run `snakemake --cores all {trained}` with its study file.")
    record = TrainRecord.read(StudyPaths(results.name, results.parent).trained(cell))
    if record.state == "diverged":
        raise EvaluationError(f"{cell} diverged in training: there is no model to export. Choose another cell.")
    data = root / "results" / "data" / study.source_of(study.cells[cell].data)

    from ..share.export import write_model, write_papers
    from ..share.model_card import Exported, model_card  # pandas and torch: only where there is something to export

    config = write_model(root / trained, data / "tokenizer" / "merges.txt.gz", folder, hub)
    measured = StudyPaths(study.config.study, root / "results").metrics(cell)
    evaluation = CheckpointMetrics.read(measured) if measured.is_file() else None
    laws = [StudyPaths(results.name, results.parent).law(*target) for target in study.targets()]
    attribution = data / ATTRIBUTION
    card = Exported(
        study=study.config.study,
        title=study.config.title,
        record=record,
        subset=study.config.data[study.cells[cell].data].model_dump(mode="json"),
        source=SourceManifest.read(data / MANIFEST),
        config=config,
        place=f"hf-hub:{hub}" if hub else "local-dir:FOLDER",
        licence=licence,
        distribution=study.distribution(cell),
        evaluation=evaluation,
        laws=[LawFile.read(path) for path in laws if path.is_file()],
        methods=study.config.laws.headline,
        has_attribution=attribution.is_file(),
    )
    write_papers(
        folder,
        model_card(card),
        {ATTRIBUTION: attribution} if attribution.is_file() else {},
        {
            "cell": cell,
            "study": study.config.model_dump(mode="json"),
            "training": record.as_json(),
            "evaluation": evaluation.as_json() if evaluation else None,
            "export": provenance("torch", "open_clip_torch", "safetensors", "tokenizers").model_dump(mode="json"),
        },
    )
