"""Optical scene: linear light and geometry of a request, computed once for all effects."""

from dataclasses import dataclass

import cv2
import numpy as np

from nightrain.pipelines.engines.base import Request
from nightrain.pipelines.engines.weather.optics.filters import enlarged, guided, reduced
from nightrain.pipelines.engines.weather.optics.ground import (
    GroundPlane,
    fit_ground,
    ground_weight,
    height_above,
    pixel_rays,
)
from nightrain.pipelines.engines.weather.optics.headlights import OwnCar, own_car
from nightrain.pipelines.engines.weather.optics.photometry import luminance, srgb_to_linear

RIM_FACTOR, RIM_SHARE = 4, 1 / 24  # of the longer side: how far sky is looked for around sky
RIM_NEAR, RIM_DIFFERENCE = 0.03, 0.06  # least share of sky around; of the root of linear light
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
    is_sky = _with_rim(np.isinf(depth_m), clear)
    depth = np.where(is_sky, np.float32(FAR_M), np.minimum(depth_m, np.float32(FAR_M)))
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
        sky=_sky_share(is_sky, grey),
        plane=plane,
        plane_inverse=plane_inverse,
        height_m=height,
        ground=ground_weight(height, plane_inverse),
        car=own_car(request.T_ego_camera, plane.normal_down, plane.height_m),
        visible=np.ones(depth.shape, np.float32),
    )


def _with_rim(is_sky: np.ndarray, clear: np.ndarray) -> np.ndarray:
    """Extend a mask of the sky (H, W) over pixels next to it that have its colour in `clear`.

    Completed depth is rounder than leaves and roofs: sky would be left between and around them.
    """
    if not is_sky.any() or is_sky.all():
        return is_sky
    small = reduced(clear, RIM_FACTOR)  # (h, w, 3)
    share = reduced(is_sky.astype(np.float32), RIM_FACTOR)
    side = 2 * round(max(small.shape) * RIM_SHARE) + 1
    near = cv2.blur(share, (side, side), borderType=cv2.BORDER_REFLECT)
    whole = np.maximum((share == 1).astype(np.float32), np.float32(1e-6))
    total = cv2.blur(whole, (side, side), borderType=cv2.BORDER_REFLECT)
    colour = cv2.blur(small * whole[..., None], (side, side), borderType=cv2.BORDER_REFLECT)
    mean = np.float32(np.average(small, axis=(0, 1), weights=whole[..., None].repeat(3, 2)))
    colour = np.where(total[..., None] > 1e-3, colour / total[..., None], mean)
    apart = cv2.absdiff(cv2.sqrt(clear), cv2.sqrt(enlarged(colour, is_sky.shape)))
    is_like = cv2.transform(apart, np.ones((1, 3), np.float32)) < 3 * RIM_DIFFERENCE
    return is_sky | (is_like & (enlarged(near, is_sky.shape) > RIM_NEAR))


def _sky_share(is_sky: np.ndarray, grey: np.ndarray) -> np.ndarray:
    """Sky share of each pixel, refined along image edges such as leaves and wires."""
    mask = is_sky.astype(np.float32)
    if not is_sky.any() or is_sky.all():
        return mask
    refined = guided(cv2.sqrt(grey), mask, radius_px=max(mask.shape) / 100, eps=2e-3, factor=2)
    return np.clip(refined * 1.2 - 0.1, 0, 1)
