"""Features and scores that were computed before, kept by content: asking again computes only what is new.

A key is all that a value follows from, as JSON: checkpoint, data, prompts, preprocessing, precision, version of the
metric's code. The folder can be deleted at any time.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from ..records.files import atomic_path, canonical_json, write_json
from .encode import Features

log = logging.getLogger(__name__)


class Store:
    """A folder of features and scores, at most `max_bytes` in all: the least recently used go first."""

    def __init__(self, root: Path, max_bytes: float = 1e9) -> None:
        self.root, self.max_bytes = root, max_bytes

    def features(self, key: dict[str, Any], make: Callable[[], Features]) -> Features:
        """The features of a key, made where they are not there or cannot be read."""
        path = self._path(key, "features.safetensors")
        try:
            content = load_file(path)
            path.touch()
            return Features(**content)
        except FileNotFoundError:
            pass
        except (SafetensorError, TypeError) as error:
            log.warning(f"{path}: cannot be read ({error}); computed anew")
        found = make()
        with atomic_path(path) as temporary:
            save_file(vars(found), temporary)
        self._prune()
        return found

    def scores(self, key: dict[str, Any], make: Callable[[], list[dict[str, Any]]]) -> list[dict[str, Any]]:
        """The scores of a key, as plain rows, made where they are not there or cannot be read."""
        path = self._path(key, "scores.json")
        try:
            rows: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["rows"]
            path.touch()
            return rows
        except FileNotFoundError:
            pass
        except (json.JSONDecodeError, KeyError) as error:
            log.warning(f"{path}: cannot be read ({error}); computed anew")
        rows = make()
        write_json(path, {"key": key, "rows": rows})
        self._prune()
        return rows

    def _path(self, key: dict[str, Any], name: str) -> Path:
        return self.root / f"{hashlib.sha256(canonical_json(key).encode()).hexdigest()[:32]}.{name}"

    def _prune(self) -> None:
        files = sorted(self.root.glob("*.*"), key=lambda path: path.stat().st_mtime, reverse=True)
        total = 0
        for number, path in enumerate(files):
            total += path.stat().st_size
            if number and total > self.max_bytes:
                path.unlink()
