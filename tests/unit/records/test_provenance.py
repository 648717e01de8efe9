"""What a result says of the code, machine and job that made it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from clip_scaling.records import provenance
from clip_scaling.records.provenance import Code, keep_diff, write_lock

DIFF = "diff --git a/Snakefile b/Snakefile\n-a\n+b"


@pytest.fixture
def edited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provenance, "code", lambda: Code("c0ffee", DIFF))


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=n", "-c", "user.email=e@example.org"]
    return subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout that holds this module, and prints what it finds of itself."""
    package = tmp_path / "workflow" / "clip_scaling"
    package.mkdir(parents=True)
    library = Path(provenance.__file__).parents[1]
    rooms = [path.relative_to(library) for room in ("records", "machine") for path in (library / room).glob("*.py")]
    for name in (*rooms, "errors.py", "__init__.py"):
        (package / name).parent.mkdir(exist_ok=True)
        (package / name).write_text((library / name).read_text())
    (tmp_path / "notes.md").write_text("notes\n")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-qm", "first")
    return tmp_path


def found(checkout: Path) -> dict[str, str]:
    code = "from clip_scaling.records.provenance import code; c = code()"
    said = f"import json; {code}; print(json.dumps([c.commit, c.diff]))"
    command = [sys.executable, "-B", "-c", f"import sys; sys.path.insert(0, 'workflow'); {said}"]
    done = subprocess.run(command, cwd=checkout, check=True, capture_output=True, text=True)
    return dict(zip(("commit", "diff"), json.loads(done.stdout), strict=True))


def test_a_clean_checkout_is_its_commit(checkout: Path) -> None:
    (checkout / "notes.md").write_text("no number follows from this\n")
    assert found(checkout) == {"commit": git(checkout, "rev-parse", "HEAD").strip(), "diff": ""}


def test_edited_and_new_code_is_in_the_diff(checkout: Path) -> None:
    (checkout / "workflow" / "clip_scaling" / "errors.py").write_text(
        "class ManifestError(Exception): ...\n\n\ndef redacted(text): ...\n"
    )
    (checkout / "workflow" / "größe.py").write_text("")  # git would quote the name
    git(checkout / "workflow", "init", "-q", "another")
    diff = found(checkout)["diff"]
    assert "+class ManifestError(Exception): ..." in diff
    # sha256 of nothing.
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert diff.endswith(f"untracked workflow/größe.py sha256 {empty}")


def test_a_library_inside_anothers_checkout_is_not_of_its_commit(checkout: Path) -> None:
    git(checkout, "rm", "-rq", "--cached", "workflow")
    git(checkout, "commit", "-qm", "second")
    assert found(checkout) == {"commit": None, "diff": ""}


def test_a_job_is_known_by_slurms_names(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in provenance.JOB_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    assert provenance.job() == {}
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "3")
    assert provenance.job() == {"slurm_job_id": "17", "slurm_array_task_id": "3"}


def test_a_lock_lies_beside_its_result_with_the_diff_and_the_hashes_of_its_inputs(edited: None, tmp_path: Path) -> None:
    (tmp_path / "acc1.json").write_text("{}")
    (tmp_path / "table").write_text("")
    write_lock(tmp_path / "acc1.json", [tmp_path / "table"], "numpy")
    lock = json.loads((tmp_path / "acc1.lock").read_text())
    assert (lock["commit"], lock["uncommitted_changes"]) == ("c0ffee", True)
    assert lock["inputs"] == {
        str(tmp_path / "table"): "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    }
    assert lock["sha256"] == "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"  # of {}
    assert set(lock["versions"]) == {"python", "numpy"} and lock["hardware"]["cores"] >= 1
    assert (tmp_path / "acc1.diff").read_text() == DIFF + "\n"


def test_the_diff_of_a_former_result_goes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "acc1.diff").write_text("old")
    monkeypatch.setattr(provenance, "code", lambda: Code("c0ffee", ""))
    keep_diff(tmp_path / "acc1.json")
    assert not (tmp_path / "acc1.diff").exists()


def test_of_a_long_diff_only_the_files_are_kept(edited: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(provenance, "MAX_DIFF_BYTES", 10)
    keep_diff(tmp_path / "acc1.json")
    text = (tmp_path / "acc1.diff").read_text()
    assert text == "40 bytes, more than 10: only the files\ndiff --git a/Snakefile b/Snakefile\n"


def test_what_git_refuses_to_say_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provenance, "code", lambda: Code("abc", "", is_known=False))
    assert provenance.provenance().uncommitted_changes is None
    monkeypatch.setattr(provenance, "code", lambda: Code("abc", ""))
    assert provenance.provenance().uncommitted_changes is False


def test_a_checkout_that_git_does_not_trust_is_unknown(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # What git does with a checkout of another user.
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    said = "from clip_scaling.records.provenance import code, provenance; print(provenance().uncommitted_changes)"
    command = [sys.executable, "-B", "-c", f"import sys; sys.path.insert(0, 'workflow'); {said}"]
    done = subprocess.run(command, cwd=checkout, check=True, capture_output=True, text=True)
    assert done.stdout == "None\n"
