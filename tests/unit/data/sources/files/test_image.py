"""One image file: whatever lies in it, it is stored or refused by a reason; `look` and `stored` agree."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from clip_scaling.data.shards.limits import MAX_PIXELS
from clip_scaling.data.shards.read import decode_image
from clip_scaling.data.sources.files.config import FolderSource
from clip_scaling.data.sources.files.image import Place, look, stored
from clip_scaling.data.sources.files.source import write_file_source
from clip_scaling.records.files import read_json

from ...pictures import COLOUR, GREY, TRANSPARENT, chunk, encoded, exif, long_text, png

ORIENTATION, X_RESOLUTION, IMAGE_WIDTH = 0x0112, 0x011A, 0x0100
LOSSLESS: dict[str, Any] = {"encode_format": "png", "encode_quality": 6}


def recipe(folder: Path, **fields: Any) -> FolderSource:
    plain = {"kind": "folder", "path": str(folder), "pairs": 1, "vocabulary_size": 600, "image_size": 8}
    return FolderSource.model_validate(plain | {"max_lost_fraction": 0.9, "shard_size": 10} | fields)


def noise(width: int, height: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8))


def seen(tmp_path: Path, content: bytes, **fields: Any) -> tuple[str, int, int]:
    """(reason, width, height) of a file with this content; where it is sound, it can be stored."""
    path = tmp_path / "image"
    path.write_bytes(content)
    found = look(Place(path), recipe(tmp_path, **fields))
    if not found.reason:
        extension, kept = stored(content, recipe(tmp_path, **fields))
        assert extension in ("jpg", "png", "webp")
        with Image.open(io.BytesIO(kept)) as image:
            image.load()
    return found.reason, found.width, found.height


TURNED = (ORIENTATION, 3, 1, struct.pack("<H", 6))


@pytest.mark.parametrize(
    "odd",
    [
        (X_RESOLUTION, 2, 3, b"72\0"),  # a text instead of a fraction: TypeError in ImageOps.exif_transpose
        (X_RESOLUTION, 5, 1, struct.pack("<II", 1, 0)),  # a fraction with nothing below
        (IMAGE_WIDTH, 12, 1, struct.pack("<d", 1e300)),
        (0x8769, 4, 1, struct.pack("<I", 1 << 30)),  # EXIF's own directory beyond the end
        (0x9286, 7, 1 << 20, bytes(4)),
    ],
)
def test_odd_exif_does_not_keep_a_photo_from_being_turned(tmp_path: Path, odd: tuple[int, int, int, bytes]) -> None:
    photo = encoded(noise(40, 20), "PNG", exif=exif(*sorted([TURNED, odd])))
    assert seen(tmp_path, photo, **LOSSLESS) == ("", 20, 40)
    shown = Image.open(io.BytesIO(stored(photo, recipe(tmp_path, resize="no", **LOSSLESS))[1]))
    np.testing.assert_array_equal(np.asarray(shown), np.rot90(np.asarray(noise(40, 20)), -1))


@pytest.mark.parametrize(
    "value",
    [
        (ORIENTATION, 2, 2, b"6\0"),
        (ORIENTATION, 5, 1, struct.pack("<II", 6, 0)),
        (ORIENTATION, 7, 4, b"\6\0\0\0"),
        (ORIENTATION, 3, 1, struct.pack("<H", 99)),
    ],
)
def test_an_orientation_that_is_no_orientation_leaves_a_photo_as_it_is(
    tmp_path: Path, value: tuple[int, int, int, bytes]
) -> None:
    assert seen(tmp_path, encoded(noise(40, 20), "JPEG", exif=exif(value))) == ("", 40, 20)


def test_exif_of_noise_ends_nothing(tmp_path: Path) -> None:
    sound = exif(TURNED, (X_RESOLUTION, 5, 1, struct.pack("<II", 72, 1)))
    draw = np.random.default_rng(0)
    for _ in range(20):
        damaged = bytearray(sound)
        for place in draw.integers(6, len(sound), 4):
            damaged[place] = draw.integers(0, 256)
        assert seen(tmp_path, encoded(noise(40, 20), "JPEG", exif=bytes(damaged)))[0] == ""


def test_a_png_with_a_long_text_is_stored_without_it(tmp_path: Path) -> None:
    rows = [bytes([row * 20, 100, 50]) * 8 for row in range(8)]
    for drawn in (png((8, 8), 8, COLOUR, rows, long_text()), png((8, 8), 8, COLOUR, rows, after=chunk(*long_text()))):
        assert seen(tmp_path, drawn) == ("", 8, 8)
        assert stored(drawn, recipe(tmp_path)) == ("png", png((8, 8), 8, COLOUR, rows))
    short = png((8, 8), 8, COLOUR, rows, (b"tEXt", b"title\0a drawing"))
    assert stored(short, recipe(tmp_path)) == ("png", short)


def test_a_png_that_unpacks_to_gigabytes_is_refused_by_its_header(tmp_path: Path) -> None:
    side = int(MAX_PIXELS**0.5) + 1
    assert seen(tmp_path, png((side, side), 8, TRANSPARENT, [])) == ("image_pixels", side, side)
    assert seen(tmp_path, png((20, 10), 8, COLOUR, [bytes(60)] * 10), max_image_pixels=199) == ("image_pixels", 20, 10)
    assert seen(tmp_path, png((20, 10), 8, COLOUR, [bytes(60)] * 10), max_image_pixels=200) == ("", 20, 10)
    assert seen(tmp_path, png((20_000, 20_000), 8, COLOUR, []))[0] == "image_pixels"


def test_a_large_jpeg_is_decoded_at_the_scale_that_is_needed_unless_it_has_many_scans(tmp_path: Path) -> None:
    photo = noise(160, 160)
    assert seen(tmp_path, encoded(photo, "JPEG"), max_image_pixels=1000) == ("", 160, 160)
    many_scans = encoded(photo, "JPEG", progressive=True)
    assert seen(tmp_path, many_scans, max_image_pixels=1000) == ("image_pixels", 160, 160)


def test_an_image_longer_than_its_format_takes_is_left_out_and_a_shorter_one_is_not(tmp_path: Path) -> None:
    def line(width: int) -> bytes:
        return png((width, 1), 8, COLOUR, [bytes(3 * width)])

    webp = {"encode_format": "webp"}
    assert seen(tmp_path, encoded(Image.new("L", (16_383, 1)).convert("P")), **webp) == ("", 16_383, 1)
    assert seen(tmp_path, encoded(Image.new("P", (16_384, 1))), **webp) == ("image_too_long", 16_384, 1)
    assert seen(tmp_path, encoded(Image.new("P", (65_501, 1)))) == ("image_too_long", 65_501, 1)
    assert seen(tmp_path, encoded(Image.new("P", (65_501, 1))), **LOSSLESS) == ("", 65_501, 1)
    assert seen(tmp_path, line(70_000)) == ("", 70_000, 1)  # it keeps its bytes


def test_transparent_images_are_laid_on_white_a_strip_at_a_time_to_the_same_pixels(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (1100, 1000, 4), np.uint8)
    image = Image.fromarray(pixels)
    whole = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    kept = stored(encoded(image, compress_level=1), recipe(tmp_path, resize="no", **LOSSLESS))[1]
    assert Image.open(io.BytesIO(kept)).tobytes() == whole.tobytes()


MODES = {
    "grey of 16 bits": png((4, 4), 16, GREY, [struct.pack(">4H", 0, 257, 25_700, 65_535)] * 4),
    "grey of 16 bits, one transparent": png(
        (4, 4), 16, GREY, [struct.pack(">4H", 0, 257, 25_700, 65_535)] * 4, (b"tRNS", b"\0\0")
    ),
    "grey of 8 bits": encoded(Image.fromarray(np.array([[0, 1, 100, 255]] * 4, np.uint8))),
}


def test_grey_of_sixteen_bits_is_stored_as_it_looks(tmp_path: Path) -> None:
    shown = {
        name: [
            pixel[0] for pixel in decode_image(stored(content, recipe(tmp_path, **LOSSLESS))[1]).get_flattened_data()
        ]
        for name, content in MODES.items()
    }
    assert shown["grey of 16 bits"] == shown["grey of 8 bits"] == [0, 1, 100, 255] * 4
    assert shown["grey of 16 bits, one transparent"] == [255, 1, 100, 255] * 4


@pytest.mark.parametrize(
    ("format", "modes"),
    [
        ("JPEG", "1 L RGB CMYK YCbCr"),
        ("PNG", "1 L LA P RGB RGBA I;16"),
        ("WEBP", "L LA RGB RGBA CMYK"),
        ("GIF", "1 L LA P RGB RGBA"),
    ],
)
def test_every_mode_that_a_format_takes_is_stored(tmp_path: Path, format: str, modes: str) -> None:
    for mode in modes.split():
        assert seen(tmp_path, encoded(Image.new(mode, (20, 10)), format)) == ("", 20, 10)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "GIF", "WEBP"])
def test_any_flipped_byte_gives_a_stored_image_or_a_reason(tmp_path: Path, format: str) -> None:
    sound = encoded(noise(24, 24), format, exif=exif(TURNED)) if format != "GIF" else encoded(noise(24, 24), format)
    draw = np.random.default_rng(0)
    for _ in range(100):
        damaged = bytearray(sound)
        for place in draw.integers(0, min(len(sound), 400), 3):
            damaged[place] = draw.integers(0, 256)
        assert seen(tmp_path, bytes(damaged))[0] in ("", "unreadable_image", "image_pixels", "image_too_long")


def test_one_odd_file_of_each_kind_is_a_line_of_left_out_and_ends_nothing(tmp_path: Path) -> None:
    odd = {
        "bomb": png((9_460, 9_460), 8, TRANSPARENT, []),
        "bigger_bomb": png((20_000, 20_000), 8, COLOUR, []),
        "long": encoded(Image.new("P", (65_501, 1))),
        "none": b"<html>not found</html>",
    }
    sound = {f"photo{number}": encoded(noise(20 + number, 20), "JPEG") for number in range(10)} | {
        "phone": encoded(noise(40, 20), "JPEG", exif=exif(TURNED, (X_RESOLUTION, 2, 3, b"72\0"))),
        "prompt": png((8, 8), 8, COLOUR, [bytes(24)] * 8, long_text()),
    }
    (tmp_path / "images").mkdir()
    for name, content in (odd | sound).items():
        (tmp_path / f"images/{name}.png").write_bytes(content)
        (tmp_path / f"images/{name}.txt").write_text(name)
    write_file_source(tmp_path / "out", "mine", recipe(tmp_path / "images"), 1)
    counts = read_json(tmp_path / "out/manifest.json")["counts"]
    assert counts["kept"] == 12
    assert counts["dropped"] == {"image_pixels": 2, "image_too_long": 1, "unreadable_image": 1}
    lines = (tmp_path / "out/left_out.tsv").read_text().splitlines()
    assert lines == [
        "image_pixels\t'bigger_bomb.png'",
        "image_pixels\t'bomb.png'",
        "image_too_long\t'long.png'",
        "unreadable_image\t'none.png'",
    ]


def test_the_limit_of_pixels_is_part_of_what_a_source_is_only_where_it_was_set(tmp_path: Path) -> None:
    assert "max_image_pixels" not in recipe(tmp_path).tracked()
    assert recipe(tmp_path).beside()["max_image_pixels"] == MAX_PIXELS
    assert recipe(tmp_path, max_image_pixels=10**6).tracked()["max_image_pixels"] == 10**6
