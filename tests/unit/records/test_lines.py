"""Files of JSON lines survive a line that was torn."""

from pathlib import Path

import pytest

from clip_scaling.errors import ManifestError
from clip_scaling.records.lines import append_line, lines_so_far, read_lines, write_lines

from ..data.conftest import full_disk


def test_a_torn_line_is_ended_and_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "lines.jsonl"
    for content, expected in ((b'{"a": 1}\n{"b', 1), (b'{"a": 1}\n[2]\n\xff\n', 1), (b"", 0), (b"nothing", 0)):
        path.write_bytes(content)
        append_line(path, {"c": 3})
        assert len(lines_so_far(path)) == expected + 1 and lines_so_far(path)[-1] == {"c": 3}
    assert lines_so_far(tmp_path / "none.jsonl") == []


def test_a_full_disk_tears_a_line_and_the_next_one_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "lines.jsonl"
    append_line(path, {"number": 1})
    with full_disk(path.stat().st_size + 5), pytest.raises(OSError):
        append_line(path, {"number": 2})
    append_line(path, {"number": 3})
    assert lines_so_far(path) == [{"number": 1}, {"number": 3}]


def test_a_rewrite_on_a_full_disk_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "lines.jsonl"
    write_lines(path, [{"number": 1}])
    with full_disk(5), pytest.raises(OSError):
        write_lines(path, [{"number": 1}, {"number": 2}])
    assert read_lines(path) == [{"number": 1}] and len(list(tmp_path.iterdir())) == 1


def test_a_finished_file_with_a_damaged_line_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "curve.jsonl"
    path.write_text('{"step": 1}\n{"step": 2\n')
    with pytest.raises(ManifestError, match=rf"{path}: line 2 is no JSON object.*Delete {path} and run"):
        read_lines(path)
