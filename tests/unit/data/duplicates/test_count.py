"""Repeats are found by bytes and by perceptual hash, counted, and left out of a subset; every pair is accounted for."""

import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clip_scaling.data.duplicates.count import REASONS, count_duplicates, reasons_to_leave
from clip_scaling.data.duplicates.fingerprints import (
    COMPARABLE,
    FINGERPRINT_DTYPE,
    PLAIN,
    UNREADABLE,
    evaluation_fingerprints,
    fingerprints,
    read_fingerprints,
    write_evaluation_fingerprints,
    write_source_fingerprints,
)
from clip_scaling.data.evaluation_sets.held_out import write_evaluation_set
from clip_scaling.data.sources.pairs import order_digest
from clip_scaling.data.subsets.composed import Repeats, write_composed_subset
from clip_scaling.data.subsets.overlap import overlap
from clip_scaling.data.subsets.places import subset_places
from clip_scaling.data.subsets.prefix import write_subset
from clip_scaling.errors import DataError
from clip_scaling.records.data import RepeatCounts, ShownImages
from clip_scaling.records.files import read_json
from clip_scaling.records.seal import seal

from ..conftest import verify


def table(*rows: tuple[int, int] | tuple[int, int, int]) -> np.ndarray:
    """Fingerprints of (content, hash) or (content, hash, state)."""
    return np.array([(*row, COMPARABLE) if len(row) == 2 else row for row in rows], FINGERPRINT_DTYPE)


def bits(count: int) -> int:
    """A hash that differs from 0 in so many bits."""
    return (1 << count) - 1


EVEN = 0x5555555555555555  # 32 bits from 0

# By place: an image; a near copy of it; a far one; the far one's bytes again; 9 bits from the first; plain ones.
TRAINING = table((1, 0), (2, bits(3)), (3, EVEN), (3, EVEN), (4, bits(9)), (5, 7, PLAIN), (6, 7, PLAIN), (5, 7, PLAIN))


def told(reasons: np.ndarray) -> list[str]:
    return [REASONS[number] for number in reasons]


def test_a_pair_leaves_for_an_earlier_one_with_its_bytes_or_a_near_hash() -> None:
    near, equal, stays = "near_earlier_image", "equals_earlier_image", "stays"
    expected = [stays, near, stays, equal, stays, stays, stays, equal]
    assert told(reasons_to_leave(TRAINING, {}, within=3, against=None)) == expected
    # bits(9) is 6 bits from bits(3), which has left, and 9 from the first.
    assert told(reasons_to_leave(TRAINING, {}, within=6, against=None)) == expected
    assert told(reasons_to_leave(TRAINING, {}, within=9, against=None))[4] == near
    assert told(reasons_to_leave(TRAINING, {}, within=0, against=None))[1] == stays


def test_plain_images_are_compared_by_their_bytes_alone() -> None:
    reasons = told(reasons_to_leave(TRAINING, {"set": table((9, 7))}, within=6, against=6))
    assert reasons[5:] == ["stays", "stays", "equals_earlier_image"]


def test_a_pair_leaves_for_an_evaluation_image_before_it_leaves_for_another_pair() -> None:
    sets = {"one": table((3, 12345)), "two": table((8, bits(4)), (9, EVEN, PLAIN))}
    reasons = told(reasons_to_leave(TRAINING, sets, within=3, against=1))
    # The second is 1 bit from the image of `two`. The third has the bytes of the one of `one`, and so has the fourth.
    assert reasons[:4] == ["stays", "near_evaluation_image", "equals_evaluation_image", "equals_evaluation_image"]
    assert told(reasons_to_leave(TRAINING, sets, within=None, against=1))[4:] == ["stays"] * 4


def test_what_cannot_be_read_is_no_repeat() -> None:
    twice = table((1, 5, UNREADABLE), (1, 5, UNREADABLE))
    assert reasons_to_leave(twice, {"set": twice}, within=6, against=6).tolist() == [0, 0]


def test_the_beginning_of_a_source_decides_alone_on_its_pairs() -> None:
    generator = np.random.default_rng(0)
    rows = table(*[(int(content), int(code)) for content, code in generator.integers(0, 2**8, (200, 2))])
    whole = reasons_to_leave(rows, {}, within=2, against=None)
    part = reasons_to_leave(rows[:70], {}, within=2, against=None)
    assert whole[:70].tolist() == part.tolist()
    assert {2, 1} & set(whole.tolist()) == set() and {0, 3, 4} == set(whole.tolist())


