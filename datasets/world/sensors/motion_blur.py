"""Motion blur: image motion during the exposure, and the blur along it."""

import cv2
import numpy as np

from nightrain.datasets.world.scene.scene import Moment, Scene
from nightrain.datasets.world.shapes.pinhole import View
from nightrain.datasets.world.shapes.raycast import Hits
from nightrain.datasets.world.shapes.solids import moved

STEP_PX = 0.8  # distance between two taps
MAX_TAPS = 24
STILL_PX = 0.4  # less motion than that is not blurred


def carried_view(scene: Scene, view: View, t_s: float, dt_s: float) -> View:
    """View `dt_s` later, moved with the ego vehicle."""
    T = scene.ego.pose(t_s + dt_s) @ np.linalg.inv(scene.ego.pose(t_s)) @ view.T_world_camera
    return View(T_world_camera=T, intrinsics=view.intrinsics, size=view.size)


def image_motion(moment: Moment, view: View, hits: Hits, dt_s: float) -> np.ndarray:
    """Motion (2, H, W) in pixels of each pixel's content, over a time centred on the moment.

    It includes the motion of the ego vehicle and of the solids.
    """
    width, height = view.size
    v, u = np.mgrid[0.0:height:2, 0.0:width:2]  # every second pixel suffices
    directions = view.directions(u, v).reshape(3, -1)
    row, t = hits.row[::2, ::2].ravel(), hits.t[::2, ::2].ravel()
    ends = []
    for when in (-dt_s / 2, dt_s / 2):
        later = carried_view(moment.scene, view, moment.t_s, when)
        towards = directions.copy()  # the sky is infinitely far away
        solid = np.flatnonzero(row >= 0)
        points = view.eye_m[:, None] + directions[:, solid] * t[solid]
        points = _carried(moment, points, row[solid], when)
        towards[:, solid] = points - later.eye_m[:, None]
        ends.append(later.pixels_along(towards))
    motion = np.nan_to_num(ends[1] - ends[0]).reshape(2, *u.shape).astype(np.float32)
    return np.stack(
        [cv2.resize(m, (width, height), interpolation=cv2.INTER_LINEAR) for m in motion]
    )


def _carried(moment: Moment, points: np.ndarray, row: np.ndarray, dt_s: float) -> np.ndarray:
    """Move world points (3, N) on solids of rows (N,) by `dt_s`."""
    owners, then = moment.solids.owner, moment.t_s + dt_s
    owner = owners[row]
    for k in np.unique(owner[owner >= 0]):
        actor = moment.scene.actors[k]
        rows = np.flatnonzero(owners == k)  # all its solids, in order
        there = moved(actor.at(then), actor.motion.pose(then))
        index = np.flatnonzero(owner == k)
        part = row[index] - rows[0]
        R_here, here_m = moment.solids.R_world_local[row[index]], moment.solids.centre_m[row[index]]
        local = np.einsum("nji,nj->ni", R_here, points[:, index].T - here_m)
        world = np.einsum("nij,nj->ni", there.R_world_local[part], local)
        points[:, index] = (world + there.centre_m[part]).T
    return points


def blur(radiance: np.ndarray, motion_px: np.ndarray) -> np.ndarray:
    """Blur an image (H, W, 3) along the motion (2, H, W) of each pixel."""
    length = np.sqrt((motion_px * motion_px).sum(0))
    most = float(length.max())
    if most < STILL_PX:
        return radiance
    taps = int(np.clip(np.ceil(most / STEP_PX), 2, MAX_TAPS))
    height, width = length.shape
    v, u = np.mgrid[0:height, 0:width].astype(np.float32)
    total = np.zeros_like(radiance)
    for share in (np.arange(taps, dtype=np.float32) + 0.5) / taps - 0.5:
        total += cv2.remap(
            radiance,
            u + share * motion_px[0],
            v + share * motion_px[1],
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE,
        )
    return total / np.float32(taps)
