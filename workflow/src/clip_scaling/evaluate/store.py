"""Store of features and scores, so that only what is new is computed.

A key is all that a value depends on, as JSON: checkpoint, data, prompts, preprocessing, precision, version of the
metric's code. The folder can be deleted at any time.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from ..models.checkpoint import weights_sha256
from ..records.evaluation import Measured
from ..records.files import atomic_path, canonical_json, write_json
from .features import Features

log = logging.getLogger(__name__)


class Store:
    """A folder of features and scores, at most `max_bytes` in all: the least recently used go first.

    root: None keeps nothing.
    """

    def __init__(self, root: Path | None, max_bytes: float = 1e9) -> None:
        self.root, self.max_bytes = root, max_bytes

    def features(self, key: dict[str, Any], make: Callable[[], Features]) -> Features:
        """Read the features of a key; make them where they are not there or cannot be read."""
        if self.root is None:
            return make()
        path = self.root / f"{_digest(key)}.features.safetensors"
        try:
            found = _load(path)
            path.touch()
            return found
        except FileNotFoundError:
            pass
        except (SafetensorError, TypeError, ValueError) as error:
            log.warning(f"{path}: cannot be read ({error}); computed again")
        found = make()
        try:
            with atomic_path(path) as temporary:
                save_file(vars(found), temporary, {"sha256": weights_sha256(vars(found))})
        except (OSError, SafetensorError) as error:
            log.warning(f"{path}: cannot be kept ({error}); the evaluation goes on without")
        self._prune()
        return found

    def scores(self, key: dict[str, Any], make: Callable[[], list[Measured]]) -> list[Measured]:
        """Read the scores of a key; make them where they are not there or cannot be read."""
        if self.root is None:
            return make()
        path = self.root / f"{_digest(key)}.scores.json"
        try:
            rows = _rows(json.loads(path.read_text(encoding="utf-8")), key)
            path.touch()
            return rows
        except FileNotFoundError:
            pass
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            log.warning(f"{path}: cannot be read ({error}); computed again")
        rows = make()
        content = [row.model_dump() for row in rows]
        try:
            write_json(path, {"key": key, "rows": content, "sha256": _sha256(content)})
        except OSError as error:
            log.warning(f"{path}: cannot be kept ({error}); the evaluation goes on without")
        self._prune()
        return rows

    def _prune(self) -> None:
        assert self.root is not None
        files = sorted(self.root.glob("*.*"), key=lambda path: path.stat().st_mtime, reverse=True)
        total = 0
        for number, path in enumerate(files):
            total += path.stat().st_size
            if number and total > self.max_bytes:
                path.unlink()


def _load(path: Path) -> Features:
    """Read features. ValueError where they are not those that were written."""
    with safe_open(path, "pt") as file:
        promised = (file.metadata() or {}).get("sha256")
        content = {name: file.get_tensor(name) for name in file.keys()}
    if promised is not None and promised != weights_sha256(content):
        raise ValueError("sha256 differs")
    return Features(**content)


def _rows(content: dict[str, Any], key: dict[str, Any]) -> list[Measured]:
    """Read scores. ValueError where they are not those that were written, or of another key."""
    if content.get("sha256", _sha256(content["rows"])) != _sha256(content["rows"]):
        raise ValueError("sha256 differs")
    if canonical_json(content["key"]) != canonical_json(key):
        raise ValueError("of another key")
    return [Measured(**row) for row in content["rows"]]


def _digest(key: dict[str, Any]) -> str:
    return _sha256(key)[:32]


def _sha256(value: Any) -> str:
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()
