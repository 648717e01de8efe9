"""Which tars a source of kind webdataset is made of: braces and globs expanded, each with a name of its own."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from glob import glob
from pathlib import Path

from ....errors import ConfigError
from ...shards.opening import is_url, missing_package
from ..braces import expand_braces

COMPRESSED = (".gz", ".tgz", ".bz2", ".xz", ".zst")
_PIPE = "pipe:"
_WORD = re.compile(r"[^\s'\"|;&<>()`$]+")


@dataclass(frozen=True)
class Tar:
    """name: the shortest that differs from the others, such as `00000.tar`. location: a path, a URL or a command."""

    name: str
    location: str

    @property
    def is_remote(self) -> bool:
        """Whether it is opened by its URL or its command."""
        return is_url(self.location)


def missing_tars(name: str, patterns: Sequence[str]) -> list[str]:
    """Why the tars of source `name` cannot be read here, each with its place; empty where they can."""
    problems = []
    for pattern in patterns:
        try:
            first = next(location for location, _ in _expanded(name, [pattern]))
        except ConfigError as error:
            problems.append(str(error))
            continue
        if package := missing_package(first):
            problems.append(
                f"sources.{name}.tars: {pattern}: needs the package {package}. {_install(package, pattern)}"
            )
    if not problems:
        try:
            tars_of(name, patterns)
        except ConfigError as error:
            problems.append(str(error))
    return problems


def _install(package: str, location: str) -> str:
    """The next step where the package of a protocol is not there."""
    command = {"s3": "aws s3 cp", "gs": "gsutil cat"}.get(location.partition("://")[0])
    instead = f", or write `pipe:{command} {location}{' -' if command == 'aws s3 cp' else ''}`" if command else ""
    return f"Run `pip install {package}`{instead}."


def tars_of(name: str, patterns: Sequence[str]) -> list[Tar]:
    """The tars of source `name`, in the order of their names. ConfigError where one is missing or there twice."""
    locations = [found for _, each in _expanded(name, patterns) for found in each]
    twice = [location for location, count in Counter(locations).items() if count > 1]
    if twice:
        raise ConfigError(f"sources.{name}.tars: {twice[0]} is there twice")
    packed = [found for found in locations if not found.startswith(_PIPE) and _path(found).endswith(COMPRESSED)]
    if packed:
        raise ConfigError(
            f"sources.{name}.tars: {packed[0]} is compressed: a sample cannot be read from its middle. Unpack it to "
            "a .tar"
        )
    return [Tar(*pair) for pair in sorted(zip(_names(locations), locations, strict=True))]


def _names(locations: Sequence[str]) -> list[str]:
    """As many of the last parts of all paths as make them differ; of equal paths, with a hash of the whole place."""
    paths = [_path(location) for location in locations]
    count = Counter(paths)
    for place, (path, location) in enumerate(zip(paths, locations, strict=True)):
        if count[path] > 1:
            paths[place] = f"{path}-{hashlib.sha256(location.encode()).hexdigest()[:8]}"
    parts = [path.strip("/").split("/") for path in paths]
    for depth in range(1, max(map(len, parts), default=1) + 1):
        names = ["/".join(part[-depth:]) for part in parts]
        if len(set(names)) == len(names):
            break
    return names


def part_of(tars: Sequence[Tar], part: int, parts: int) -> Sequence[Tar]:
    """What job `part` (from 0) of `parts` indexes: every `parts`-th, since tars of one folder may be alike in size."""
    return tars[part::parts]


def _expanded(name: str, patterns: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    """(location, its files or itself). ConfigError where a location is no place of tars."""
    for pattern in patterns:
        place = f"sources.{name}.tars: {pattern}"
        head, joint, _ = pattern.partition("::")
        if joint and ("/" in head or head.endswith(".tar")) and not pattern.startswith(_PIPE):
            raise ConfigError(f"{place}: `::` joins sets in open_clip. Write them as a list")
        try:
            locations = expand_braces(pattern, is_command=pattern.startswith(_PIPE))
        except ValueError as error:
            raise ConfigError(f"{place}: {error}") from None
        for location in locations:
            yield location, [location] if is_url(location) else _files(name, location)


def _files(name: str, location: str) -> list[str]:
    place = f"sources.{name}.tars: {location}"
    path = Path(location).expanduser()
    if path.is_dir():
        raise ConfigError(f"{place}: a folder. {_what_to_write(path, location)}")
    found = [each for each in sorted(glob(str(path))) if not Path(each).is_dir()]
    if not found:
        raise ConfigError(f"{place}: no such file. Correct the path, or get the tars")
    return found


def _what_to_write(folder: Path, written: str) -> str:
    """The glob of the tars in a folder, as the user writes the folder."""
    shown = written.rstrip("/") or "/"
    for below in ("*.tar", "*/*.tar", "*/*/*.tar"):
        if next(folder.glob(below), None) is not None:
            return f"Write {shown}/{below}"
    return "No .tar lies in it"


def _path(location: str) -> str:
    """What names a tar: its path; of a URL without query, of a command the word that ends in .tar, or all of it."""
    if not location.startswith(_PIPE):
        return location.split("://")[-1].partition("?")[0].removeprefix("file:")
    command = location.removeprefix(_PIPE).strip()
    for word in _WORD.findall(command):
        bare = word if word.endswith(".tar") else word.partition("?")[0]
        if bare.endswith(".tar"):
            return bare.split("://")[-1].rpartition("=")[2]
    return re.sub(r"[^\w./=:@%+-]+", "-", command).strip("-")
