"""The page and Snakemake's own report of a whole study."""

from __future__ import annotations

import base64
import gzip
import json
import re
import zipfile
from typing import Any

import pandas as pd
import pytest

from clip_scaling.plan.files import open_study
from clip_scaling.plan.live import standings, summary
from clip_scaling.report.read import Inputs, read_study
from clip_scaling.report.summary import cost_summary

pytestmark = pytest.mark.slow
CELL = "Model-ViT-nano-8_Data-Scenes-1K_Samples-2K_Seed-0"


def test_the_page_carries_the_files_that_hold_its_numbers(finished: Any) -> None:
    folder = finished.root / "results" / "tiny"
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert len(page.encode()) <= 5_000_000
    packed = re.search(r'id="files">([^<]*)<', page)
    assert packed
    files = json.loads(gzip.decompress(base64.b64decode(packed[1])))
    for name in (f"train/{CELL}/train.json", f"evaluate/{CELL}/metrics.json", "tables/laws.csv", "plan/plan.json"):
        assert files[name] == (folder / name).read_text(encoding="utf-8")
    curves = json.loads(files["explorer.json"])["curves"]
    # Both cells' training loss, and the numbers of their validations.
    assert {curve["quantity"] for curve in curves} >= {"loss", "scenes-captions/contrastive_loss"}
    assert {len(curve["samples"]) for curve in curves if curve["quantity"] == "loss"} == {16}


def test_the_page_shows_the_data_card_with_its_contact_sheet(finished: Any) -> None:
    page = (finished.root / "results" / "tiny" / "report.html").read_text(encoding="utf-8")
    sheet = (finished.root / "results" / "tiny" / "data" / "Scenes-1K" / "contact_sheet.png").read_bytes()
    assert f'<img src="data:image/png;base64,{base64.b64encode(sheet).decode("ascii")}"' in page
    card = json.loads((finished.root / "results" / "tiny" / "data" / "Scenes-1K" / "card.json").read_text())
    assert (card["pairs"], card["measured_on_first_pairs"], card["unreadable"]) == (1000, 1000, 0)


def test_every_figure_is_there_as_svg_pdf_and_png(finished: Any) -> None:
    figures = finished.root / "results" / "tiny" / "figures"
    stems = {path.relative_to(figures).with_suffix("") for path in figures.rglob("*.svg")}
    assert {"laws", "predictions", "allocation", "bottleneck", "learning-curves"} <= {str(stem) for stem in stems}
    for stem in stems:
        assert (figures / f"{stem}.pdf").read_bytes().startswith(b"%PDF")
        assert (figures / f"{stem}.png").read_bytes().startswith(b"\x89PNG")


def test_the_command_on_the_page_draws_its_figure_again(finished: Any) -> None:
    page = (finished.root / "results" / "tiny" / "report.html").read_text(encoding="utf-8")
    command = re.search(r'<code class="command">(snakemake [^<]*figures/laws.pdf[^<]*)</code>', page)
    assert command and command[1].endswith("--configfile study.yaml")
    done = finished.snakemake(*command[1].split()[1:], "--dry-run")
    assert re.search(r"plot_laws +1\n", done.stdout)


def test_snakemakes_own_report_has_captions_and_categories(finished: Any) -> None:
    archive = finished.root / "snakemake.zip"
    finished.snakemake("--report", archive, "--configfile", finished.root / "study.yaml")
    with zipfile.ZipFile(archive) as opened:
        text = opened.read("snakemake/report.html").decode()
        names = {name.rpartition("/")[2] for name in opened.namelist()}
    assert {"report.html", "laws.svg", "learning-curves.svg", "bottleneck.svg"} <= names
    for category in ("Laws", "Training and data scale", "Data", "Report"):
        assert f'"{category}": {{' in text
    assert "Training loss against samples seen" in text and "Error on scenes" in text


def test_the_page_and_the_status_count_the_same_hours(finished: Any) -> None:
    study = open_study(finished.root / "study.yaml", finished.root)
    told = summary(study, finished.root, standings(study, finished.root))
    cells = pd.read_csv(finished.root / "results/tiny/tables/cells.csv")
    inputs = Inputs(finished.root / "results/tiny", "tiny", "", {}, "study.yaml", laws=[])
    counted = read_study(inputs)
    cost = cost_summary(counted.records, counted.job_seconds)
    assert cost and told["used_hours"] == pytest.approx(sum(cost["hours"].values()))
    # Whole jobs: the steps alone, on one thread each, are less.
    assert told["used_hours"] > cells["seconds"].sum() / 3600
