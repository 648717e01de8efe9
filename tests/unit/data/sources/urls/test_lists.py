"""From a list of URLs to the rows that are asked for: filters, safety, removals, and counts that add up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clip_scaling.data.sources.filters import evaluate
from clip_scaling.data.sources.pairs import hash_order
from clip_scaling.data.sources.urls.config import UrlListSource
from clip_scaling.data.sources.urls.failures import PASSING, failure_class
from clip_scaling.data.sources.urls.lists import identity_of, wanted_rows
from clip_scaling.data.sources.urls.removal import RemovalList, read_removal_list
from clip_scaling.errors import DataError

TABLE = pa.table(
    {
        "similarity": [0.1, 0.3, None, float("nan"), 0.9],
        "language": ["en", "de", "fr", None, "en"],
        "width": [100, 200, 300, 400, 0],
        "caption": ["Kühe", "a", "bc", "", "Def"],
    }
)


@pytest.mark.parametrize(
    "condition, expected",
    [
        ("similarity >= 0.3", [False, True, None, None, True]),
        ("similarity != 0.3", [True, False, None, None, True]),  # NaN is missing, not unequal
        ("language in ['en', 'de']", [True, True, False, None, True]),
        ("language not in ['en']", [False, True, True, None, False]),
        ("similarity >= 0.3 or language == 'en'", [True, True, None, None, True]),
        ("not (similarity >= 0.3 and width > 50)", [True, False, None, None, True]),
        ("100 <= width < 300", [True, True, False, False, False]),
        ("larger(width, 150) / 2 == 75", [True, False, False, False, True]),
        ("width / 1000 > 0.25", [False, False, True, True, False]),
        ("length(caption) == 4 and lower(caption) == 'kühe'", [True, False, False, False, False]),
    ],
)
def test_a_condition_is_true_false_or_unknown_for_each_row(condition: str, expected: list[bool | None]) -> None:
    assert evaluate(condition, TABLE).to_pylist() == expected


def test_a_condition_that_compares_text_with_numbers_is_refused() -> None:
    with pytest.raises(DataError, match="language > 3"):
        evaluate("language > 3", TABLE)


PLAIN = {"url": "url", "caption": "caption"}
COLUMNS = {"url": "URL", "caption": "TEXT", "punsafe": "punsafe", "similarity": "sim", "width": "W", "height": "H"}


def recipe(**fields: Any) -> UrlListSource:
    return UrlListSource.model_validate(
        {
            "urls": "",
            "pairs": 1,
            "kind": "url_list",
            "columns": COLUMNS,
            "safety": {"max": {"punsafe": 0.5}},
            "filters": {"similar": "similarity >= 0.3", "broad": "aspect_ratio <= 3"},
            "min_caption_characters": 3,
            "max_caption_characters": 20,
            **fields,
        }
    )


def row(number: int, **fields: Any) -> dict[str, Any]:
    plain = {"URL": f"https://example.org/{number}.jpg", "TEXT": f"number {number}", "punsafe": 0.1, "sim": 0.4}
    return plain | {"W": 200, "H": 100, "unused": "x"} | fields


ROWS = [
    row(0),
    row(1, TEXT=" trimmed  "),
    row(2, URL="file:///etc/passwd"),
    row(3, URL=None),
    row(4, TEXT="   "),
    row(5, TEXT=None),
    row(6, TEXT="ab"),
    row(7, TEXT="a caption of more than twenty"),
    row(8, punsafe=0.51),
    row(9, punsafe=None),
    row(10, sim=0.2),
    row(11, sim=float("nan")),
    row(12, W=400),
    row(13, URL="https://example.org/removed.jpg"),
    row(0),
    row(0, TEXT="another caption"),
]
DROPPED = {
    "no_url": 2,
    "no_caption": 2,
    "caption_too_short": 1,
    "caption_too_long": 1,
    "safety_punsafe": 1,
    "safety_punsafe_missing": 1,
    "filter_similar": 1,
    "filter_similar_missing": 1,
    "filter_broad": 1,
    "removal_list": 1,
    "repeated_row": 1,
}
REMOVAL = RemovalList(urls=frozenset({"https://example.org/removed.jpg"}))


def test_every_row_of_a_list_is_wanted_or_counted_by_reason(tmp_path: Path) -> None:
    path = tmp_path / "list.parquet"
    pq.write_table(pa.Table.from_pylist(ROWS), path)
    wanted = wanted_rows(path, ".parquet", recipe(), REMOVAL)
    assert wanted.dropped == DROPPED
    assert wanted.rows == len(ROWS) == len(wanted.table) + sum(DROPPED.values())
    captions = wanted.table["caption"].to_pylist()
    assert sorted(captions) == ["another caption", "number 0", "trimmed"]
    identities = wanted.table["identity"].to_pylist()
    assert identities == sorted(identities, key=hash_order)
    assert identity_of("https://example.org/1.jpg", "trimmed") in identities


@pytest.mark.parametrize("suffix, separator", [(".csv", ","), (".tsv", "\t")])
def test_a_text_list_gives_what_a_parquet_list_gives(tmp_path: Path, suffix: str, separator: str) -> None:
    path = tmp_path / f"list{suffix}"
    lines = [separator.join(["TEXT", "URL", "punsafe", "sim", "W", "H"])]
    lines += [separator.join(['"one, ""two"""', "https://example.org/1.jpg", "0.1", "0.5", "10", "10"])]
    lines += [separator.join(["12345", "https://example.org/2.jpg", "0.1", "0.1", "10", "10"])]
    path.write_text("\n".join(lines) + "\n")
    wanted = wanted_rows(path, suffix, recipe(), RemovalList())
    assert wanted.table["caption"].to_pylist() == ['one, "two"']
    assert wanted.dropped == {"filter_similar": 1}


