"""Figures for the page: a saved SVG made part of an HTML file, following its light and dark colours."""

from __future__ import annotations

import re
from html import escape

from .style import INK, MUTED, RULE

_VARIABLES = {INK: "var(--ink)", MUTED: "var(--muted)", RULE: "var(--rule)"}


def inline_svg(text: str, prefix: str, label: str) -> str:
    """An SVG file of matplotlib as an <svg> element for the page.

    prefix: put before every id, since all figures of a page share one name space and matplotlib numbers them alike.
    label: what the figure shows, for those who do not see it.
    ValueError where the text holds no <svg> element.
    """
    found = re.search(r"<svg\b.*</svg>", text, flags=re.DOTALL)
    if not found:
        raise ValueError("the text holds no <svg> element")
    body = re.sub(r"<metadata>.*?</metadata>\s*", "", found[0], flags=re.DOTALL)
    body = re.sub(r"<!--.*?-->\s*", "", body, flags=re.DOTALL)
    body = re.sub(r'\bid="', f'id="{prefix}-', body)
    body = re.sub(r'href="#', f'href="#{prefix}-', body)
    body = re.sub(r"url\(#", f"url(#{prefix}-", body)
    for ink, variable in _VARIABLES.items():
        body = body.replace(ink, variable)
    head = f'<svg role="img" aria-label="{escape(label, quote=True)}"'
    return re.sub(r"<svg\b", head, body, count=1)
