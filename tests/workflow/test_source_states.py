"""The plan and Snakemake agree on which sources can be prepared, for every kind of source."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from clip_scaling.cost.results import Results
from clip_scaling.errors import ConfigError
from clip_scaling.plan.state import Blocks
from clip_scaling.study.resolve import load_study

from .test_existing import write_tars
from .test_image_files import write_images

HELD_OUT = {"captions": {"kind": "zeroshot_retrieval", "pairs": 20}}
COMMON = {"pairs": 100, "vocabulary_size": 600, "held_out": HELD_OUT}
URLS = {"kind": "url_list", "urls": "https://example.org", **COMMON}
# A url_list without lists is not among them: it is there to be planned, and a dry run of it shows the whole DAG.
SOURCES: dict[str, dict[str, Any]] = {
    "procedural": {"kind": "procedural", **COMMON},
    "iconify": {
        "kind": "iconify",
        "version": "2.2.535",
        "sha256": "0" * 64,
        "vocabulary_size": 600,
        "held_out": HELD_OUT,
    },
    "webdataset": {"kind": "webdataset", "tars": ["tars/*.tar"], **COMMON},
    "webdataset-absent": {"kind": "webdataset", "tars": ["elsewhere/*.tar"], **COMMON},
    "folder": {"kind": "folder", "path": "pictures", **COMMON},
    "folder-absent": {"kind": "folder", "path": "elsewhere", **COMMON},
    "table": {"kind": "table", "path": "pictures/pairs.csv", **COMMON},
    "table-absent": {"kind": "table", "path": "elsewhere.csv", **COMMON},
    "url_list": URLS | {"lists": ["list-0.parquet"]},
    "url_list-absent": URLS | {"lists": ["list-1.parquet"]},
}


@pytest.fixture(scope="module")
def project(make_project: Any) -> Any:
    """A project that has tars, images, a table and a list of URLs, and nothing of what is absent."""
    made = make_project()
    write_tars(made.root / "tars")
    write_images(made.root / "pictures", 10)
    pd.DataFrame({"url": ["https://example.org/0.jpg"], "caption": ["a"]}).to_parquet(made.root / "list-0.parquet")
    return made


@pytest.mark.slow
@pytest.mark.parametrize("case", SOURCES)
def test_the_plan_blocks_a_source_where_snakemake_refuses_it(
    case: str, project: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = project.study()
    study["sources"]["asked"] = SOURCES[case]
    study["data"]["Asked-50"] = {"source": "asked", "pairs": 50}
    monkeypatch.chdir(project.root)
    try:
        resolved = load_study(study, Path())
        is_blocked = bool(Blocks(resolved, Results(Path(), "tiny")).reason("Asked-50"))
    except ConfigError:
        is_blocked = True
    file = project.write(study)
    done = project.snakemake("-n", "results/data/Asked-50/manifest.json", "--configfile", file, check=False)
    assert is_blocked == bool(done.returncode), done.stdout
    assert is_blocked == ("absent" in case)
