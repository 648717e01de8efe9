"""Files of JSON lines that grow: a kill or a full disk may cut a line short, and costs no more than that line."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ..errors import ManifestError
from .files import remake, write_text
from .seal import check_seal


def append_line(path: Path, line: dict[str, Any]) -> None:
    """Add a line; half a line before it is ended."""
    with open(path, "ab+") as file:
        end = file.seek(0, 2)
        file.seek(max(0, end - 1))
        before = b"\n" if file.read(1) not in (b"", b"\n") else b""
        file.write(before + json.dumps(line).encode() + b"\n")


def write_lines(path: Path, lines: Iterable[dict[str, Any]]) -> None:
    """Write the whole file atomically."""
    write_text(path, "".join(json.dumps(line) + "\n" for line in lines))


def lines_so_far(path: Path) -> list[dict[str, Any]]:
    """The lines of a file that still grows, or of none; what is no JSON object is passed over."""
    texts = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else []
    return [line for text in texts if (line := _object(text)) is not None]


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The lines of a finished file. ManifestError where one is no JSON object, or another than was written."""
    check_seal(path)
    lines = []
    for number, text in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
        line = _object(text)
        if line is None:
            raise ManifestError(f"line {number} is no JSON object", place=str(path), remedy=remake(path))
        lines.append(line)
    return lines


def _object(text: str) -> dict[str, Any] | None:
    try:
        line = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return line if isinstance(line, dict) else None
