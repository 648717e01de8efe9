import pytest

from clip_scaling.report.inline_svg import inline_svg
from clip_scaling.report.style import INK

FILE = f"""<?xml version="1.0"?>
<!DOCTYPE svg PUBLIC "x" "http://www.w3.org/Graphics/SVG/1.1/DTD/svg11.dtd">
<svg viewBox="0 0 1 1"><metadata><date>now</date></metadata><!-- text -->
<defs><path id="p"/></defs><use xlink:href="#p" clip-path="url(#c)" style="fill: {INK}"/></svg>
"""


def test_a_figure_keeps_its_own_ids_and_follows_the_page_s_ink() -> None:
    text = inline_svg(FILE, "laws", 'Error of "x" < 1')
    assert text == (
        '<svg role="img" aria-label="Error of &quot;x&quot; &lt; 1" viewBox="0 0 1 1">'
        '<defs><path id="laws-p"/></defs><use xlink:href="#laws-p" clip-path="url(#laws-c)"'
        ' style="fill: var(--ink)"/></svg>'
    )


def test_a_text_without_a_figure_is_refused() -> None:
    with pytest.raises(ValueError, match="no <svg>"):
        inline_svg("<html></html>", "x", "x")
