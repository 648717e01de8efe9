"""provenance.json: every result of a study with its files, and the lock of what it was made by and from."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import ManifestError
from ..records.evaluation import CheckpointMetrics
from ..records.files import canonical_json, describe_file, read_object
from ..records.made import Lock, Provenance
from ..records.provenance import lock_path
from ..records.training import TrainRecord

MADE = {"versions", "host", "platform", "hardware", "job", "started_utc", "finished_utc"}
"""Fields of `provenance` that a lock repeats; those of the code are gathered once."""


@dataclass(frozen=True)
class Results:
    """What of a study is locked, all paths from the project's folder.

    config: {"study", "suite"}, as validated. cells: records of training. evaluations: of cells, of states on their way,
    and of fine-tuned towers. laws, pages, states: results with a lock beside them. manifests: of the data.
    """

    name: str
    config: dict[str, Any]
    cells: Sequence[Path] = ()
    evaluations: Sequence[Path] = ()
    laws: Sequence[Path] = ()
    pages: Sequence[Path] = ()
    states: Sequence[Path] = ()
    manifests: Sequence[Path] = ()


def gather(results: Results, root: Path = Path(".")) -> dict[str, Any]:
    """The content of provenance.json: {"study", "config", "config_sha256", "code", "data", "results"}.

    code: each commit with what differed from it, once. results: {"kind", "name", "files", "lock"}; the lock is None
    for a result that was made before locks were written. The same files give the same content.
    """
    codes: dict[str, dict[str, Any]] = {}
    found = [
        *(_cell(path, root, codes) for path in results.cells),
        *(_evaluation(path, root, codes) for path in results.evaluations),
        *_locked("state", results.states, root, codes),
        *_locked("law", results.laws, root, codes),
        *_locked("report", results.pages, root, codes),
    ]
    return {
        "study": results.name,
        "config": results.config,
        "config_sha256": hashlib.sha256(canonical_json(results.config).encode()).hexdigest(),
        "code": codes,
        "data": [_manifest(path, root) for path in results.manifests],
        "results": found,
    }


def _cell(record: Path, root: Path, codes: dict[str, Any]) -> dict[str, Any]:
    trained = TrainRecord.read(root / record)
    about, folder = trained.as_json(), record.parent
    lock = _made(trained.provenance, root / record, codes)
    lock |= {
        key: about[key] for key in ("seed", "attempts", "device", "ranks", "threads", "resources", "weights_sha256")
    }
    lock["config"] = {key: about[key] for key in ("model_config", "recipe", "recipe_version")}
    lock["data"] = {key: about[key] for key in ("data", "order_digest", "seen_digest", "tokenizer_sha256")}
    for attempt in trained.attempts:
        if "commit" in attempt.model_fields_set:
            _remember(attempt.commit, attempt.diff_sha256, None, codes)
    files = [describe_file(root / record, root), describe_file(root / folder / "curve.jsonl", root)]
    files.append(describe_file(root / folder / "checkpoint.pt", root))
    return {"kind": "cell", "name": trained.cell, "files": files, "lock": lock}


def _evaluation(path: Path, root: Path, codes: dict[str, Any]) -> dict[str, Any]:
    about = CheckpointMetrics.read(root / path)
    if about.provenance is None:
        raise ManifestError("provenance: missing", place=str(path), remedy=about.REMEDY.format(path=path))
    lock = _made(about.provenance, root / path, codes)
    lock |= about.model_dump(include={"checkpoint_sha256", "sets_sha256"}, exclude_unset=True)
    return {"kind": "evaluation", "name": _name(path), "files": [describe_file(root / path, root)], "lock": lock}


def _locked(kind: str, paths: Iterable[Path], root: Path, codes: dict[str, Any]) -> Iterable[dict[str, Any]]:
    for path in paths:
        beside = lock_path(root / path)
        about = Lock.read(beside) if beside.is_file() else None
        described, lock = describe_file(root / path, root), None
        # An older version could make a file again and leave the lock of the one before.
        if about and about.sha256 == described["sha256"]:
            lock = _made(about, root / path, codes) | {"command": about.command, "inputs": about.inputs}
        yield {"kind": kind, "name": _name(path), "files": [described], "lock": lock}


def _name(path: Path) -> str:
    """`results/laptop/laws/icons/acc1.json` -> `laws/icons/acc1`."""
    return path.with_suffix("").relative_to(*path.parts[:2]).as_posix()


def _made(provenance: Provenance, result: Path, codes: dict[str, Any]) -> dict[str, Any]:
    """What a lock repeats of `provenance`, with the key of its code; the diff beside the result is taken in."""
    digest = provenance.diff_sha256
    beside = result.with_suffix(".diff")
    diff = beside.read_text(encoding="utf-8") if digest and beside.is_file() else None
    key = _remember(provenance.commit, digest, diff, codes, bool(provenance.uncommitted_changes))
    return {"code": key} | provenance.model_dump(mode="json", include=MADE, exclude_unset=True)


def _remember(
    commit: str | None, digest: str | None, diff: str | None, codes: dict[str, Any], is_edited: bool = False
) -> str:
    """The key of a state of the code in `codes`: commit, and digest of what differed from it."""
    suffix = f"+{digest[:12]}" if digest else "+unknown" if is_edited else ""
    key = f"{(commit or 'no checkout')[:12]}{suffix}"
    known = codes.setdefault(key, {"commit": commit, "diff_sha256": digest, "diff": None})
    known["diff"] = known["diff"] or diff
    return key


def _manifest(path: Path, root: Path) -> dict[str, Any]:
    about = read_object(root / path)
    kept = ("kind", "name", "dataset", "order_digest", "pairs", "n")
    return describe_file(root / path, root) | {key: about[key] for key in kept if key in about}
