"""What looks at pairs of existing tars must see those that are listed, each under its own number, and no others."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clip_scaling.data.card import write_card
from clip_scaling.data.duplicates.count import count_duplicates
from clip_scaling.data.duplicates.fingerprints import (
    FINGERPRINT_DTYPE,
    fingerprints,
    read_fingerprints,
    write_source_fingerprints,
)
from clip_scaling.data.sources.pairs import hash_order
from clip_scaling.data.sources.tars.config import WebdatasetSource
from clip_scaling.data.sources.tars.lists import tars_of
from clip_scaling.data.sources.tars.source import write_tar_source
from clip_scaling.data.subsets.composed import write_composed_subset
from clip_scaling.data.subsets.places import subset_places
from clip_scaling.data.subsets.prefix import write_subset
from clip_scaling.records.files import read_json, sha256_file, write_json

PAIRS = 12


def picture(number: int) -> Image.Image:
    """Noise that no other number has; grey where the number is even."""
    noise = np.random.default_rng(number).integers(0, 256, (16, 16, 1 if number % 2 == 0 else 3), np.uint8)
    return Image.fromarray(np.broadcast_to(noise, (16, 16, 3)).copy())


def encoded(number: int) -> bytes:
    file = io.BytesIO()
    picture(number).save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Manifest of a source of two tars, at URLs, of six pairs each."""
    for tar_number in range(2):
        with tarfile.open(tmp_path / f"{tar_number}.tar", "w") as tar:
            for number in range(6 * tar_number, 6 * tar_number + 6):
                for extension, content in (("png", encoded(number)), ("txt", b"thing %d" % number)):
                    header = tarfile.TarInfo(f"{number:04d}.{extension}")
                    header.size = len(content)
                    tar.addfile(header, io.BytesIO(content))
    settings = {"kind": "webdataset", "tars": [f"file:{tmp_path}/{{0..1}}.tar"], "pairs": PAIRS, "vocabulary_size": 600}
    recipe = WebdatasetSource.model_validate(settings)
    write_tar_source(tmp_path / "web", "web", recipe, tars_of("web", recipe.tars), 1)
    return tmp_path / "web/manifest.json"


def in_hash_order() -> list[int]:
    return sorted(range(PAIRS), key=lambda number: hash_order(f"{number // 6}.tar:{number:04d}"))


def test_fingerprints_stand_in_hash_order_whatever_order_the_tars_are_read_in(source: Path, tmp_path: Path) -> None:
    assert in_hash_order() != sorted(in_hash_order())
    write_source_fingerprints(tmp_path / "fingerprints.npy", source, 1)
    expected = fingerprints(encoded(number) for number in in_hash_order())
    assert read_fingerprints(tmp_path / "fingerprints.npy").tolist() == expected.tolist()


def test_a_list_has_the_fingerprints_of_its_pairs_not_of_all_that_their_tars_hold(source: Path, tmp_path: Path) -> None:
    write_subset(tmp_path / "Web-5", "Web-5", source, 5)
    write_source_fingerprints(tmp_path / "fingerprints.npy", source, 1)
    found = read_fingerprints(tmp_path / "fingerprints.npy")[subset_places(tmp_path / "Web-5/manifest.json")]
    assert found.tolist() == fingerprints(encoded(number) for number in in_hash_order()[:5]).tolist()


def test_pairs_are_chosen_by_colour_from_tars_at_urls(source: Path, tmp_path: Path) -> None:
    write_composed_subset(tmp_path / "Grey-4", "Grey-4", source, 4, coloured_share=0.0)
    chosen = [in_hash_order()[place] for place in np.load(tmp_path / "Grey-4/places.npy")]
    assert chosen == [number for number in in_hash_order() if number % 2 == 0][:4]


def test_an_image_that_cannot_be_read_is_none_of_the_chosen(source: Path, tmp_path: Path) -> None:
    grey = [number for number in in_hash_order() if number % 2 == 0]
    tar = tmp_path / f"{grey[0] // 6}.tar"
    content = tar.read_bytes()
    # Its image is noise from its second byte on; the tar is as long as it was, and was fetched before.
    start = content.index(encoded(grey[0])) + 1
    tar.write_bytes(content[:start] + bytes(len(encoded(grey[0])) - 1) + content[start + len(encoded(grey[0])) - 1 :])
    manifest = read_json(source)
    for number, entry in enumerate(manifest["shards"]):
        entry["sha256"] = sha256_file(tmp_path / f"{number}.tar")
    write_json(source, manifest)
    write_composed_subset(tmp_path / "Grey-4", "Grey-4", source, 4, coloured_share=0.0)
    chosen = [in_hash_order()[place] for place in np.load(tmp_path / "Grey-4/places.npy")]
    assert chosen == grey[1:5]


def test_the_card_of_a_list_measures_pairs_of_all_its_tars(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clip_scaling.data.card.SAMPLE_PAIRS", 9)
    write_subset(tmp_path / "Web-12", "Web-12", source, PAIRS)
    count_duplicates(np.empty(0, FINGERPRINT_DTYPE), {}).write(tmp_path / "duplicates.json")
    write_card(tmp_path, tmp_path / "Web-12/manifest.json", source, tmp_path / "duplicates.json")
    card = read_json(tmp_path / "card.json")
    assert (card["measured_on_first_pairs"], card["unreadable"], card["captions"]["distinct"]) == (9, 0, 9)
    # Rows stand tar by tar: the first nine are captions of seven letters, "thing 0" to "thing 8".
    assert card["captions"]["characters"]["greatest"] == len("thing 11")
