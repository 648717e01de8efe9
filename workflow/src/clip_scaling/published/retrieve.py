"""Fetch files at fixed URLs, or copy them from a folder; a file whose sha256 differs is refused."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from http.client import HTTPException
from pathlib import Path

from ..data.web import download
from ..errors import DataError
from ..records.filenames import MANIFEST
from ..records.files import atomic_path, describe_file, sha256_file, write_json

MAX_BYTES = 1e9
SECONDS = 600.0
"""Bounds of one table."""


def retrieve(files: Sequence[dict[str, str]], destination: Path, folder: Path | None = None) -> None:
    """Bring files into `destination`, then write their manifest.

    files: entries {path, url, sha256}; path is relative to `destination` (and to `folder`). folder: where the files
    already lie; None to fetch them. DataError where one is missing, out of reach or has another sha256; a wrong file
    never takes its name.
    """
    for file in files:
        target = destination / file["path"]
        if not target.resolve().is_relative_to(destination.resolve()):
            raise DataError("leads out of the folder of the tables", place=file["path"], remedy="Correct `path`.")
        if target.is_file() and sha256_file(target) == file["sha256"]:
            continue
        with atomic_path(target) as temporary:
            place = _fetch(file["url"], temporary) if folder is None else _copy(folder / file["path"], temporary)
            found = sha256_file(temporary)
            if found != file["sha256"]:
                raise DataError(
                    f"{place}: sha256 is {found}, the study expects {file['sha256']}. This is not the released "
                    "file; get it again, or correct the study file if the tables were released again."
                )
    manifest = {"files": sorted((describe_file(destination / f["path"], destination) for f in files), key=_path)}
    write_json(destination / MANIFEST, manifest)


def _path(entry: dict[str, str]) -> str:
    return entry["path"]


def _fetch(url: str, temporary: Path) -> str:
    try:
        with open(temporary, "wb") as out:
            download(url, out, MAX_BYTES, SECONDS)
    except (OSError, ValueError, HTTPException) as error:
        raise DataError(
            f"{url}: cannot be fetched ({error}). Check the network, or name a folder that holds the tables: "
            "`--config published=FOLDER`."
        ) from None
    return url


def _copy(path: Path, temporary: Path) -> str:
    if not path.is_file():
        raise DataError(f"{path}: no such file. The folder must hold every table that the study file lists.")
    shutil.copyfile(path, temporary)
    return str(path)
