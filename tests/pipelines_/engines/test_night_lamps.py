"""Lamps of the night: found in pictures that are painted so that the right ones are known."""

import numpy as np
import pytest

from nightrain.datasets.conditions import Condition
from nightrain.pipelines.engines.weather.lamps.head_lamps import add_head_lamps, find_fronts
from nightrain.pipelines.engines.weather.lamps.lamp_posts import post_tops_m
from nightrain.pipelines.engines.weather.lamps.lit_windows import find_windows
from nightrain.pipelines.engines.weather.lamps.street_lamps import place_lamps
from nightrain.pipelines.engines.weather.lamps.tail_lamps import add_tail_lamps, find_tail_lamps
from nightrain.pipelines.engines.weather.optics.optical_scene import OpticalScene, read_scene
from support.weather_street import light, picture, request, rng, street

RED, GREY, WALL_M = (170, 25, 30), (60, 62, 66), 20.0
WIDTH, HEIGHT = 768, 432


def painted(*, at_m: list[tuple[float, float]], size_m: float, colour: tuple) -> tuple:
    """A street whose wall, 20 m ahead, has squares at (right, above the ground) in metres."""
    image, depth, k = street(WIDTH, HEIGHT, WALL_M, wall_height_m=9.0)
    for right_m, up_m in at_m:
        u, v = k[0, 0] * right_m / WALL_M + k[0, 2], k[1, 1] * (1.6 - up_m) / WALL_M + k[1, 2]
        half = size_m / 2 * k[0, 0] / WALL_M
        image[round(v - half) : round(v + half), round(u - half) : round(u + half)] = colour
    return image, depth, k


def scene_of(painting: tuple) -> OpticalScene:
    return read_scene(request(Condition.NIGHT, scene=painting))


def test_tail_lamps_are_red_small_and_as_high_as_a_vehicle_s() -> None:
    at_m = [(-3.0, 0.9), (-1.6, 0.9), (2.0, 0.8)]
    found = find_tail_lamps(scene_of(painted(at_m=at_m, size_m=0.25, colour=RED)))
    assert sorted(region.position_m[0] for region in found) == pytest.approx(
        [-3.0, -1.6, 2.0], abs=0.1
    )
    assert all(region.width_m == pytest.approx(0.25, abs=0.06) for region in found)


@pytest.mark.parametrize(
    ("up_m", "size_m", "colour"),
    [
        (4.0, 0.25, RED),  # a sign
        (1.2, 1.5, RED),  # a red car's body
        (0.9, 0.25, (150, 90, 80)),  # a brick
        (0.9, 0.25, (30, 150, 40)),
    ],
)
def test_other_patches_are_no_tail_lamps(up_m: float, size_m: float, colour: tuple) -> None:
    painting = painted(at_m=[(1.0, up_m)], size_m=size_m, colour=colour)
    assert find_tail_lamps(scene_of(painting)) == []


def test_lamps_of_one_vehicle_are_lit_together() -> None:
    """Pairs 1.3 m apart; with many seeds each pair is lit and dark, and never one lamp of two."""
    scene = scene_of(painted(at_m=[(-5, 0.9), (-3.7, 0.9), (3, 0.9), (4.3, 0.9)], size_m=0.25,
                             colour=RED))  # fmt: skip
    lamps = sorted(find_tail_lamps(scene), key=lambda region: region.position_m[0])
    seen = set()
    for seed in range(30):
        dark = np.zeros((HEIGHT, WIDTH, 3), np.float32)
        add_tail_lamps(dark, scene, 6.0, rng(seed))
        is_lit = [bool(dark[lamp.box].max() > 1) for lamp in lamps]
        assert is_lit[0] == is_lit[1] and is_lit[2] == is_lit[3]
        seen.add((is_lit[0], is_lit[2]))
    assert len(seen) == 4


def test_windows_are_found_in_rows() -> None:
    at_m = [(x, up) for x in (-4.0, -1.5, 1.5, 4.0) for up in (3.5, 6.5)]
    found = find_windows(scene_of(painted(at_m=at_m, size_m=1.2, colour=GREY)))
    centres = {(round(region.position_m[0] * 2) / 2, round(region.above_ground_m * 2) / 2)
               for region in found}  # fmt: skip
    assert centres == set(at_m)


@pytest.mark.parametrize(
    ("at_m", "colour"),
    [
        ([(0.0, 4.0)], GREY),  # one alone
        ([(x, 5.0) for x in (-4.0, -1.5, 1.5, 4.0)], (40, 90, 35)),  # gaps in leaves
        ([(x, 0.4) for x in (-4.0, -1.5, 1.5, 4.0)], GREY),  # cellar doors, wheels
    ],
)
def test_other_dark_patches_are_no_windows(at_m: list, colour: tuple) -> None:
    assert find_windows(scene_of(painted(at_m=at_m, size_m=0.8, colour=colour))) == []


