import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from clip_scaling.data.sources.pairs import SourceContent
from clip_scaling.data.sources.procedural.config import ProceduralSource
from clip_scaling.data.sources.procedural.scenes import Scene, Thing, build, draw
from clip_scaling.errors import DataError


def recipe(classes: int = 4, captions: int = 20, **fields: Any) -> ProceduralSource:
    return ProceduralSource.model_validate(
        {
            "kind": "procedural",
            "pairs": 300,
            "held_out": {
                "shapes": {"kind": "zeroshot_classification", "sets": ["colour-shape"], "classes": classes},
                "captions": {"kind": "zeroshot_retrieval", "pairs": captions},
            },
            **fields,
        }
    )


@pytest.fixture(scope="module")
def content() -> SourceContent:
    return build(recipe())


def test_no_training_scene_shows_a_held_out_combination(content: SourceContent) -> None:
    classes = content.held_out["shapes"].classes
    assert len(classes) == 4
    assert not any(name in pair.caption for pair in content.training for name in classes)


def test_every_word_of_a_held_out_combination_occurs_in_training(content: SourceContent) -> None:
    words = {word for pair in content.training for word in pair.caption.split()}
    assert {word for name in content.held_out["shapes"].classes for word in name.split()} <= words


def test_held_out_captions_are_distinct_and_never_in_training(content: SourceContent) -> None:
    captions = {pair.caption for pair in content.held_out["captions"].pairs}
    assert len(captions) == 20
    assert not captions & {pair.caption for pair in content.training}


def test_no_image_occurs_twice(content: SourceContent) -> None:
    pairs = [*content.training, *(pair for held in content.held_out.values() for pair in held.pairs)]
    images = [Image.open(io.BytesIO(pair.png)).tobytes() for pair in content.training]
    assert len(set(images)) == len(content.training) == 300
    assert len({pair.identity for pair in pairs}) == len(pairs)


def test_the_balance_adds_up(content: SourceContent) -> None:
    counts = content.counts()
    assert counts["kept"] == 300 and counts["held_out"] == {"captions": 20, "shapes": 40}
    assert content.dropped["held_out_combination"] > 0


def test_a_seed_gives_the_same_pairs_again_and_another_seed_others(content: SourceContent) -> None:
    assert build(recipe()).training == content.training
    others = {pair.pixels for pair in build(recipe(seed=1)).training}
    assert len(others & {pair.pixels for pair in content.training}) == 0


def test_more_pairs_contain_the_fewer(content: SourceContent) -> None:
    assert set(build(recipe(pairs=100)).training) < set(content.training)


@pytest.mark.parametrize(
    ("relation", "first", "second"),
    [
        ("above", np.s_[:16], np.s_[16:]),
        ("below", np.s_[16:], np.s_[:16]),
        ("left of", np.s_[:, :16], np.s_[:, 16:]),
        ("right of", np.s_[:, 16:], np.s_[:, :16]),
    ],
)
def test_the_first_thing_lies_where_the_caption_says(relation: str, first: Any, second: Any) -> None:
    scene = Scene((Thing("large", "red", "circle"), Thing("large", "blue", "square")), "white", relation)
    assert scene.caption == f"a large red circle {relation} a large blue square"
    pixels = draw(scene, 32, np.random.default_rng(0))
    red, blue = (pixels == [214, 40, 40]).all(-1), (pixels == [29, 95, 209]).all(-1)
    assert red[first].sum() > 50 and red[second].sum() == 0
    assert blue[second].sum() > 50 and blue[first].sum() == 0


def test_a_ring_has_a_hole_and_a_circle_has_none() -> None:
    for shape, centre in (("circle", [214, 40, 40]), ("ring", [255, 255, 255])):
        pixels = draw(Scene((Thing("large", "red", shape),), "white"), 32, np.random.default_rng(0))
        assert pixels[16, 16].tolist() == centre


def test_hold_outs_that_cannot_be_met_are_refused() -> None:
    with pytest.raises(DataError, match="40 classes .* at most 32"):
        build(recipe(classes=40))
    with pytest.raises(DataError, match="held_out.captions: 30000 of 57600"):
        build(recipe(captions=30000))
    wrong = {"x": {"kind": "zeroshot_classification", "sets": ["colour"], "classes": 4}}
    with pytest.raises(DataError, match=r"held_out.x.sets: \['colour'\]"):
        build(recipe(held_out=wrong))
