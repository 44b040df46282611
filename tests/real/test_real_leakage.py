"""The threshold of near-duplicates on real frames, where a checkout has them beside it.

`pytest -s tests/real/test_real_leakage.py` prints what it measures.
"""

from collections.abc import Iterator, Sequence
from itertools import combinations
from pathlib import Path

import cv2
import numpy as np
import pytest

from nightrain.datasets.io.images import decode_jpeg, encode_jpeg, resize_image
from nightrain.datasets.protocols.perceptual_hash import NEAR_DUPLICATE_BITS, perceptual_hash
from nightrain.datasets.world.export.writer import write_world
from support.paths import REAL_DATA

DATA = REAL_DATA
VIDEOS = {
    "camvid, 15 Hz": "adverse/day_sequence_camvid/*.png",
    "kitti, 10 Hz": "kitti/2011_09_26/*/image_02/data/*.png",
}
PLACES = (  # no two are of one place in one direction
    "adverse/*/bdd_*.jpg",
    "adverse/*/img2img_turbo_*.jpg",
    "nuscenes/samples/CAM_*/*.jpg",
    "nuscenes_images_only/*/*.jpg",
    "robotcar/2014-12-09-13-21-02/stereo/left_rgb/*.png",
)
real = pytest.mark.skipif(not DATA.exists(), reason="no real frames beside this checkout")


def read(pattern: str) -> list[np.ndarray]:
    """Images (H, W, 3) uint8 in the order of their names."""
    images = [cv2.imread(str(path)) for path in sorted(DATA.glob(pattern))]
    return [cv2.cvtColor(image, cv2.COLOR_BGR2RGB) for image in images if image is not None]


def places() -> list[np.ndarray]:
    return [image for pattern in PLACES for image in read(pattern)]


def bits(pairs: Sequence[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    return np.array([np.unpackbits(a ^ b).sum() for a, b in pairs])


@real
@pytest.mark.parametrize("video", VIDEOS)
def test_the_next_frame_of_a_video_is_a_near_duplicate(video: str) -> None:
    hashes = [perceptual_hash(image) for image in read(VIDEOS[video])]
    assert len(hashes) >= 25
    for lag in (1, 2, 4, 8):
        found = bits(list(zip(hashes, hashes[lag:], strict=False)))
        share = (found <= NEAR_DUPLICATE_BITS).mean()
        print(f"{video}, lag {lag}: median {np.median(found):.0f} bits, {share:.0%} found")
        assert share == 1 if lag == 1 else share >= 0.9 or lag > 2


@real
def test_different_places_are_far_apart() -> None:
    hashes = [perceptual_hash(image) for image in places()]
    hashes += [perceptual_hash(image) for video in VIDEOS.values() for image in read(video)[:1]]
    found = bits(list(combinations(hashes, 2)))
    print(
        f"{len(found)} pairs: {found.min()} bits or more, {found.mean():.1f} +- {found.std():.1f}"
    )
    assert len(found) > 300 and found.min() > 1.8 * NEAR_DUPLICATE_BITS
    assert found.mean() - NEAR_DUPLICATE_BITS > 8 * found.std()  # no alarm among 10^8 pairs


def altered(image: np.ndarray) -> Iterator[np.ndarray]:
    """The same picture as it gets copied: compressed, resized, darkened, cropped, noisy."""
    height, width = image.shape[:2]
    yield decode_jpeg(encode_jpeg(image, quality=30))
    yield resize_image(image, (width // 2, height // 2))
    yield (255 * (image / 255) ** 1.5).astype(np.uint8)
    yield image[height // 50 : -height // 50, width // 50 : -width // 50]
    noise = np.random.default_rng(0).normal(0, 10, image.shape)
    yield np.clip(image + noise, 0, 255).astype(np.uint8)


@real
def test_altered_copies_of_real_frames_are_found() -> None:
    pairs = [
        (perceptual_hash(image), perceptual_hash(copy))
        for image in places()
        for copy in altered(image)
    ]
    share = (bits(pairs) <= NEAR_DUPLICATE_BITS).mean()
    print(f"{len(pairs)} altered copies: {share:.1%} found")
    assert share > 0.97


@pytest.mark.slow
@pytest.mark.parametrize("num_places", [5, pytest.param(12, marks=pytest.mark.campaign)])
def test_streets_of_the_world_are_not_taken_for_one_another(
    tmp_path: Path, num_places: int
) -> None:
    write_world(tmp_path / "w", scenes=num_places, frames=1, seed=2, size=(128, 80), truth=())
    paths = sorted((tmp_path / "w" / "samples" / "CAM_FRONT").glob("*.jpg"))
    hashes = [perceptual_hash(decode_jpeg(path.read_bytes())) for path in paths]
    assert len(hashes) == num_places
    found = bits(list(combinations(hashes, 2)))
    print(f"world: {len(found)} pairs, {found.min()} bits or more")
    assert found.min() > NEAR_DUPLICATE_BITS + 16
