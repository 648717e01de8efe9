import dataclasses
from html.parser import HTMLParser
from typing import Any

import pandas as pd
import pytest

from clip_scaling.records.laws import Comparison, NextCell
from clip_scaling.records.training import TrainRecord
from clip_scaling.report.page import FIGURE_LABELS, ShownCard, StudyResults, render_report
from clip_scaling.report.summary import cell_table, cost_summary, headlines, learning_rate_table, recipe_tables

from ..records.filled import filled
from ..records.manifests import evaluation_manifest, source_manifest


class Page(HTMLParser):
    """Collects what the tests ask of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.headings: list[int] = []
        self.tables = self.captions = 0
        self.text: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        known = dict(attrs)
        if known.get("id"):
            self.ids.append(known["id"] or "")
        self.links += [value or "" for name, value in attrs if name in ("href", "src", "xlink:href")]
        if tag in ("h1", "h2", "h3"):
            self.headings.append(int(tag[1]))
        self.tables += tag == "table"
        self.captions += tag == "caption"

    def handle_data(self, data: str) -> None:
        self.text.append(data)


SVG = '<svg viewBox="0 0 1 1"><defs><path id="p"/></defs><use xlink:href="#p"/></svg>'


@pytest.fixture
def page(study: StudyResults) -> Page:
    figures = {kind: SVG for kind in FIGURE_LABELS}
    return Page(render_report(dataclasses.replace(study, figures=figures, single_figures=[("icons", "acc1")])))


def test_the_page_asks_nothing_of_any_network(page: Page) -> None:
    assert not [link for link in page.links if "//" in link]


def test_ids_are_unique_and_inner_links_lead_somewhere(page: Page) -> None:
    assert len(page.ids) == len(set(page.ids))
    assert {link[1:] for link in page.links if link.startswith("#")} <= set(page.ids)


def test_headings_do_not_skip_a_level_and_every_table_has_a_caption(page: Page) -> None:
    assert page.headings[0] == 1 and page.headings.count(1) == 1
    assert all(b - a <= 1 for a, b in zip(page.headings, page.headings[1:], strict=False))
    assert page.tables == page.captions > 4


def test_the_first_screen_answers_what_which_how_sure_and_at_what_cost(study: StudyResults) -> None:
    text = render_report(study)
    first = " ".join("".join(Page(text[: text.index('id="explore"')]).text).split())
    assert "12 cells" in first
    assert "E = 2 C−0.250" in first
    assert "[−0.271, −0.229]" in first
    assert "Of 2 fits 1 are laws, 0 with a reservation, 1 no law." in first
    assert "2 CPU core-hours" in first  # 12 cells x 300 s x 2 threads


def test_text_from_outside_is_escaped(study: StudyResults) -> None:
    assert "A &lt;tiny&gt; study" in render_report(study)


def test_the_same_study_gives_the_same_page(study: StudyResults) -> None:
    assert render_report(study) == render_report(study)


def test_a_study_that_trained_nothing_has_a_page_without_training(study: StudyResults) -> None:
    text = render_report(dataclasses.replace(study, records=(), manifests=()))
    assert "no training" in text
    assert 'id="recipes"' not in text and 'id="data"' not in text and 'id="provenance"' not in text


def test_fates_of_pairs_are_shown_with_their_share(study: StudyResults) -> None:
    text = "|".join(part.strip() for part in Page(render_report(study)).text if part.strip())
    assert "dropped: duplicate pixels|100|10.0 %" in text


def test_no_law_means_no_numbers(no_law: dict[str, Any]) -> None:
    (row,) = headlines([no_law], {})
    assert (row["alpha"], row["beta"], row["tenfold"], row["law"]) == ("", "", None, False)


def test_hours_count_threads_on_a_cpu_and_jobs_elsewhere(records: list[TrainRecord]) -> None:
    records[0] = records[0].model_copy(update={"device": "cuda:0", "threads": 8, "seconds": 7200.0})
    cost = cost_summary(records, {record.cell: record.seconds for record in records})
    assert cost is not None
    assert cost["hours"] == pytest.approx({"cuda": 2.0, "cpu": 11 * 300 * 2 / 3600})


def test_a_value_that_was_not_measured_is_empty_and_never_zero(metrics: pd.DataFrame) -> None:
    metrics.loc[0, "value"] = float("nan")
    table = cell_table(metrics, [])
    place = [label for label, _ in table["columns"]].index("icons top-1 accuracy")
    assert table["rows"][0]["values"][place] == ("", None)
    assert table["rows"][1]["values"][place][0] == "0.100"


def test_recipes_are_split_into_what_is_shared_and_what_differs(records: list[TrainRecord]) -> None:
    tables = recipe_tables(records)
    assert tables is not None
    assert tables["shared"] == {"global_batch_size": "256", "gradient_clip": "none"}
    assert tables["columns"][-1] == "learning_rate"
    assert [row[-1] for row in tables["rows"]] == ["0.002", "0.001"]


def test_the_chosen_learning_rate_is_marked() -> None:
    sweep = pd.DataFrame(
        {
            "model": ["a", "a", "b"],
            "data": "Many",
            "samples_seen": 100_000,
            "global_batch_size": 256,
            "learning_rate": [1e-3, 2e-3, 2e-3],
            "final_loss": [3.0, 2.5, 2.0],
            "chosen": [False, True, True],
        }
    )
    table = learning_rate_table(sweep)
    assert table is not None
    assert table["rates"] == ["0.001", "0.002"]
    assert table["rows"][0]["cells"] == [("3.000", False), ("2.500", True)]
    assert table["rows"][1]["cells"] == [("", False), ("2.000", True)]
    assert table["rows"][0]["optimum"] == "not found: the loss is least at the highest rate, 0.002. Try 0.004 and 0.008"


def test_the_page_ranks_the_next_cells_where_law_files_do(study: StudyResults) -> None:
    assert "What to train next" not in render_report(study)
    cell = {"source": "study", "method": "loglinear", "model": "", "data": "Many", "gmacs_per_sample": 0.2}
    cell |= {"samples_seen": 3e6, "compute_gmacs": 6e5, "half_width_now": 0.02, "half_width_then": 0.0185}
    ranked = [filled(NextCell, shrinkage=0.075, **cell)]
    laws = [study.laws[0].model_copy(update={"next_cells": ranked}), *study.laws[1:]]
    page = render_report(dataclasses.replace(study, laws=laws))
    assert "What to train next" in page and "a larger model" in page
    assert "7.5 %" in page and "± 0.0185" in page


def test_the_page_marks_the_method_that_the_hold_out_chose(study: StudyResults) -> None:
    rows = pd.DataFrame(
        [
            {"source": "study", "method": "ols-all", "targets": 2, "predictions": 40, "holdout_mae_pp": 2.345,
             "intervals_held": 0.905, "interval_factor": 1.25, "intervals_held_before": 0.76, "chosen": True},
        ]
    )  # fmt: skip
    text = "|".join(part.strip() for part in Page(render_report(dataclasses.replace(study, method_table=rows))).text)
    assert "ols-all|✓|" in text.replace(" ", "")
    assert "|2.35|" in text or "|2.34|" in text
    assert "|90 %|" in text and "|1.25|" in text and "|76 %|" in text


def test_a_data_card_is_shown_with_its_contact_sheet_and_leads_to_its_files(study: StudyResults) -> None:
    card = {"kept": 1234, "licences": ["MIT", "CC-BY-4.0"], "languages": {"Latin": 0.98765}, "owner": None}
    card["duplicates"] = {"near_by_bits": {"0": 4321, "8": None}}
    card |= {"words": {"greatest": 9, "least": 1, "median": 2}, "pairs_of_the_source": {"parsed": 98765}}
    shown = ShownCard("Few", card, "data:image/png;base64,AAAA", "data/Few/contact_sheet.png")
    text = render_report(dataclasses.replace(study, cards=[shown]))
    assert '<img src="data:image/png;base64,AAAA" alt="Images drawn at random from Few' in text
    assert 'href="data/Few/card.json"' in text and 'href="data/Few/contact_sheet.png"' in text
    words = " ".join(" ".join(Page(text).text).split())
    assert "kept 1,234" in words and "licences MIT, CC-BY-4.0" in words
    assert "words least: 1, median: 2, greatest: 9" in words and "98,765" not in words
    assert "Latin 0.9877" in words and "owner not known" in words
    assert "duplicates near by bits 0 4,321 8 not known" in words


def test_the_first_screen_says_which_sources_follow_different_laws(study: StudyResults) -> None:
    other = study.metrics.assign(source="other")
    row = {"first": "study", "second": "other", "method": "ols-all", "difference": -0.1, "crossover_gmacs": 1e3}
    row |= {"difference_low": -0.15, "difference_high": -0.05, "significant": True}
    row |= {"verdict": "study falls faster than other (difference of exponents -0.100)"}
    compared = filled(Comparison, **row)
    laws = [study.laws[0].model_copy(update={"comparisons": [compared]}), *study.laws[1:]]
    both = dataclasses.replace(study, metrics=pd.concat([study.metrics, other], ignore_index=True), laws=laws)
    words = " ".join(" ".join(Page(render_report(both)).text).split())
    assert "Do study and other follow different laws? In 1 of 1 comparisons of exponents they do:" in words
    assert (
        "icons top-1 accuracy: study falls faster than other; α of study less that of other: −0.100 [−0.150, −0.050]"
        in words
    )
    alike = compared.model_copy(update={"significant": False})
    laws[0] = laws[0].model_copy(update={"comparisons": [alike]})
    assert "no difference is significant" in render_report(dataclasses.replace(both, laws=laws))


def test_each_exponent_leads_to_the_json_that_holds_it(page: Page) -> None:
    assert page.links.count("laws/icons/acc1.json") >= 3  # first screen, headline laws, all laws


def test_each_figure_tells_the_command_that_draws_it_again(study: StudyResults) -> None:
    text = render_report(dataclasses.replace(study, figures={"laws": SVG}, configfile="config/smoke.yaml"))
    assert "snakemake --cores 1 --force results/tiny/figures/laws.pdf --configfile config/smoke.yaml</code>" in text
    text = render_report(dataclasses.replace(study, figures={"laws": SVG}))
    assert "snakemake --cores 1 --force results/tiny/figures/laws.pdf</code>" in text  # the default study


def test_a_set_whose_images_were_not_counted_says_so(study: StudyResults) -> None:
    text = render_report(dataclasses.replace(study, manifests=[source_manifest(), evaluation_manifest(n=None)]))
    assert '<td class="number">not counted</td><td class="number">2</td>' in text
