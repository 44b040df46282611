"""Image formats: what a file is, and what makes readers see different pictures in it.

An orientation tag turns the picture in some readers and not in others; CMYK, 12 bits and alpha are
converted by each in its own way; a colour profile is applied by viewers and ignored by networks.
"""

import io
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from nightrain.datasets.errors import DamagedInput, Reason

if TYPE_CHECKING:
    from PIL import ImageCms

SIGNATURES = (
    (b"\xff\xd8\xff", "a JPEG"),
    (b"\x89PNG\r\n\x1a\n", "a PNG"),
    (b"GIF8", "a GIF"),
    (b"BM", "a BMP"),
    (b"II*\0", "a TIFF"),
    (b"MM\0*", "a TIFF"),
    (b"version https://git-lfs", "a git-lfs pointer: fetch the file with `git lfs pull`"),
    (b"<", "HTML or XML text"),
    (b"\0\0\0", "zeros"),
)
ORIENTATION = 0x0112  # the EXIF tag; 1 is upright
SRGB_TOLERANCE = 3  # levels of 255: profiles of sRGB differ from each other by rounding
FRAME_MARKERS = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}  # SOF0 to SOF15
HUFFMAN_MARKERS = {0xC0, 0xC1, 0xC2}  # baseline, extended, progressive: every reader has them


@dataclass(frozen=True, slots=True)
class JpegHeader:
    """Properties in a JPEG's header that decide how readers show it."""

    marker: int  # start of frame, 0xC0 to 0xCF
    bits: int
    num_channels: int
    has_exif_or_xmp: bool
    has_profile: bool


def format_name(data: bytes) -> str:
    """Format of a file by its first bytes: "a PNG", or "no known image format"."""
    if data[4:12] in (b"ftypheic", b"ftypheix", b"ftypmif1", b"ftypavif"):
        return "a HEIC or AVIF picture"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "a WebP picture"
    start = data[:64].lstrip() if data[:1].isspace() else data[:64]
    return next((words for mark, words in SIGNATURES if start.startswith(mark)), "no known image")


def jpeg_header(data: bytes) -> JpegHeader | None:
    """Read the segments of a JPEG up to its pixels; None if there is no frame header."""
    found: JpegHeader | None = None
    has_exif = has_profile = False
    for marker, body in _jpeg_segments(data):
        if marker == 0xE1:
            has_exif |= body[:5] == b"Exif\0" or _turns(bytes(body))
        elif marker == 0xE2:
            has_profile |= body[:12] == b"ICC_PROFILE\0"
        elif marker in FRAME_MARKERS and len(body) >= 6 and found is None:
            found = JpegHeader(marker, body[0], body[5], False, False)
    if found is None:
        return None
    return JpegHeader(found.marker, found.bits, found.num_channels, has_exif, has_profile)


def _turns(body: bytes) -> bool:
    """Whether a segment is XMP that names an orientation; marks of generated pictures do not."""
    return body.startswith(b"http://ns.adobe.com/xap") and b"rientation" in body


def check_one_picture(data: bytes, header: JpegHeader) -> None:
    """Raise DamagedInput(UNDECODABLE_IMAGE) for a JPEG that readers show differently."""
    if header.marker not in HUFFMAN_MARKERS:
        raise _unsupported("the JPEG is lossless, hierarchical or arithmetic-coded")
    if header.bits != 8:
        raise _unsupported(f"the JPEG has {header.bits} bits per channel")
    if header.num_channels not in (1, 3):
        raise _unsupported(f"the JPEG has {header.num_channels} channels (CMYK)")
    if header.has_exif_or_xmp:
        check_upright(data)


def check_upright(data: bytes) -> None:
    """Raise DamagedInput(UNDECODABLE_IMAGE) for an orientation tag other than upright."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data)) as image:
            orientation = image.getexif().get(ORIENTATION, 1)
    except (OSError, SyntaxError, ValueError, KeyError) as error:
        raise _unsupported(f"its EXIF data cannot be read ({error})") from error
    if orientation not in (0, 1):
        raise _unsupported(
            f"its EXIF orientation is {orientation}: some readers turn the picture and some do "
            "not, and the intrinsics fit only one of the two. Turn the pixels or correct the tag "
            "(`exiftran -a`, `jpegtran -rotate`)"
        )


def to_srgb(pixels: np.ndarray, data: bytes) -> np.ndarray:
    """Convert pixels (H, W, 3) uint8 by the colour profile in a file; raises DamagedInput."""
    from PIL import Image, ImageCms

    transform = _srgb_transform(data)
    if transform is None:
        return pixels
    return np.asarray(ImageCms.applyTransform(Image.fromarray(pixels), transform))


def has_other_colours(data: bytes) -> bool:
    """Whether a file has a colour profile other than sRGB; raises DamagedInput."""
    return _srgb_transform(data) is not None


def _srgb_transform(data: bytes) -> "ImageCms.ImageCmsTransform | None":
    """Transform from a file's colour profile to sRGB; None without a profile, or if it is sRGB."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data)) as image:
            profile = image.info.get("icc_profile")
    except (OSError, SyntaxError, ValueError) as error:
        raise _unsupported(f"its colour profile cannot be read ({error})") from error
    return _profile_transform(profile) if profile else None


@lru_cache(maxsize=8)
def _profile_transform(profile: bytes) -> "ImageCms.ImageCmsTransform | None":
    from PIL import Image, ImageCms

    if profile[16:20] == b"GRAY":  # the colour space in the header
        return None
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        target = ImageCms.createProfile("sRGB")
        transform = ImageCms.buildTransform(source, target, "RGB", "RGB")
    except (OSError, ImageCms.PyCMSError) as error:
        raise _unsupported(f"its colour profile is damaged or not of RGB ({error})") from error
    levels = np.arange(0, 256, 51, dtype=np.uint8)
    colours = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(-1, 1, 3)
    shown = np.asarray(ImageCms.applyTransform(Image.fromarray(colours), transform))
    same = np.abs(shown.astype(int) - colours).max() <= SRGB_TOLERANCE
    return None if same else transform


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the marker and the first bytes of each segment before the pixels; all of APP1."""
    position = 2
    while position + 4 <= len(data) and data[position] == 0xFF:
        marker = data[position + 1]
        if marker == 0xFF:  # a fill byte
            position += 1
            continue
        if marker in (0xD9, 0xDA):  # end, or start of the pixels
            return
        length = int.from_bytes(data[position + 2 : position + 4], "big")
        most = length if marker == 0xE1 else min(length, 64)
        yield marker, data[position + 4 : position + 2 + most]
        position += 2 + length


def _unsupported(problem: str) -> DamagedInput:
    return DamagedInput(
        Reason.UNDECODABLE_IMAGE,
        f"{problem}; expected an upright 8-bit RGB or grey picture, which every reader shows alike",
    )
