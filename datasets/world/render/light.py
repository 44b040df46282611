"""Surface shading: sun, sky, lamps, shadows and reflection towards the camera."""

from typing import NamedTuple

import numpy as np

from nightrain.datasets.world.render import sky
from nightrain.datasets.world.render.lamplight import Gloss, illuminate
from nightrain.datasets.world.scene.scene import Moment
from nightrain.datasets.world.scene.weather import Weather
from nightrain.datasets.world.shapes import lamps as lamp_arrays
from nightrain.datasets.world.shapes.noise import smoothstep
from nightrain.datasets.world.shapes.points import Points
from nightrain.datasets.world.shapes.solids import Surface
from nightrain.datasets.world.surfaces import materials
from nightrain.datasets.world.surfaces import wet_ground as wet
from nightrain.datasets.world.surfaces.cover import covered

SHADOW_LIFT_M = 0.02  # shadow rays start this far above the surface
SUN_RADIUS_RAD = 0.0047
GLASS_CD_M2 = 8000.0  # luminance of a lamp's glass outside its beam; the beam is the lamp's disc
LAMPS_WITHIN_M = 130.0
CANYON, CANYON_HEIGHT_M = (
    0.62,
    12.0,
)  # share of the sky visible at the foot of houses, and their height
_GROUND = (Surface.STREET, Surface.CROSS_STREET, Surface.PAVEMENT, Surface.YARD)
_PAINT_ROUGHNESS = 0.22
# Targets of a pixel's rays on the sun's disc, in radii: the middle, then three around it.
_SUN_DISC = ((0.0, 0.0), (0.7, 0.0), (-0.35, 0.6), (-0.35, -0.6))


class Shaded(NamedTuple):
    """Luminance (3, N) in cd/m2; sunlit (N,) bool; share (N,) that the wet ground mirrors."""

    radiance: np.ndarray
    sunlit: np.ndarray
    wet_mirror: np.ndarray
    wet_roughness: np.ndarray


class Lighting:
    """A scene at one time, ready to be shaded."""

    def __init__(self, moment: Moment, eye_m: np.ndarray) -> None:
        self.moment = moment
        self.weather = moment.scene.weather
        self.burning = burning(moment, eye_m)
        self.lamps = lamp_arrays.as_arrays(self.burning)
        self._shelters = [
            (actor.motion.pose(moment.t_s), actor.size_m) for actor in moment.scene.actors
        ]
        self._burns = _burning_surfaces(self.weather)
        self._sky_up, self._sky_down = sky.skylight(self.weather)

    def shade(self, points: Points, row: np.ndarray, disc: int = 0) -> Shaded:
        """Shade points on solids of rows (N,); `disc` selects the part of the sun's disc."""
        weather, surface = self.weather, self.moment.solids.surface[row]
        look = materials.look(points, surface, self.moment.scene.street)
        albedo, mirror, paved, water = covered(look, points, surface, self.moment.scene)
        light, sunlit = self._daylight(points, disc)
        radiance = albedo * light * np.float32(1 / np.pi)
        radiance += self._mirrored_sky(points, mirror, sunlit)
        if look.emission_cd_m2 is not None:
            radiance += np.minimum(look.emission_cd_m2, GLASS_CD_M2) * self._burns[surface]
        if weather.is_dark:
            gloss = _gloss(mirror, paved, water)
            light, shine = illuminate(self.lamps, self.moment.caster, points, row, gloss)
            radiance += albedo * light * np.float32(1 / np.pi) + shine
        if water is None:
            nothing = np.zeros(len(row), np.float32)
            return Shaded(radiance, sunlit, nothing, nothing)
        facing = np.clip(-(points.ray * points.normal).sum(0), 0, 1)
        share = np.where(paved, water.cover * fresnel(wet.WATER_MIRROR, facing), 0)
        return Shaded(radiance, sunlit, share.astype(np.float32), water.roughness)

    def airborne(self) -> np.ndarray:
        """Luminance (3, 1) of fine spray, which scatters the light of sky and ground equally."""
        return np.float32(0.5 / np.pi) * (self._sky_up * CANYON + self._sky_down)

    def _daylight(self, points: Points, disc: int) -> tuple[np.ndarray, np.ndarray]:
        """Illuminance (3, N) by sun and sky, lux, and the mask (N,) of sunlit points."""
        share = 0.5 + 0.5 * points.normal[2]
        light = self._sky_down + (self._sky_up - self._sky_down) * share
        light = light * self._openness(points)
        if self.weather.sun_lux <= 0:
            return light, np.zeros(len(share), bool)
        facing = self.weather.sun.astype(np.float32) @ points.normal
        sunlit = self._sunlit(points, facing, disc)
        return light + sky.sunlight(self.weather) * (np.maximum(facing, 0) * sunlit), sunlit

    def _sunlit(self, points: Points, facing: np.ndarray, disc: int) -> np.ndarray:
        """Mask (N,) of the points that the sun reaches, by shadow rays."""
        lit = facing > 0
        index = np.flatnonzero(lit)
        start = points.world_m[:, index] + SHADOW_LIFT_M * points.normal[:, index]
        sun = self.weather.sun
        across = np.cross(sun, [0.0, 0.0, 1.0])
        across /= np.linalg.norm(across)
        a, b = _SUN_DISC[disc]
        aim = sun + SUN_RADIUS_RAD * (a * across + b * np.cross(across, sun))
        towards = np.repeat(aim[:, None], len(index), 1)
        lit[index[self.moment.caster.blocked(start, towards)]] = False
        return lit

    def _openness(self, points: Points) -> np.ndarray:
        """Share of skylight (N,) left by houses, and under vehicles on the ground."""
        hills = self.moment.scene.street.hills
        z = points.world_m[2] - hills.height_m(points.world_m[0]).astype(np.float32)
        openness = CANYON + (1 - CANYON) * smoothstep(0.0, CANYON_HEIGHT_M, z)
        low = np.flatnonzero(z < 0.3)
        x, y = points.world_m[0, low], points.world_m[1, low]
        for T, size_m in self._shelters:
            reach = size_m[0] / 2 + 1.0
            near = np.flatnonzero((np.abs(x - T[0, 3]) < reach) & (np.abs(y - T[1, 3]) < reach))
            if not len(near):
                continue
            local = T[:2, :2].T @ np.stack([x[near] - T[0, 3], y[near] - T[1, 3]])
            beyond_x = np.abs(local[0]) - size_m[0] / 2
            beyond_y = np.abs(local[1]) - size_m[1] / 2
            cover = smoothstep(0.5, -0.35, np.maximum(beyond_x, beyond_y))
            openness[low[near]] *= 1 - 0.8 * cover.astype(np.float32)
        return openness

    def _mirrored_sky(self, points: Points, mirror: np.ndarray, sunlit: np.ndarray) -> np.ndarray:
        """Mirrored sky (3, N) with the sun's glint; near the horizon, houses and ground hide it."""
        radiance = np.zeros_like(points.ray)
        index = np.flatnonzero(mirror > 0)
        ray, normal = points.ray[:, index], points.normal[:, index]
        facing = np.clip(-(ray * normal).sum(0), 0, 1)
        mirrored = ray + 2 * facing * normal
        houses = self._sky_down * np.float32(1 / np.pi)
        above = smoothstep(0.10, 0.35, mirrored[2])  # near the horizon a street hides the sky
        seen = houses + (sky.radiance(mirrored, self.weather) - houses) * above
        if self.weather.sun_lux > 0:
            glint = np.clip(self.weather.sun.astype(np.float32) @ mirrored, 0, 1) ** 350
            seen = seen + sky.sunlight(self.weather) * (3.0 * glint * sunlit[index])
        radiance[:, index] = (mirror[index] + 0.75 * fresnel(0.0, facing)) * seen
        return radiance


