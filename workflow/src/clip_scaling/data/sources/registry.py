"""What the plan and the rules ask of every kind of source."""

from __future__ import annotations

from pathlib import Path

from ...errors import ConfigError
from ...study.config.data import Source
from ...study.config.existing import FileSource, WebdatasetSource
from ...study.config.sources import IconifySource, UrlListSource
from .files.places import missing_place
from .tars.lists import missing_tars
from .urls.names import parts_of


def missing_inputs(name: str, source: Source) -> list[str]:
    """Why source `name` cannot be prepared on this machine, each with its place; empty where it can."""
    place = f"sources.{name}"
    if isinstance(source, UrlListSource):
        if not source.lists:
            return [f"{place}.lists: none is given, so the source can be planned only"]
        try:
            parts_of(name, source)
        except ConfigError as error:
            return [str(error)]
    if isinstance(source, WebdatasetSource):
        return [f"{place}.tars: {location} is not there" for location in missing_tars(source.tars)]
    if isinstance(source, FileSource):
        problem = missing_place(name, source)
        return [problem] if problem else []
    if isinstance(source, IconifySource) and source.path and not Path(source.path).is_file():
        return [f"{place}.path: {source.path} is not there"]
    return []
