"""What the page carries to be complete in one file: the charts' script, and the study's files, packed."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

MAX_PAGE_BYTES = 5_000_000
"""The page is no larger: it can be sent by mail, and opens on a phone."""


@dataclass(frozen=True)
class PackedFiles:
    """Files of the study inside the page.

    text: base64 of the gzip of a JSON object {path: content}. names: the paths that it holds, in order. left_out: those
    that it has no room for. Paths are relative to the page.
    """

    text: str
    names: tuple[str, ...]
    left_out: tuple[str, ...]


@cache
def chart_script() -> str:
    """Vega, Vega-Lite and Vega-Embed as one script for a <script> element; it defines `vegaEmbed`.

    ValueError where the script holds a text that would end or confuse its element.
    """
    import vl_convert  # slow to import, and only the page needs it

    script = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    for text in ("</script", "<!--"):
        if text in script:
            raise ValueError(f"the chart library holds {text!r} and cannot stand in a page; pin another vl-convert")
    return script


def pack(files: Mapping[str, str], limit: int) -> PackedFiles:
    """As many of the files as stay below `limit` bytes when packed, the first ones first.

    files: content by path, what matters most first. The same files give the same text.
    """
    names = list(files)
    fitting, too_many = 0, len(names) + 1
    tried = len(names)  # mostly all of them fit
    text = _packed({})
    while fitting < tried < too_many:
        candidate = _packed({name: files[name] for name in names[:tried]})
        if len(candidate) <= limit:
            fitting, text = tried, candidate
        else:
            too_many = tried
        tried = (fitting + too_many) // 2
    return PackedFiles(text, tuple(names[:fitting]), tuple(names[fitting:]))


def _packed(files: Mapping[str, str]) -> str:
    content = json.dumps(files, ensure_ascii=False, separators=(",", ":")).encode()
    return base64.b64encode(gzip.compress(content, 9, mtime=0)).decode("ascii")
