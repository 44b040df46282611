"""Cameras of Oxford RobotCar: calibration files, Bayer images, undistortion, bonnet crop.

Conventions of the published SDK (ori-mrg/robotcar-dataset-sdk) and of Maddern et al., IJRR 2017:

- `models/<model>.txt`: a row fx fy cx cy in pixels, then G_camera_image, 4 rows that take the image
  frame (x right, y down, z ahead) to the camera frame (x ahead, y right, z down).
- `models/<model>_distortion_lut.bin`: float64, first all u, then all v, row by row: where each
  pixel of the undistorted image is in the raw one, counted from 0 (the MATLAB code adds 1).
- `extrinsics/<camera>.txt`: x y z roll pitch yaw of T_camera_vehicle for a camera, but of
  T_vehicle_sensor for a laser and the INS.

The SDK projects points with fx, cx unchanged and draws them over pixels with centres at integers,
so no half pixel is added here. Its bound 0.5 <= u is a leftover from counting from 1.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
from scipy.spatial.transform import Rotation

from nightrain.datasets.errors import DamagedInput, Reason
from nightrain.datasets.geometry.projection import invert_rigid
from nightrain.datasets.io.images import MAX_FILE_BYTES, decode_png
from nightrain.datasets.io.untrusted import Files

MAX_TEXT_BYTES = 1 << 16
MAX_TABLE_BYTES = 64 << 20
VISIBLE_ROWS = 768  # below them, stereo images show the car's own bonnet (md4all's crop)

# Not published. Measured in the daytime image 1418132504537582, where the centre line is a
# warning line (4 m marks, 2 m gaps); eleven ends of marks fit a camera 1.56 m (one sigma: 0.06 m)
# above the road that looks 3.1 degrees down. The roof of the car, a Nissan LEAF, is 1.55 m high.
ORIGIN_HEIGHT_M = 1.56


@dataclass(frozen=True, slots=True)
class CameraKind:
    """Fixed properties of a camera model."""

    model: str
    extrinsics: str  # also the name of its .timestamps file
    size: tuple[int, int]  # (width, height), pixels
    bayer: int  # OpenCV's code
    visible_rows: int


# Bumblebee XB3 images begin with G B over R G, Grasshopper2 images with R G over G B.
CAMERAS = {
    "stereo/left": CameraKind(
        "stereo_wide_left", "stereo", (1280, 960), cv2.COLOR_BayerGBRG2RGB, VISIBLE_ROWS
    ),
    "stereo/centre": CameraKind(
        "stereo_narrow_left", "stereo", (1280, 960), cv2.COLOR_BayerGBRG2RGB, VISIBLE_ROWS
    ),
    "stereo/right": CameraKind(
        "stereo_wide_right", "stereo", (1280, 960), cv2.COLOR_BayerGBRG2RGB, VISIBLE_ROWS
    ),
    **{
        name: CameraKind(name, name, (1024, 1024), cv2.COLOR_BayerRGGB2RGB, 1024)
        for name in ("mono_left", "mono_right", "mono_rear")
    },
}


@dataclass(frozen=True, slots=True)
class Camera:
    """Calibrated camera, cropped to its top `rows`."""

    kind: CameraKind
    rows: int
    intrinsics: np.ndarray  # (3, 3) float64, pixels; the crop keeps the top left, so it keeps these
    T_vehicle_camera: np.ndarray  # (4, 4) float64, metres; vehicle: x ahead, y right, z down
    lookup: Callable[[], tuple[np.ndarray, np.ndarray]]  # u, v: (rows, W) float32 in the raw image

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) of the cropped images."""
        return self.kind.size[0], self.rows

    def image(self, png: bytes, *, raw: bool | None = None) -> np.ndarray:
        """Undistorted image (rows, W, 3) uint8 sRGB of a PNG; raises DamagedInput.

        A grey PNG is a raw Bayer image; a colour one is already demosaiced and undistorted. `raw`
        True or False requires one of the two.
        """
        pixels = decode_image(png, self.kind.size)
        if raw is not None and raw is not (pixels.ndim == 2):
            found, expected = ("grey", "coloured") if pixels.ndim == 2 else ("coloured", "grey")
            raise DamagedInput(
                Reason.BAD_RECORD,
                f"the PNG is {found}; expected a {expected} one, because images are declared "
                f"{'raw' if raw else 'undistorted'}. Use undistorted=auto",
            )
        if pixels.ndim == 3:
            return np.ascontiguousarray(pixels[: self.rows])
        u, v = self.lookup()
        return undistort(demosaic(pixels, self.kind.bayer), u, v)


def read_camera(sdk: Files, name: str, *, crop_bonnet: bool = True) -> Camera:
    """Read the calibration of a camera from an SDK folder; raises DamagedInput."""
    kind = CAMERAS[name]
    file = f"models/{kind.model}.txt"
    values = read_numbers(sdk, file, 20)
    G_camera_image = values[4:].reshape(4, 4)
    drift = np.abs(G_camera_image[:3, :3] @ G_camera_image[:3, :3].T - np.eye(3)).max()
    if min(values[:2]) <= 1 or drift > 1e-3 or np.any(G_camera_image[3] != (0, 0, 0, 1)):
        raise _bad(file, "does not contain focal lengths in pixels and a rigid transform")
    T_camera_vehicle = read_extrinsics(sdk, kind.extrinsics)
    rows = kind.visible_rows if crop_bonnet else kind.size[1]
    return Camera(
        kind=kind,
        rows=rows,
        intrinsics=np.array([[values[0], 0, values[2]], [0, values[1], values[3]], [0, 0, 1]]),
        T_vehicle_camera=invert_rigid(T_camera_vehicle) @ G_camera_image,
        lookup=cache(lambda: read_lookup(sdk, kind, rows)),
    )


