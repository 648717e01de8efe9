"""A study as an RO-Crate: one archive that says what was made, from what, by what, and under which licence.

RO-Crate 1.3 with the profiles Workflow RO-Crate 1.1 and Workflow Run Crate 0.6 (https://w3id.org/ro/wfrun/workflow/0.6):
the Snakefile is the main entity, the study one CreateAction of it, and each result with a lock a CreateAction of its
script. Paths are those of the project, so that the unpacked crate is a project that runs.
"""

from __future__ import annotations

import datetime
import mimetypes
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from rocrate.model.contextentity import ContextEntity
from rocrate.rocrate import ROCrate

from ..records.files import FileEntry, atomic_path, sha256_file, verify_files
from ..records.provenance import CODE, code, tracked_files
from ..study.paths import DataPaths, StudyPaths

PROJECT = (*CODE, "profiles", "Makefile", "LICENSE", "README.md", "CITATION.cff")
"""What of the project is in the crate: all that a rerun needs."""
PROFILES = {
    "https://w3id.org/ro/wfrun/process/0.6": "Process Run Crate",
    "https://w3id.org/ro/wfrun/workflow/0.6": "Workflow Run Crate",
}
SCRIPTS = {
    "cell": "train",
    "evaluate": "evaluate",
    "fine_tune": "fine_tune",
    "law": "fit_law",
    "report": "write_report",
}
FORMATS = {
    **{".parquet": "application/vnd.apache.parquet", ".yaml": "application/yaml", ".jsonl": "application/jsonl"},
    **{".smk": "text/plain", ".md": "text/markdown", ".toml": "application/toml", ".cff": "application/yaml"},
}
WEIGHTS = {".pt"}
"""Not in the crate: provenance.json knows them by their hashes, `clip-scaling export` takes them out."""


@dataclass(frozen=True)
class Contents:
    """What a crate is made of, all paths from the project's folder.

    locks: content of provenance.json. configfile: the study file. files: tables and figures, and provenance.json.
    citation: content of CITATION.cff.
    """

    title: str
    locks: dict[str, Any]
    configfile: Path
    files: Sequence[Path]
    citation: dict[str, Any]


def write_crate(contents: Contents, root: Path, output: Path) -> int:
    """Write the crate as a zip file; returns its number of files. Nothing is asked of the network.

    ManifestError where a result is not what provenance.json says.
    """
    results = contents.locks["results"]
    kept = [entry for result in results for entry in result["files"] if Path(entry["path"]).suffix not in WEIGHTS]
    listed = [FileEntry(entry["path"], entry["bytes"], entry["sha256"]) for entry in [*kept, *contents.locks["data"]]]
    verify_files(listed, root, "Run `snakemake provenance` again.")
    crate = _Crate(contents, root)
    with atomic_path(output) as temporary:
        crate.crate.write_zip(temporary)
    return len(crate.paths)


