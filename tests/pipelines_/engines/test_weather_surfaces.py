"""Sky, paint and shadow: what the weather engine takes each part of a clear picture for."""

import cv2
import numpy as np
import pytest

from nightrain.pipelines.engines.weather.optics.optical_scene import read_scene
from nightrain.pipelines.engines.weather.optics.overcast import shadow_gain
from support.weather_street import request, street


def test_sky_that_completed_depth_took_for_leaves_is_sky() -> None:
    """Depth of a crown is a block; the picture shows leaves, and sky between and around them."""
    image, depth, k = street(640, 360)
    block = np.s_[20:60, 230:290]
    depth[block] = 18.0
    leaves = np.zeros((360, 640), bool)
    leaves[block] = (np.indices((40, 60)) // 6).sum(axis=0) % 2 == 0
    leaves[block][:6] = leaves[block][:, :6] = leaves[block][:, -6:] = False
    image[leaves] = (40, 70, 35)
    scene = read_scene(request(scene=(image, depth, k)))
    assert (scene.depth_m[leaves] == 18.0).mean() > 0.98
    between = np.zeros_like(leaves)
    between[block] = ~leaves[block]
    assert (scene.depth_m[between] > 1e4).mean() > 0.9
    assert scene.sky[between].mean() > 0.8 > 0.5 > scene.sky[leaves].mean()


@pytest.mark.parametrize("brightness", [0, 60, 250])
def test_no_surface_of_another_colour_becomes_sky(brightness: int) -> None:
    image, depth, k = street(640, 360)
    image[np.isfinite(depth)] = brightness
    scene = read_scene(request(scene=(image, depth, k)))
    assert np.array_equal(scene.depth_m > 1e4, np.isinf(depth))


def test_shadows_on_the_road_are_lifted_and_paint_keeps_its_contrast() -> None:
    image, depth, k = street(640, 360)
    rows, columns = np.mgrid[:360, :640]
    road = (rows > 300) & np.isfinite(depth)
    paint = road & ((columns // 40) % 4 == 1)
    shadow = road & (columns > 420) & ~paint
    image[paint] = 225
    image[shadow] = 50
    scene = read_scene(request(scene=(image, depth, k)))
    before = scene.luminance
    after = before * shadow_gain(scene, 0.45)
    kernel = np.ones((9, 9), np.uint8)
    paint, shadow, sunny = (
        cv2.erode(m.astype(np.uint8), kernel) > 0
        for m in (paint & (columns < 400), shadow, road & (columns < 400) & ~paint)
    )

    def ratio(of: np.ndarray, light: np.ndarray) -> float:
        return float(np.log(light[of].mean() / light[sunny].mean()))

    assert ratio(paint, after) > 0.8 * ratio(paint, before) > 1.0
    assert abs(ratio(shadow, after)) < 0.7 * abs(ratio(shadow, before))