def test_a_lamp_is_seen_only_on_a_post() -> None:
    """A post's depth is the sky's here: it stands where one of the usual height would be."""
    bare = street(WIDTH, HEIGHT, wall_m=60.0)
    assert post_tops_m(scene_of(bare)) == []
    assert not any(lamp.is_seen for lamp in place_lamps(scene_of(bare), 1500.0, rng(1)).lamps)
    image, depth, k = street(WIDTH, HEIGHT, wall_m=60.0)
    image[90:160, 300:304] = 35
    (top_m,) = post_tops_m(scene_of((image, depth, k)))
    lamps = place_lamps(scene_of((image, depth, k)), 1500.0, rng(1)).lamps
    assert [x.position_m.tolist() for x in lamps if x.is_seen] == [top_m.tolist()]
    u, v = k[0, 0] * top_m[0] / top_m[2] + k[0, 2], k[1, 1] * top_m[1] / top_m[2] + k[1, 2]
    assert (u, v) == (pytest.approx(302, abs=1.5), pytest.approx(90, abs=2))
    lit = picture(condition=Condition.NIGHT, severity=0.3, scene=(image, depth, k))
    dark = picture(condition=Condition.NIGHT, severity=0.3, scene=bare)
    assert light(lit)[80:100, 292:312].max() > 0.5 > 5 * light(dark)[80:100, 292:312].max()


def test_twigs_and_wires_are_no_posts() -> None:
    image, depth, k = street(WIDTH, HEIGHT, wall_m=60.0)
    image[100:103, :] = 35  # a wire
    image[60:68, 500:503] = 35  # a twig
    assert post_tops_m(scene_of((image, depth, k))) == []


@pytest.mark.parametrize("severity", [0.0, 0.3, 0.6, 0.9])
@pytest.mark.parametrize("brightness", [0.4, 1.0])
def test_the_camera_meters_for_a_luma_that_falls_with_severity(
    severity: float, brightness: float
) -> None:
    """However bright the clear picture; 62 at severity 0, 38 at severity 1."""
    image, depth, k = street(WIDTH, HEIGHT)
    scene = ((image * brightness).astype(np.uint8), depth, k)
    night = picture(condition=Condition.NIGHT, severity=severity, scene=scene)
    luma = night @ np.array([0.299, 0.587, 0.114])
    assert luma.mean() == pytest.approx(62 - 24 * severity, abs=5)
    is_sky = np.isinf(depth)
    assert (luma[~is_sky] < 10).mean() < 0.15
    assert np.median(luma[is_sky]) < 0.3 * luma.mean()


def vehicle_at(z_m: float, wide_m: float, high_m: float) -> tuple:
    """A grey box that faces the camera on the road of a street; its left edge is 1 m left."""
    image, depth, k = street(WIDTH, HEIGHT, wall_m=60.0)
    top, bottom = (round(k[1, 1] * (1.6 - up) / z_m + k[1, 2]) for up in (high_m, 0.0))
    left, right = (round(k[0, 0] * x / z_m + k[0, 2]) for x in (-1.0, wide_m - 1.0))
    image[top:bottom, left:right] = (140, 142, 145)
    depth[top:bottom, left:right] = z_m
    return image, depth, k


@pytest.mark.parametrize("z_m", [9.0, 16.0, 30.0])
def test_a_vehicle_that_faces_the_camera_has_two_headlamps(z_m: float) -> None:
    scene = scene_of(vehicle_at(z_m, wide_m=1.8, high_m=1.5))
    (front,) = find_fronts(scene)
    assert front.depth_m == pytest.approx(z_m, rel=0.02)
    spread_m = (front.last - front.first) * z_m / scene.focal_px
    assert spread_m == pytest.approx(1.8, abs=0.15)
    for seed in range(20):  # some vehicles are parked
        dark = np.zeros((HEIGHT, WIDTH, 3), np.float32)
        add_head_lamps(dark, scene, 60.0, rng(seed))
        if dark.any():
            break
    row, column = np.unravel_index(dark.sum(axis=2).argmax(), (HEIGHT, WIDTH))
    assert float(scene.height_m[row, column]) == pytest.approx(0.68, abs=0.15)
    middle = (front.first + front.last) / 2
    left, right = dark[:, : round(middle)].sum(), dark[:, round(middle) :].sum()
    assert left == pytest.approx(right, rel=0.2)


@pytest.mark.parametrize(
    ("wide_m", "high_m", "what"),
    [
        (0.7, 1.7, "a person"),
        (3.4, 1.5, "a low wall"),
        (1.8, 5.0, "a pillar"),
        (1.8, 0.3, "a kerb"),
    ],
)
def test_things_of_another_size_have_no_headlamps(wide_m: float, high_m: float, what: str) -> None:
    assert list(find_fronts(scene_of(vehicle_at(16.0, wide_m, high_m)))) == [], what


def test_a_vehicle_with_tail_lamps_has_no_headlamps() -> None:
    image, depth, k = vehicle_at(16.0, wide_m=1.8, high_m=1.5)
    v = round(k[1, 1] * (1.6 - 0.9) / 16.0 + k[1, 2])
    for x in (-0.8, 0.55):
        u = round(k[0, 0] * x / 16.0 + k[0, 2])
        image[v - 3 : v + 3, u : u + 9] = RED
    assert list(find_fronts(scene_of((image, depth, k)))) == []


def test_no_lamp_is_within_a_house() -> None:
    """A wall 12 m ahead hides all behind it: only lamps before it light the street."""
    image, depth, k = street(WIDTH, HEIGHT, wall_m=12.0, wall_height_m=30.0)
    for seed in range(10):
        lamps = place_lamps(scene_of((image, depth, k)), 1500.0, rng(seed)).lamps
        for lamp in lamps:
            x, y, z = lamp.position_m
            u, v = k[0, 0] * x / z + k[0, 2], k[1, 1] * y / z + k[1, 2]
            assert z <= 12.0 or not (0 <= u < WIDTH and 0 <= v < HEIGHT)
