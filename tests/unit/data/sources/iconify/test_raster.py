"""Drawings come from strangers: none reads a file of this machine, none ends the process that draws it."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clip_scaling.data.sources.iconify.package import _address, _link
from clip_scaling.data.sources.iconify.raster import MAX_DEPTH, render

HEAD = '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" width="8" height="8">'
BOX = '<rect width="8" height="8" fill="red"/>'


def svg(body: str) -> str:
    return f"{HEAD}{body}</svg>"


@pytest.mark.parametrize(
    "body",
    [
        '<image width="8" height="8" href="{path}"/>',
        "<image width='8' height='8' xlink:href = '{path}'/>",
        '<image width="8" height="8" id=">" href="file://{path}"/>',
        '<filter id="f"><feImage href="{path}"/></filter><rect width="8" height="8" filter="url(#f)"/>',
        '<image width="8" height="8" href="&#x2f;{path}"/>',
    ],
)
def test_no_file_is_read(tmp_path: Path, body: str) -> None:
    path = tmp_path / "secret.png"
    Image.fromarray(np.full((8, 8, 3), 7, np.uint8)).save(path)
    assert render(svg(body.format(path=path)), 8).refused == "unsafe"
    entity = f'<!DOCTYPE svg [<!ENTITY e SYSTEM "file://{path}">]>' + svg('<image href="&e;"/>')
    assert render(entity, 8).refused == "unsafe"


def test_images_inside_the_drawing_are_drawn() -> None:
    buffer = io.BytesIO()
    Image.fromarray(np.full((8, 8, 3), 7, np.uint8)).save(buffer, "png")
    import base64

    inside = base64.b64encode(buffer.getvalue()).decode()
    assert render(svg(f'<image width="8" height="8" href="data:image/png;base64,{inside}"/>'), 8).refused == ""
    assert render(svg(f'<g id="a">{BOX}</g><use href="#a"/>'), 8).refused == ""


def test_deep_nesting_is_refused_and_long_drawings_are_not() -> None:
    assert render(svg("<g>" * MAX_DEPTH + BOX + "</g>" * MAX_DEPTH), 8).refused == "unsafe"
    assert render(svg("<g>" * 200_000), 8).refused == "unsafe"
    assert render(svg("<g>" * 50 + BOX + "</g>" * 50), 8).refused == ""
    assert render(svg(f"<g>{BOX}</g>" * 1000), 8).refused == ""


def test_the_attribution_holds_no_html_and_links_to_the_web_alone() -> None:
    assert _link("<script>x</script> | a", "javascript:alert(1)") == "&lt;script&gt;x&lt;/script&gt; &#124; a"
    assert _link("Google", "https://github.com/google/icons") == "[Google](https://github.com/google/icons)"
    assert _address("data:text/html,x") == _address("https://a/) <img src=x>") == ""
