"""A study's files are held against their seals and provenance; what is damaged is named with the command."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from clip_scaling.cli.study import verify_study
from clip_scaling.records.files import describe_file, write_json
from clip_scaling.records.seal import seal
from clip_scaling.study.paths import StudyPaths
from clip_scaling.study.resolved import ResolvedStudy

from .finished import finish


def project(root: Path, study: ResolvedStudy, repository: Path) -> tuple[argparse.Namespace, Path]:
    """One cell with a sealed checkpoint, and a record that provenance.json knows."""
    (root / "config").symlink_to(repository / "config")
    home = finish(root, study, next(iter(study.cells.values())))
    seal(home / "checkpoint.pt")
    result = {"kind": "cell", "files": [describe_file(home / "train.json", root)]}
    provenance = StudyPaths(study.config.study, root / "results").folder / "provenance.json"
    write_json(provenance, {"data": [], "results": [result]})
    return argparse.Namespace(root=root, configfile=root / "config" / f"{study.config.study}.yaml"), home


def test_whole_files_agree(
    study: ResolvedStudy, repository: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    args, _ = project(tmp_path, study, repository)
    verify_study(args)
    assert capsys.readouterr().out == "2 files agree, 0 are damaged\n"


@pytest.mark.parametrize("name", ["checkpoint.pt", "train.json"])
def test_a_changed_byte_is_named_with_the_command_that_makes_the_file_again(
    study: ResolvedStudy, repository: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    args, home = project(tmp_path, study, repository)
    content = bytearray((home / name).read_bytes())
    content[3] ^= 1
    (home / name).write_bytes(content)
    with pytest.raises(SystemExit, match="1"):
        verify_study(args)
    printed = capsys.readouterr().out
    place = (home / name).relative_to(tmp_path)
    assert printed.startswith("1 files agree, 1 are damaged\n") and f"{place}: sha256 is not that" in printed
    assert f"rm {place} && snakemake --cores all" in printed and printed.rstrip().endswith(str(place))


@pytest.mark.parametrize("content", ["", "[]", '{"data": [1], "results": []}', '{"results": [{"files": [{}]}]}'])
def test_a_damaged_record_of_provenance_is_named(
    study: ResolvedStudy, repository: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str
) -> None:
    args, _ = project(tmp_path, study, repository)
    (StudyPaths(study.config.study, tmp_path / "results").folder / "provenance.json").write_text(content)
    with pytest.raises(SystemExit, match="1"):
        verify_study(args)
    assert "provenance.json: is no record of the provenance of a study" in capsys.readouterr().out
