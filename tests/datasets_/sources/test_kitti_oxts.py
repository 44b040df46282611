"""OXTS packets against what is known of the Earth, and damaged ones."""

import math
from pathlib import Path

import numpy as np
import pytest

from nightrain.datasets.errors import DamagedInput, Reason
from nightrain.datasets.io.untrusted import Checksums, Files
from nightrain.datasets.sources.kitti.oxts import EARTH_RADIUS_M, T_world_imu, read_packet

HERE = (49.0, 8.4, 110.0, 0.0, 0.0, 0.0)
DEGREE_M = EARTH_RADIUS_M * math.pi / 180  # along a meridian of the formula's sphere


def moved(d_lat: float = 0.0, d_lon: float = 0.0, d_alt: float = 0.0) -> np.ndarray:
    packet = (HERE[0] + d_lat, HERE[1] + d_lon, HERE[2] + d_alt, 0.0, 0.0, 0.0)
    return T_world_imu(packet, HERE)[:3, 3]


def test_steps_on_the_earth_have_their_length_and_direction() -> None:
    """Within 1 cm over 1 km: Mercator's scale changes with latitude, so north is not exact."""
    north_m, east_m = moved(d_lat=0.001), moved(d_lon=0.001)
    np.testing.assert_allclose(north_m, [0, 0.001 * DEGREE_M, 0], atol=0.01)
    expected_m = 0.001 * DEGREE_M * math.cos(math.radians(49))
    np.testing.assert_allclose(east_m, [expected_m, 0, 0], atol=1e-6)
    np.testing.assert_allclose(moved(d_alt=3.0), [0, 0, 3], atol=1e-9)
    assert not moved().any()


@pytest.mark.parametrize(
    ("roll_pitch_yaw", "ahead", "left"),
    [
        ((0, 0, 0), (1, 0, 0), (0, 1, 0)),  # yaw 0: to the east
        ((0, 0, math.pi / 2), (0, 1, 0), (-1, 0, 0)),  # counter-clockwise
        ((0, math.pi / 2, 0), (0, 0, -1), (0, 1, 0)),  # positive pitch: nose down
        ((math.pi / 2, 0, 0), (1, 0, 0), (0, 0, 1)),  # positive roll: left side up
        ((math.pi / 2, 0, math.pi / 2), (0, 1, 0), (0, 0, 1)),  # roll first, then yaw
    ],
)
def test_angles_turn_the_car_as_the_readme_says(
    roll_pitch_yaw: tuple[float, float, float], ahead: tuple[int], left: tuple[int]
) -> None:
    rotation = T_world_imu((*HERE[:3], *roll_pitch_yaw), HERE)[:3, :3]
    np.testing.assert_allclose(rotation[:, 0], ahead, atol=1e-12)
    np.testing.assert_allclose(rotation[:, 1], left, atol=1e-12)


@pytest.mark.parametrize(
    "text",
    ["49 8 110 0 0", "49 8 110 0 0 x", "49 8 nan 0 0 0", "89 8 110 0 0 0", "49 8 1e9 0 0 0",
     "49 400 110 0 0 0", "49 8 110 0 0 7", "\x00\xff"],
)  # fmt: skip
def test_what_is_no_packet_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "7.txt").write_text(text)
    with pytest.raises(DamagedInput, match=r"7\.txt.*expected latitude") as caught:
        read_packet(Files(tmp_path, Checksums(tmp_path)), "7.txt")
    assert caught.value.reason is Reason.BAD_POSE
