"""The page's interactive charts as Vega-Lite, built and checked by Altair; the page puts the data in.

Each names its data sets, of which `explorer.js` fills in the rows; axes get their titles, ticks and limits there too.
"""

from __future__ import annotations

from typing import Any

import altair as alt

_HEIGHT = 400
"""Pixels; that of `sensitivity` follows its rows."""


def charts() -> dict[str, dict[str, Any]]:
    """Specifications by name: `law`, `curves`, `sensitivity`."""
    return {"law": _law(), "curves": _curves(), "sensitivity": _sensitivity()}


def _law() -> dict[str, Any]:
    """Error against an axis of the grid. Data: points, curve (with band), predicted."""
    x = alt.X("x:Q", scale=alt.Scale(type="log", nice=False))
    y = alt.Y("y:Q", scale=alt.Scale(type="log", nice=False))
    low = alt.Y("low:Q", scale=alt.Scale(type="log", nice=False))
    line_colour = alt.Color("ink:N", scale=None)
    curve = alt.Chart(alt.NamedData("curve"))
    band = curve.mark_area(opacity=0.13, clip=True).encode(
        x, low, alt.Y2("high:Q"), color=line_colour, detail="source:N"
    )
    line = curve.mark_line(clip=True, interpolate="linear").encode(
        x, y, color=line_colour, detail="part:N", strokeDash=alt.StrokeDash("dash:N", scale=None)
    )
    points = alt.Chart(alt.NamedData("points"))
    interval = points.mark_rule(strokeWidth=1, opacity=0.55, clip=True).encode(
        x, low, alt.Y2("high:Q"), color=alt.Color("colour:N", scale=None)
    )
    tooltip = [alt.Tooltip(f"{field}:N", title=title) for field, title in _FIELDS]
    mark = points.mark_point(filled=True, opacity=1, strokeWidth=0.8, cursor="pointer").encode(
        x, y,
        fill=alt.Fill("fill:N", scale=None),
        stroke=alt.Stroke("stroke:N", scale=None),
        strokeWidth=alt.StrokeWidth("width:Q", scale=None),
        shape=alt.Shape("shape:N", scale=None),
        size=alt.Size("area:Q", scale=None),
        tooltip=tooltip,
    )  # fmt: skip
    predicted = alt.Chart(alt.NamedData("predicted"))
    prediction_interval = predicted.mark_rule(strokeWidth=1, opacity=0.5, clip=True).encode(
        x, low, alt.Y2("high:Q"), color=line_colour
    )
    prediction = predicted.mark_tick(thickness=2, size=14, orient="horizontal", clip=True).encode(
        x, y, color=line_colour, tooltip=tooltip
    )
    return _spec(alt.layer(band, line, interval, prediction_interval, prediction, mark))


def _curves() -> dict[str, Any]:
    """A quantity against samples seen, one line a cell. Data: curves, ends."""
    x = alt.X("x:Q", scale=alt.Scale(type="log", nice=False))
    y = alt.Y("y:Q", scale=alt.Scale(zero=False, nice=False))
    colour = alt.Color("colour:N", scale=None)
    tooltip = [alt.Tooltip(f"{field}:N", title=title) for field, title in _CURVE_FIELDS]
    lines = alt.Chart(alt.NamedData("curves")).mark_line(strokeWidth=1.4, cursor="pointer", clip=True)
    ends = alt.Chart(alt.NamedData("ends")).mark_point(filled=True, opacity=1, cursor="pointer")
    shape = alt.Shape("shape:N", scale=None)
    return _spec(
        alt.layer(
            lines.encode(x, y, color=colour, detail="cell:N", opacity=alt.Opacity("opacity:Q", scale=None),
                         strokeWidth=alt.StrokeWidth("width:Q", scale=None), tooltip=tooltip),
            ends.encode(x, y, color=colour, shape=shape, size=alt.value(50), tooltip=tooltip),
        ),
    )  # fmt: skip


def _sensitivity() -> dict[str, Any]:
    """The exponent by every defensible choice. Data: choices, headline (the law's own, with its interval)."""
    y = alt.Y("row:N", sort=None, title=None, axis=alt.Axis(labelLimit=220, grid=True, ticks=False, domain=False))
    x = alt.X("alpha:Q")
    tooltip = [
        alt.Tooltip(f"{field}:N", title=field) for field in ("points", "scale", "estimator", "left out", "runs", "α")
    ]
    choices = alt.Chart(alt.NamedData("choices")).mark_point(filled=True, size=46, opacity=0.75)
    headline = alt.Chart(alt.NamedData("headline"))
    return _spec(
        alt.layer(
            headline.mark_rect(opacity=0.12, clip=True).encode(
                alt.X("low:Q"), alt.X2("high:Q"), color=alt.Color("ink:N", scale=None)
            ),
            headline.mark_rule(strokeWidth=1.5).encode(x, color=alt.Color("ink:N", scale=None)),
            choices.encode(x, y, color=alt.Color("colour:N", scale=None), shape=alt.Shape("shape:N", scale=None),
                           tooltip=tooltip),
        ),
    )  # fmt: skip


_FIELDS = (
    ("what", "point"), ("model", "model"), ("data", "data"), ("samples", "samples seen"), ("epochs", "epochs"),
    ("compute", "compute (GMAC)"), ("error", "error"), ("interval", "95 % interval"), ("said", "law predicts"),
    ("rate", "learning rate"), ("code", "code"), ("cell", "cell"),
)  # fmt: skip
_CURVE_FIELDS = (("model", "model"), ("data", "data"), ("samples", "at samples"), ("value", "value"),
               ("rate", "learning rate"), ("cell", "cell"))  # fmt: skip


def _spec(chart: alt.LayerChart | alt.FacetChart) -> dict[str, Any]:
    """As a JSON value without Altair's own look or data: the page has both."""
    fit = alt.AutoSizeParams(type="fit", contains="padding")
    spec: dict[str, Any] = chart.properties(width="container", height=_HEIGHT, autosize=fit).to_dict()
    spec.pop("config", None)
    return spec
