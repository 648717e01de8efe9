"""Repeats and evaluation images are counted for every training set, and left out where the study says so."""

import json
from typing import Any

import numpy as np
import pytest


@pytest.mark.slow
def test_a_subset_without_repeats_is_made_counted_and_told_on_its_card(make_project: Any) -> None:
    project = make_project()
    study = project.study()
    study["data"]["Clean-300"] = {"source": "scenes", "pairs": 300, "drop_duplicates": {"within": 4, "evaluation": 2}}
    file = project.write(study)
    target = "results/tiny/data/Clean-300/card.json"
    project.snakemake(target, "--configfile", file)
    home = project.root / "results/data"
    manifest = json.loads((home / "Clean-300/manifest.json").read_text())
    card = json.loads((project.root / target).read_text())
    counts = manifest["counts"]
    assert counts["kept"] == 300 and sum(counts["dropped"].values()) > 0
    assert counts["source"] == counts["kept"] + sum(counts["dropped"].values()) + counts["left_in_source"] == 2000
    assert card["pairs_chosen"] == counts
    # No pair that is left repeats another at that distance, nor an evaluation image; beyond it some still do.
    assert card["duplicates"]["repeat_an_earlier_image"]["near_by_bits"]["4"] == 0
    assert card["duplicates"]["repeat_an_earlier_image"]["near_by_bits"]["8"] > 0
    sets = card["duplicates"]["evaluation_images_in_training"]
    assert set(sets) == {"scenes-captions", "scenes-colour-shape", "digits"}
    assert all(counted["near_by_bits"]["2"] == 0 for counted in sets.values())
    assert np.load(home / "Clean-300/places.npy")[-1] == 300 + sum(counts["dropped"].values()) - 1
    # Another distance chooses again; the fingerprints stay.
    study["data"]["Clean-300"]["drop_duplicates"] = {"within": None, "evaluation": 0}
    jobs = project.planned(project.write(study), target)
    assert jobs == {"prepare_subset": 1, "count_duplicates": 1, "data_card": 1}


def test_dropping_nothing_is_refused_and_so_is_a_distance_beyond_a_quarter_of_the_bits(make_project: Any) -> None:
    project = make_project()
    study = project.study()
    for drop, told in (
        ({"within": None, "evaluation": None}, "nothing would be dropped"),
        ({"within": 17}, "less than or equal to 16"),
    ):
        study["data"]["Scenes-1K"]["drop_duplicates"] = drop
        done = project.snakemake("-n", "--configfile", project.write(study), check=False)
        assert done.returncode and "data.Scenes-1K.drop_duplicates" in done.stdout and told in done.stdout
