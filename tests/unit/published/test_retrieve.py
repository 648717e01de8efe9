import functools
import hashlib
import http.server
import threading
from pathlib import Path

import pytest

from clip_scaling.errors import DataError
from clip_scaling.published.retrieve import retrieve
from clip_scaling.records.files import read_json


def _entry(path, content, base="http://unused.invalid"):
    return {"path": path, "url": f"{base}/{path}", "sha256": hashlib.sha256(content).hexdigest()}


@pytest.fixture
def server(tmp_path):
    """A web server on the loopback interface over tmp_path/served: (folder, base URL)."""
    folder = tmp_path / "served"
    folder.mkdir()
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as httpd:
        threading.Thread(target=httpd.serve_forever, daemon=True).start()
        yield folder, f"http://127.0.0.1:{httpd.server_port}"
        httpd.shutdown()


def test_files_are_fetched_checked_and_listed(server, tmp_path):
    folder, base = server
    (folder / "probes").mkdir()
    (folder / "a.csv").write_bytes(b"x,y\n")
    (folder / "probes" / "b.json").write_bytes(b"[]")
    retrieve([_entry("probes/b.json", b"[]", base), _entry("a.csv", b"x,y\n", base)], tmp_path / "out")
    assert (tmp_path / "out" / "probes" / "b.json").read_bytes() == b"[]"
    manifest = read_json(tmp_path / "out" / "manifest.json")
    assert [(file["path"], file["bytes"]) for file in manifest["files"]] == [("a.csv", 4), ("probes/b.json", 2)]


def test_a_wrong_hash_is_refused_and_leaves_nothing(server, tmp_path):
    folder, base = server
    (folder / "a.csv").write_bytes(b"tampered")
    with pytest.raises(DataError, match="sha256 is .* the study expects"):
        retrieve([_entry("a.csv", b"x,y\n", base)], tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_a_folder_takes_the_place_of_the_network(tmp_path):
    (tmp_path / "a.csv").write_bytes(b"x,y\n")
    retrieve([_entry("a.csv", b"x,y\n")], tmp_path / "out", folder=tmp_path)
    assert (tmp_path / "out" / "a.csv").read_bytes() == b"x,y\n"
    with pytest.raises(DataError, match="b.csv: no such file"):
        retrieve([_entry("b.csv", b"")], tmp_path / "out", folder=tmp_path)


def test_a_file_that_is_already_there_is_not_fetched_again(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.csv").write_bytes(b"x,y\n")
    retrieve([_entry("a.csv", b"x,y\n", "http://127.0.0.1:9")], tmp_path / "out")


def test_a_url_out_of_reach_names_the_folder_option(server, tmp_path):
    with pytest.raises(DataError, match="cannot be fetched .*--config published=FOLDER"):
        retrieve([_entry("missing.csv", b"", server[1])], tmp_path / "out")


@pytest.mark.parametrize("path", ["../outside.csv", "/tmp/outside.csv"])
def test_a_table_stays_inside_its_folder(tmp_path: Path, path: str) -> None:
    with pytest.raises(DataError, match="leads out of the folder of the tables"):
        retrieve([{"path": path, "url": "https://h/x", "sha256": "0" * 64}], tmp_path / "tables")
