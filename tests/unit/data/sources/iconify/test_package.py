import hashlib
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clip_scaling.data.sources.iconify import package as iconify
from clip_scaling.data.sources.pairs import SourceContent
from clip_scaling.data.sources.write import write_source
from clip_scaling.errors import DataError

from ...conftest import icon_set, picture, recipe_for


def identities(content: SourceContent) -> set[str]:
    return {pair.identity for pair in content.training}


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)))


def test_a_held_out_vendor_is_never_trained_on_and_gives_the_classes(small_package: Path) -> None:
    content = iconify.build(small_package, recipe_for(small_package), workers=1)
    held = content.held_out["icons"]
    assert held.classes == ["home", "star"]
    assert {pair.identity for pair in held.pairs} == {"held:home", "held:home-filled", "held:star"}
    assert not any(identity.startswith("held:") for identity in identities(content))


def test_the_balance_of_a_source_adds_up(small_package: Path) -> None:
    # 3 x 27 + moon + 5 held out = 87; nothing is blank or repeated.
    content = iconify.build(small_package, recipe_for(small_package), workers=1)
    assert content.counts() == {"parsed": 87, "kept": 82, "held_out": {"icons": 5}, "dropped": {"over_set_cap": 0}}


def test_a_source_that_does_not_add_up_is_refused() -> None:
    with pytest.raises(DataError, match="3 pairs were parsed but 2"):
        SourceContent([], {}, 3, {"blank": 2}, "").counts()


def test_licences_categories_hidden_icons_and_blank_ones_are_counted(make_package: Callable[..., Path]) -> None:
    archive = make_package(
        ant=icon_set({"home": 1, "star": 2, "ghost": {"body": ""}, "old": {"body": picture(3), "hidden": True}}),
        gnu=icon_set({"home": 4, "star": 5, "moon": 6}, spdx="GPL-3.0"),
        logo=icon_set({"acme": 7}, category="Logos"),
        held=icon_set({"home": 8, "star": 9}),
    )
    content = iconify.build(archive, recipe_for(archive), workers=1)
    assert identities(content) == {"ant:home", "ant:star"}
    assert content.dropped == {"hidden_icon": 1, "licence": 3, "category": 1, "over_set_cap": 0, "blank": 1}


def test_a_near_twin_of_a_held_out_vendor_is_left_out(small_package: Path) -> None:
    held = {"icons": {"kind": "zeroshot_classification", "sets": ["held"], "near_twins": ["bee"], "classes": 2}}
    content = iconify.build(small_package, recipe_for(small_package, held_out=held), workers=1)
    assert content.dropped["near_twin_of_held_out_set"] == 27
    assert not any(identity.startswith("bee:") for identity in identities(content))


def test_a_set_over_the_cap_keeps_its_first_icons_in_hash_order(small_package: Path) -> None:
    content = iconify.build(small_package, recipe_for(small_package, max_icons_per_set=20), workers=1)
    bee = [f"bee:bee-thing-{chr(97 + letter)}" for letter in range(25)] + ["bee:home", "bee:star"]
    bee.sort(key=lambda identity: hashlib.sha256(identity.encode()).hexdigest())
    assert {identity for identity in identities(content) if identity.startswith("bee:")} == set(bee[:20])
    assert content.dropped["over_set_cap"] == 7 + 7 + 8


def test_only_included_sets_and_held_out_ones_are_read(small_package: Path) -> None:
    content = iconify.build(small_package, recipe_for(small_package, include_sets=["ant", "cat"]), workers=1)
    assert content.dropped["not_included_set"] == 27


def test_training_pairs_that_show_a_test_image_are_dropped(make_package: Callable[..., Path]) -> None:
    archive = make_package(
        ant=icon_set({"home": 1, "star": 2, "house": 9}),
        held=icon_set({"home": 9, "star": 4}),
    )
    content = iconify.build(archive, recipe_for(archive), workers=1)
    assert identities(content) == {"ant:home", "ant:star"}
    assert content.dropped["pixels_in_icons"] == 1


def test_held_out_captions_leave_training_whole_and_class_names_stay(small_package: Path) -> None:
    held = {
        "icons": {"kind": "zeroshot_classification", "sets": ["held"], "classes": 2},
        "captions": {"kind": "zeroshot_retrieval", "pairs": 76},
    }
    content = iconify.build(small_package, recipe_for(small_package, held_out=held), workers=1)
    # 75 captions of their own and `moon` can be held out; `home` and `star` name classes.
    assert {pair.caption for pair in content.training} == {"home", "star"}
    assert len({pair.caption for pair in content.held_out["captions"].pairs}) == 76
    assert content.counts()["held_out"] == {"icons": 5, "captions": 76}


