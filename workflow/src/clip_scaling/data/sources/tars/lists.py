"""Which tars a source of kind webdataset is made of: braces and globs expanded, each with a name of its own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from glob import glob
from pathlib import Path

from ....errors import ConfigError
from ..urls.names import expand_braces

COMPRESSED = (".gz", ".tgz", ".bz2", ".xz", ".zst")


@dataclass(frozen=True)
class Tar:
    """name: as short as tells it from the others, such as `00000.tar`. location: a path, or a URL."""

    name: str
    location: str

    @property
    def is_remote(self) -> bool:
        return is_remote(self.location)


def is_remote(location: str) -> bool:
    """True for what webdataset's openers take: `https://...`, `s3://...`, `pipe:...`."""
    return "://" in location or location.startswith(("pipe:", "file:"))


def missing_tars(patterns: Sequence[str]) -> list[str]:
    """Local paths and globs that match no file."""
    return [location for location, found in _expanded(patterns) if not found]


def tars_of(name: str, patterns: Sequence[str]) -> list[Tar]:
    """The tars of source `name`, in the order of their names. ConfigError where one is missing or there twice."""
    locations: list[str] = []
    for location, found in _expanded(patterns):
        if not found:
            raise ConfigError(f"sources.{name}.tars: {location}: no such file. Correct the path, or get the tars")
        locations += found
    twice = [location for location, count in Counter(locations).items() if count > 1]
    if twice:
        raise ConfigError(f"sources.{name}.tars: {twice[0]} is there twice")
    packed = [location for location in locations if _path(location).endswith(COMPRESSED)]
    if packed:
        raise ConfigError(
            f"sources.{name}.tars: {packed[0]} is compressed: a sample cannot be read from its middle. Unpack it to "
            "a .tar"
        )
    parts = [_path(location).strip("/").split("/") for location in locations]
    for depth in range(1, max(map(len, parts)) + 1):
        names = ["/".join(part[-depth:]) for part in parts]
        if len(set(names)) == len(names):
            return [Tar(*pair) for pair in sorted(zip(names, locations, strict=True))]
    raise ConfigError(f"sources.{name}.tars: two tars have the same path on different hosts. Make a source of either")


def part_of(tars: Sequence[Tar], part: int, parts: int) -> Sequence[Tar]:
    """What job `part` (from 0) of `parts` indexes: every so many, since tars of one folder may be alike in size."""
    return tars[part::parts]


def _expanded(patterns: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    for pattern in patterns:
        # A pipe is a command for a shell: its braces are the shell's.
        for location in [pattern] if pattern.startswith("pipe:") else expand_braces(pattern):
            yield location, [location] if is_remote(location) else sorted(glob(str(Path(location).expanduser())))


def _path(location: str) -> str:
    """What names a tar: its path; of a URL without host and query, of a command its last word."""
    if location.startswith("pipe:"):
        return location.split()[-1].split("://")[-1]
    return location.split("://")[-1].partition("?")[0].removeprefix("file:")
