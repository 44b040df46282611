"""Pictures that readers show differently are converted or refused; all others keep their bytes."""

import io
import zlib

import cv2
import numpy as np
import pytest
import torch
from PIL import Image, ImageCms
from torchvision.io import ImageReadMode, decode_image

from nightrain.datasets.errors import DamagedInput, Reason
from nightrain.datasets.io.images import decode_jpeg, decode_png, encode_jpeg, storable_jpeg
from support.synthetic import picture

pytestmark = pytest.mark.filterwarnings("ignore:The image decoding and encoding:DeprecationWarning")
SIZE = (64, 48)


def colours() -> Image.Image:
    """Smooth colours, which JPEG keeps to a few levels."""
    small = np.random.default_rng(3).integers(0, 256, (3, 4, 3), np.uint8)
    return Image.fromarray(cv2.resize(small, SIZE, interpolation=cv2.INTER_CUBIC))


def saved(image: Image.Image, kind: str = "JPEG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **({"quality": 95} if kind == "JPEG" else {}) | options)
    return file.getvalue()


def exif(orientation: int) -> Image.Exif:
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags


def other_profile() -> bytes:
    """A profile like sRGB, but with red and green exchanged."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    red, green = profile.index(b"rXYZ"), profile.index(b"gXYZ")
    profile[red : red + 4], profile[green : green + 4] = b"gXYZ", b"rXYZ"
    return bytes(profile)


def srgb_profile() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def as_seen_by_all(data: bytes) -> list[np.ndarray]:
    """RGB (H, W, 3) as our reader, PIL, OpenCV and torchvision show a JPEG."""
    with Image.open(io.BytesIO(data)) as image:
        assert image.mode == "RGB"
        pil = np.asarray(image)
    cv = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert cv is not None
    file = torch.frombuffer(bytearray(data), dtype=torch.uint8)
    vision = decode_image(file, ImageReadMode.UNCHANGED, apply_exif_orientation=True)
    return [decode_jpeg(data), pil, cv[..., ::-1], vision.permute(1, 2, 0).numpy()]


KEPT = {
    "plain": lambda: saved(colours()),
    "progressive": lambda: saved(colours(), progressive=True),
    "4:4:4": lambda: saved(colours(), subsampling=0),
    "RGB without a transform": lambda: saved(colours(), keep_rgb=True),
    "EXIF upright": lambda: saved(colours(), exif=exif(1)),
    "an sRGB profile": lambda: saved(colours(), icc_profile=srgb_profile()),
    "restart markers": lambda: saved(colours(), restart_marker_blocks=2),
    "a comment": lambda: saved(colours(), comment=b"night"),
    "a second picture": lambda: saved(colours()) + saved(colours().rotate(90)),
    "ours": lambda: encode_jpeg(np.asarray(colours())),
}


@pytest.mark.parametrize("what", KEPT)
def test_a_plain_jpeg_keeps_its_bytes_and_is_the_same_to_all_readers(what: str) -> None:
    data = KEPT[what]()
    assert storable_jpeg(data) is data
    ours, *others = as_seen_by_all(data)
    assert ours.shape == (*SIZE[::-1], 3)
    for other in others:
        np.testing.assert_array_equal(other, ours)


def test_a_grey_jpeg_is_stored_as_rgb() -> None:
    grey = colours().convert("L")
    stored = storable_jpeg(saved(grey))
    views = as_seen_by_all(stored)
    for view in views:
        np.testing.assert_array_equal(view, views[0])
        assert np.abs(view.astype(int) - np.asarray(grey)[..., None]).max() <= 6


def test_another_colour_profile_is_applied_before_storing() -> None:
    red = Image.new("RGB", SIZE, (220, 30, 30))
    stored = storable_jpeg(saved(red, icc_profile=other_profile()))
    assert b"ICC_PROFILE" not in stored
    for view in as_seen_by_all(stored):
        assert np.abs(view.astype(int) - (30, 220, 30)).max() <= 12
    grey = saved(colours().convert("L"), icc_profile=srgb_profile())  # a profile of another mode
    assert storable_jpeg(grey)


def patched(data: bytes, marker: int | None = None, bits: int | None = None) -> bytes:
    """A JPEG with another start of frame or another number of bits in its header."""
    frame = data.index(b"\xff\xc0")
    changed = bytearray(data)
    changed[frame + 1] = marker or 0xC0
    changed[frame + 4] = bits or 8
    return bytes(changed)


XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><r tiff:Orientation="8"/></x:xmpmeta>'
REFUSED = {
    **{f"orientation {k}": (lambda k=k: saved(colours(), exif=exif(k))) for k in range(2, 9)},
    "orientation in XMP": lambda: saved(colours(), xmp=XMP),
    "CMYK": lambda: saved(colours().convert("CMYK")),
    "12 bits": lambda: patched(saved(colours()), bits=12),
    "arithmetic": lambda: patched(saved(colours()), marker=0xC9),
    "lossless": lambda: patched(saved(colours()), marker=0xC3),
    "damaged profile": lambda: saved(colours(), icc_profile=b"no profile" * 20),
    "PNG named jpg": lambda: saved(colours(), "PNG"),
    "GIF named jpg": lambda: saved(colours(), "GIF"),
    "WebP named jpg": lambda: saved(colours(), "WEBP"),
    "page named jpg": lambda: b"\n<!DOCTYPE html><html>Not found</html>",
    "git-lfs pointer": lambda: b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
}
WORDS = {
    "orientation 6": "EXIF orientation is 6",
    "orientation in XMP": "EXIF orientation is 8",
    "CMYK": "4 channels",
    "12 bits": "12 bits",
    "PNG named jpg": "a PNG, not a JPEG",
    "WebP named jpg": "a WebP",
    "page named jpg": "HTML",
    "git-lfs pointer": "git lfs pull",
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_picture_that_readers_show_differently_is_refused(what: str) -> None:
    data = REFUSED[what]()
    for read in (storable_jpeg, decode_jpeg):
        with pytest.raises(DamagedInput, match=WORDS.get(what)) as caught:
            read(data)
        assert caught.value.reason is Reason.UNDECODABLE_IMAGE


# ---------------------------------------------------------------- PNG


def test_pngs_of_every_8_bit_kind_decode_to_the_same_colours() -> None:
    image = colours()
    expected = np.asarray(image)
    opaque = image.copy()
    opaque.putalpha(255)
    adam7 = _interlaced(expected)
    for data in (saved(image, "PNG"), saved(opaque, "PNG"), adam7):
        np.testing.assert_array_equal(decode_png(data), expected)
    few = image.quantize(16)
    np.testing.assert_array_equal(decode_png(saved(few, "PNG")), np.asarray(few.convert("RGB")))
    grey = image.convert("L")
    np.testing.assert_array_equal(decode_png(saved(grey, "PNG")), np.asarray(grey))
    np.testing.assert_array_equal(decode_png(saved(grey.convert("LA"), "PNG")), np.asarray(grey))
    bits = image.convert("1")
    np.testing.assert_array_equal(decode_png(saved(bits, "PNG")), np.asarray(bits) * np.uint8(255))


def test_a_profile_in_a_png_is_applied() -> None:
    red = Image.new("RGB", SIZE, (220, 30, 30))
    found = decode_png(saved(red, "PNG", icc_profile=other_profile()))
    assert np.abs(found.astype(int) - (30, 220, 30)).max() <= 6


def test_other_pngs_are_refused() -> None:
    image = colours()
    clear = image.copy()
    clear.putalpha(200)
    turning = saved(image, "PNG", save_all=True, append_images=[image.rotate(90)])
    holes = saved(image.quantize(16), "PNG", transparency=3)
    sixteen = cv2.imencode(".png", np.asarray(image).astype(np.uint16) * 257)[1].tobytes()
    for data, words in (
        (saved(clear, "PNG"), "transparent"),
        (holes, "transparent"),
        (turning, "animated"),
        (sixteen, "uint16"),
        (saved(image, "PNG", exif=exif(6)), "orientation is 6"),
        (saved(image), "it is a JPEG"),
        (saved(image, "GIF"), "it is a GIF"),
    ):
        with pytest.raises(DamagedInput, match=words) as caught:
            decode_png(data)
        assert caught.value.reason is Reason.UNDECODABLE_IMAGE


def _interlaced(image: np.ndarray) -> bytes:
    """An Adam7 PNG of RGB (H, W, 3): the seven passes one after another."""
    passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4)]
    passes += [(1, 0, 2, 2), (0, 1, 1, 2)]
    rows = b"".join(b"\0" + row.tobytes() for x, y, dx, dy in passes for row in image[y::dy, x::dx])
    height, width = image.shape[:2]
    size = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    chunks = [(b"IHDR", size + bytes([8, 2, 0, 0, 1])), (b"IDAT", zlib.compress(rows))]
    return b"\x89PNG\r\n\x1a\n" + b"".join(map(_chunk, [*chunks, (b"IEND", b"")]))


def _chunk(named: tuple[bytes, bytes]) -> bytes:
    kind, body = named
    checksum = zlib.crc32(kind + body).to_bytes(4, "big")
    return len(body).to_bytes(4, "big") + kind + body + checksum


def test_the_header_alone_costs_little() -> None:
    data = encode_jpeg(picture(1))
    assert storable_jpeg(data) is data  # no second decoding, no copy
