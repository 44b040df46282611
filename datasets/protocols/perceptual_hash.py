"""A perceptual hash of images: nearly the same picture, nearly the same bits.

The signs of the low frequencies, the method of Zauner's thesis "Implementation and benchmarking of
perceptual image hash functions" (2010), with 256 bits instead of its 64: frames of one road camera
all have sky above and road below, and over the 10^8 pairs of two splits 64 bits raise false alarms.
"""

from collections.abc import Iterator

import cv2
import numpy as np

NUM_FREQUENCIES = 16  # per axis, without the mean
NUM_BITS = NUM_FREQUENCIES**2
GRID = 64  # an image is averaged to so many values per axis

# Measured on real frames, see tests/real/test_real_leakage.py: the next frame of a 15 Hz video
# differs by at most 44 bits, the closest two different places by 100.
NEAR_DUPLICATE_BITS = 48
BLOCK = 4096


def perceptual_hash(image: np.ndarray) -> np.ndarray:
    """Hash (32,) uint8, 256 packed bits, of an image (H, W, 3) uint8 sRGB."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)  # (H, W)
    small = cv2.resize(grey, (GRID, GRID), interpolation=cv2.INTER_AREA).astype(np.float32)
    frequencies = cv2.dct(small)[1 : NUM_FREQUENCIES + 1, 1 : NUM_FREQUENCIES + 1]  # (16, 16)
    return np.packbits(frequencies > np.median(frequencies))


def near_pairs(a: np.ndarray, b: np.ndarray, max_bits: int) -> Iterator[tuple[int, int, int]]:
    """Index in `a`, index in `b` and bits of difference of pairs of hashes (N, 32), (M, 32) uint8.

    All pairs are compared: on signs, N x M distances are one matrix product.
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