def test_repeats_are_counted_by_distance_within_the_data_and_against_each_set() -> None:
    counted = count_duplicates(TRAINING, {"one": table((3, bits(1)), (7, EVEN ^ 3)), "two": table((8, bits(40)))})
    assert (counted.pairs, counted.plain_images, counted.unreadable_images) == (8, 3, 0)
    # Equal bytes: the fourth and the last. By hash, of the five comparable ones: the fourth at 0, the second at 3.
    assert counted.repeat_an_earlier_image == RepeatCounts(
        equal_bytes=2, near_by_bits={"0": 1, "2": 1, "4": 2, "6": 2, "8": 2}
    )
    assert counted.evaluation_images_in_training["one"] == ShownImages(
        images=2, plain_images=0, equal_bytes=1, near_by_bits={"0": 0, "2": 2, "4": 2, "6": 2, "8": 2}
    )
    assert counted.evaluation_images_in_training["two"].near_by_bits["8"] == 0


def test_a_distance_at_which_all_are_alike_is_not_counted_and_the_others_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clip_scaling.data.duplicates.search.MAX_PAIRS", 5)
    # Hashes 0, 1, 3, 7, 15: four pairs are 1 bit apart, three 2 bits, so at 2 there are too many.
    counted = count_duplicates(table(*[(n, bits(n)) for n in range(5)]), {})
    near = counted.repeat_an_earlier_image.near_by_bits
    assert near == {"0": 0, "2": None, "4": None, "6": None, "8": None}


def encoded(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "png")
    return buffer.getvalue()


def test_images_are_told_apart_as_comparable_plain_and_unreadable() -> None:
    noise = np.random.default_rng(0)
    blank = np.full((32, 32, 3), 200, np.uint8) + noise.integers(0, 2, (32, 32, 3), dtype=np.uint8)  # as compressed
    picture = Image.fromarray(noise.integers(0, 256, (4, 4, 3), dtype=np.uint8)).resize((64, 64))
    rows = fingerprints(
        [encoded(picture), encoded(picture.resize((50, 50))), encoded(Image.fromarray(blank)), None, b"?"]
    )
    assert rows["state"].tolist() == [COMPARABLE, COMPARABLE, PLAIN, UNREADABLE, UNREADABLE]
    assert int(rows["phash"][0] ^ rows["phash"][1]).bit_count() <= 4
    assert rows["content"][0] != rows["content"][1]


