"""Perceptual hash: nearly equal images have nearly equal bits.

The hash is `imagehash.phash`: the signs of the low frequencies of a discrete cosine transform
(Zauner 2010, "Implementation and benchmarking of perceptual image hash functions"), with 256 bits
instead of its 64. Frames of road cameras all have sky above and road below; over the 10^8 pairs of
two splits, 64 bits would give false alarms.
"""

from collections.abc import Iterator

import imagehash
import numpy as np
from PIL import Image

NUM_FREQUENCIES = 16  # per axis
NUM_BITS = NUM_FREQUENCIES**2

# Measured on real frames, see tests/real/test_real_leakage.py: the next frame of a 15 Hz video
# differs by at most 44 bits, the closest two different places by 104.
NEAR_DUPLICATE_BITS = 48
BLOCK = 4096


def perceptual_hash(image: np.ndarray) -> np.ndarray:
    """Hash (32,) uint8, 256 packed bits, of an image (H, W, 3) uint8 sRGB."""
    found = imagehash.phash(Image.fromarray(image), hash_size=NUM_FREQUENCIES)
    return np.packbits(found.hash)


def near_pairs(a: np.ndarray, b: np.ndarray, max_bits: int) -> Iterator[tuple[int, int, int]]:
    """Yield pairs of hashes (N, 32) and (M, 32) uint8 that differ in at most `max_bits` bits.

    A pair is its index in `a`, its index in `b` and the number of bits that differ. All pairs are
    compared: with bits as signs, the N x M distances are one matrix product.
    """
    signs_b = _signs(b)
    for start in range(0, len(a), BLOCK):
        signs_a = _signs(a[start : start + BLOCK])
        for begin in range(0, len(b), BLOCK):
            agreement = signs_a @ signs_b[begin : begin + BLOCK].T  # (<= BLOCK, <= BLOCK)
            rows, columns = np.nonzero(agreement >= NUM_BITS - 2 * max_bits)
            bits = (NUM_BITS - agreement[rows, columns]) / 2
            for row, column, distance in zip(rows, columns, bits, strict=True):
                yield start + int(row), begin + int(column), round(float(distance))


def _signs(hashes: np.ndarray) -> np.ndarray:
    """Hashes (N, 32) uint8 as (N, 256) float32 of -1 and 1."""
    bits = np.unpackbits(hashes.reshape(-1, NUM_BITS // 8), axis=1)
    return bits.astype(np.float32) * 2 - 1
