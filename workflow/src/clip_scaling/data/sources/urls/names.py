"""Which files a source of kind url_list is made of: braces and globs expanded into named parts."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from glob import glob
from pathlib import Path, PurePosixPath

from ....errors import ConfigError
from ..braces import expand_braces
from ..tables.config import SUFFIXES

_WITHDRAWN = re.compile(r"laion-?_?(5b|2b)", re.IGNORECASE)
_REVISED = re.compile(r"re-?laion", re.IGNORECASE)
RE_LAION = "https://laion.ai/blog/relaion-5b/"


@dataclass(frozen=True)
class Part:
    """One list. name: of its folder. location: a path, or a URL. suffix: one of SUFFIXES."""

    name: str
    location: str
    suffix: str

    @property
    def is_remote(self) -> bool:
        return "://" in self.location

    def file(self, source: str) -> str:
        """Where the list lies: its own path, or where `fetch_list` puts it."""
        return f"results/data/{source}/lists/{self.name}{self.suffix}" if self.is_remote else self.location


def parts_of(name: str, lists: Sequence[str], published_at: str) -> list[Part]:
    """The parts of source `name` in the order of their names. ConfigError where a list is missing or there twice."""
    locations: list[str] = []
    for pattern in lists:
        for location in _expanded(name, pattern):
            found = [location] if "://" in location else sorted(glob(str(Path(location).expanduser())))
            if not found:
                raise ConfigError(f"sources.{name}.lists: {location}: no such file. Get the lists from {published_at}")
            locations += found
    parts: dict[str, Part] = {}
    stems = [_stem(location)[0] for location in locations]
    for location in locations:
        stem, suffix = _stem(location)
        if not suffix:
            raise ConfigError(f"sources.{name}.lists: {location}: none of {', '.join(SUFFIXES)}")
        # Lists of two folders may share a name: their places differ.
        short = hashlib.sha256(location.encode()).hexdigest()[:8]
        part = stem if stems.count(stem) == 1 else f"{stem}-{short}"
        if part in parts:
            raise ConfigError(f"sources.{name}.lists: {location} is there twice")
        parts[part] = Part(part, location, suffix)
    return [parts[part] for part in sorted(parts)]


def _expanded(name: str, pattern: str) -> list[str]:
    try:
        return expand_braces(pattern)
    except ValueError as error:
        raise ConfigError(f"sources.{name}.lists: {pattern}: {error}") from None


def _stem(location: str) -> tuple[str, str]:
    file = PurePosixPath(location.partition("?")[0]).name
    for suffix in sorted(SUFFIXES, key=len, reverse=True):
        if file.endswith(suffix):
            return re.sub(r"[^A-Za-z0-9.-]+", "-", file.removesuffix(suffix)).strip(".-") or "part", suffix
    return file, ""


def withdrawn_list(places: Sequence[str]) -> str | None:
    """The first place of a withdrawn list (LAION-5B and its parts), or None."""
    return next((place for place in places if _WITHDRAWN.search(place) and not _REVISED.search(place)), None)
