"""Optical scene: linear light and geometry of a request, computed once for all effects."""

from dataclasses import dataclass

import cv2
import numpy as np

from nightrain.pipelines.engines.base import Request
from nightrain.pipelines.engines.weather.optics.filters import guided
from nightrain.pipelines.engines.weather.optics.ground import (
    GroundPlane,
    fit_ground,
    ground_weight,
    height_above,
    pixel_rays,
)
from nightrain.pipelines.engines.weather.optics.headlights import OwnCar, own_car
from nightrain.pipelines.engines.weather.optics.photometry import luminance, srgb_to_linear

FAR_M = 1e5  # replaces the sky's infinite distance in sums and products


@dataclass(frozen=True, slots=True, kw_only=True)
class OpticalScene:
    """A clear frame in linear light with its geometry, and what of it stays visible."""

    clear: np.ndarray  # (H, W, 3) float32, linear light in [0, 1]
    luminance: np.ndarray  # (H, W) float32
    depth_m: np.ndarray  # (H, W) float32, sky = FAR_M
    range_m: np.ndarray  # (H, W) float32, along the ray, sky >= FAR_M
    rays_x: np.ndarray  # (1, W) float32
    rays_y: np.ndarray  # (H, 1) float32
    intrinsics: np.ndarray  # (3, 3) float64, pixels
    sky: np.ndarray  # (H, W) float32, share of the pixel that is sky
    plane: GroundPlane
    plane_inverse: np.ndarray  # (H, W) float32, 1/m
    height_m: np.ndarray  # (H, W) float32, above the ground
    ground: np.ndarray  # (H, W) float32, in [0, 1]: ground weight
    car: OwnCar
    visible: np.ndarray  # (H, W) float32: share of the contrast that is left; effects multiply it

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self.depth_m.shape[0], self.depth_m.shape[1]

    def leave_visible(self, share: np.ndarray) -> None:
        """Multiply the visible share of the contrast (H, W) by what an effect leaves of it."""
        np.multiply(self.visible, share, out=self.visible)

    @property
    def focal_px(self) -> float:
        """Mean focal length in pixels."""
        return float(0.5 * (self.intrinsics[0, 0] + self.intrinsics[1, 1]))


def read_scene(request: Request) -> OpticalScene:
    """Compute linear light, ranges, sky, ground plane and heights of a valid request."""
    clear = srgb_to_linear(request.image)
    grey = luminance(clear)
    depth_m = request.depth_m
    assert depth_m is not None  # checked
    depth = np.minimum(depth_m, np.float32(FAR_M))
    rays_x, rays_y = pixel_rays(depth.shape, request.intrinsics)
    plane = fit_ground(depth_m, request.intrinsics)
    plane_inverse = plane.inverse_depth(rays_x, rays_y)
    height = height_above(plane, depth, plane_inverse)
    return OpticalScene(
        clear=clear,
        luminance=grey,
        depth_m=depth,
        range_m=cv2.sqrt((1 + rays_x * rays_x) + rays_y * rays_y) * depth,
        rays_x=rays_x,
        rays_y=rays_y,
        intrinsics=np.asarray(request.intrinsics, np.float64),
        sky=_sky_share(depth_m, grey),
        plane=plane,
        plane_inverse=plane_inverse,
        height_m=height,
        ground=ground_weight(height, plane_inverse),
        car=own_car(request.T_ego_camera, plane.normal_down, plane.height_m),
        visible=np.ones(depth.shape, np.float32),
    )


def _sky_share(depth_m: np.ndarray, grey: np.ndarray) -> np.ndarray:
    """Sky share of each pixel, refined along image edges such as leaves and wires."""
    mask = np.isinf(depth_m).astype(np.float32)
    if not mask.any() or mask.all():
        return mask
    refined = guided(cv2.sqrt(grey), mask, radius_px=max(depth_m.shape) / 100, eps=2e-3, factor=2)
    return np.clip(refined * 1.2 - 0.1, 0, 1)
