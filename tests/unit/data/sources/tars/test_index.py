"""Damage of every kind, planted in tars of known content: what is reported lost is what was lost."""

from __future__ import annotations

import hashlib
import io
import random
import tarfile
from collections.abc import Callable

import pytest

from clip_scaling.data.sources.tars import walk as tar_walk
from clip_scaling.data.sources.tars.index import TarContent, index_tar, losses

SAMPLES = 12
PADDING = b"x" * 700


def make_tar(names: list[tuple[str, bytes]], format: int = tarfile.PAX_FORMAT) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=format) as tar:
        for name, content in names:
            header = tarfile.TarInfo(name)
            header.size = len(content)
            tar.addfile(header, io.BytesIO(content))
    return file.getvalue()


def whole(samples: int = SAMPLES) -> list[tuple[str, bytes]]:
    """Members of samples s0, s1, ...: an image of 700 bytes, a caption."""
    return [
        member
        for number in range(samples)
        for member in ((f"s{number}.jpg", PADDING + b"%d" % number), (f"s{number}.txt", b"caption %d" % number))
    ]


def index(content: bytes, caption_key: str | None = None) -> TarContent:
    return index_tar(io.BytesIO(content), "t", caption_key, False)


def kept(content: TarContent) -> list[str]:
    return [line.removeprefix("t:s") for line in content.lines.decode().splitlines()]


def test_an_undamaged_tar_is_described_in_full_by_one_pass() -> None:
    content = make_tar(whole(3))
    found = index(content)
    # A sample is two headers of 512 bytes, an image of two blocks and a caption of one.
    assert found.samples["offset"].tolist() == [0, 2560, 5120]
    assert found.samples["size"].tolist() == [2560, 2560, 2560]
    assert found.sha256 == hashlib.sha256(content).hexdigest()
    assert found.bytes == len(content)
    assert found.lines == b"t:s0\nt:s1\nt:s2\n"
    digest = hashlib.sha256(b"t:s1").digest()
    assert b"".join(int(part).to_bytes(8, "big") for part in found.samples["order"][1]) == digest[:16]
    assert losses(found, None) == {"kept": 3, "lost": {}, "is_exact": True, "recorded": None, "problems": []}


