"""A study as an RO-Crate, read back by the library's own reader."""

from __future__ import annotations

import hashlib
import shutil
import socket
import subprocess
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from rocrate.model.file import File
from rocrate.rocrate import ROCrate

from clip_scaling.errors import ManifestError
from clip_scaling.records.files import write_json
from clip_scaling.share.crate import Contents, project_files, write_crate
from clip_scaling.share.locks import Results, gather

from .conftest import CELL, HOME

SCRIPTS = ("train", "evaluate", "fit_law", "write_report")
CITATION = {
    "title": "clip-scaling",
    "license": "MIT",
    "authors": [
        {"name": "A laboratory"},
        {"given-names": "Ada", "family-names": "L", "orcid": "https://orcid.org/0000-0000-0000-0001"},
    ],
    "references": [{"title": "A paper", "url": "https://example.org/paper", "authors": [{"name": "Others"}]}],
}


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError("the network was asked for something")

    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.fixture
def project(locked: tuple[Path, Results], repository: Path) -> tuple[Path, Contents]:
    root, results = locked
    (root / "config").unlink()
    (root / "config").mkdir()
    shutil.copy(repository / "config" / "offline.yaml", root / "config")
    (root / "scripts").mkdir()
    for name in ("Snakefile", *(f"scripts/{script}.py" for script in SCRIPTS)):
        (root / name).write_text(f"# {name}\n")
    table = HOME / "tables" / "metrics.csv"
    (root / table).parent.mkdir()
    (root / table).write_text("cell\n")
    locks = gather(results, root)
    write_json(root / HOME / "provenance.json", locks)
    files = [table, HOME / "provenance.json"]
    return root, Contents("A study", locks, Path("config/offline.yaml"), files, CITATION)


@pytest.fixture
def crate(project: tuple[Path, Contents]) -> ROCrate:
    root, contents = project
    write_crate(contents, root, root / "study.crate.zip")
    return ROCrate(root / "study.crate.zip")


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        yield from [value["@id"]]
    elif isinstance(value, list):
        for inner in value:
            yield from references(inner)


def test_every_file_is_described_by_its_hash_and_size_and_is_there(
    project: tuple[Path, Contents], crate: ROCrate
) -> None:
    with zipfile.ZipFile(project[0] / "study.crate.zip") as archive:
        names = set(archive.namelist()) - {"ro-crate-metadata.json"}
        for name in names:
            content, entity = archive.read(name), crate.get(name)
            assert isinstance(entity, File)
            assert entity["sha256"] == hashlib.sha256(content).hexdigest(), name
            assert entity["contentSize"] == str(len(content)), name
    assert {entity.id for entity in crate.data_entities} == names
    results = {"train.json", "curve.jsonl", "metrics.json", "contrastive_loss.json", "report.html", "provenance.json"}
    assert results | {"metrics.csv", "manifest.json", "ATTRIBUTION.md"} <= {Path(name).name for name in names}
    assert not [name for name in names if name.endswith((".pt", ".gz"))]


def test_the_crate_says_what_it_is_by_whom_and_under_which_licence(crate: ROCrate) -> None:
    root = crate.root_dataset
    assert (crate.name, crate.license.id) == ("A study", "https://spdx.org/licenses/MIT")
    assert [(author.type, author["name"]) for author in root["author"]] == [
        ("Organization", "A laboratory"),
        ("Person", "Ada L"),
    ]
    assert root["author"][1].id == "https://orcid.org/0000-0000-0000-0001"
    assert root["citation"][0]["name"] == "A paper"
    assert {profile.id for profile in root["conformsTo"]} == {
        "https://w3id.org/workflowhub/workflow-ro-crate/1.1",
        "https://w3id.org/ro/wfrun/process/0.6",
        "https://w3id.org/ro/wfrun/workflow/0.6",
    }


def test_the_run_is_an_action_of_the_workflow_and_each_locked_result_one_of_its_script(crate: ROCrate) -> None:
    assert {"File", "SoftwareSourceCode", "ComputationalWorkflow"} == set(crate.mainEntity.type)
    actions = {action.id: action for action in crate.root_dataset["mentions"]}
    assert actions["#run"]["instrument"] is crate.mainEntity
    assert "config/offline.yaml" in [entity.id for entity in actions["#run"]["object"]]
    cell = actions[f"#cell/{CELL}"]
    assert cell["instrument"].id == "scripts/train.py"
    # The first attempt, 1.8e9 seconds after 1970.
    assert str(cell["startTime"]).startswith("2027-01-15")
    assert {entity.id for entity in cell["result"]} == {
        f"{HOME}/train/{CELL}/{n}" for n in ("train.json", "curve.jsonl")
    }
    law = actions["#law/laws/scenes-captions/contrastive_loss"]
    assert law["instrument"].id == "scripts/fit_law.py" and "code c0ffeec0ffee+" in law["description"]
    assert actions["#report/report"]["instrument"].id == "scripts/write_report.py"
    assert len(actions) == 5
    versions = {entity["name"]: entity["version"] for entity in crate.mainEntity["softwareRequirements"]}
    assert {"torch", "numpy", "python"} <= versions.keys()


def test_every_reference_within_the_crate_leads_somewhere(crate: ROCrate) -> None:
    known = {entity.id for entity in crate.get_entities()}
    named = {
        name
        for entity in crate.get_entities()
        for key, value in entity.properties().items()
        if not key.startswith("@")
        for name in references(value)
        if not name.startswith("https://")
    }
    assert named <= known


def test_a_result_that_is_not_what_its_lock_says_is_refused(project: tuple[Path, Contents]) -> None:
    root, contents = project
    (root / HOME / "report.html").write_text("[]")
    with pytest.raises(ManifestError, match=r"report.html: .* Run `snakemake provenance` again"):
        write_crate(contents, root, root / "study.crate.zip")
    assert not (root / "study.crate.zip").exists()


def test_a_published_study_names_the_tables_that_it_is_based_on(
    project: tuple[Path, Contents], repository: Path
) -> None:
    root, contents = project
    study = yaml.safe_load((repository / "config" / "published.yaml").read_text())
    locks = contents.locks | {"results": [], "data": [], "study": "published", "config": {"study": study}}
    shutil.copy(repository / "config" / "published.yaml", root / "config")
    write_crate(Contents("", locks, Path("config/published.yaml"), [], CITATION), root, root / "published.crate.zip")
    crate = ROCrate(root / "published.crate.zip")
    assert crate.name == "published" and "released results of others" in crate.description
    based_on = {entity["name"]: entity["sha256"] for entity in crate.isBasedOn}
    assert based_on == {table["path"]: table["sha256"] for table in study["tables"]}


def test_of_a_checkout_only_what_git_knows_is_taken_and_the_study_file_from_anywhere(
    project: tuple[Path, Contents], tmp_path: Path
) -> None:
    root, contents = project
    (root / "config" / "secret.yaml").write_text("mine\n")
    assert Path("config/secret.yaml") in project_files(root)
    subprocess.run(["git", "init", "-q"], cwd=root, check=True)
    subprocess.run(["git", "add", "Snakefile", "scripts", "config/offline.yaml"], cwd=root, check=True)
    assert Path("config/secret.yaml") not in project_files(root)
    assert Path("scripts/train.py") in project_files(root)
    elsewhere = tmp_path / "mine.yaml"
    elsewhere.write_text("study: offline\n")
    write_crate(Contents("", contents.locks, elsewhere, contents.files, CITATION), root, root / "study.crate.zip")
    crate = ROCrate(root / "study.crate.zip")
    assert crate.get("mine.yaml") is not None and crate.get("config/secret.yaml") is None
