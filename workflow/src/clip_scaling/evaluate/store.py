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

from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

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
            content = load_file(path)
            path.touch()
            return Features(**content)
        except FileNotFoundError:
            pass
        except (SafetensorError, TypeError) as error:
            log.warning(f"{path}: cannot be read ({error}); computed again")
        found = make()
        with atomic_path(path) as temporary:
            save_file(vars(found), temporary)
        self._prune()
        return found

    def scores(self, key: dict[str, Any], make: Callable[[], list[Measured]]) -> list[Measured]:
        """Read the scores of a key; make them where they are not there or cannot be read."""
        if self.root is None:
            return make()
        path = self.root / f"{_digest(key)}.scores.json"
        try:
            rows = [Measured(**row) for row in json.loads(path.read_text(encoding="utf-8"))["rows"]]
            path.touch()
            return rows
        except FileNotFoundError:
            pass
        except (json.JSONDecodeError, KeyError, TypeError, ValidationError) as error:
            log.warning(f"{path}: cannot be read ({error}); computed again")
        rows = make()
        write_json(path, {"key": key, "rows": [row.model_dump() for row in rows]})
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


def _digest(key: dict[str, Any]) -> str:
    return hashlib.sha256(canonical_json(key).encode()).hexdigest()[:32]