def lookup_name(kind: CameraKind) -> str:
    """File name of a camera's distortion table, relative to the SDK folder."""
    return f"models/{kind.model}_distortion_lut.bin"


def read_lookup(sdk: Files, kind: CameraKind, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Read the top rows' u and v (rows, W) float32 in the raw image; raises DamagedInput."""
    (width, height), name = kind.size, lookup_name(kind)
    try:
        data = sdk.read(name, MAX_TABLE_BYTES)
    except DamagedInput as error:
        raise DamagedInput(
            error.reason,
            f"a raw image needs the distortion table of its camera: {error}. Fetch the SDK with "
            "git-lfs, or use images that are already undistorted",
        ) from error
    if len(data) != 16 * width * height:
        raise _bad(
            name,
            f"has {len(data)} bytes; expected {16 * width * height} "
            f"({width}x{height} pairs of float64; a file of 133 bytes is a git-lfs pointer)",
        )
    table = np.frombuffer(data, "<f8").reshape(2, height, width)[:, :rows]
    if not np.isfinite(table).all():
        raise _bad(name, "contains values that are not finite numbers")
    return table[0].astype(np.float32), table[1].astype(np.float32)


def decode_image(data: bytes, size: tuple[int, int]) -> np.ndarray:
    """Decode an 8-bit PNG of (width, height) to (H, W) grey or (H, W, 3) RGB.

    Raises DamagedInput.
    """
    pixels = decode_png(data)
    if pixels.shape[1::-1] != size:
        raise DamagedInput(
            Reason.SIZE_MISMATCH,
            f"{pixels.shape[1::-1]} pixels (width, height); its camera has {size}",
        )
    return pixels


def is_grey_png(data: bytes) -> bool:
    """Whether a PNG has one channel, as raw Bayer images do, according to its header."""
    return data[25:26] == b"\0"


def demosaic(bayer: np.ndarray, code: int) -> np.ndarray:
    """Demosaic a Bayer image (H, W) uint8 bilinearly to RGB (H, W, 3) uint8, as the SDK does."""
    return cv2.cvtColor(bayer, code)


def undistort(raw: np.ndarray, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Sample a raw RGB image (H, W, 3) bilinearly at u, v (rows, W): (rows, W, 3) uint8.

    Black outside the raw image. OpenCV rounds positions to 1/32 pixel.
    """
    return cv2.remap(
        raw, u, v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=(0, 0, 0)
    )


def read_extrinsics(sdk: Files, name: str) -> np.ndarray:
    """Read the transform (4, 4) in metres of extrinsics/<name>.txt; raises DamagedInput.

    It is T_camera_vehicle for a camera, T_vehicle_sensor for a laser or the INS.
    """
    return transform_from_euler(read_numbers(sdk, f"extrinsics/{name}.txt", 6)[None])[0]


def transform_from_euler(xyzrpy: np.ndarray) -> np.ndarray:
    """Transforms (N, 4, 4) of x, y, z in metres, roll, pitch, yaw in radians (N, 6).

    R = Rz(yaw) Ry(pitch) Rx(roll), the SDK's order.
    """
    transforms = np.tile(np.eye(4), (len(xyzrpy), 1, 1))
    transforms[:, :3, :3] = Rotation.from_euler("xyz", xyzrpy[:, 3:]).as_matrix()
    transforms[:, :3, 3] = xyzrpy[:, :3]
    return transforms


def T_ego_vehicle(T_vehicle_ins: np.ndarray) -> np.ndarray:
    """Pose (4, 4) of RobotCar's vehicle frame on the ego: x ahead, y left, z up, on the road.

    The vehicle frame is that of the stereo camera, which is tilted down by a few degrees. The INS
    is assumed to be level, so the tilt (2.3 degrees) follows from its mounting.
    """
    transform = np.eye(4)
    transform[:3, :3] = np.diag([1.0, -1.0, -1.0]) @ T_vehicle_ins[:3, :3].T
    transform[2, 3] = ORIGIN_HEIGHT_M
    return transform


def read_numbers(sdk: Files, name: str, count: int) -> np.ndarray:
    """Read `count` finite numbers from a small text file; raises DamagedInput."""
    words = sdk.read_text(name, MAX_TEXT_BYTES).split()
    numbers = parse_floats(words)
    if numbers is None or len(numbers) != count:
        raise _bad(name, f"begins with {' '.join(words)[:80]!r}; expected {count} finite numbers")
    return numbers


def parse_floats(words: Sequence[str]) -> np.ndarray | None:
    """Parse words as float64; None unless all are finite numbers."""
    try:
        numbers = np.array([float(word) for word in words], np.float64)
    except ValueError:
        return None
    return numbers if np.isfinite(numbers).all() else None


def read_png(files: Files, name: str) -> bytes:
    """Read the bytes of an image; raises DamagedInput."""
    return files.read(name, MAX_FILE_BYTES)


def _bad(name: str, problem: str) -> DamagedInput:
    return DamagedInput(
        Reason.BAD_CALIBRATION, f"{name} {problem}; copy it from the RobotCar SDK again"
    )