def test_pairs_are_ordered_by_the_hash_of_their_identity(small_package: Path) -> None:
    content = iconify.build(small_package, recipe_for(small_package), workers=1)
    order = [hashlib.sha256(pair.identity.encode()).hexdigest() for pair in content.training]
    assert order == sorted(order)


def test_a_wide_icon_is_centred_on_white_and_current_colour_is_black(make_package: Callable[..., Path]) -> None:
    wide = {"body": '<path fill="currentColor" d="M0 0h32v16H0z"/>', "width": 32, "height": 16}
    archive = make_package(ant=icon_set({"home": 1, "star": 2, "bar": wide}), held=icon_set({"home": 3, "star": 4}))
    content = iconify.build(archive, recipe_for(archive), workers=1)
    image = pixels(next(pair.png for pair in content.training if pair.identity == "ant:bar"))
    expected = np.full((32, 32, 3), 255)
    expected[8:24] = 0
    assert np.array_equal(image, expected)


def test_an_offset_view_box_is_respected(make_package: Callable[..., Path]) -> None:
    corner = {"body": '<path d="M8 8h4v4H8z"/>', "left": 8, "top": 8, "width": 8, "height": 8}
    archive = make_package(ant=icon_set({"home": 1, "star": 2, "dot": corner}), held=icon_set({"home": 3, "star": 4}))
    content = iconify.build(archive, recipe_for(archive), workers=1)
    image = pixels(next(pair.png for pair in content.training if pair.identity == "ant:dot"))
    assert (image[:16, :16] == 0).all() and (image[16:] == 255).all() and (image[:, 16:] == 255).all()


def test_one_worker_and_two_write_the_same_bytes(small_package: Path, tmp_path: Path) -> None:
    recipe = recipe_for(small_package)
    for workers in (1, 2):
        write_source(tmp_path / str(workers), "icons", recipe, iconify.build(small_package, recipe, workers))
    files = sorted(path.relative_to(tmp_path / "1") for path in (tmp_path / "1").rglob("*") if path.is_file())
    # Nine shards; manifest and its seal, identities, index, attribution, merges, one evaluation tar.
    assert len(files) == 9 + 7
    for file in files:
        assert (tmp_path / "1" / file).read_bytes() == (tmp_path / "2" / file).read_bytes(), file


def test_the_attribution_counts_the_icons_used_of_each_set(small_package: Path) -> None:
    lines = iconify.build(small_package, recipe_for(small_package), workers=1).attribution.splitlines()
    rows = {line.split(" | ")[0]: line for line in lines if line.startswith("| ")}
    assert rows["| ant"].endswith("| 27 |") and rows["| held"].endswith("| 3 |")
    assert "[MIT](https://example.org/licence)" in rows["| ant"]


def test_another_tarball_is_refused_with_both_hashes(small_package: Path) -> None:
    found = hashlib.sha256(small_package.read_bytes()).hexdigest()
    with pytest.raises(DataError, match=f"{found}.*{'0' * 64}"):
        iconify.build(small_package, recipe_for(small_package, sha256="0" * 64), workers=1)


def test_a_truncated_tarball_is_named(small_package: Path) -> None:
    small_package.write_bytes(small_package.read_bytes()[:-400])
    with pytest.raises(DataError, match="package.tgz: corrupt tarball"):
        iconify.build(small_package, recipe_for(small_package), workers=1)


def test_a_tarball_of_something_else_is_named(tmp_path: Path) -> None:
    archive = tmp_path / "other.tgz"
    with tarfile.open(archive, "w:gz") as tar:
        text = json.dumps({}).encode()
        member = tarfile.TarInfo("package/package.json")
        member.size = len(text)
        tar.addfile(member, io.BytesIO(text))
    with pytest.raises(DataError, match="Is it a tarball of @iconify/json"):
        iconify.build(archive, recipe_for(archive), workers=1)


def test_a_misspelt_set_is_named(small_package: Path) -> None:
    with pytest.raises(DataError, match="no icon set named antt"):
        iconify.build(small_package, recipe_for(small_package, include_sets=["antt"]), workers=1)


def test_a_vendor_cannot_be_held_out_twice_nor_when_its_licence_bars_it(make_package: Callable[..., Path]) -> None:
    archive = make_package(ant=icon_set({"home": 1, "star": 2}), held=icon_set({"home": 3, "star": 4}))
    one = {"kind": "zeroshot_classification", "sets": ["held"], "classes": 2}
    with pytest.raises(DataError, match="'held' is held out by both a and b"):
        iconify.build(archive, recipe_for(archive, held_out={"a": one, "b": one}), workers=1)
    with pytest.raises(DataError, match=r"held_out.icons: icon set 'held' is left out by `licences`"):
        iconify.build(archive, recipe_for(archive, licences=["ISC"]), workers=1)
