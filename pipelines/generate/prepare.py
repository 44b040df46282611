"""Prepared frames: committed frames at the engine's size, with dense depth if it needs depth."""

import functools
import hashlib
from collections import OrderedDict
from dataclasses import dataclass

import cv2
import numpy as np

from nightrain.datasets.errors import DamagedInput, Reason
from nightrain.datasets.frame import Frame, scaled_intrinsics
from nightrain.datasets.geometry.completion import complete_depth
from nightrain.datasets.geometry.projection import scatter_min_resize
from nightrain.datasets.geometry.road_plane import flat_world_depth, plane_inverse_depth
from nightrain.datasets.io.images import resize_image
from nightrain.datasets.shards.control_maps import ControlMap, map_from_row
from nightrain.datasets.shards.parquet import Row
from nightrain.datasets.shards.rows import frame_from_row
from nightrain.pipelines.controls.completed import completed_depth
from nightrain.pipelines.controls.depth_source import at_size
from nightrain.pipelines.controls.load_source import load_depth_source
from nightrain.pipelines.controls.map_shard import make_maps
from nightrain.pipelines.controls.metric_scale import metric_depth
from nightrain.pipelines.controls.settings import ControlDepth
from nightrain.pipelines.recipes.recipe import Recipe

CACHE_BYTES = 256 * 1024 * 1024
CONTROL = "control"  # key of a frame's row below which its row of control maps is kept


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedFrame:
    """Frame at the engine's working size."""

    image: np.ndarray  # (H, W, 3) uint8, sRGB
    # (H, W) float32, dense, metres; sky = inf; None if the recipe needs no depth from the frame
    depth_m: np.ndarray | None
    # "lidar" | "exact" | "road-plane", the name of a network and its weights, or "none"
    depth_source: str
    intrinsics: np.ndarray  # (3, 3) float64, pixels of `image`
    T_ego_camera: np.ndarray | None  # (4, 4) float64, metres
    # (H, W) float32, larger = nearer: the control map of the recipe's network, if it has one
    inverse_depth: np.ndarray | None = None
    stored_size: tuple[int, int]  # (width, height) of the variant in its shard


def prepare_frame(frame: Frame, recipe: Recipe, control: ControlMap | None = None) -> PreparedFrame:
    """Resize a frame to the engine's size and complete its depth if the engine needs it.

    `control` is the frame's control map if the recipe's network has made it; None: made here.
    Raises DamagedInput, and InvalidRequest if the network's weights are missing.
    """
    pixels = frame.image.pixels()
    native = (pixels.shape[1], pixels.shape[0])
    size = recipe.working_size(native)
    image = resize_image(pixels, size)
    intrinsics = scaled_intrinsics(frame.intrinsics, native, size)
    if recipe.mapped_depth is not None and not _takes_the_road(frame, recipe):
        control = control or _made_here(frame, pixels, recipe.mapped_depth)
    depth_m, source = _depth(frame, recipe, image, intrinsics, control)
    return PreparedFrame(
        image=image,
        depth_m=depth_m,
        depth_source=source,
        intrinsics=intrinsics,
        T_ego_camera=frame.T_ego_camera,
        inverse_depth=None if control is None else at_size(control.inverse_depth, size),
        stored_size=recipe.size_for(native) if recipe.size else size,
    )


def _takes_the_road(frame: Frame, recipe: Recipe) -> bool:
    """Whether the recipe takes a flat road for a frame, which lacks the recipe's depth."""
    if recipe.without_depth == "quarantine" or frame.T_ego_camera is None:
        return False
    given = frame.exact_depth_m if recipe.depth == "exact" else frame.lidar_depth_m
    return recipe.depth != "network" and recipe.engine.needs_depth and given is None


def _made_here(frame: Frame, pixels: np.ndarray, settings: ControlDepth) -> ControlMap:
    """Control map of a frame's image (H, W, 3), with the values that a stored one would have."""
    (found,) = make_maps(load_depth_source(settings), [pixels], [frame.lidar_depth_m])
    if isinstance(found, DamagedInput):
        raise found
    return found.stored()


def _depth(
    frame: Frame,
    recipe: Recipe,
    image: np.ndarray,
    intrinsics: np.ndarray,
    control: ControlMap | None,
) -> tuple[np.ndarray | None, str]:
    """Return dense depth (H, W) at the image's size, None if not needed, and its source."""
    if not recipe.engine.needs_depth:
        conditioning = recipe.engine.conditioning
        if conditioning is None or not conditioning.shows_depth:
            return None, "none"
        versions = tuple(recipe.engine_versions.values())
        return None, _source_name(conditioning.control_depth, versions)
    if frame.T_ego_camera is not None and _takes_the_road(frame, recipe):
        return flat_world_depth(image, intrinsics, frame.T_ego_camera), recipe.without_depth
    if recipe.depth == "network" and control is not None:
        return _network_depth(frame, recipe, image, intrinsics, control)
    if recipe.depth == "completed" and control is not None:
        size = (image.shape[1], image.shape[0])
        return completed_depth(control.inverse_depth, size), recipe.depth_version
    return _dense_depth(frame, recipe, image), recipe.depth


