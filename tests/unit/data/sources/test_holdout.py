from collections import Counter

import pytest

from clip_scaling.data.sources.holdout import classification_set, drop_repeats, retrieval_set, widespread_captions
from clip_scaling.data.sources.pairs import Pair
from clip_scaling.errors import DataError


def pair(identity: str, caption: str, pixels: str) -> Pair:
    return Pair(identity, caption, b"", pixels.encode())


def test_spread_counts_vendors_not_drawings() -> None:
    drawn = [("ant", "home"), ("ant", "home"), ("bee", "home"), ("bee", "star")]
    assert widespread_captions(drawn) == {"home": 2, "star": 1}


def test_classes_are_the_most_widespread_captions_then_alphabetical() -> None:
    pairs = [pair(f"held:{c}", c, c) for c in ("moon", "home", "star", "cloud")]
    held = classification_set("icons", pairs, {"star": 3, "moon": 2, "home": 2, "sun": 9}, 2, ["{c}"], 4)
    assert held.classes == ["home", "star"]
    assert [p.caption for p in held.pairs] == ["home", "star"]
    assert [held.label(p) for p in held.pairs] == [0, 1]


def test_a_drawing_under_two_class_names_is_no_test_image_and_a_repeated_one_counts_once() -> None:
    pairs = [
        pair("held:add", "add", "cross"),
        pair("held:plus", "plus", "cross"),
        pair("held:add-1", "add", "bold cross"),
        pair("held:add-2", "add", "bold cross"),
        pair("held:plus-1", "plus", "thin cross"),
    ]
    held = classification_set("icons", pairs, {"add": 1, "plus": 1}, 2, ["{c}"], 5)
    assert [p.identity for p in held.pairs] == ["held:add-1", "held:plus-1"]


def test_too_few_shared_captions_are_an_error_with_both_numbers() -> None:
    with pytest.raises(DataError, match=r"held_out.icons: .* only 1 captions .* 3 classes"):
        classification_set("icons", [pair("held:home", "home", "h")], {"home": 1}, 3, ["{c}"], 1)


def test_retrieval_takes_one_drawing_a_caption_and_counts_every_pair_of_it() -> None:
    pool = [pair("ant:home", "home", "a"), pair("bee:home", "home", "b"), pair("ant:star", "star", "c")]
    held, captions = retrieval_set("captions", pool, 1, reserved={"star"}, taken=set())
    assert captions == {"home"}
    assert [p.identity for p in held.pairs] == ["ant:home"]
    assert held.kept_from_training == 2


def test_retrieval_shows_no_image_twice_and_none_of_another_set() -> None:
    pool = [pair("ant:home", "home", "a"), pair("ant:house", "house", "a"), pair("ant:star", "star", "s")]
    with pytest.raises(DataError, match=r"held_out.captions: 2 pairs .* has 1"):
        retrieval_set("captions", pool, 2, reserved=set(), taken={b"s"})


def test_training_keeps_the_first_of_equal_pixels_and_none_of_an_evaluation_set() -> None:
    pool = [pair("ant:x", "x", "1"), pair("ant:y", "y", "1"), pair("bee:z", "z", "2")]
    dropped: Counter[str] = Counter()
    kept = list(drop_repeats(pool, {"icons": {b"2"}}, dropped))
    assert [p.identity for p in kept] == ["ant:x"]
    assert dropped == {"duplicate_pixels": 1, "pixels_in_icons": 1}
