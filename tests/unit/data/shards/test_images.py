"""Encoded images of every odd kind are decoded, or refused as unreadable; none raises anything else."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from PIL import Image

from clip_scaling.data.shards.images import eight_bits, without_texts
from clip_scaling.data.shards.limits import MAX_PIXELS
from clip_scaling.data.shards.read import UnreadablePair, decode_image

from ..pictures import COLOUR, GREY, chunk, encoded, long_text, png

ROWS = [bytes([row * 20, 100, 50]) * 8 for row in range(8)]


@pytest.mark.parametrize("kind", [b"zTXt", b"iTXt", b"iCCP"])
@pytest.mark.parametrize("is_after", [False, True], ids=["before the pixels", "after them"])
def test_a_long_text_in_a_png_does_not_keep_its_pixels_from_being_read(kind: bytes, is_after: bool) -> None:
    text = long_text(kind)
    drawn = png((8, 8), 8, COLOUR, ROWS, after=chunk(*text)) if is_after else png((8, 8), 8, COLOUR, ROWS, text)
    assert decode_image(drawn).tobytes() == b"".join(ROWS)


def test_many_texts_and_a_damaged_one_do_not_either() -> None:
    words = [(b"zTXt", b"prompt\0\0" + long_text()[1][8:200])] + [(b"tEXt", b"word\0" + bytes(1 << 20))] * 70
    assert decode_image(png((8, 8), 8, COLOUR, ROWS, *words)).tobytes() == b"".join(ROWS)
    sound = png((8, 8), 8, COLOUR, ROWS, (b"tEXt", b"prompt\0a picture"))
    assert decode_image(sound.replace(b"a picture", b"a Picture")).tobytes() == b"".join(ROWS)


def test_a_png_without_its_texts_is_the_png_that_never_had_one() -> None:
    assert without_texts(png((8, 8), 8, COLOUR, ROWS, long_text())) == png((8, 8), 8, COLOUR, ROWS)
    cut = png((8, 8), 8, COLOUR, ROWS)[:-20]
    assert without_texts(cut) == cut and without_texts(b"\xff\xd8 tEXt") == b"\xff\xd8 tEXt"


def test_grey_of_sixteen_bits_is_scaled_not_clipped_to_white() -> None:
    values = (0, 257, 25_700, 65_535)
    drawn = png((4, 1), 16, GREY, [struct.pack(">4H", *values)])
    assert [pixel[0] for pixel in decode_image(drawn).get_flattened_data()] == [0, 1, 100, 255]


@pytest.mark.parametrize(
    ("values", "kind", "expected"),
    [
        ([0, 257, 32_896, 65_535], np.uint16, [0, 1, 128, 255]),
        ([0, 1, 100, 255], np.int32, [0, 1, 100, 255]),
        ([0, 257, 32_896, 65_535], np.int32, [0, 1, 128, 255]),
        ([0, 2**30, 2**31 - 1, 1], np.int32, [0, 128, 255, 0]),
        ([0.0, 0.5, 1.0, -3.0], np.float32, [0, 128, 255, 0]),
        ([0.0, 100.0, 255.0, np.nan], np.float32, [0, 100, 255, 0]),
    ],
)
def test_deep_greys_are_scaled_by_the_white_of_their_depth(
    values: list[float], kind: type[np.generic], expected: list[int]
) -> None:
    tiff = encoded(Image.fromarray(np.array([values], kind)), "TIFF")
    assert [pixel[0] for pixel in decode_image(tiff).get_flattened_data()] == expected


def test_a_transparent_grey_of_sixteen_bits_becomes_white() -> None:
    drawn = png((2, 1), 16, GREY, [struct.pack(">2H", 0, 65_535)], (b"tRNS", b"\0\0"))
    with Image.open(io.BytesIO(drawn)) as image:
        assert np.asarray(eight_bits(image)).tolist() == [[255, 255]]


def test_an_image_with_too_many_pixels_is_refused_before_it_is_decoded() -> None:
    side = int(MAX_PIXELS**0.5) + 1
    bomb = png((side, side), 8, COLOUR, [])  # a header is enough
    with pytest.raises(UnreadablePair, match=f"{side} x {side} pixels are more than"):
        decode_image(bomb)
    with pytest.raises(UnreadablePair, match="decompression bomb"):
        decode_image(png((20_000, 20_000), 8, COLOUR, []))


@pytest.mark.parametrize("content", [b"", b"GIF89a", b"\xff\xd8\xff\xe0", b"RIFF\0\0\0\0WEBPVP8 ", b"<html>"])
def test_what_is_no_image_is_unreadable(content: bytes) -> None:
    with pytest.raises(UnreadablePair):
        decode_image(content)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "GIF", "WEBP"])
def test_any_flipped_byte_gives_a_picture_or_an_unreadable_pair(format: str) -> None:
    sound = encoded(Image.effect_noise((24, 24), 60).convert("RGB"), format)
    draw = np.random.default_rng(0)
    for _ in range(100):
        damaged = bytearray(sound)
        for place in draw.integers(0, len(sound), 3):
            damaged[place] = draw.integers(0, 256)
        try:
            assert decode_image(bytes(damaged)).mode == "RGB"
        except UnreadablePair:
            pass
