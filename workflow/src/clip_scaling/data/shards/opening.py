"""Open what is not a local file: URLs, buckets and commands."""

from __future__ import annotations

import importlib.util
import shutil
from typing import Any, BinaryIO, cast

from ...errors import DataError

_BY_WEBDATASET = ("pipe", "file", "http", "https", "ftps", "sftp", "scp", "ais", "htgs")
"""Schemes that webdataset opens with curl and the like; all others are fsspec's."""
_TOOLS = {"gs": "gsutil"}
"""Commands by which webdataset opens what fsspec has no package for."""


def is_url(path: str) -> bool:
    """Whether it is opened by `open_url`: `https://...`, `s3://...`, `file:...`, `pipe:...`."""
    return "://" in path or path.startswith(("pipe:", "file:"))


def open_url(url: str) -> BinaryIO:
    """Open a URL or a command for reading from its beginning to its end.

    DataError where the package of its protocol is not there. OSError or ValueError where it cannot be opened.
    """
    if not _is_by_fsspec(url):
        import webdataset  # brings torch, which readers of local shards have no use for

        return cast(BinaryIO, webdataset.gopen(url))
    package = missing_package(url)
    if package is not None:
        raise DataError(f"needs the package {package}", place=url, remedy=f"Run `pip install {package}`.")
    import fsspec

    try:
        return cast(BinaryIO, fsspec.open(url, "rb").open())
    except (OSError, ValueError):
        raise
    except Exception as error:  # each protocol's client has errors of its own
        raise OSError(f"{type(error).__name__}: {error}") from error


def missing_package(url: str) -> str | None:
    """The package without which `open_url` cannot open it; None where nothing is missing."""
    if not is_url(url) or not _is_by_fsspec(url):
        return None
    if importlib.util.find_spec("fsspec") is None:
        return "fsspec"
    from fsspec.registry import known_implementations

    about: dict[str, Any] = known_implementations.get(_scheme(url), {})
    module = str(about.get("class", "")).partition(".")[0]
    return module if module and importlib.util.find_spec(module) is None else None


def _scheme(url: str) -> str:
    """The protocol that reaches the network: s3 of `s3://b/0.tar` and of fsspec's `simplecache::s3://b/0.tar`."""
    if "://" not in url or url.startswith("pipe:"):
        return url.partition(":")[0].lower()
    return url.partition("://")[0].rpartition(":")[2].lower()


def _is_by_fsspec(url: str) -> bool:
    scheme, is_chain = _scheme(url), "::" in url.partition("://")[0]
    if scheme in _BY_WEBDATASET and (not is_chain or scheme == "pipe"):
        return False
    tool = _TOOLS.get(scheme)
    return not (tool and shutil.which(tool) and importlib.util.find_spec("gcsfs") is None)