@functools.cache
def _source_name(settings: ControlDepth, engine_versions: tuple[str, ...]) -> str:
    """Return a depth network's name; changed weights in its folder change the engine versions."""
    return load_depth_source(settings).name


def _network_depth(
    frame: Frame,
    recipe: Recipe,
    image: np.ndarray,
    intrinsics: np.ndarray,
    control: ControlMap,
) -> tuple[np.ndarray, str]:
    """Return dense depth (H, W) of a control map at the image's size, and its source."""
    height, width = image.shape[:2]
    mounting, lidar_m = frame.T_ego_camera, frame.lidar_depth_m
    road = mounting is not None and plane_inverse_depth((height, width), intrinsics, mounting)
    depth_m, scale = metric_depth(
        at_size(control.inverse_depth, (width, height)),
        is_metric=control.is_metric,
        lidar_depth_m=None if lidar_m is None else scatter_min_resize(lidar_m, (width, height)),
        road_inverse=road if isinstance(road, np.ndarray) else None,
    )
    return depth_m, f"{recipe.depth_version} scaled by {scale}"


def _dense_depth(frame: Frame, recipe: Recipe, image: np.ndarray) -> np.ndarray:
    size = (image.shape[1], image.shape[0])
    sparse_or_exact = frame.lidar_depth_m if recipe.depth == "lidar" else frame.exact_depth_m
    if sparse_or_exact is None:
        raise DamagedInput(
            Reason.NO_DEPTH,
            f"the frame has no {recipe.depth} depth, which recipe {recipe.name!r} needs; set "
            "`without_depth: road-plane` to assume a flat road for frames with T_ego_camera, or "
            "`control_depth: {source: midas}` of the diffusion engine to estimate depth",
        )
    if recipe.depth == "lidar":
        return complete_depth(scatter_min_resize(sparse_or_exact, size), image)
    depth_m = cv2.resize(sparse_or_exact, size, interpolation=cv2.INTER_NEAREST)
    return np.where(depth_m > 0, depth_m, np.float32(np.inf))


class PreparedFrames:
    """Cache of the latest prepared frames, within a memory budget.

    The conditions of a frames shard are generated one after the other from the same frames.
    """

    def __init__(self, budget_bytes: int = CACHE_BYTES) -> None:
        self._budget_bytes = budget_bytes
        self._held_bytes = 0
        self._frames: OrderedDict[bytes, PreparedFrame] = OrderedDict()

    def get(self, row: Row, recipe: Recipe) -> PreparedFrame:
        """Return the prepared frame of a row, from the cache if possible; raises DamagedInput."""
        key = _content(row, recipe)
        if key in self._frames:
            self._frames.move_to_end(key)
            return self._frames[key]
        prepared = prepare_frame(frame_from_row(row), recipe, _control_of(row, recipe))
        self._frames[key] = prepared
        self._held_bytes += _num_bytes(prepared)
        while self._held_bytes > self._budget_bytes and len(self._frames) > 1:
            self._held_bytes -= _num_bytes(self._frames.popitem(last=False)[1])
        return prepared


def _control_of(row: Row, recipe: Recipe) -> ControlMap | None:
    """Control map that was read with a frame's row, if any; raises DamagedInput without a map."""
    if (control := row.get(CONTROL)) is None:
        return None
    if control["inverse_depth"] is None and _may_lack_map(row, recipe):
        return None
    if control["inverse_depth"] is None:
        raise DamagedInput(
            Reason.NO_DEPTH,
            "the frame has no control map; the quarantine of the table of control maps says why",
        )
    return map_from_row(control)


def _may_lack_map(row: Row, recipe: Recipe) -> bool:
    """Whether a frame without LiDAR, which has no completed depth, is taken as a flat road."""
    completed = recipe.depth == "completed" and recipe.without_depth != "quarantine"
    return completed and row["lidar_depth"] is None and row["T_ego_camera"] is not None


def _content(row: Row, recipe: Recipe) -> bytes:
    """Return a digest of everything that a prepared frame depends on."""
    geometry = (row["intrinsics"], row["T_ego_camera"])
    settings = recipe.model_dump_json(
        include={
            *("engine", "engine_versions", "size", "depth", "without_depth"),
            *("depth_network", "depth_version"),
        }
    )
    digest = hashlib.sha256(f"{settings} {geometry}".encode())
    depth = "exact_depth" if recipe.depth == "exact" else "lidar_depth"
    for column in ("image", depth):
        digest.update(b"" if row[column] is None else row[column]["bytes"])
    return digest.digest()


def _num_bytes(prepared: PreparedFrame) -> int:
    maps = (prepared.image, prepared.depth_m, prepared.inverse_depth)
    return sum(values.nbytes for values in maps if values is not None)
