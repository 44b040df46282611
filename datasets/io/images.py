"""Strict codecs: refuse damaged data, where lenient decoders would fill in guesses.

JPEG for images, 16-bit PNG for depth (metres x 256, 0 = none), 8-bit PNG for confidence.
"""

import zlib
from dataclasses import dataclass

import cv2
import numpy as np
import simplejpeg

from nightrain.datasets.errors import DamagedInput, Reason
from nightrain.datasets.io.image_formats import (
    check_one_picture,
    check_upright,
    format_name,
    has_other_colours,
    jpeg_header,
    to_srgb,
)

DEPTH_SCALE = 256.0  # PNG value per metre, the KITTI convention
MAX_DEPTH_M = 65535 / DEPTH_SCALE
MAX_PIXELS = 64_000_000
MAX_FILE_BYTES = 64 * 1024 * 1024
PNG_COLOUR_TYPE, GREY_WITH_ALPHA = 25, 4  # byte of the header chunk, and a value
TEXT_CHUNKS = {b"eXIf", b"iTXt", b"zTXt", b"tEXt"}  # may have an EXIF orientation
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True, slots=True)
class JpegImage:
    """An encoded JPEG, strictly decoded on request."""

    data: bytes

    def pixels(self) -> np.ndarray:
        """Decode to (H, W, 3) uint8, sRGB; raises DamagedInput."""
        return decode_jpeg(self.data)

    def size(self) -> tuple[int, int]:
        """(width, height) in pixels, from the header alone; raises DamagedInput."""
        return jpeg_size(self.data)


def encode_jpeg(image: np.ndarray, quality: int = 95) -> bytes:
    """Encode (H, W, 3) uint8 sRGB as a JPEG with 4:2:0 chroma."""
    return simplejpeg.encode_jpeg(
        np.ascontiguousarray(image), quality=quality, colorspace="RGB", colorsubsampling="420"
    )


def jpeg_size(data: bytes) -> tuple[int, int]:
    """(width, height) of a JPEG from its header; raises DamagedInput."""
    _check_file_bytes(data)
    try:
        header = simplejpeg.decode_jpeg_header(data, strict=True)
    except ValueError as error:
        found = format_name(data)
        what = "a damaged JPEG" if found == "a JPEG" else f"{found}, not a JPEG"
        raise DamagedInput(
            Reason.UNDECODABLE_IMAGE,
            f"no readable JPEG header in {len(data)} bytes: {error}; the file is {what}",
        ) from error
    height, width = int(header[0]), int(header[1])
    if width * height > MAX_PIXELS:
        raise DamagedInput(
            Reason.TOO_LARGE,
            f"the JPEG header says {width}x{height}; expected at most {MAX_PIXELS} pixels",
        )
    return width, height


def decode_jpeg(data: bytes) -> np.ndarray:
    """Decode a JPEG to (H, W, 3) uint8 sRGB; damaged parts are never filled in.

    A grey channel is repeated, and a colour profile is applied. Raises DamagedInput for empty,
    truncated, oversized or undecodable data, and for a picture that other readers show differently:
    turned by its EXIF data, in CMYK, or of more than 8 bits. A flipped bit in the entropy-coded
    part may decode without an error; only a checksum detects it.
    """
    jpeg_size(data)
    header = jpeg_header(data)
    if header is not None:
        check_one_picture(data, header)
    try:
        pixels = simplejpeg.decode_jpeg(data, colorspace="RGB", strict=True)
    except ValueError as error:
        raise DamagedInput(
            Reason.UNDECODABLE_IMAGE, f"{len(data)} bytes are not one complete JPEG: {error}"
        ) from error
    return to_srgb(pixels, data) if header is not None and header.has_profile else pixels


def storable_jpeg(data: bytes) -> bytes:
    """Return a JPEG that every reader decodes to the same 8-bit RGB; raises DamagedInput.

    The bytes are kept if they are one already. A grey picture and one with another colour profile
    than sRGB are decoded and encoded again, at quality 97.
    """
    jpeg_size(data)
    header = jpeg_header(data)
    if header is None:
        raise DamagedInput(Reason.UNDECODABLE_IMAGE, "the JPEG has no frame header")
    check_one_picture(data, header)
    if header.num_channels == 1 or (header.has_profile and has_other_colours(data)):
        return encode_jpeg(decode_jpeg(data), quality=97)
    return data


def encode_depth_png(depth_m: np.ndarray) -> bytes:
    """Encode depth (H, W) in metres as a 16-bit PNG of metres x 256.

    Values that are 0, not finite or beyond 255.99 m become 0 (none); a valid depth is never rounded
    to 0.
    """
    valid = np.isfinite(depth_m) & (depth_m > 0) & (depth_m <= MAX_DEPTH_M)
    scaled = np.where(valid, depth_m, 0.0) * DEPTH_SCALE
    values = np.where(valid, np.maximum(np.rint(scaled), 1.0), 0.0).astype(np.uint16)
    return _encode_png(values, "depth")


def decode_depth_png(data: bytes) -> np.ndarray:
    """Decode a 16-bit depth PNG to (H, W) float32 in metres, 0 = none; raises DamagedInput."""
    return depth_from_levels(decode_depth_levels(data))


def decode_depth_levels(data: bytes) -> np.ndarray:
    """Decode a 16-bit depth PNG to its (H, W) uint16 levels, 0 = none; raises DamagedInput."""
    return _decode_png(data, np.uint16, "a 16-bit grey depth PNG")


