"""IMU poses from KITTI's OXTS packets, by the Mercator formula of the raw data's readme."""

import math

import numpy as np

from nightrain.datasets.errors import DamagedInput, Reason
from nightrain.datasets.io.untrusted import Files
from nightrain.datasets.sources.kitti.drives import FrameName, folder_names

EARTH_RADIUS_M = 6378137.0
MAX_OXTS_BYTES = 1 << 14
NUM_POSE_FIELDS = 6  # lat, lon in degrees, alt in metres, roll, pitch, yaw in radians; then 24 more
MAX_LATITUDE_DEG = 85.0  # limit of the Mercator projection
MAX_ALTITUDE_M = 1e5

Packet = tuple[float, float, float, float, float, float]


class ImuPoses:
    """IMU poses by drive; the world's origin is the drive's first readable OXTS packet."""

    def __init__(self, files: Files) -> None:
        self._files = files
        self._origins: dict[str, Packet | None] = {}

    def known(self, drive: str) -> bool:
        """Whether a drive has OXTS packets; raises DamagedInput if all of them are damaged."""
        return self._origin(drive) is not None

    def T_world_imu(self, name: FrameName) -> np.ndarray:
        """Pose (4, 4) in metres at a frame of a drive with packets; raises DamagedInput."""
        packet = read_packet(self._files, f"{_folder(name.drive)}/{name.number:010d}.txt")
        return T_world_imu(packet, self._origin(name.drive) or packet)

    def _origin(self, drive: str) -> Packet | None:
        if drive not in self._origins:
            self._origins[drive] = self._first_packet(_folder(drive))
        return self._origins[drive]

    def _first_packet(self, folder: str) -> Packet | None:
        damage: DamagedInput | None = None
        for file in sorted(f for f in folder_names(self._files, folder) if f.endswith(".txt")):
            try:
                return read_packet(self._files, f"{folder}/{file}")
            except DamagedInput as error:
                damage = damage or error
        if damage is not None:
            raise damage  # all packets are damaged
        return None


def _folder(drive: str) -> str:
    return f"{drive[:10]}/{drive}/oxts/data"


def read_packet(files: Files, name: str) -> Packet:
    """Read latitude, longitude (deg), altitude (m), roll, pitch, yaw (rad) of an oxts/data file.

    Raises DamagedInput.
    """
    words = files.read_text(name, MAX_OXTS_BYTES).split()
    try:
        values = [float(word) for word in words[:NUM_POSE_FIELDS]]
    except ValueError:
        values = []
    if len(values) < NUM_POSE_FIELDS or not _is_on_earth(values):
        found = " ".join(words[:NUM_POSE_FIELDS])[:120]
        raise DamagedInput(
            Reason.BAD_POSE,
            f"{name} begins with {found!r}; expected latitude, longitude, altitude, roll, pitch, "
            "yaw in degrees, metres and radians. Copy it from the original",
        )
    lat_deg, lon_deg, alt_m, roll, pitch, yaw = values
    return lat_deg, lon_deg, alt_m, roll, pitch, yaw


def T_world_imu(packet: Packet, origin: Packet) -> np.ndarray:
    """IMU pose (4, 4) in metres; world: x east, y north, z up, with its origin at packet `origin`.

    Mercator at the scale of the origin's latitude, and R = Rz(yaw) Ry(pitch) Rx(roll), as the raw
    data's readme says; yaw 0 is east, counter-clockwise.
    """
    scale = math.cos(math.radians(origin[0]))
    transform = np.eye(4)
    transform[:3, :3] = _rotation(*packet[3:])
    transform[:3, 3] = _mercator_m(packet, scale) - _mercator_m(origin, scale)
    return transform


def _mercator_m(packet: Packet, scale: float) -> np.ndarray:
    lat_deg, lon_deg, alt_m = packet[:3]
    east_m = scale * EARTH_RADIUS_M * math.radians(lon_deg)
    north_m = scale * EARTH_RADIUS_M * math.log(math.tan(math.radians(90 + lat_deg) / 2))
    return np.array([east_m, north_m, alt_m])


def _rotation(roll: float, pitch: float, yaw: float) -> np.ndarray:
    (cr, sr), (cp, sp), (cy, sy) = ((math.cos(a), math.sin(a)) for a in (roll, pitch, yaw))
    about_x = np.array([[1, 0, 0], [0, cr, -sr], [0, sr, cr]])
    about_y = np.array([[cp, 0, sp], [0, 1, 0], [-sp, 0, cp]])
    about_z = np.array([[cy, -sy, 0], [sy, cy, 0], [0, 0, 1]])
    return about_z @ about_y @ about_x


def _is_on_earth(values: list[float]) -> bool:
    lat_deg, lon_deg, alt_m, *angles = values
    if not all(math.isfinite(value) for value in values):
        return False
    on_globe = abs(lat_deg) <= MAX_LATITUDE_DEG and abs(lon_deg) <= 360.0
    return on_globe and abs(alt_m) <= MAX_ALTITUDE_M and all(abs(a) <= 2 * math.pi for a in angles)