def _gloss(mirror: np.ndarray, paved: np.ndarray, water: wet.Water | None) -> Gloss:
    """Gloss of points (N,): paint and glass always, the ground when it is wet."""
    share = np.where(paved, 0, mirror)  # dry stone is too rough to shine
    roughness = np.full(len(mirror), _PAINT_ROUGHNESS, np.float32)
    if water is not None:
        share = np.where(paved, wet.WATER_MIRROR * water.cover, share)
        roughness = np.where(paved, water.roughness, roughness)
    return Gloss(share=share.astype(np.float32), roughness=roughness.astype(np.float32))


def _burning_surfaces(weather: Weather) -> np.ndarray:
    """Mask (256,) of surfaces that emit light, 0 or 1."""
    burns = np.full(256, weather.street_lit, np.float32)
    burns[[Surface.HEAD_LAMP, Surface.TAIL_LAMP]] = weather.headlights
    burns[Surface.FACADE] = weather.sun_lux < 1  # under clouds, lights are on in rooms and shops
    burns[Surface.SIGNAL] = 1
    return burns


def fresnel(share: np.ndarray | float, facing: np.ndarray) -> np.ndarray:
    """Schlick's mirrored share (N,) at a cosine of incidence; `share` is that at cosine 1."""
    return share + (1 - share) * (1 - facing) ** 5


def burning(moment: Moment, eye_m: np.ndarray) -> list[lamp_arrays.Lamp]:
    """Lamps that are lit in this weather and near enough to the eye (3,) to matter."""
    weather = moment.scene.weather
    if not (weather.street_lit or weather.headlights):
        return []  # by day only the glass of signals is visible
    found = []
    for lamp in moment.lamps():
        on = weather.headlights if lamp.kind in ("head", "tail") else weather.street_lit
        on = on or lamp.kind == "signal"
        away = np.hypot(lamp.place_m[0] - eye_m[0], lamp.place_m[1] - eye_m[1])
        if on and away < LAMPS_WITHIN_M:
            found.append(lamp)
    return found
