import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from clip_scaling.data.sources.registry import Source

SHAPES = {
    "kind": "procedural",
    "pairs": 30,
    "shard_size": 10,
    "held_out": {"captions": {"kind": "zeroshot_retrieval", "pairs": 10}},
}


def run(repository: Path, script: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, repository / "scripts" / script, *arguments],
        env={"PYTHONPATH": str(repository / "workflow/src")},
        capture_output=True,
        text=True,
    )


def recipe(name: str, settings: dict[str, Any]) -> list[str]:
    """A source's settings as the rule gives them."""
    source = TypeAdapter(Source).validate_python(settings)
    return ["--recipe", json.dumps(source.tracked()), "--beside", json.dumps({name: source.beside()})]


def test_a_source_and_its_subset_are_made_from_the_command_line(repository: Path, tmp_path: Path) -> None:
    source, data = tmp_path / "shapes/manifest.json", tmp_path / "Shapes-20/manifest.json"
    made = run(repository, "prepare_source.py", "--name", "shapes", *recipe("shapes", SHAPES), "--output", source)
    assert made.returncode == 0, made.stderr
    assert "INFO drawn=30/30" in made.stderr
    subset = ("--name", "Shapes-20", "--source", source, "--pairs", "20", "--output", data)
    made = run(repository, "prepare_subset.py", *subset)
    assert made.returncode == 0, made.stderr
    assert json.loads(data.read_text())["pairs"] == 20


def test_an_error_is_one_line_with_its_entry_in_the_catalogue_and_exit_code_1(repository: Path, tmp_path: Path) -> None:
    web = {"kind": "url_list", "urls": "https://example.org", "pairs": 10}
    output = tmp_path / "x/manifest.json"
    failed = run(repository, "prepare_source.py", "--name", "x", *recipe("x", web), "--output", output)
    assert failed.returncode == 1
    assert failed.stderr.splitlines() == [
        "DataError: source x: names no `lists`, so it can be planned, not prepared. Give them as the files of "
        "config/sources/ do.",
        "More: docs/errors.md#dataerror",
    ]
