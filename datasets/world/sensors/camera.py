"""Camera model: from a scene to an image with exact depth."""

from dataclasses import dataclass

import cv2
import numpy as np

from nightrain.datasets.world.render import lamp_discs, precipitation, tracing
from nightrain.datasets.world.render.atmosphere import halos
from nightrain.datasets.world.render.light import Lighting
from nightrain.datasets.world.render.tracing import Seen
from nightrain.datasets.world.scene.scene import Scene
from nightrain.datasets.world.sensors import lens_drops as lens
from nightrain.datasets.world.sensors import lens_glare as glare
from nightrain.datasets.world.sensors import motion_blur
from nightrain.datasets.world.sensors.exposure import Exposure, develop, meter
from nightrain.datasets.world.shapes.lamps import as_arrays
from nightrain.datasets.world.shapes.pinhole import View

__all__ = ["Picture", "View", "before_the_lens", "render"]
SHORT_S = 0.0008  # shorter exposures freeze all motion
HALO_STEP = 4  # halos are smooth, so every fourth pixel suffices
HALO_VISIBILITY_M = 4000.0  # clearer air has no halos


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """Image of a camera, with its exact depth."""

    image: np.ndarray  # (H, W, 3) uint8, sRGB
    depth_m: np.ndarray  # (H, W) float32, z-depth in metres at the pixels' centres, 0 = sky
    row: np.ndarray  # (H, W) int32, row of the solid seen, -1 = sky
    t: np.ndarray  # (H, W) float64, the same z-depth, inf = sky
    exposure: Exposure


def render(scene: Scene, t_s: float, view: View, *, noise_seed: int = 0) -> Picture:
    """Render an image of a scene at time t, the middle of the exposure.

    Noise, drops and flakes are seeded by the scene's weather, the time, the camera's position on
    the vehicle and `noise_seed`.
    """
    lighting = Lighting(scene.at(t_s), view.eye_m)
    seen = tracing.look(lighting, view)
    exposure = meter(seen.radiance)
    camera = _camera_number(scene, t_s, view)
    rng = np.random.default_rng(
        [scene.weather.seed, round(t_s * 1e6) % (1 << 40), camera, noise_seed]
    )
    radiance = _through_the_lens(lighting, view, seen, exposure, camera, rng)
    if scene.weather.lens_drops > 0:
        exposure = meter(radiance)  # at night, lamps in drops brighten the image
    return Picture(
        image=develop(radiance, exposure, rng),
        depth_m=np.where(np.isfinite(seen.hits.t), seen.hits.t, 0.0).astype(np.float32),
        row=seen.hits.row,
        t=seen.hits.t,
        exposure=exposure,
    )


def before_the_lens(scene: Scene, t_s: float, view: View) -> Seen:
    """Luminance of the scene in cd/m2, without lamp discs, blur, glare and noise."""
    return tracing.look(Lighting(scene.at(t_s), view.eye_m), view)


def _through_the_lens(
    lighting: Lighting,
    view: View,
    seen: Seen,
    exposure: Exposure,
    camera: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """Luminance (H, W, 3) on the sensor: blur, lamps, halos, precipitation, lens drops, glare."""
    moment, weather = lighting.moment, lighting.weather
    scene, t_s = moment.scene, moment.t_s
    depth_m = np.where(np.isfinite(seen.hits.t), seen.hits.t, 0.0)
    radiance = seen.radiance.copy()
    if exposure.time_s > SHORT_S:
        motion = motion_blur.image_motion(moment, view, seen.hits, exposure.time_s)
        radiance = motion_blur.blur(radiance, motion)
    _add_lamps(radiance, lighting, view, exposure)
    if weather.is_dark and weather.visibility_m < HALO_VISIBILITY_M:
        radiance += _halos(lighting, view, seen)
    if weather.rain_mm_per_h + weather.snow_mm_per_h > 0:
        later = motion_blur.carried_view(scene, view, t_s, 0.01)
        velocity = (later.eye_m - view.eye_m) / 0.01
        particles = precipitation.draw(rng, weather, view, velocity)
        precipitation.fall_through(
            radiance, depth_m, particles, weather, lighting.lamps, view, exposure.time_s
        )
    width, height = view.size
    drops = lens.on_lens(weather, camera, t_s, height / width)
    radiance = lens.behind_film(lens.seen_through(radiance, drops), weather, camera)
    return glare.bloom(radiance, glare.scattered_share(weather))


def _add_lamps(radiance: np.ndarray, lighting: Lighting, view: View, exposure: Exposure) -> None:
    """Draw the discs of all lamps except windows, smeared by their motion during the exposure."""
    moment = lighting.moment
    scene, t_s = moment.scene, moment.t_s
    shown = [lamp for lamp in lighting.burning if lamp.kind != "window"]
    if not shown:
        return
    lamps = as_arrays(shown)
    ends = []
    for when in (-0.5 * exposure.time_s, 0.5 * exposure.time_s):
        later = motion_blur.carried_view(scene, view, t_s, when)
        ends.append(later.pixels(lamps.place_m.T.astype(np.float64)))
    lamp_discs.draw(
        radiance,
        lamps,
        lighting.weather,
        moment.caster,
        view.eye_m,
        (ends[0] + ends[1]) / 2,
        ends[1] - ends[0],
        float(view.intrinsics[0, 0]),
    )


def _halos(lighting: Lighting, view: View, seen: Seen) -> np.ndarray:
    """Luminance (H, W, 3) of the air around lamps."""
    width, height = view.size
    start = (HALO_STEP - 1) / 2
    v, u = np.mgrid[start:height:HALO_STEP, start:width:HALO_STEP]
    directions = view.directions(u, v)
    length = np.sqrt((directions * directions).sum(0))
    y, x = (np.minimum(np.rint(a).astype(int), side - 1) for a, side in ((v, height), (u, width)))
    t = np.minimum(seen.hits.t[y, x], 150.0)
    glow = halos(
        lighting.lamps,
        lighting.weather,
        view.eye_m,
        (directions / length).reshape(3, -1).astype(np.float32),
        (t * length).ravel().astype(np.float32),
    )
    small = np.ascontiguousarray(glow.T.reshape(*u.shape, 3))
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)


def _camera_number(scene: Scene, t_s: float, view: View) -> int:
    """Number of a camera on the vehicle, from its position and direction."""
    T = np.linalg.inv(scene.ego.pose(t_s)) @ view.T_world_camera
    parts = np.rint(np.concatenate([T[:3, 3] * 100, T[:3, 2] * 100])).astype(np.int64)
    number = 0
    for part in parts.tolist():
        number = (number * 1009 + part + 500) % (1 << 40)
    return number
