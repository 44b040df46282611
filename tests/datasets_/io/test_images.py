"""Codecs: what goes in comes out, and damage is refused rather than guessed at."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from nightrain.datasets.errors import DamagedInput, Reason
from nightrain.datasets.frame import scaled_intrinsics
from nightrain.datasets.io.images import (
    MAX_DEPTH_M,
    PNG_SIGNATURE,
    decode_depth_png,
    decode_jpeg,
    encode_depth_png,
    encode_jpeg,
    jpeg_size,
    resize_image,
)
from support.synthetic import picture

DEPTHS = arrays(np.float32, (5, 7), elements=st.floats(0, 300, width=32))


@given(DEPTHS)
def test_depth_survives_to_half_a_step(depth_m: np.ndarray) -> None:
    back = decode_depth_png(encode_depth_png(depth_m))
    kept = (depth_m > 0) & (depth_m <= MAX_DEPTH_M)
    assert np.all((back > 0) == kept)  # no depth appears, none within range is lost
    assert np.abs(back - depth_m)[kept].max(initial=0) <= 1 / 256


def test_what_is_no_depth_becomes_none() -> None:
    depth_m = np.array([[np.nan, np.inf, -1.0, 0.0, 256.0]], np.float32)
    assert not decode_depth_png(encode_depth_png(depth_m)).any()


def test_every_truncation_of_a_depth_map_is_refused() -> None:
    data = encode_depth_png(np.random.default_rng(0).uniform(1, 80, (20, 30)))
    for length in range(len(data)):
        with pytest.raises(DamagedInput):
            decode_depth_png(data[:length])


@settings(max_examples=300)
@given(st.data())
def test_every_bit_flip_of_a_depth_map_is_refused_or_harmless(data: st.DataObject) -> None:
    good = encode_depth_png(np.random.default_rng(0).uniform(1, 80, (20, 30)))
    bit = data.draw(st.integers(0, 8 * len(good) - 1))
    bad = bytearray(good)
    bad[bit // 8] ^= 1 << bit % 8
    with pytest.raises(DamagedInput):
        decode_depth_png(bytes(bad))


def test_an_8_bit_png_is_no_depth_map() -> None:
    data = cv2.imencode(".png", np.full((4, 4), 7, np.uint8))[1].tobytes()
    with pytest.raises(DamagedInput, match="16-bit"):
        decode_depth_png(data)


def test_a_jpeg_survives_nearly() -> None:
    image = cv2.GaussianBlur(picture(1), (0, 0), 2)
    data = encode_jpeg(image, 95)
    assert jpeg_size(data) == (image.shape[1], image.shape[0])
    assert np.abs(decode_jpeg(data).astype(int) - image).mean() < 3


def test_every_truncation_of_a_jpeg_is_refused() -> None:
    data = encode_jpeg(picture(1))
    for length in range(len(data)):
        with pytest.raises(DamagedInput):
            decode_jpeg(data[:length])


def test_a_huge_header_is_refused_before_anything_is_decoded() -> None:
    data = bytearray(encode_jpeg(picture(1)))
    start = data.index(b"\xff\xc0")  # start of frame: length, precision, height, width
    data[start + 5 : start + 9] = (50_000).to_bytes(2, "big") * 2
    with pytest.raises(DamagedInput) as error:
        decode_jpeg(bytes(data))
    assert error.value.reason is Reason.TOO_LARGE
    png = bytearray(encode_depth_png(np.ones((4, 4))))
    png[16:24] = (50_000).to_bytes(4, "big") * 2
    assert bytes(png[:8]) == PNG_SIGNATURE
    with pytest.raises(DamagedInput) as error:
        decode_depth_png(bytes(png))
    assert error.value.reason is Reason.TOO_LARGE


@pytest.mark.parametrize("data", [b"", b"GIF89a", b"\x00" * 100])
def test_what_is_no_image_is_refused(data: bytes) -> None:
    for decode in (decode_jpeg, decode_depth_png):
        with pytest.raises(DamagedInput):
            decode(data)


@given(st.integers(1, 8))
def test_intrinsics_follow_a_resize(factor: int) -> None:
    """A point's pixel in the resized image is where resizing moved that pixel's centre."""
    intrinsics = np.array([[100.0, 0, 40.3], [0, 110.0, 30.7], [0, 0, 1]])
    scaled = scaled_intrinsics(intrinsics, (80, 60), (80 * factor, 60 * factor))
    point = np.array([0.3, -0.2, 4.0])
    before, after = intrinsics @ point / point[2], scaled @ point / point[2]
    np.testing.assert_allclose(after[:2], (before[:2] + 0.5) * factor - 0.5)
    back = scaled_intrinsics(scaled, (80 * factor, 60 * factor), (80, 60))
    np.testing.assert_allclose(back, intrinsics, atol=1e-12)


def test_resizing_agrees_with_the_scaled_intrinsics() -> None:
    """The centre of a drawn disc lands where the scaled intrinsics say."""
    image = np.zeros((120, 200, 3), np.uint8)
    cv2.circle(image, (90, 50), 12, (255, 255, 255), -1)
    small = resize_image(image, (50, 30)).mean(2)
    rows, columns = np.indices(small.shape)
    centre = (small * columns).sum() / small.sum(), (small * rows).sum() / small.sum()
    np.testing.assert_allclose(centre, ((90.5 / 4) - 0.5, (50.5 / 4) - 0.5), atol=0.02)
