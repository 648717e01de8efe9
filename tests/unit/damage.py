"""Files damaged in every way, and the check that what reads them gives the right result or one of our errors."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from clip_scaling.errors import ClipScalingError

OTHER = [
    b"",
    b"null",
    b"[]",
    b"{}",
    b'{"a": 1}',
    b'"text"',
    b"1",
    b"[" * 3_000,
    b"\xff\xfe\x00",
    b"PK\x03\x04",
    b"\x80\x04.",
]
"""Contents that a file may have instead of its own: nothing, other JSON, JSON nested deeply, no text, odd archives."""
VALUES: list[Any] = [None, [], {}, "x", 1, -1.5, True, "1" * 400]
"""Values that JSON may have in the place of others."""


@dataclass(frozen=True)
class Kind:
    """A file and how a stage reads it, to something that can be compared.

    is_hashed: whether the reader can know that the numbers are others.
    """

    path: Path
    read: Callable[[], Any]
    is_hashed: bool = True


def comparable(value: Any) -> Any:
    """Arrays, frames and tensors as values that == compares."""
    if isinstance(value, pd.DataFrame):
        return value.to_csv()
    if isinstance(value, torch.Tensor | np.ndarray):
        return np.asarray(value).tobytes()
    if isinstance(value, dict):
        return {key: comparable(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [comparable(each) for each in value]
    return value


def damaged(whole: bytes) -> list[bytes]:
    """Cut at twenty places, one bit flipped at sixty, and the contents of `OTHER`."""
    cut = [whole[: len(whole) * part // 20] for part in range(20)]
    flipped = []
    for place in range(0, len(whole), max(1, len(whole) // 60)):
        content = bytearray(whole)
        content[place] ^= 1 << place % 8
        flipped.append(bytes(content))
    return [*cut, *flipped, *OTHER]


def other_json(value: Any) -> Iterator[Any]:
    """The value with each of its parts left out, and with each replaced by each of `VALUES`."""
    for path in _paths(value):
        for other in [*VALUES, _LEFT_OUT]:
            changed = copy.deepcopy(value)
            inner = changed
            for key in path[:-1]:
                inner = inner[key]
            if other is _LEFT_OUT:
                del inner[path[-1]]
            else:
                inner[path[-1]] = other
            yield changed


_LEFT_OUT = object()


def _paths(value: Any) -> Iterator[tuple[Any, ...]]:
    items: Iterable[tuple[Any, Any]] = ()
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list):
        items = enumerate(value[:2])
    for key, inner in items:
        yield (key,)
        yield from ((key, *path) for path in _paths(inner))


def other_json_files(path: Path) -> list[bytes]:
    """Contents of a JSON file whose parts are left out or others."""
    return [json.dumps(value).encode() for value in other_json(json.loads(path.read_bytes()))]


def survive(name: str, kind: Kind, contents: Iterable[bytes] | None = None) -> None:
    """Read the file with each of these contents (default: `damaged`), and print how many were refused and right.

    AssertionError where other numbers came out; any other error but ours ends the test.
    """
    kind.path.chmod(0o644)
    whole = kind.path.read_bytes()
    expected = kind.read()
    refused = right = other = 0
    try:
        for content in damaged(whole) if contents is None else contents:
            kind.path.write_bytes(content)
            try:
                found = kind.read()
            except ClipScalingError:
                refused += 1
                continue
            right += found == expected
            other += found != expected
            assert found == expected or not kind.is_hashed, content[:80]
    finally:
        kind.path.write_bytes(whole)
    print(f"{name}: {refused + right + other} contents, {refused} refused, {right} right, {other} taken as they are")
    assert kind.read() == expected
