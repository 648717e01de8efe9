"""The page as a reader has it: opened from its file in Chromium, with the network off."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from clip_scaling.laws.study_tables import laws_table
from clip_scaling.records.training import TrainRecord
from clip_scaling.report.page import FIGURE_LABELS, StudyResults, render_report

from ..records.filled import filled, law_file, plan_file
from .conftest import make_fit, make_metrics

pytestmark = pytest.mark.browser
playwright = pytest.importorskip("playwright.sync_api", reason="playwright is of envs/dev.txt")

CELL = "Model-ViT-large_Data-Many_Samples-1M_Seed-0"
SVG = '<svg viewBox="0 0 1 1"><path id="p" d="M0 0h1"/></svg>'
CHOICE = {"source": "study", "left_out": "", "points": "all", "scale": "log", "estimator": "ols", "n_points": 12}


def interactive_study() -> StudyResults:
    """12 cells, each with curve and record; one target by three methods, one without a law, one of several factors."""
    metrics = make_metrics().query("dataset == 'icons'")
    # E = 2 C^-0.25 at 0.1 GMAC x 1,000,192 samples: an error of 0.112, of which the law says just that.
    rows = metrics.to_dict("records")
    last = next(row for row in rows if row["cell"] == CELL)
    foretold = {"predicted": last["value"], "low": 0.86, "high": 0.9, "actual": last["value"], "method": "ols-all"}
    foretold |= {name: last[name] for name in ("source", "model", "samples_seen", "data", "compute_gmacs")}
    law = law_file(
        fits=[
            make_fit(),
            make_fit("no law: flat, over all 12 runs", method="binned-min-5"),
            make_fit(method="loglinear", beta=None, curve=[]),
        ],
        predictions=[foretold],
        sensitivity=[CHOICE | {"alpha": -0.25}, CHOICE | {"estimator": "huber", "alpha": -0.2}],
    )
    shared = ("cell", "model", "data", "samples_seen", "compute_gmacs", "gmacs_per_sample")
    provenance = {"commit": "abc123def456", "uncommitted_changes": False, "versions": {"torch": "2"},
                  "platform": "Linux", "finished_utc": "2026-01-01T00:00:00+00:00"}  # fmt: skip
    records = [
        filled(TrainRecord, **{name: row[name] for name in shared}, parameters=1000, recipe={"learning_rate": 0.002},
               final_loss=3.5, seconds=3600.0, samples_per_second=10.0, device="cpu", threads=2, ranks=1,
               attempts=[{}, {"lost_seconds": 360.0}], provenance=provenance)
        for row in rows
    ]  # fmt: skip
    curve = pd.DataFrame({"samples": [256, 1024, 4096], "loss": [5.0, 4.0, 3.5]})
    files = {"laws/icons/acc1.json": law.model_dump_json(indent=1)}
    files |= {f"train/{record.cell}/train.json": record.model_dump_json() for record in records}
    return StudyResults(
        name="tiny",
        title="A tiny study",
        metrics=metrics,
        law_table=laws_table([law]),
        laws=[law],
        records=records,
        job_seconds={record.cell: record.seconds for record in records},
        plan=plan_file({record.cell: 1.0 for record in records}),
        curves={record.cell: curve for record in records},
        figures={kind: SVG for kind in FIGURE_LABELS},
        single_figures=[("icons", "acc1")],
        files=files,
    )


@dataclass
class Reader:
    """A browser at a page of its own, and what it complained of or asked for."""

    browser: Any
    path: Path
    complaints: list[str] = field(default_factory=list)

    def open(self, width: int = 1280, scheme: str = "light", scripts: bool = True) -> Any:
        self.complaints.clear()
        for old in self.browser.contexts:
            old.close()
        context = self.browser.new_context(
            viewport={"width": width, "height": 800}, color_scheme=scheme, java_script_enabled=scripts, offline=True
        )
        page = context.new_page()
        page.on("console", lambda message: self.complaints.append(message.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", lambda request: self._asked(request.url))
        page.goto(self.path.as_uri())
        if scripts:
            page.wait_for_selector("#sensitivity-chart svg")
        return page

    def _asked(self, url: str) -> None:
        if url != self.path.as_uri() and not url.startswith(("data:", "blob:")):
            self.complaints.append(url)


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    names = ("chromium", "chromium-browser", "google-chrome")
    chromium = next((found for name in names if (found := shutil.which(name))), None)
    if chromium is None:
        pytest.skip("there is no Chromium (Debian: apt install chromium)")
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(render_report(interactive_study()), encoding="utf-8")
    with playwright.sync_playwright() as driver:
        # Chromium has no sandbox for root, and the page is the project's own.
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield Reader(browser, path)
        browser.close()


def points(page: Any) -> int:
    """Marks that the chart of the law has drawn."""
    return int(page.locator("#law-chart .mark-symbol path").count())


def test_the_page_draws_its_charts_offline_asks_nothing_and_complains_of_nothing(reader: Reader) -> None:
    page = reader.open()
    assert points(page) == 12
    assert page.locator("#curve-chart .mark-line path").count() == 12
    assert page.locator("#sensitivity-chart .mark-symbol path").count() == 2
    assert page.inner_text("#shown-points") == "12 of 12 points shown"
    assert reader.complaints == []


def test_filters_axes_and_methods_change_what_is_drawn(reader: Reader) -> None:
    page = reader.open()
    page.get_by_label("Few (1K)").uncheck()
    page.wait_for_function("document.querySelectorAll('#law-chart .mark-symbol path').length === 6")
    assert page.inner_text("#shown-points") == "6 of 12 points shown"
    page.select_option("#axis", "samples_seen")
    page.wait_for_selector("#law-chart text:text-is('samples seen')")
    assert "E = 2 C−0.250 (95 % interval −0.271 to −0.229). Law. Method ols-all, 6 points." in page.text_content(
        "#verdicts"
    )
    page.select_option("#method", "binned-min-5")
    page.wait_for_function("document.getElementById('verdicts').textContent.startsWith('No law: flat')")
    page.select_option("#method", "loglinear")
    page.wait_for_function("document.getElementById('verdicts').textContent.startsWith('Exponent of compute −0.250')")
    for name in ("ViT-small (10 MMAC)", "ViT-large (0.1 GMAC)"):
        page.get_by_label(name).uncheck()
    page.wait_for_selector("#no-points:visible")
    assert reader.complaints == []


def test_a_point_tells_its_cell_recipe_and_provenance_on_hover_and_click(reader: Reader) -> None:
    page = reader.open()
    page.select_option("#axis", "gmacs_per_sample")
    page.wait_for_selector("#law-chart text:text-is('model size (GMAC per sample)')")
    for name in ("Few (1K)", "ViT-small (10 MMAC)"):
        page.get_by_label(name).uncheck()
    page.wait_for_function("document.querySelectorAll('#law-chart .mark-symbol path').length === 3")
    page.locator("#law-chart .mark-symbol path").last.hover()
    page.wait_for_selector("#vg-tooltip-element.visible")
    hint = page.inner_text("#vg-tooltip-element")
    assert CELL in hint and "0.002" in hint and "abc123def456" in hint and "0.1125" in hint
    page.locator("#law-chart .mark-symbol path").last.click()
    page.wait_for_selector("#cell-card h4")
    told = page.inner_text("#cell-card")
    assert CELL in told and "abc123def456" in told and "learning rate" in told
    assert reader.complaints == []


def test_what_the_law_predicts_is_drawn_beside_what_was_measured(reader: Reader) -> None:
    page = reader.open()
    assert page.locator("#law-chart .mark-rect.layer_4_marks path").count() == 0
    page.get_by_label("what the law predicts for each cell").check()
    page.wait_for_selector("#law-chart .layer_4_marks path", state="attached")
    assert page.locator("#law-chart .layer_4_marks path").count() == 1


def test_a_cell_can_be_chosen_by_keyboard_alone(reader: Reader) -> None:
    page = reader.open()
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.id") == "cell":
            break
    page.keyboard.press("ArrowDown")
    page.wait_for_selector("#cell-card h4")
    assert "Model-ViT-small_Data-Few_Samples-10K_Seed-0" in page.inner_text("#cell-card")


def test_a_link_saves_the_very_file_that_holds_the_number(reader: Reader) -> None:
    page = reader.open()
    with page.expect_download() as started:
        page.locator("#law-json a").click()
    assert started.value.suggested_filename == "laws__icons__acc1.json"
    saved = Path(started.value.path()).read_text(encoding="utf-8")
    assert saved == interactive_study().files["laws/icons/acc1.json"]
    with page.expect_download() as started:
        page.click("#save-points")
    lines = Path(started.value.path()).read_text(encoding="utf-8").splitlines()
    assert len(lines) == 13 and lines[0].endswith("compute_gmacs,error,error_low,error_high")


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (1280, "dark"), (390, "light"), (390, "dark")])
def test_the_page_is_accessible_at_any_width_in_light_and_dark(reader: Reader, width: int, scheme: str) -> None:
    from axe_playwright_python.sync_playwright import Axe

    page = reader.open(width, scheme)
    page.select_option("#cell", "3")
    page.wait_for_selector("#cell-card h4")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    found = Axe().run(page).response["violations"]
    assert [(rule["id"], [node["html"][:200] for node in rule["nodes"]]) for rule in found] == []


def test_without_scripts_the_figures_and_tables_remain(reader: Reader) -> None:
    page = reader.open(scripts=False)
    assert not page.locator("#explore").is_visible()
    assert page.locator("figure svg").count() == len(FIGURE_LABELS)
    assert "Scripts are off" in page.inner_text("body")
    assert page.locator("a[data-file='laws/icons/acc1.json']").first.get_attribute("href") == "laws/icons/acc1.json"