def test_quotation_marks_join_no_lines_of_a_list_and_captions_that_are_no_utf8_are_counted(tmp_path: Path) -> None:
    texts = [b'"opens a word' if n % 4 == 0 else b'5" tall and more' for n in range(11)] + [b"caf\xe9 au lait"]
    lines = [b"https://example.org/%d.jpg\t%s" % (n, text) for n, text in enumerate(texts)]
    (tmp_path / "list.tsv").write_bytes(b"\n".join([b"url\tcaption", *lines]) + b"\n")
    plain = recipe(columns=PLAIN, filters={}, safety={})
    wanted = wanted_rows(tmp_path / "list.tsv", ".tsv", plain, RemovalList())
    assert wanted.rows == 12 and len(wanted.table) == 11 and wanted.dropped == {"caption_not_utf8": 1}
    assert set(wanted.table["caption"].to_pylist()) == {'"opens a word', '5" tall and more'}


def test_a_list_of_captions_is_a_row_each_of_a_list_of_urls_too(tmp_path: Path) -> None:
    urls = ["https://example.org/1.jpg", "https://example.org/2.jpg"]
    pq.write_table(pa.table({"url": urls, "caption": [["one", "another"], []]}), tmp_path / "list.parquet")
    plain = recipe(columns=PLAIN, filters={}, safety={})
    wanted = wanted_rows(tmp_path / "list.parquet", ".parquet", plain, RemovalList())
    assert (wanted.rows, wanted.dropped) == (3, {"no_caption": 1})
    assert sorted(wanted.table["caption"].to_pylist()) == ["another", "one"]


def test_a_list_without_a_named_column_is_refused_with_the_columns_it_has(tmp_path: Path) -> None:
    path = tmp_path / "list.parquet"
    pq.write_table(pa.table({"url": ["a"], "text": ["b"]}), path)
    with pytest.raises(DataError, match=r"no column caption\. It has url, text"):
        wanted_rows(path, ".parquet", recipe(columns=PLAIN, filters={}, safety={}), RemovalList())
    path.write_text("no parquet")
    with pytest.raises(DataError, match="not a readable .parquet file"):
        wanted_rows(path, ".parquet", recipe(columns=PLAIN, filters={}, safety={}), RemovalList())


def test_a_removal_list_takes_urls_and_hashes_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "removed.txt"
    path.write_text(f"# asked for on a Monday\nhttps://example.org/a.jpg\n\n{'AB' * 32}\n")
    assert read_removal_list(path) == RemovalList(frozenset({"https://example.org/a.jpg"}), frozenset({"ab" * 32}))
    path.write_text("https://example.org/a.jpg\nexample.org/b.jpg\n")
    with pytest.raises(DataError, match="line 2: 'example.org/b.jpg' is neither a URL nor a sha256"):
        read_removal_list(path)


@pytest.mark.parametrize(
    "message, expected, may_pass",
    [
        ("HTTP Error 404: Not Found", "http_404", False),
        ("HTTP Error 403: Forbidden", "forbidden", False),
        ("HTTP Error 429: Too Many Requests", "too_many_requests", True),
        ("HTTP Error 503: Service Unavailable", "server_error", True),
        ("<urlopen error timed out>", "timeout", True),
        ("The read operation timed out", "timeout", True),
        ("<urlopen error [Errno -2] Name or service not known>", "dns", True),
        ("<urlopen error [Errno 111] Connection refused>", "connection", True),
        ("Remote end closed connection without response", "connection", True),
        ("IncompleteRead(512 bytes read, 300 more expected)", "incomplete", True),
        ("<urlopen error [SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed>", "tls", False),
        ("Use of image disallowed by X-Robots-Tag directive", "robots_tag", False),
        ("Image decoding error", "not_an_image", False),
        ("image too small", "image_side", False),
        ("OpenCV(4.13) error: (-215) pixels <= CV_IO_MAX_IMAGE_PIXELS in 'validate'", "image_pixels", False),
        ("<urlopen error unknown url type: ftp>", "bad_url", False),
        ("something else", "other", False),
        (None, "no_record", True),
    ],
)
def test_messages_are_sorted_into_classes_that_may_pass_or_not(
    message: str | None, expected: str, may_pass: bool
) -> None:
    assert failure_class(message) == expected
    assert (expected in PASSING) == may_pass