class _Crate:
    """The crate while it is filled. paths: of the project's files that are in it."""

    def __init__(self, contents: Contents, root: Path) -> None:
        self.contents, self.root = contents, root
        self.paths: dict[str, Any] = {}
        self.crate = ROCrate()
        locks, config = contents.locks, contents.locks["config"]["study"]
        self._add_workflow()
        for path in project_files(root):
            self._add(path)
        for result in locks["results"]:
            for entry in result["files"]:
                if Path(entry["path"]).suffix not in WEIGHTS:
                    self._add(Path(entry["path"]))
        for entry in locks["data"]:
            self._add(Path(entry["path"]), description="Data, by counts and hashes: the data themselves are not here")
            attribution = Path(entry["path"]).with_name("ATTRIBUTION.md")
            if (root / attribution).is_file():
                self._add(attribution, description="Authors and licences of the data")
        for path in contents.files:
            self._add(path)
        self._describe(config)
        self._add_actions()

    # ------------------------------------------------------------ files

    def _place(self, path: Path) -> str:
        """Where a file lies in the crate: its path in the project; its name, where it is from outside."""
        whole = (self.root / path).absolute()
        home = self.root.absolute()
        return whole.relative_to(home).as_posix() if whole.is_relative_to(home) else path.name

    def _about(self, path: Path) -> dict[str, str]:
        kind = FORMATS.get(path.suffix) or mimetypes.guess_type(path.name)[0] or "text/plain"
        size = (self.root / path).stat().st_size
        return {"sha256": sha256_file(self.root / path), "contentSize": str(size), "encodingFormat": kind}

    def _add(self, path: Path, **about: str) -> Any:
        place = self._place(path)
        if place not in self.paths:
            described: dict[str, Any] = self._about(path) | {"name": place} | about
            if path.suffix in (".py", ".smk"):
                described["@type"] = ["File", "SoftwareSourceCode"]
            self.paths[place] = self.crate.add_file(self.root / path, place, properties=described)
        return self.paths[place]

    def _add_workflow(self) -> None:
        now, made = code(), ", ".join(sorted(self.contents.locks["code"]))
        edited = f" with uncommitted changes of sha256 {now.diff_sha256}" if now.diff else ""
        self.paths["Snakefile"] = self.crate.add_workflow(
            self.root / "Snakefile",
            "Snakefile",
            properties=self._about(Path("Snakefile"))
            | {
                "name": self.contents.citation["title"],
                "version": f"{now.commit or 'unknown'}{edited}",
                "description": f"The whole workflow. The results were made by it at {made} (provenance.json, `code`)",
            },
            main=True,
            lang="snakemake",
        )

    # ------------------------------------------------------------ what the whole is

    def _describe(self, config: dict[str, Any]) -> None:
        crate, cff = self.crate, self.contents.citation
        name = self.contents.locks["study"]
        self.study = self._add(self.contents.configfile, description=f"The study {name}: what was asked")
        cells = sum(result["kind"] == "cell" for result in self.contents.locks["results"])
        crate.name = self.contents.title or name
        made = f"{cells} CLIP models trained over a grid of model size, data and samples seen" if cells else (
            "released results of others, which are not in this crate"
        )  # fmt: skip
        crate.description = f"Scaling laws of contrastive language-image learning: study {name}, from {made}."
        crate.root_dataset["license"] = self._entity(
            f"https://spdx.org/licenses/{cff['license']}", "CreativeWork", name=cff["license"]
        )
        authors = [self._author(number, author) for number, author in enumerate(cff["authors"], start=1)]
        crate.root_dataset["author"] = authors
        crate.mainEntity["creator"] = authors
        crate.mainEntity["license"] = crate.root_dataset["license"]
        for profile, title in PROFILES.items():
            version = profile.rpartition("/")[2]
            entity = self._entity(profile, ["CreativeWork", "Profile"], name=title, version=version)
            crate.root_dataset.append_to("conformsTo", entity)
        for article in cff.get("references", []):
            written_by = ", ".join(_name(author) for author in article["authors"])
            cited = self._entity(article["url"], "ScholarlyArticle", name=article["title"], creditText=written_by)
            crate.root_dataset.append_to("citation", cited)
        for table in config.get("tables", []):
            based_on = self._entity(table["url"], "CreativeWork", name=table["path"], sha256=table["sha256"])
            crate.root_dataset.append_to("isBasedOn", based_on)

    def _author(self, number: int, author: dict[str, str]) -> Any:
        kind = "Organization" if "name" in author else "Person"
        return self._entity(author.get("orcid", f"#author-{number}"), kind, name=_name(author))

    def _entity(self, identifier: str, kind: Any, **about: Any) -> Any:
        return self.crate.add(ContextEntity(self.crate, identifier, properties={"@type": kind, **about}))

    # ------------------------------------------------------------ what was run

    def _add_actions(self) -> None:
        locks = self.contents.locks
        made = [result for result in locks["results"] if result["lock"] is not None and _script(result)]
        for name, version in sorted({pair for result in made for pair in result["lock"]["versions"].items()}):
            software = self._entity(f"#software-{name}-{version}", "SoftwareApplication", name=name, version=version)
            self.crate.mainEntity.append_to("softwareRequirements", software)
        begun, ended = [time for time, _ in map(_times, made)], [time for _, time in map(_times, made)]
        if ended:
            self.crate.datePublished = max(ended)
        times = {"startTime": min(begun), "endTime": max(ended)} if made else {}
        self._action(
            "#run",
            f"Run of study {locks['study']}",
            self.crate.mainEntity,
            [self.study, *self._there(entry["path"] for entry in locks["data"])],
            self._there(path for path in self.paths if path.startswith(f"results/{locks['study']}/")),
            **times,
        )
        for result in made:
            begin, end = _times(result)
            lock = result["lock"]
            where = [f"on {lock['host']}", *(f"{key} {value}" for key, value in sorted(lock.get("job", {}).items()))]
            self._action(
                f"#{result['kind']}/{quote(result['name'])}",
                f"{_script(result)} {result['name']}",
                self.paths[f"scripts/{_script(result)}.py"],
                self._inputs(result),
                self._there(entry["path"] for entry in result["files"]),
                description=f"{', '.join(where)}; code {lock['code']}",
                startTime=begin,
                endTime=end,
            )

    def _action(
        self, identifier: str, name: str, tool: Any, inputs: list[Any], outputs: list[Any], **about: str
    ) -> None:
        action = self._entity(identifier, "CreateAction", name=name, **about)
        action["instrument"], action["object"], action["result"] = tool, inputs, outputs
        action["actionStatus"] = "http://schema.org/CompletedActionStatus"
        self.crate.root_dataset.append_to("mentions", action)

    def _inputs(self, result: dict[str, Any]) -> list[Any]:
        """What of the crate a result was made from."""
        lock = result["lock"]
        if result["kind"] == "cell":
            return [self.study, *self._there([str(DataPaths().manifest(lock["data"]["data"]))])]
        if result["kind"] == "evaluation":
            trained = [str(StudyPaths(self.contents.locks["study"]).trained(Path(result["name"]).parts[1]))]
            return self._there([*trained, *(str(DataPaths().manifest(name)) for name in lock.get("sets_sha256", []))])
        return self._there(lock["inputs"])

    def _there(self, paths: Iterable[str]) -> list[Any]:
        return [self.paths[path] for path in paths if path in self.paths]