def test_the_fingerprints_of_a_source_do_not_depend_on_workers(
    small_source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clip_scaling.data.duplicates.fingerprints._CHUNK", 10)
    for workers in (1, 2):
        write_source_fingerprints(tmp_path / f"{workers}.npy", small_source, workers)
    assert (tmp_path / "1.npy").read_bytes() == (tmp_path / "2.npy").read_bytes()
    assert len(read_fingerprints(tmp_path / "1.npy")) == 25


def test_a_file_that_is_no_table_of_fingerprints_is_named(tmp_path: Path) -> None:
    np.save(tmp_path / "other.npy", np.arange(3))
    with pytest.raises(
        DataError, match="other.npy: no table of fingerprints. Delete it and run `snakemake --cores all"
    ):
        read_fingerprints(tmp_path / "other.npy")


def test_evaluation_sets_are_known_by_their_folder(small_source: Path, tmp_path: Path) -> None:
    root = tmp_path / "eval-vtab/moons"
    write_evaluation_set(root, "vtab/moons", small_source, "icons")
    write_evaluation_fingerprints(root / "fingerprints.npy", root / "manifest.json")
    [(name, rows)] = evaluation_fingerprints([root / "fingerprints.npy"]).items()
    assert (name, len(rows)) == ("vtab/moons", 6)


def planted(n: int) -> np.ndarray:
    """Far hashes, but places 2 and 7 repeat place 0 nearly, and place 5 has the bytes of place 1."""
    rows = table(*[(100 + i, (0x0123456789ABCDEF * (2 * i + 1)) % 2**64) for i in range(n)])
    rows["phash"][[2, 7]] = rows["phash"][0] ^ np.uint64(1)
    rows["content"][5] = rows["content"][1]
    return rows


def test_a_subset_without_repeats_is_the_first_pairs_of_what_is_left(small_source: Path, tmp_path: Path) -> None:
    repeats = Repeats(2, None, planted(25), {})
    write_composed_subset(tmp_path / "six", "six", small_source, 6, repeats=repeats)
    manifest = read_json(tmp_path / "six/manifest.json")
    places = [0, 1, 3, 4, 6, 8]
    assert subset_places(tmp_path / "six/manifest.json").tolist() == places
    assert manifest["order_digest"] == order_digest(f"set:{i}" for i in places)
    assert manifest["drop_duplicates"] == {"within": 2, "evaluation": None}
    dropped = {"equals_earlier_image": 1, "near_earlier_image": 2}
    assert manifest["counts"] == {"source": 25, "kept": 6, "dropped": dropped, "left_in_source": 16}
    verify(tmp_path / "six/manifest.json")


def test_a_smaller_subset_without_repeats_lies_within_a_larger_one(small_source: Path, tmp_path: Path) -> None:
    for pairs in (4, 20):
        write_composed_subset(
            tmp_path / str(pairs), "d", small_source, pairs, repeats=Repeats(2, None, planted(25), {})
        )
    small, large = (subset_places(tmp_path / name / "manifest.json").tolist() for name in ("4", "20"))
    assert small == large[:4]


def test_more_pairs_than_are_left_are_refused_with_all_numbers(small_source: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="23 pairs are asked for, source small has 22 of 25 without repeats"):
        write_composed_subset(tmp_path / "d", "d", small_source, 23, repeats=Repeats(2, None, planted(25), {}))


def test_fingerprints_of_another_source_are_refused(small_source: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"fingerprints.npy: 24 rows for 25 pairs. Delete it"):
        write_composed_subset(tmp_path / "d", "d", small_source, 5, repeats=Repeats(2, None, planted(24), {}))


def test_subsets_of_one_source_are_compared_by_place(small_source: Path, tmp_path: Path) -> None:
    write_subset(tmp_path / "ten", "ten", small_source, 10)
    write_composed_subset(tmp_path / "six", "six", small_source, 6, repeats=Repeats(2, None, planted(25), {}))
    found = overlap(tmp_path / "ten/manifest.json", tmp_path / "six/manifest.json")
    assert (found.shared, found.pairs, found.has_one_source) == (6, (10, 6), True)
    assert found.shares == (0.6, 1.0)


def test_subsets_of_two_sources_are_compared_by_identity(small_source: Path, tmp_path: Path) -> None:
    write_subset(tmp_path / "ten", "ten", small_source, 10)
    write_subset(tmp_path / "six", "six", small_source, 6)
    manifest = read_json(tmp_path / "six/manifest.json")
    # Another source that has pairs 4 to 8 of the first one, and one of its own.
    (tmp_path / "other").mkdir()
    (tmp_path / "other/identities.txt").write_text("".join(f"set:{name}\n" for name in (4, 5, "own", 6, 7, 8)))
    changed = (tmp_path / "six/manifest.json").read_text().replace(manifest["source_order_digest"], "0" * 64)
    (tmp_path / "six/manifest.json").write_text(changed.replace('"source": "small"', '"source": "other"'))
    seal(tmp_path / "six/manifest.json")
    found = overlap(tmp_path / "ten/manifest.json", tmp_path / "six/manifest.json")
    assert (found.shared, found.has_one_source) == (5, False)
    (tmp_path / "other/identities.txt").write_text("set:4\n")
    with pytest.raises(DataError, match="other/identities.txt: ends after 1 of 6 pairs"):
        overlap(tmp_path / "ten/manifest.json", tmp_path / "six/manifest.json")


def test_the_command_tells_what_two_subsets_share_without_torch(small_source: Path, tmp_path: Path) -> None:
    data = tmp_path / "results/data"
    write_subset(data / "Ten", "Ten", small_source, 10)
    write_subset(data / "Four", "Four", small_source, 4)
    code = (
        "import sys; from clip_scaling.cli.main import main; sys.argv[1:] = sys.argv[2:]; main();"
        "assert 'torch' not in sys.modules"
    )

    def told(*options: str) -> str:
        command = [sys.executable, "-c", code, "_", "overlap", "Ten", "Four", "--root", str(tmp_path), *options]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    assert told() == "4 pairs are in both: 40.0000% of Ten (10) and 100.0000% of Four (4); one source\n"
    assert json.loads(told("--json"))["of"][0] == {"data": "Ten", "pairs": 10, "share": 0.4}
