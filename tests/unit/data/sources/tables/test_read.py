"""Tables of pairs: no line is lost or joined without a word, and what is in a column is read or named."""

from __future__ import annotations

import gzip
import io
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from clip_scaling.data.sources.tables.config import TableForm
from clip_scaling.data.sources.tables.read import ReadTable, read_table
from clip_scaling.errors import DataError

COLUMNS = {"image": "file", "caption": "text"}


def read(path: Path, columns: dict[str, str] = COLUMNS, **form: Any) -> ReadTable:
    suffix = "".join(path.suffixes)
    return read_table(path, suffix, columns, TableForm(**form), io.BytesIO())


def captions(path: Path, **form: Any) -> list[str]:
    return read(path, **form).table["caption"].to_pylist()


def put(path: Path, lines: list[str], **options: Any) -> Path:
    path.write_text("\n".join(["file\ttext", *lines]) + "\n", **options)
    return path


def test_quotation_marks_in_a_tsv_without_quoting_are_characters(tmp_path: Path) -> None:
    texts = [f'"caption {n}' if n % 7 == 0 else f'caption {n}, 5" tall' for n in range(60)]
    path = put(tmp_path / "pairs.tsv", [f"{n}.jpg\t{text}" for n, text in enumerate(texts)])
    assert captions(path) == texts


@pytest.mark.parametrize(
    "texts",
    [
        ['"one word', "plain"],
        ["plain", '"the last one opens'],
        ['"quoted" and more', "plain"],
        ['"opens', 'closes"'],
        ['""', '"a ""quoted" one"'],
    ],
)
def test_no_kind_of_stray_mark_in_a_tsv_joins_lines(tmp_path: Path, texts: list[str]) -> None:
    path = put(tmp_path / "pairs.tsv", [f"{n}.jpg\t{text}" for n, text in enumerate(texts)])
    assert captions(path) == texts


def test_a_tsv_with_quoting_is_read_as_such_with_line_breaks_in_its_values(tmp_path: Path) -> None:
    path = put(tmp_path / "pairs.tsv", ['a.jpg\t"He said ""hi"""', 'b.jpg\t"two\nlines"', "c.jpg\tplain"])
    assert captions(path) == ['He said "hi"', "two\nlines", "plain"]


def test_a_csv_whose_quotes_could_be_either_asks_which(tmp_path: Path) -> None:
    path = tmp_path / "pairs.csv"
    path.write_text('file,text\na.jpg,"foo\nb.jpg,bar"\n')
    with pytest.raises(
        DataError, match=r"pairs\.csv: line 2: its quotation mark joins .*`quoting: none`.*`quoting: csv`"
    ):
        read(path)
    assert captions(path, quoting="csv") == ["foo\nb.jpg,bar"]
    assert captions(path, quoting="none") == ['"foo', 'bar"']


def test_quoting_that_is_asked_for_and_not_kept_is_an_error_with_its_line(tmp_path: Path) -> None:
    path = put(tmp_path / "pairs.tsv", ["a.jpg\tplain", 'b.jpg\t"opens'])
    with pytest.raises(DataError, match="line 3: a quotation mark opens a value"):
        read(path, quoting="csv")


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".csv.gz", ".tsv.gz"])
@pytest.mark.parametrize("separator", [",", "\t", ";", "|"])
def test_the_separator_is_read_off_the_header_whatever_the_name_says(
    tmp_path: Path, suffix: str, separator: str
) -> None:
    path = tmp_path / f"pairs{suffix}"
    content = "\r\n".join(
        separator.join(row) for row in [("title", "filepath"), ("a cat", "a.jpg"), ("a dog", "b.jpg")]
    )
    path.write_bytes(gzip.compress(content.encode()) if suffix.endswith(".gz") else content.encode())
    found = read(path, {"image": "filepath", "caption": "title"}).table
    assert found.to_pylist() == [{"image": "a.jpg", "caption": "a cat"}, {"image": "b.jpg", "caption": "a dog"}]


def test_another_separator_can_be_named(tmp_path: Path) -> None:
    (tmp_path / "pairs.csv").write_text("file^text\na.jpg^one, two\tthree\n")
    assert captions(tmp_path / "pairs.csv", separator="^") == ["one, two\tthree"]
    put(tmp_path / "pairs.tsv", ["a.jpg\tone"])
    assert captions(tmp_path / "pairs.tsv", separator="tab") == ["one"]
    for separator in ("", "ab", '"'):
        with pytest.raises(ValidationError, match="one character"):
            TableForm(separator=separator)


def test_a_missing_column_names_those_that_are_there(tmp_path: Path) -> None:
    (tmp_path / "pairs.csv").write_text("filepath;title\na.jpg;one, two\n")
    with pytest.raises(DataError, match="no column file, text. Its first line has by semicolons: filepath, title"):
        read(tmp_path / "pairs.csv")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le"])
