"""Import engine: looks up the picture that another program made of a frame."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from nightrain.datasets.errors import DamagedInput, Reason
from nightrain.datasets.io.images import (
    PNG_SIGNATURE,
    decode_jpeg,
    decode_png,
    resize_image,
    storable_jpeg,
)
from nightrain.pipelines.engines.base import HostEngine, Request, Variant
from nightrain.pipelines.engines.imported.listing import read_picture_listing
from nightrain.pipelines.engines.imported.picture_reader import PictureReader
from nightrain.pipelines.engines.imported.settings import ImportSettings


class ImportEngine(HostEngine):
    """Returns listed pictures; a JPEG of the right size keeps its bytes."""

    def __init__(self, settings: ImportSettings) -> None:
        self._settings = settings
        self._reader = self._open()

    def _open(self) -> PictureReader:
        """Read the listing; raises InvalidRequest."""
        path = self._settings.listing_path
        self._listed = _stamp(path)
        return PictureReader(read_picture_listing(path, self._settings.digest))

    def generate(self, requests: Sequence[Request]) -> list[Variant | Exception]:
        """Return the picture of each request's frame, or why there is none, in order.

        A listing that was written again, as for pictures that were moved, is read again.
        """
        if _stamp(self._settings.listing_path) != self._listed:
            self._reader = self._open()
        return [self._outcome(request) for request in requests]

    def _outcome(self, request: Request) -> Variant | Exception:
        try:
            return self._variant(request)
        except DamagedInput as error:
            return error

    def _variant(self, request: Request) -> Variant:
        picture, data = self._reader.read(request.frame_id)
        try:
            pixels, jpeg = _decoded(data)
        except DamagedInput as error:
            raise DamagedInput(error.reason, f"{picture.place}: {error}") from error
        height, width = request.image.shape[:2]
        if pixels.shape[:2] != (height, width):
            if not self._settings.resize:
                found = f"{pixels.shape[1]}x{pixels.shape[0]}"
                raise DamagedInput(
                    Reason.SIZE_MISMATCH,
                    f"{picture.place} has {found} pixels; expected {width}x{height}. Pass "
                    f"`--size {found}` for variants of that size, or `--resize` for {width}x"
                    f"{height}; neither is right for a crop",
                )
            pixels, jpeg = resize_image(pixels, (width, height)), None
        facts = {"picture": picture.place, "picture_sha256": picture.sha256}
        return Variant(image=pixels, jpeg=jpeg, provenance=facts)


def _stamp(path: Path) -> tuple[int, int] | None:
    """Number and time of a file, which change when it is replaced; None if it is absent."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns


def _decoded(data: bytes) -> tuple[np.ndarray, bytes | None]:
    """Pixels (H, W, 3) uint8 of a JPEG or PNG, and the JPEG if it can be stored as it is."""
    if data[:8] != PNG_SIGNATURE:
        return decode_jpeg(data), storable_jpeg(data)
    pixels = decode_png(data)
    return (cv2.cvtColor(pixels, cv2.COLOR_GRAY2RGB) if pixels.ndim == 2 else pixels), None
