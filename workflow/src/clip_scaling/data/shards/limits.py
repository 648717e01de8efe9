"""How large an image may be."""

MAX_PIXELS = 89_478_485
"""Width times height of the largest image that is decoded: where Pillow begins to warn of decompression bombs. As RGB
it takes 360 MB."""
PILLOWS_LIMIT = 2 * MAX_PIXELS
"""Pillow opens no image with more pixels."""