@pytest.mark.parametrize("format", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_long_names_belong_to_their_sample(format: int) -> None:
    long = "folder/" * 30 + "s1"
    found = index(make_tar([("s0.jpg", b"i"), ("s0.txt", b"t"), (f"{long}.jpg", b"i"), (f"{long}.txt", b"t")], format))
    assert found.lines.decode().splitlines() == ["t:s0", f"t:{long}"]
    # The first sample is four blocks; the second begins with its long name's own header.
    assert found.samples["offset"].tolist() == [0, 2048]


Damage = Callable[[random.Random], tuple[bytes, set[int], list[str]]]
"""Gives a damaged tar of samples s0 .. s11, the numbers of those that are lost, and the problems to be named."""


def cut(random: random.Random) -> tuple[bytes, set[int], list[str]]:
    content = make_tar(whole())
    end = random.randrange(1024, SAMPLES * 2560)
    # A caption is whole once its own bytes are there, with or without its padding.
    return content[:end], {n for n in range(SAMPLES) if n * 2560 + 2048 + len(f"caption {n}") > end}, ["cut"]


def bit_flipped(random: random.Random) -> tuple[bytes, set[int], list[str]]:
    content = bytearray(make_tar(whole()))
    number, header = random.randrange(SAMPLES), random.choice((0, 1536))
    # Name, mode, size or type; a flip in the checksum's own padding would be no damage.
    place = random.choice([*range(148), 156])
    content[number * 2560 + header + place] ^= 1 << random.randrange(8)
    return bytes(content), {number}, ["damaged_header"]


def member_missing(random: random.Random) -> tuple[bytes, set[int], list[str]]:
    members = whole()
    gone = random.randrange(len(members))
    return make_tar(members[:gone] + members[gone + 1 :]), {gone // 2}, []


def key_twice(random: random.Random) -> tuple[bytes, set[int], list[str]]:
    first, second = sorted(random.sample(range(SAMPLES), 2))
    names = [(name.replace(f"s{second}.", f"s{first}."), content) for name, content in whole()]
    return make_tar(names), {second}, []


def empty(random: random.Random) -> tuple[bytes, set[int], list[str]]:
    return b"", set(range(SAMPLES)), ["empty"]


def not_a_tar(random: random.Random) -> tuple[bytes, set[int], list[str]]:
    return random.randbytes(random.randrange(1, 20_000)), set(range(SAMPLES)), ["not_a_tar"]


KINDS: list[Damage] = [cut, bit_flipped, member_missing, key_twice, empty, not_a_tar]


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("damage", KINDS, ids=lambda damage: damage.__name__)
def test_reported_losses_equal_true_losses(damage: Damage, seed: int) -> None:
    content, lost, problems = damage(random.Random(seed))
    found = index(content)
    assert kept(found) == [str(number) for number in range(SAMPLES) if number not in lost]
    report = losses(found, SAMPLES)
    assert sum(report["lost"].values()) == len(lost)
    assert report["problems"] == problems
    assert report["is_exact"]
    assert (found.bytes, found.sha256) == (len(content), hashlib.sha256(content).hexdigest())
    # Without a recorded number, only damage that hides nothing is said to be known exactly.
    assert losses(found, None)["is_exact"] == (not problems)


@pytest.mark.parametrize("damage", [bit_flipped, member_missing, key_twice], ids=lambda damage: damage.__name__)
@pytest.mark.parametrize("seed", range(12))
def test_what_damage_leaves_a_trace_of_is_counted_without_a_recorded_number(damage: Damage, seed: int) -> None:
    content, lost, _ = damage(random.Random(seed))
    assert sum(losses(index(content), None)["lost"].values()) == len(lost)


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ([("s0.jpg", b"i")], "no_caption"),
        ([("s0.txt", b"t")], "no_image"),
        ([("s0.jpg", b""), ("s0.txt", b"t")], "empty_image"),
        ([("s0.jpg", b"i"), ("s0.txt", b" \n")], "empty_caption"),
        ([("s0.jpg", b"i"), ("s0.txt", b"\xff")], "caption_not_utf8"),
        ([("s0.jpg", b"i"), ("s1.jpg", b"i"), ("s1.txt", b"t"), ("s0.txt", b"t")], "not_contiguous"),
        ([("s1.jpg", b"i"), ("s1.txt", b"t"), ("s1.jpg", b"i"), ("s1.txt", b"t")], "repeated_key"),
        ([("a\nb.jpg", b"i"), ("a\nb.txt", b"t")], "key_not_text"),
    ],
)
def test_a_sample_that_cannot_be_used_is_counted_once_by_its_reason(
    members: list[tuple[str, bytes]], reason: str
) -> None:
    assert index(make_tar(members)).lost == {reason: 1}


def test_captions_come_from_a_key_of_the_json_where_one_is_named() -> None:
    members = [
        *(("s0.jpg", b"i"), ("s0.json", b'{"alt": "a cat"}')),
        *(("s1.jpg", b"i"), ("s1.json", b'{"alt": 3}')),
        *(("s2.jpg", b"i"), ("s2.json", b"{")),
    ]
    found = index(make_tar(members), "alt")
    assert kept(found) == ["0"]
    assert found.lost == {"no_caption": 2}
    assert int(found.samples["caption"][0]) == int.from_bytes(hashlib.sha256(b"a cat").digest()[:8], "big")


def test_a_damaged_header_between_the_halves_of_a_sample_loses_that_sample_alone() -> None:
    content = bytearray(make_tar([("s0.jpg", b"i"), ("s0.json", b"{}"), ("s0.txt", b"t"), *whole(2)[2:]]))
    content[1024] ^= 1  # the JSON's header
    found = index(bytes(content))
    assert (kept(found), found.lost) == (["1"], {"damaged_header": 1})


def zeros_inside(random: random.Random) -> tuple[bytes, set[int], list[str]]:
    content = bytearray(make_tar(whole()))
    number = random.randrange(SAMPLES - 1)
    content[number * 2560 : number * 2560 + 1024] = bytes(1024)  # a block that never reached the disk
    return bytes(content), {number}, ["zeros_inside"]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("size", [512, 1300, 7000])
@pytest.mark.parametrize("damage", [*KINDS, zeros_inside], ids=lambda damage: damage.__name__)
def test_losses_do_not_depend_on_how_much_is_read_at_a_time(
    damage: Damage, size: int, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    content, lost, problems = damage(random.Random(seed))
    at_once = index(content)
    monkeypatch.setattr(tar_walk, "_READ_BYTES", size)
    found = index(content)
    assert kept(found) == [str(number) for number in range(SAMPLES) if number not in lost]
    assert found.problems == problems
    assert (found.samples.tobytes(), found.lost, found.sha256) == (
        at_once.samples.tobytes(), at_once.lost, hashlib.sha256(content).hexdigest()
    )  # fmt: skip
