"""Lists of URLs in the study file: which files, which columns, and what may not be prepared."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from clip_scaling.data.sources.braces import expand_braces
from clip_scaling.data.sources.urls.config import UrlListSource
from clip_scaling.errors import ConfigError


def source(**fields: Any) -> UrlListSource:
    return UrlListSource.model_validate({"kind": "url_list", "urls": "https://example.org", "pairs": 10, **fields})


def test_braces_expand_as_a_shell_does() -> None:
    assert expand_braces("a-{08..10}.{csv,tsv}") == [
        *("a-08.csv", "a-08.tsv", "a-09.csv", "a-09.tsv", "a-10.csv", "a-10.tsv")
    ]
    assert expand_braces("part-{9..11}") == ["part-9", "part-10", "part-11"]


def test_a_part_is_named_after_its_file_and_by_its_place_where_two_files_share_a_name(tmp_path: Path) -> None:
    for folder, name in (("a", "part 0.snappy.parquet"), ("b", "one.csv.gz"), ("c", "one.csv.gz")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / name).touch()
    parts = list(source(lists=[f"{tmp_path}/*/*"]).parts("web").values())
    assert parts[-1].name == "part-0.snappy" and parts[-1].suffix == ".parquet"
    assert [part.name[:4] for part in parts[:2]] == ["one-", "one-"] and parts[0].name != parts[1].name
    assert {part.suffix for part in parts[:2]} == {".csv.gz"}


def test_a_range_of_urls_is_one_part_each() -> None:
    web = source(lists=["https://example.org/part-{00000..00127}.parquet?download=true"])
    parts = list(web.parts("web").values())
    assert len(parts) == 128 and parts[127].name == "part-00127" and parts[0].is_remote


def test_a_list_that_is_missing_or_of_another_kind_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"sources\.web\.lists: .*none\.parquet: no such file.*example\.org"):
        source(lists=[str(tmp_path / "none.parquet")]).parts("web")
    (tmp_path / "urls.txt").touch()
    with pytest.raises(ConfigError, match="none of .parquet"):
        source(lists=[str(tmp_path / "urls.txt")]).parts("web")


def test_the_withdrawn_original_is_refused_with_the_way_to_its_revision() -> None:
    withdrawn = source(lists=["/data/laion2B-en/part-{000..127}.parquet"])
    assert "https://laion.ai/blog/relaion-5b/" in withdrawn.refusals("web")[0]
    assert not source(lists=["/data/relaion2B-en-research-safe/part-{000..127}.parquet"]).refusals("web")
    accepted = {"is_withdrawn_original_accepted": True}
    assert source(lists=withdrawn.lists, safety=accepted).refusals("web")  # no removal list
    safety = accepted | {"removal_list": "removed.txt"}
    assert not source(lists=withdrawn.lists, safety=safety).refusals("web")


def test_a_withdrawn_original_without_lists_can_still_be_planned() -> None:
    assert not source(urls="https://laion.ai/blog/laion-5b/").refusals("web")


@pytest.mark.parametrize(
    "fields, complaint",
    [
        ({"columns": {"url": "URL"}}, "caption must be named"),
        ({"filters": {"similar": "similarty > 0.3"}}, "similarty is not under columns"),
        ({"filters": {"narrow": "aspect_ratio < 3"}}, "aspect_ratio is not under columns"),
        (
            {"columns": {"url": "u", "caption": "c", "punsafe": "punsafe"}},
            "the lists give punsafe; say what is allowed",
        ),
        ({"safety": {"max": {"punsafe": 0.5}}}, "punsafe is not under columns"),
        ({"encode_format": "png"}, "compression level"),
    ],
)
def test_settings_that_do_not_fit_together_are_refused(fields: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint):
        source(**fields)


def test_speeds_and_places_are_not_tracked_but_what_is_left_out_is() -> None:
    one = source(lists=["a.csv"], download={"processes": 1}, safety={"removal_list": "a.txt"})
    two = source(lists=["b.csv"], download={"processes": 9, "threads": 2}, safety={"removal_list": "b.txt"})
    assert one.tracked() == two.tracked()
    assert one.tracked() != source(min_caption_characters=5).tracked()
    assert one.tracked(of_a_unit=True) == source(shard_size=50, held_out={}).tracked(of_a_unit=True)
    assert UrlListSource.model_validate(one.tracked() | one.beside()) == one


def test_the_recipes_of_config_sources_are_valid_and_safe(repository: Path) -> None:
    files = sorted((repository / "config" / "sources").glob("*.yaml"))
    assert {file.stem for file in files} >= {"laion-400m", "laion-2b-en", "relaion-2b-en", "datacomp-1b"}
    for file in files:
        for name, raw in yaml.safe_load(file.read_text())["sources"].items():
            recipe = UrlListSource.model_validate(raw)
            assert recipe.lists and not recipe.refusals(name), file.name
