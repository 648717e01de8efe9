"""The failure catalogue: an entry for each kind of error, a kind for each entry, and messages that the code gives."""

import ast
import errno
import pickle
import re
import subprocess
import sys
from pathlib import Path

import pytest

from clip_scaling import errors
from clip_scaling.errors import ConfigError, ManifestError, full_message, run_script

LIBRARY, PLUGIN = "clip_scaling", "snakemake_executor_plugin_submitit"


def kinds(folder: Path, *roots: str) -> set[str]:
    """Names of a package's classes that derive from one of the roots, directly or not; a root of its own among them."""
    bases: dict[str, set[str]] = {}
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                bases[node.name] = {base.id for base in node.bases if isinstance(base, ast.Name)}
    found = set(roots)
    while new := {name for name, parents in bases.items() if parents & found and name not in found}:
        found |= new
    return found & bases.keys()


def entries(page: Path, level: str) -> set[str]:
    """Headings of one level that are names of classes."""
    return set(re.findall(rf"^{level} (\w*(?:Error|Points))$", page.read_text(encoding="utf-8"), flags=re.M))


def texts(repository: Path) -> str:
    """All strings of the code, one a line, with a blank where something is filled in."""
    found = []
    for path in [*(repository / "workflow/src").rglob("*.py"), *(repository / "scripts").glob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                parts = [part.value if isinstance(part, ast.Constant) else "" for part in node.values]
                found.append("".join(str(part) for part in parts))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
    rules = [path.read_text(encoding="utf-8") for path in (repository / "workflow/rules").glob("*.smk")]
    return "\n".join(found + rules)


def test_every_kind_of_error_has_an_entry_and_every_entry_a_kind(repository: Path) -> None:
    source, docs = repository / "workflow/src", repository / "docs"
    assert entries(docs / "errors.md", "##") == kinds(source / LIBRARY, "ClipScalingError") | {"WorkflowError"}
    assert entries(docs / "cluster.md", "###") == kinds(source / PLUGIN, "WorkflowError", "Exception")


def test_the_catalogue_quotes_messages_that_the_code_gives(repository: Path) -> None:
    given = texts(repository)
    rows = re.findall(r"^\| (`.*?) \|", (repository / "docs/errors.md").read_text(encoding="utf-8"), flags=re.M)
    quoted = [text for row in rows for text in re.findall(r"`([^`]+)`", row)]
    assert len(quoted) > 40
    parts = [(text, part.strip(" :,;()")) for text in quoted for part in re.split(r"\.\.\.|\b[NM]\b|\{\w+\}", text)]
    assert [(text, part) for text, part in parts if part not in given and part.rstrip(".") not in given] == []


def test_an_error_is_told_with_its_kind_its_place_and_its_entry() -> None:
    assert (
        full_message(ConfigError("grid: no cell is left."))
        == "ConfigError: grid: no cell is left.\nMore: docs/errors.md#configerror"
    )
    assert full_message(ConfigError("bad"), place="a.yaml").startswith("ConfigError in a.yaml: bad\n")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_told_with_the_file_and_its_entry(number: int) -> None:
    def write() -> None:
        raise OSError(number, "full", "results/x.json")

    with pytest.raises(SystemExit) as ended:
        run_script(write)
    text = str(ended.value)
    assert text.startswith("DiskFullError: no space left while writing results/x.json.")
    assert text.endswith("\nMore: docs/errors.md#diskfullerror")


def test_another_error_of_the_system_keeps_its_traceback() -> None:
    def write() -> None:
        raise OSError(errno.EBADF, "bad", "results/x.json")

    with pytest.raises(OSError, match="bad"):
        run_script(write)


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.EFBIG, "DiskFullError: results/x.json would be larger than files may be here"),
        (errno.EROFS, "NotWritableError: results/x.json: not permitted (denied)"),
        (errno.EACCES, "NotWritableError: results/x.json: not permitted (denied)"),
    ],
)
def test_a_limit_and_a_folder_that_is_read_only_are_explained(number: int, said: str) -> None:
    def write() -> None:
        raise OSError(number, "denied", "results/x.json")

    with pytest.raises(SystemExit) as ended:
        run_script(write)
    assert str(ended.value).startswith(said)


def test_the_executors_errors_end_with_their_entries() -> None:
    from snakemake_executor_plugin_submitit.errors import ResourceError

    assert str(ResourceError("rule train: gpus=x.")) == "rule train: gpus=x.\nMore: docs/cluster.md#resourceerror"
    assert errors.entry("ConfigError").split()[-1] == "docs/errors.md#configerror"


def test_an_error_keeps_thing_place_and_remedy_through_a_process_pool() -> None:
    error = pickle.loads(pickle.dumps(ManifestError("3 bytes", place="a.tar", remedy="Delete it.")))
    assert (type(error), error.thing, error.place, error.remedy) == (ManifestError, "3 bytes", "a.tar", "Delete it.")
    assert str(error) == "a.tar: 3 bytes. Delete it."


def test_a_closed_pipe_ends_quietly() -> None:
    code = "from clip_scaling.errors import run_script; run_script(lambda: [print('x' * 80) for _ in range(100_000)])"
    writer = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert writer.stdout is not None and writer.stderr is not None
    writer.stdout.readline()
    writer.stdout.close()
    assert writer.stderr.read() == b"" and writer.wait() == 0


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://me:secret@host/a.tar", "https://***@host/a.tar"),
        ("https://secret@host/a.tar", "https://***@host/a.tar"),
        ("https://h/a?X-Amz-Signature=abc&part=1", "https://h/a?X-Amz-Signature=***&part=1"),
        ("curl 'https://h/a?token=abc' | tar x", "curl 'https://h/a?token=***' | tar x"),
        ("https://h/a@b?page=2", "https://h/a@b?page=2"),
    ],
)
def test_credentials_never_reach_an_errors_text(text: str, shown: str) -> None:
    from clip_scaling.errors import DataError, redacted

    assert redacted(text) == shown
    assert str(DataError("x", place=text, remedy=f"Look at {text}")) == f"{shown}: x. Look at {shown}"
