"""Exact optical flow to the next image of the same camera."""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from nightrain.datasets.world.scene.scene import Moment, Scene
from nightrain.datasets.world.sensors.camera import Picture, View
from nightrain.datasets.world.shapes.raycast import FAR
from nightrain.datasets.world.shapes.solids import moved

CLOSE_M, CLOSE_SHARE = 0.03, 1e-3  # something this close in front of a point does not hide it


class Fate(IntEnum):
    """Outcome of a pixel; 0 is invalid and non-zero valid for KITTI's tools."""

    LEFT = 0  # it leaves the image
    SEEN = 1
    HIDDEN = 2  # it stays inside the image, but is occluded


@dataclass(frozen=True, slots=True)
class Flow:
    """Forward optical flow of an image."""

    motion_px: np.ndarray  # (2, H, W) float64, right and down, 0 where it leaves the image
    fate: np.ndarray  # (H, W) uint8, of `Fate`


def forward_flow(
    scene: Scene, picture: Picture, here: View, t_s: float, there: Moment, view: View
) -> Flow:
    """Flow of an image taken from `here` at time t to the view at the moment `there`.

    A point moves with its solid; the sky is infinitely far away. A point is hidden where a ray from
    the next camera hits something in front of it.
    """
    width, height = here.size
    v, u = np.mgrid[0.0:height, 0.0:width]
    rays = here.directions(u, v).reshape(3, -1)  # (3, N), N = H * W
    row, depth_m = picture.row.ravel(), picture.depth_m.ravel()
    solid = row >= 0
    towards = rays.copy()  # (3, N) from the next camera; the sky's stay unchanged
    points_m = here.T_world_camera[:3, 3:] + rays[:, solid] * depth_m[solid]
    points_m = _carry(scene, points_m, row[solid], t_s, there)
    towards[:, solid] = points_m - view.T_world_camera[:3, 3:]
    target = _project(view, towards)  # (2, N)
    inside = np.isfinite(target).all(0)
    inside &= (target > -0.5).all(0) & (target[0] < width - 0.5) & (target[1] < height - 0.5)
    fate = np.where(inside, np.uint8(Fate.SEEN), np.uint8(Fate.LEFT))
    index = np.flatnonzero(inside)
    hidden = _hidden(there, view, towards[:, index], solid[index])
    fate[index[hidden]] = Fate.HIDDEN
    motion = np.where(inside, target - np.stack([u.ravel(), v.ravel()]), 0.0)
    return Flow(motion.reshape(2, height, width), fate.reshape(height, width))


def _carry(
    scene: Scene, points_m: np.ndarray, row: np.ndarray, t_s: float, there: Moment
) -> np.ndarray:
    """Move world points (3, N) on the solids of rows (N,) from time t to the next."""
    carried = points_m.copy()
    then, owner = there.solids, there.solids.owner[row]
    for k in np.unique(owner[owner >= 0]):
        index = np.flatnonzero(owner == k)
        actor = scene.actors[k]
        now = moved(actor.at(t_s), actor.motion.pose(t_s))
        part = row[index] - np.flatnonzero(then.owner == k)[0]
        R_now, R_then = now.R_world_local[part], then.R_world_local[row[index]]  # (n, 3, 3)
        local = np.einsum("nji,nj->ni", R_now, points_m[:, index].T - now.centre_m[part])
        carried[:, index] = (np.einsum("nij,nj->ni", R_then, local) + then.centre_m[row[index]]).T
    return carried


def _project(view: View, towards: np.ndarray) -> np.ndarray:
    """Pixels (2, N) of directions (3, N) in the world; not finite behind the camera."""
    camera = view.intrinsics @ view.T_world_camera[:3, :3].T @ towards
    ahead = camera[2] > 1e-6
    return np.where(ahead, camera[:2] / np.where(ahead, camera[2], 1.0), np.inf)


def _hidden(there: Moment, view: View, towards: np.ndarray, solid: np.ndarray) -> np.ndarray:
    """Whether rays (3, N) are blocked before their ends or, for the sky, anywhere."""
    length_m = np.sqrt((towards * towards).sum(0))
    reach = np.where(solid, 1 - CLOSE_SHARE - CLOSE_M / np.maximum(length_m, CLOSE_M), FAR)
    return there.caster.blocked(view.T_world_camera[:3, 3], towards, np.maximum(reach, 0))
