"""docs/files.md is that of the records, and lists every one of them."""

from pathlib import Path

from clip_scaling.records.base import Record
from clip_scaling.tools.files_docs import files_reference


def test_the_reference_of_files_is_in_step_with_the_records(repository: Path) -> None:
    assert (repository / "docs" / "files.md").read_text() == files_reference(), "run `make docs`"


def test_every_record_of_the_library_is_listed() -> None:
    page = files_reference()
    ours = [model for model in Record.__subclasses__() if model.__module__.startswith("clip_scaling.") and model.FILE]
    assert [model.__name__ for model in ours if f": {model.__name__}\n" not in page] == []