def project_files(root: Path) -> list[Path]:
    """The project's files of `PROJECT`, from its folder: those that git knows, all of them outside a checkout."""
    known = tracked_files(root, PROJECT)
    if known is None:
        tops = [root / name for name in PROJECT if (root / name).exists()]
        found = [path for top in tops for path in ([top] if top.is_file() else top.rglob("*"))]
        known = [path.relative_to(root) for path in sorted(found) if not _is_left_out(path.relative_to(root))]
    return [path for path in known if (root / path).is_file()]


def _is_left_out(path: Path) -> bool:
    """What tools leave behind."""
    return any(part.startswith(".") or part == "__pycache__" or part.endswith(".egg-info") for part in path.parts)


def _script(result: dict[str, Any]) -> str:
    """The script that makes a result; empty for what is part of another."""
    kind = result["name"].partition("/")[0] if result["kind"] == "evaluation" else result["kind"]
    return SCRIPTS.get(kind, "")


def _times(result: dict[str, Any]) -> tuple[str, str]:
    """(begin, end), UTC. A cell began with its first attempt; older locks of other results do not know their begin."""
    lock = result["lock"]
    if lock.get("attempts"):
        begin = datetime.datetime.fromtimestamp(lock["attempts"][0]["started"], datetime.UTC)
        return begin.isoformat(timespec="seconds"), lock["finished_utc"]
    return lock.get("started_utc", lock["finished_utc"]), lock["finished_utc"]


def _name(author: dict[str, str]) -> str:
    return author.get("name") or f"{author['given-names']} {author['family-names']}"
