"""A byte that changes after a file was written is found where the file is used."""

from pathlib import Path

import pandas as pd
import pytest

from clip_scaling.errors import ManifestError
from clip_scaling.records.files import write_text
from clip_scaling.records.frames import read_frame
from clip_scaling.records.seal import check_seal, sealed_path
from clip_scaling.records.training import Pilot


def write(path: Path, text: str) -> None:
    with sealed_path(path) as temporary:
        temporary.write_text(text)


def test_a_changed_byte_is_found_and_the_next_step_named(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write(path, "0.5")
    check_seal(path)
    path.write_text("0.6")
    with pytest.raises(ManifestError, match=rf"{path}: damaged: its sha256.*Delete {path} and run"):
        check_seal(path)


def test_a_file_that_was_never_sealed_or_is_written_by_an_older_version_is_taken_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("0.5")
    check_seal(path)
    write(path, "0.5")
    write_text(path, "0.6")  # drops the seal of the file before
    check_seal(path)
    assert [file.name for file in tmp_path.iterdir()] == ["a.txt"]


def test_a_digit_that_changes_in_a_record_is_found(tmp_path: Path) -> None:
    path = tmp_path / "pilot.json"
    record = Pilot(
        cell="c", model="m", kind="cpu", devices=1, samples_per_second_per_device=25.0, origin="pilot", local_batch=8,
        overhead_seconds=1, start_seconds=1, steps=8, seconds=1, waited_seconds=0,
    )  # fmt: skip
    record.write(path)
    assert Pilot.read(path) == record
    path.write_text(path.read_text().replace("25.0", "26.0"))
    with pytest.raises(ManifestError, match=r"pilot\.json: damaged"):
        Pilot.read(path)


@pytest.mark.parametrize("name", ["laws.csv", "metrics.parquet"])
def test_a_changed_or_torn_table_is_refused(tmp_path: Path, name: str) -> None:
    path, table = tmp_path / name, pd.DataFrame({"alpha": [-0.25]})
    with sealed_path(path) as temporary:
        table.to_csv(temporary, index=False) if name.endswith("csv") else table.to_parquet(temporary)
    assert read_frame(path)["alpha"].tolist() == [-0.25]
    content = bytearray(path.read_bytes())
    content[-2] ^= 1
    path.write_bytes(content)
    with pytest.raises(ManifestError, match="damaged"):
        read_frame(path)
    (tmp_path / f".{name}.sha256").unlink()
    path.write_bytes(b"")
    with pytest.raises(ManifestError, match="cannot be read as a table"):
        read_frame(path)
