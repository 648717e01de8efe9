"""The kinds of source: a new one is a folder or a file beside this, and one line here."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from .files.config import FolderSource, TableSource
from .iconify.config import IconifySource
from .procedural.config import ProceduralSource
from .tars.config import WebdatasetSource
from .urls.config import UrlListSource

Source = Annotated[
    IconifySource | ProceduralSource | UrlListSource | WebdatasetSource | FolderSource | TableSource,
    Field(discriminator="kind"),
]
