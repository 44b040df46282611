"""How much light leaves a point towards the camera: sun, sky, shadows, reflections, haze."""

from dataclasses import dataclass

import numpy as np

from datasets.world import materials, sky
from datasets.world.noise import smoothstep
from datasets.world.points import Points
from datasets.world.scene import Moment

SHADOW_LIFT_M = 0.02  # shadow rays start this far above the surface
HAZE_M = 900.0  # over which 63 % of a surface's colour gives way to that of the air


@dataclass(frozen=True, slots=True)
class Lighting:
    """A scene at one time, ready to be shaded."""

    moment: Moment

    def shade(
        self, points: Points, row: np.ndarray, distance_m: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Radiance (3, N) of points of the rows (N,), and which of them the sun reaches (N,)."""
        scene = self.moment.scene
        sun = scene.weather.sun.astype(np.float32)
        surface = self.moment.solids.surface[row]
        albedo, mirror, _ = materials.look(points, surface, scene.street)
        facing = sun @ points.normal
        sunlit = self._sunlit(points, facing)
        direct = sky.SUN * (np.maximum(facing, 0) * sunlit)
        share = 0.5 + 0.5 * points.normal[2]
        ambient = sky.AMBIENT_DOWN + (sky.AMBIENT_UP - sky.AMBIENT_DOWN) * share
        ambient = ambient * self._openness(points)
        radiance = albedo * (direct + ambient)
        radiance += self._reflection(points, mirror, sunlit)
        clear = np.exp(-distance_m / HAZE_M).astype(np.float32)
        air = 0.8 * sky.HORIZON
        return air + (radiance - air) * clear, sunlit

    def _sunlit(self, points: Points, facing: np.ndarray) -> np.ndarray:
        """Whether the sun reaches each point, by rays against the solids between."""
        lit = facing > 0
        index = np.flatnonzero(lit)
        start = points.world_m[:, index] + SHADOW_LIFT_M * points.normal[:, index]
        towards = np.repeat(self.moment.scene.weather.sun[:, None], len(index), 1)
        lit[index[self.moment.caster.blocked(start, towards)]] = False
        return lit

    def _openness(self, points: Points) -> np.ndarray:
        """Share of skylight (N,) left on the ground by the vehicles that stand on it."""
        openness = np.ones(points.world_m.shape[1], np.float32)
        low = np.flatnonzero(points.world_m[2] < 0.3)
        x, y = points.world_m[0, low], points.world_m[1, low]
        for vehicle in self.moment.scene.actors:
            T = vehicle.motion.pose(self.moment.t_s)
            reach = vehicle.size_m[0] / 2 + 1.0
            near = np.flatnonzero((np.abs(x - T[0, 3]) < reach) & (np.abs(y - T[1, 3]) < reach))
            if not len(near):
                continue
            local = T[:2, :2].T @ np.stack([x[near] - T[0, 3], y[near] - T[1, 3]])
            beyond_x = np.abs(local[0]) - vehicle.size_m[0] / 2
            beyond_y = np.abs(local[1]) - vehicle.size_m[1] / 2
            cover = smoothstep(0.5, -0.35, np.maximum(beyond_x, beyond_y))
            openness[low[near]] *= 1 - 0.8 * cover.astype(np.float32)
        return openness

    def _reflection(self, points: Points, mirror: np.ndarray, sunlit: np.ndarray) -> np.ndarray:
        """Mirrored sky (3, N), stronger at grazing angles (Schlick 1994), with the sun's glint."""
        radiance = np.zeros_like(points.ray)
        index = np.flatnonzero(mirror > 0)
        ray, normal = points.ray[:, index], points.normal[:, index]
        facing = np.clip(-(ray * normal).sum(0), 0, 1)
        mirrored = ray + 2 * facing * normal
        share = mirror[index] + 0.75 * (1 - mirror[index]) * (1 - facing) ** 5
        houses = smoothstep(0.10, 0.35, mirrored[2])  # what a street shows near the horizon
        seen = (
            sky.EARTH * 1.6
            + (sky.gradient(mirrored, self.moment.scene.weather.sun) - sky.EARTH * 1.6) * houses
        )
        glint = np.clip(self.moment.scene.weather.sun.astype(np.float32) @ mirrored, 0, 1) ** 350
        radiance[:, index] = share * (seen + 30 * glint * sunlit[index])
        return radiance