def encode_levels_png(levels: np.ndarray) -> bytes:
    """Encode levels (H, W) uint16 as a 16-bit grey PNG; `decode_depth_levels` reads it."""
    return _encode_png(levels, "16-bit")


def depth_from_levels(levels: np.ndarray) -> np.ndarray:
    """Convert levels of a depth PNG, metres x 256, to float32 in metres, exactly."""
    return levels.astype(np.float32) * np.float32(1 / DEPTH_SCALE)


def encode_confidence_png(confidence: np.ndarray) -> bytes:
    """Encode confidence (H, W) in [0, 1] as an 8-bit grey PNG of confidence x 255."""
    values = np.rint(np.clip(confidence, 0.0, 1.0) * 255.0).astype(np.uint8)
    return _encode_png(values, "confidence")


def decode_confidence_png(data: bytes) -> np.ndarray:
    """Decode an 8-bit confidence PNG to (H, W) float32 in [0, 1]; raises DamagedInput."""
    values = _decode_png(data, np.uint8, "an 8-bit grey confidence PNG")
    return values.astype(np.float32) * np.float32(1 / 255)


def _encode_png(values: np.ndarray, what: str) -> bytes:
    """Encode grey values (H, W) as a PNG at the fastest compression level."""
    ok, data = cv2.imencode(".png", values, [cv2.IMWRITE_PNG_COMPRESSION, 1])
    if not ok:
        raise ValueError(f"OpenCV could not encode a {what} map of shape {values.shape}")
    return data.tobytes()


def _decode_png(data: bytes, dtype: type[np.unsignedinteger], expected: str) -> np.ndarray:
    """Decode grey values (H, W) of a checked PNG; raises DamagedInput for another bit depth."""
    check_png(data)
    values = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if values is None or values.dtype != dtype or values.ndim != 2:
        found = "nothing decodable" if values is None else f"{values.dtype} {values.shape}"
        raise DamagedInput(Reason.UNDECODABLE_IMAGE, f"expected {expected}, found {found}")
    return values


def decode_png(data: bytes) -> np.ndarray:
    """Decode an 8-bit PNG to grey (H, W) or sRGB (H, W, 3) uint8; raises DamagedInput.

    A palette is expanded, an alpha channel without transparent pixels is dropped, and a colour
    profile is applied. Raises DamagedInput for 16 bits, transparent pixels, an animation, and an
    EXIF orientation other than upright.
    """
    chunks = check_png(data)
    if b"acTL" in chunks:
        raise _unsupported_png("the PNG is animated")
    if chunks & TEXT_CHUNKS:
        check_upright(data)
    values = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if values is None or values.dtype != np.uint8:
        found = "nothing decodable" if values is None else f"{values.dtype} {values.shape}"
        raise _unsupported_png(f"found {found}")
    if values.ndim == 2:
        return values
    if values.shape[2] == 4 and (values[..., 3] != 255).any():
        raise _unsupported_png("the PNG has transparent pixels")
    if data[PNG_COLOUR_TYPE] == GREY_WITH_ALPHA:
        return np.ascontiguousarray(values[..., 0])
    pixels = cv2.cvtColor(values[..., :3], cv2.COLOR_BGR2RGB)
    return to_srgb(pixels, data) if b"iCCP" in chunks else pixels


def _unsupported_png(problem: str) -> DamagedInput:
    return DamagedInput(
        Reason.UNDECODABLE_IMAGE,
        f"{problem}; expected an 8-bit colour or grey PNG without transparency",
    )


def check_png(data: bytes) -> set[bytes]:
    """Check a PNG's signature, size and chunk checksums and return its kinds of chunks.

    Raises DamagedInput.

    libpng silently fills in truncated data; the chunk checksums reveal the damage.
    """
    _check_file_bytes(data)
    if data[:8] != PNG_SIGNATURE or data[12:16] != b"IHDR" or len(data) < 33:
        raise DamagedInput(
            Reason.UNDECODABLE_IMAGE,
            "the data is not a PNG, whose signature or header chunk is missing: it is "
            f"{format_name(data)}",
        )
    width, height = int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")
    if width * height > MAX_PIXELS:
        raise DamagedInput(
            Reason.TOO_LARGE,
            f"the PNG header says {width}x{height}; expected at most {MAX_PIXELS} pixels",
        )
    position, kind, kinds = 8, b"", set[bytes]()
    while kind != b"IEND":
        length = int.from_bytes(data[position : position + 4], "big")
        kind = bytes(data[position + 4 : position + 8])
        end = position + 12 + length
        checksum = int.from_bytes(data[end - 4 : end], "big")
        if end > len(data) or zlib.crc32(data[position + 4 : end - 4]) != checksum:
            raise DamagedInput(
                Reason.UNDECODABLE_IMAGE, f"PNG chunk {kind!r} at byte {position} is damaged"
            )
        position = end
        kinds.add(bytes(kind))  # a slice of an Arrow buffer cannot be hashed
    return kinds


def resize_image(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize (H, W, 3) uint8 to (width, height): area averaging to shrink, cubic to enlarge."""
    if (image.shape[1], image.shape[0]) == size:
        return image
    shrinking = size[0] <= image.shape[1] and size[1] <= image.shape[0]
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA if shrinking else cv2.INTER_CUBIC)


def _check_file_bytes(data: bytes) -> None:
    if not data:
        raise DamagedInput(Reason.EMPTY_FILE, "the image file is empty")
    if len(data) > MAX_FILE_BYTES:
        raise DamagedInput(
            Reason.TOO_LARGE, f"the image has {len(data)} bytes; expected at most {MAX_FILE_BYTES}"
        )
