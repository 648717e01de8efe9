"""Everything that a study has on disk against what it was written as: seals, manifests, provenance."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..data.shards.verify import listed_files
from ..errors import ClipScalingError, ManifestError
from ..records.filenames import MANIFEST, PROVENANCE
from ..records.files import differing_files, read_object, sha256_file
from ..records.seal import sealed_sha256
from ..study.paths import DataPaths, StudyPaths
from ..study.resolved import ResolvedStudy


@dataclass(frozen=True)
class Damage:
    """A file that is not what was written. target: the file that a run of Snakemake makes again, after deleting it."""

    path: Path
    thing: str
    target: Path


@dataclass
class Verified:
    """How many files agreed, and those that did not."""

    files: int
    damages: list[Damage]


def verify_study(study: ResolvedStudy, root: Path) -> Verified:
    """Hash the data and the results of a study on disk. Files without a seal are held against provenance.json."""
    paths = StudyPaths(study.config.study, root / "results")
    found: dict[Path, Damage] = {}
    agreed: set[Path] = set()
    for name in sorted(
        {*study.config.sources, *study.config.data, *map(DataPaths.evaluation_set, study.evaluation_sets)}
    ):
        folder = DataPaths(root / "results").folder(name)
        for manifest in sorted([*folder.glob(MANIFEST), *folder.glob(f"packed/*/{MANIFEST}")]):
            _note(_listed(manifest), found, agreed)
        _note(_sealed(folder), found, agreed)
    _note(_sealed(paths.folder), found, agreed)
    _note(_recorded(paths.folder / PROVENANCE, root, {*found, *agreed}), found, agreed)
    return Verified(len(agreed), [found[path] for path in sorted(found)])


Looks = Iterator[tuple[Path, str | None, Path]]
"""(file, what is wrong with it or None, file to make again) of each file that is looked at."""


def _note(looks: Looks, found: dict[Path, Damage], agreed: set[Path]) -> None:
    for path, thing, target in looks:
        if thing is None:
            agreed.add(path)
        else:
            found.setdefault(path, Damage(path, thing, target))


def _listed(manifest: Path) -> Looks:
    try:
        files, home, _ = listed_files(manifest)
    except ClipScalingError as error:
        yield manifest, error.thing, manifest
        return
    wrong = dict(differing_files(files, home))
    for path in [home / entry.path for entry in files]:
        yield path, wrong.get(path), manifest


def _sealed(folder: Path) -> Looks:
    for seal in sorted(folder.rglob(".*.sha256")):
        path = seal.with_name(seal.name.removeprefix(".").removesuffix(".sha256"))
        if path.is_file():
            is_same = sha256_file(path) == sealed_sha256(path)
            yield path, None if is_same else "sha256 is not that which it was written with", path


def _recorded(provenance: Path, root: Path, known: set[Path]) -> Looks:
    """The files of provenance.json that nothing else says a hash of."""
    if not provenance.is_file():
        return
    try:
        about = read_object(provenance)
        entries = [*about["data"], *(file for result in about["results"] for file in result["files"])]
        listed = [(root / entry["path"], entry["sha256"]) for entry in entries]
    except (ManifestError, KeyError, TypeError):
        yield provenance, "is no record of the provenance of a study", provenance
        return
    for path, promised in listed:
        if path not in known and path.is_file():
            yield path, None if sha256_file(path) == promised else "sha256 is not that in provenance.json", path
