import pytest

from clip_scaling.data.sources.iconify.captions import caption_of, country_names, flag_caption, is_flag_set

CHARS = {
    "1f1eb-1f1f7": "flag-france",
    "1f1fa-1f1f8": "flag-for-united-states",
    "1f3f4-e0067-e0062-e0065-e006e-e0067-e007f": "flag-england",
    "1f3e0": "house",
    "1f3f4": "black-flag",
}
COUNTRIES = {"fr": "france", "us": "for united states", "gb-eng": "england"}


@pytest.mark.parametrize(
    ("name", "caption"),
    [
        ("home", "home"),
        ("arrow-left", "arrow left"),
        ("heart-filled", "heart"),
        ("heart-2-outline", "heart"),
        ("home6", "home"),
        ("mp3", "mp3"),
        ("h1", "h1"),
        ("alarm-24px", "alarm"),
        ("123", "123"),
        ("fill", "fill"),
        ("traffic-light", "traffic light"),
        ("chart-line", "chart line"),
    ],
)
def test_a_name_without_declared_styles_loses_only_sizes_numbers_and_plain_style_words(name: str, caption: str) -> None:
    assert caption_of(name) == caption


def test_the_longest_declared_suffix_is_stripped() -> None:
    assert caption_of("door-outline-rounded", suffixes=["", "rounded", "outline-rounded"]) == "door"
    assert caption_of("traffic-light", suffixes=["light"]) == "traffic"


def test_a_declared_prefix_is_stripped() -> None:
    assert caption_of("baseline-10k", prefixes=["baseline", "round"]) == "10k"


def test_country_codes_come_from_the_code_points_of_flags() -> None:
    assert country_names(CHARS) == COUNTRIES


@pytest.mark.parametrize(
    ("name", "caption"),
    [
        ("fr", "flag france"),
        ("fr-4x3", "flag france"),
        ("gb-eng", "flag england"),
        ("fr-brittany", "flag france brittany"),
        ("fr-bre", None),
        ("xx", None),
        ("european-union", "flag european union"),
    ],
)
def test_a_flag_is_named_after_its_country_or_not_at_all(name: str, caption: str | None) -> None:
    assert flag_caption(name, COUNTRIES, suffixes=["4x3"]) == caption


def test_a_set_is_a_flag_set_where_most_names_begin_with_a_country_code() -> None:
    assert is_flag_set(["fr-4x3", "us-4x3", "pirate"], COUNTRIES)
    assert not is_flag_set(["fr", "home", "star"], COUNTRIES)
