"""Records: what is written is read again, and what cannot be read is named."""

from pathlib import Path
from typing import ClassVar

import pytest

from clip_scaling.errors import ManifestError
from clip_scaling.records.base import Column, Record, Table


class Run(Record):
    FILE: ClassVar[str] = "run.json"
    VERSION: ClassVar[int] = 2
    steps: int
    seconds: float | None = None


def test_only_given_fields_are_written_with_the_version(tmp_path: Path) -> None:
    Run(steps=3).write(tmp_path / Run.FILE)
    assert (tmp_path / Run.FILE).read_text() == '{\n "steps": 3,\n "version": 2\n}\n'
    assert Run.read(tmp_path / Run.FILE) == Run(steps=3)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"steps": 3}', "version 1 of this file; this code reads version 2. Delete it and run `snakemake"),
        ('{"steps": "x", "version": 2}', "steps: "),
        ('{"steps": 3, "stpes": 4, "version": 2}', "stpes: "),
        ("[]", "holds no JSON object"),
    ],
)
def test_a_file_that_cannot_be_read_names_file_field_and_next_step(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / Run.FILE
    path.write_text(text)
    with pytest.raises(ManifestError) as error:
        Run.read(path)
    assert str(error.value).startswith(f"{path}: ") and message in str(error.value)
    assert error.value.remedy.endswith(f"`snakemake --cores all {path}`.")


def test_a_table_without_a_column_is_named(tmp_path: Path) -> None:
    table = Table("tables/laws.csv", "Laws.", [Column("alpha", "exponent"), Column("seconds", "time", "s")])
    table.check(["seconds", "alpha", "more"], tmp_path / "laws.csv")
    with pytest.raises(ManifestError, match="laws.csv: has no column seconds"):
        table.check(["alpha"], tmp_path / "laws.csv")