def test_marks_of_the_encoding_are_no_part_of_the_first_column_s_name(tmp_path: Path, encoding: str) -> None:
    text = "file\ttext\na.jpg\tKühe\n"
    content = text.encode(encoding) if encoding != "utf-16-le" else b"\xff\xfe" + text.encode(encoding)
    (tmp_path / "pairs.tsv").write_bytes(content)
    assert captions(tmp_path / "pairs.tsv") == ["Kühe"]


def test_a_caption_that_is_no_utf_8_is_one_lost_row(tmp_path: Path) -> None:
    (tmp_path / "pairs.csv").write_bytes(b"file,text\na.jpg,caf\xe9\nb.jpg,tea\n")
    found = read(tmp_path / "pairs.csv")
    assert found.problem.to_pylist() == ["caption_not_utf8", ""] and found.table["caption"][1].as_py() == "tea"
    pq.write_table(
        pa.table({"file": ["a", "b"], "text": pa.array([b"caf\xe9", b"tea"], pa.binary())}), tmp_path / "p.parquet"
    )
    found = read(tmp_path / "p.parquet")
    assert found.problem.to_pylist() == ["caption_not_utf8", ""] and found.table["caption"][1].as_py() == "tea"


def test_a_line_with_more_values_than_the_header_is_an_error_not_a_shift(tmp_path: Path) -> None:
    (tmp_path / "pairs.csv").write_text("file,text\na.jpg,one, two\n")
    with pytest.raises(DataError, match="not a readable .csv file .*`separator` and `quoting`"):
        read(tmp_path / "pairs.csv")


@pytest.mark.parametrize("kind", [pa.list_(pa.string()), pa.large_list(pa.large_string()), pa.list_(pa.binary())])
def test_a_list_of_captions_is_a_row_each_or_its_first(tmp_path: Path, kind: pa.DataType) -> None:
    values = [["one", "two"], [], ["three"], None]
    path = tmp_path / "pairs.parquet"
    text = pa.array(values, pa.list_(pa.string())).cast(kind) if kind != pa.list_(pa.binary()) else None
    if text is None:
        text = pa.array([None if each is None else [one.encode() for one in each] for each in values], kind)
    pq.write_table(pa.table({"file": ["a", "b", "c", "d"], "text": text}), path)
    found = read(path)
    assert found.table["caption"].to_pylist() == ["one", "two", None, "three", None]
    assert found.table["image"].to_pylist() == ["a", "a", "b", "c", "d"] and found.row.tolist() == [0, 0, 1, 2, 3]
    assert captions(path, list_of_captions="first") == ["one", None, "three", None]


@pytest.mark.parametrize(
    "kind", [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string()), pa.null()]
)
def test_text_of_any_kind_is_text(tmp_path: Path, kind: pa.DataType) -> None:
    values = [None, None] if kind == pa.null() else ["one", None]
    pq.write_table(pa.table({"file": ["a", "b"], "text": pa.array(values).cast(kind)}), tmp_path / "pairs.parquet")
    assert captions(tmp_path / "pairs.parquet") == values


@pytest.mark.parametrize(
    ("name", "column", "said"),
    [
        ("text", pa.array([3]), "column text holds int64, not texts or lists of texts"),
        ("text", pa.array([{"raw": "a"}]), "column text holds struct<raw: string>, not texts"),
        ("text", pa.array([[{"raw": "a"}]]), "column text holds struct<raw: string>, not texts"),
        ("text", pa.array([[["a"]]]), "column text holds list<.*: string>, not texts"),
        ("file", pa.array([3]), "column file holds int64, not paths or images"),
        ("file", pa.array([["a"]]), "column file holds list<.*: string>, not paths or images"),
        ("file", pa.array([{"url": "a"}]), "column file holds struct<url: string>, not paths or images"),
    ],
)
def test_anything_else_in_a_column_is_refused_by_its_name_and_type(
    tmp_path: Path, name: str, column: pa.Array, said: str
) -> None:
    table = pa.table({"file": ["a"], "text": ["a cat"]} | {name: column})
    pq.write_table(table, tmp_path / "pairs.parquet")
    with pytest.raises(DataError, match=f"pairs.parquet: {said}.*Correct `columns"):
        read(tmp_path / "pairs.parquet")


@pytest.mark.parametrize("content", [b"", b"\n", b"PAR1", b"\xff\xfe", bytes(100)])
@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".csv.gz", ".parquet"])
def test_what_is_no_table_is_a_data_error(tmp_path: Path, suffix: str, content: bytes) -> None:
    path = tmp_path / f"pairs{suffix}"
    path.write_bytes(content)
    with pytest.raises(DataError, match="pairs"):
        read(path)
