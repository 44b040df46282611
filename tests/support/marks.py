"""Marks of generated pictures in tests."""

import struct

from nightrain.datasets.io.marks import JPEG_KEY


def unmarked(jpeg: bytes) -> bytes:
    """Bytes of a JPEG before it was marked."""
    start = jpeg.index(JPEG_KEY) - 4
    return jpeg[:start] + jpeg[start + 2 + struct.unpack(">H", jpeg[start + 2 : start + 4])[0] :]
