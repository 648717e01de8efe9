"""Store of features and scores, so that only what is new is computed.

A key is all that a value depends on, as JSON: checkpoint, data, prompts, preprocessing, precision, version of the
metric's code. The folder can be deleted at any time.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from ..models.checkpoint import weights_sha256
from ..records.evaluation import Measured
from ..records.files import atomic_path, canonical_json, write_json
from .features import Features

log = logging.getLogger(__name__)
T = TypeVar("T")


class Store:
    """A folder of features and scores. `prune` leaves at most `max_bytes`: the least recently used go first.

    root: None keeps nothing. spent: seconds by label that making took, now or before, of all that was asked for. Rows
    and seconds are the same whether they are made or read.
    """

    def __init__(self, root: Path | None, max_bytes: float = 1e9) -> None:
        self.root, self.max_bytes = root, max_bytes
        self.spent: dict[str, float] = {}
        self._within: list[float] = []

    def features(self, key: dict[str, Any], make: Callable[[], Features], label: str = "") -> Features:
        """Read the features of a key; make them where they are not there or cannot be read."""
        before = self.spent.pop(label, 0.0)
        found = self.stored_features(key, label)
        if found is None:
            found = self.made(make, label)
            self.keep_features(key, found, self.spent[label])
        self.spent[label] = max(before, self.spent[label])
        return found

    def stored_features(self, key: dict[str, Any], label: str = "") -> Features | None:
        """Read the features of a key; None where they are not there or cannot be read."""
        if self.root is None:
            return None
        path = self._features_path(key)
        try:
            found, seconds = _load(path)
            path.touch()
        except FileNotFoundError:
            return None
        except (SafetensorError, TypeError, ValueError) as error:
            log.warning(f"{path}: cannot be read ({error}); computed again")
            return None
        self._spend(label, seconds)
        return found

    def keep_features(self, key: dict[str, Any], found: Features, seconds: float) -> None:
        """Write features, and the seconds that making them took."""
        if self.root is None:
            return
        path = self._features_path(key)
        about = {"sha256": weights_sha256(vars(found)), "seconds": f"{seconds:.3f}"}
        try:
            with atomic_path(path) as temporary:
                save_file(vars(found), temporary, about)
        except (OSError, SafetensorError) as error:
            log.warning(f"{path}: cannot be kept ({error}); the evaluation goes on without")

    def drop_features(self, key: dict[str, Any]) -> None:
        """Delete the features of a key, if they are there."""
        if self.root is not None:
            self._features_path(key).unlink(missing_ok=True)

    def scores(self, key: dict[str, Any], make: Callable[[], list[Measured]], label: str = "") -> list[Measured]:
        """Read the scores of a key; make them where they are not there or cannot be read."""
        if self.root is None:
            return self.made(make, label)
        path = self.root / f"{_digest(key)}.scores.json"
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            rows = _rows(content, key)
            path.touch()
            self._merge(content.get("spent", {}), label)
            return rows
        except FileNotFoundError:
            pass
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            log.warning(f"{path}: cannot be read ({error}); computed again")
        before, self.spent = self.spent, {}
        rows = self.made(make, label)
        spent, self.spent = self.spent, before
        self._merge(spent, label)
        content = [row.model_dump(exclude_unset=True) for row in rows]
        about = {"sha256": _sha256(content), "spent": {name: round(seconds, 3) for name, seconds in spent.items()}}
        try:
            write_json(path, {"key": key, "rows": content} | about)
        except OSError as error:
            log.warning(f"{path}: cannot be kept ({error}); the evaluation goes on without")
        return rows

    def prune(self) -> None:
        """Delete what has not been used for longest, until the rest is within the cap."""
        if self.root is None:
            return
        files = sorted(self.root.glob("*.*"), key=lambda path: path.stat().st_mtime, reverse=True)
        total = 0
        for path in files:
            total += path.stat().st_size
            if total > self.max_bytes:
                path.unlink()
        if files and not self.max_bytes:
            with contextlib.suppress(OSError):
                self.root.rmdir()

    def _features_path(self, key: dict[str, Any]) -> Path:
        assert self.root is not None
        return self.root / f"{_digest(key)}.features.safetensors"

    def made(self, make: Callable[[], T], label: str) -> T:
        """Make something, and book the time of it that was not booked by what it asked for itself."""
        self._within.append(0.0)
        start = time.monotonic()
        try:
            found = make()
        finally:
            elapsed = time.monotonic() - start
            own = elapsed - self._within.pop()
            if self._within:
                self._within[-1] += elapsed
        self._spend(label, own)
        return found

    def _merge(self, spent: dict[str, float], label: str) -> None:
        """Book what scores took: their own seconds, and those of features that other scores may have named too."""
        for name, seconds in spent.items():
            before = self.spent.get(name, 0.0)
            self.spent[name] = before + seconds if name == label else max(before, seconds)

    def _spend(self, label: str, seconds: float) -> None:
        self.spent[label] = self.spent.get(label, 0.0) + seconds


def _load(path: Path) -> tuple[Features, float]:
    """Read features and the seconds they took, 0 where nobody looked. ValueError where they are not those written."""
    with safe_open(path, "pt") as file:
        about = file.metadata() or {}
        content = {name: file.get_tensor(name) for name in file.keys()}
    if about.get("sha256") not in (None, weights_sha256(content)):
        raise ValueError("sha256 differs")
    return Features(**content), float(about.get("seconds", 0.0))


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
