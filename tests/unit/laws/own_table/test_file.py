"""Tables are read under the separators, encodings and compressions that people have, or refused by line."""

from __future__ import annotations

import gzip
from pathlib import Path

import pandas as pd
import pytest

from clip_scaling.errors import LawError
from clip_scaling.laws.own_table.file import read_table

ROWS = [["run", "gmacs", "acc"], ["a, b", "1", "0.5"], ["c", "2", "0.6"]]


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le"])
def test_separator_and_encoding_are_recognised(tmp_path: Path, separator: str, encoding: str) -> None:
    text = "\n".join(separator.join(f'"{cell}"' for cell in row) for row in ROWS) + "\n"
    (tmp_path / "t.csv").write_bytes(text.encode(encoding))
    table = read_table(tmp_path / "t.csv")
    assert table.columns.tolist() == ROWS[0] and table.to_numpy().tolist() == ROWS[1:]
    assert (table.index.name, table.index.tolist()) == ("line", [2, 3])


def test_decimal_commas_do_not_separate(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("N;loss\n1,5;2,25\n2,5;2,125\n")
    assert read_table(tmp_path / "t.csv")["loss"].tolist() == ["2,25", "2,125"]
    (tmp_path / "excel.csv").write_text("sep=;\nN;loss\n1;2\n")
    assert read_table(tmp_path / "excel.csv").index.tolist() == [3]


def test_compressed_and_parquet_tables_are_read(tmp_path: Path) -> None:
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(b"a,b\n1,2\n\n3,4\n"))
    assert read_table(tmp_path / "t.csv.gz").index.tolist() == [2, 4]
    pd.DataFrame({"a": [1.5]}).to_parquet(tmp_path / "t.parquet")
    assert read_table(tmp_path / "t.parquet")["a"].tolist() == [1.5]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("t.csv", b"a,b\n1,2\n1,2,3\n", "line 3 has 3 fields, the header 2"),
        ("t.csv", b"a,b\n1\n", "line 2 has 1 fields, the header 2"),
        ("t.csv", b"a,b\n", "the table has no rows"),
        ("t.csv", b"", "the table has no rows"),
        ("t.csv", b"a,b\n1,2\ncaf\xe9,3\n", "line 3 is not UTF-8"),
        ("t.csv.gz", b"a,b\n", "cannot be read"),
        ("t.parquet", b"PAR", "cannot be read as Parquet"),
        ("t.xlsx", b"PK", "an Excel file is not read here"),
    ],
)
def test_what_is_no_table_is_refused_by_name_and_line(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(LawError, match=rf"{name}: .*{said}"):
        read_table(tmp_path / name)


def test_a_folder_and_a_missing_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(LawError, match="a folder, not a table"):
        read_table(tmp_path)
    with pytest.raises(LawError, match="no such file"):
        read_table(tmp_path / "none.csv")
