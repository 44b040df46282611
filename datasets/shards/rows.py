"""Frame rows: conversion between frames and rows of a frames shard."""

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from nightrain.datasets.conditions import Condition
from nightrain.datasets.errors import Reason
from nightrain.datasets.frame import Frame, FrameRef, Neighbour
from nightrain.datasets.io.images import (
    DEPTH_SCALE,
    JpegImage,
    decode_depth_png,
    encode_depth_png,
    storable_jpeg,
)
from nightrain.datasets.shards.parquet import Row
from nightrain.datasets.shards.schema import SCHEMA_VERSION

GENERATION_COLUMNS = (  # read for generation: no neighbours
    "frame_id",
    "source_id",
    "source_dataset",
    "split",
    "scene_id",
    "description",
    "objects",
    "camera",
    "condition",
    "timestamp_us",
    "image",
    "intrinsics",
    "T_world_camera",
    "T_ego_camera",
    "lidar_depth",
    "exact_depth",
    "licence",
    "attribution",
)


def frame_to_row(frame: Frame, licence: str, attribution: str) -> Row:
    """Convert a frame to a row of `schema.FRAMES`; raises DamagedInput.

    A source's JPEG bytes are kept if every reader decodes them to the same RGB.
    """
    width, height = frame.image.size()
    image = storable_jpeg(frame.image.data)
    return {
        "frame_id": frame.frame_id,
        **_origin(frame),
        "description": frame.description,
        "objects": _objects_to_row(frame.objects),
        "image": _file(image, frame.frame_id, "jpg"),
        "image_sha256": hashlib.sha256(image).hexdigest(),
        "width": width,
        "height": height,
        "intrinsics": _flat(frame.intrinsics),
        "T_world_camera": _flat(frame.T_world_camera),
        "T_ego_camera": None if frame.T_ego_camera is None else _flat(frame.T_ego_camera),
        "lidar_depth": _depth_file(frame.lidar_depth_m, f"{frame.frame_id}.lidar"),
        "exact_depth": _depth_file(frame.exact_depth_m, f"{frame.frame_id}.exact"),
        "depth_scale": DEPTH_SCALE,
        **_neighbour_to_row(frame.previous, "previous", frame.frame_id),
        **_neighbour_to_row(frame.next, "next", frame.frame_id),
        **_neighbour_to_row(frame.stereo, "stereo", frame.frame_id),
        "licence": licence,
        "attribution": attribution,
        "schema_version": SCHEMA_VERSION,
    }


def frame_from_row(row: Row) -> Frame:
    """Convert a row to a frame; columns that were not read become None."""
    return Frame(
        **_named(row),
        source_dataset=row["source_dataset"],
        description=row["description"],
        objects=objects_of(row),
        image=JpegImage(row["image"]["bytes"]),
        intrinsics=np.array(row["intrinsics"], np.float64).reshape(3, 3),
        T_world_camera=np.array(row["T_world_camera"], np.float64).reshape(4, 4),
        T_ego_camera=_transform_or_none(row.get("T_ego_camera")),
        lidar_depth_m=_depth_from(row.get("lidar_depth")),
        exact_depth_m=_depth_from(row.get("exact_depth")),
        previous=_neighbour_from_row(row, "previous"),
        next=_neighbour_from_row(row, "next"),
        stereo=_neighbour_from_row(row, "stereo"),
    )


def objects_of(row: Row) -> dict[str, int] | None:
    """Count of each kind of object that a row's camera sees; None without annotations."""
    objects = row.get("objects")
    return None if objects is None else {seen["name"]: seen["count"] for seen in objects}


def ref_from_row(row: Row) -> FrameRef:
    """Return the reference to a row's frame, without decoding anything."""
    return FrameRef(**_named(row))


def quarantine_row(
    origin: FrameRef,
    source_dataset: str,
    condition: str,
    reason: Reason,
    error: BaseException,
    **columns: Any,
) -> Row:
    """Make a row of `schema.QUARANTINE`: the rejected item, the reason and the error."""
    return {
        "sample_id": origin.frame_id,
        "frame_id": origin.frame_id,
        "source_id": origin.source_id,
        "source_dataset": source_dataset,
        "split": origin.split,
        "scene_id": origin.scene_id,
        "camera": origin.camera,
        "condition": condition,
        "timestamp_us": origin.timestamp_us,
        "reason": str(reason),
        "message": str(error)[:2000],
        "error_type": type(error).__name__,
        "schema_version": SCHEMA_VERSION,
        **columns,
    }


def _origin(frame: Frame) -> Row:
    return {
        "source_id": frame.source_id,
        "source_dataset": frame.source_dataset,
        "split": frame.split,
        "scene_id": frame.scene_id,
        "camera": frame.camera,
        "condition": str(frame.condition),
        "timestamp_us": frame.timestamp_us,
    }


def _named(row: Row) -> dict[str, Any]:
    """Return the fields of a frame's reference from its row."""
    return {
        "frame_id": row["frame_id"],
        "source_id": row["source_id"],
        "split": row["split"],
        "scene_id": row["scene_id"],
        "camera": row["camera"],
        "condition": Condition(row["condition"]),
        "timestamp_us": row["timestamp_us"],
    }


def _objects_to_row(objects: Mapping[str, int] | None) -> list[Row] | None:
    if objects is None:
        return None
    return [{"name": name, "count": count} for name, count in objects.items()]


def _file(data: bytes, name: str, ending: str) -> Row:
    return {"bytes": data, "path": f"{name}.{ending}"}


def _depth_file(depth_m: np.ndarray | None, name: str) -> Row | None:
    return None if depth_m is None else _file(encode_depth_png(depth_m), name, "png")


def _depth_from(value: Row | None) -> np.ndarray | None:
    return None if value is None else decode_depth_png(value["bytes"])


def _transform_or_none(values: list[float] | None) -> np.ndarray | None:
    return None if values is None else np.array(values, np.float64).reshape(4, 4)


def _flat(matrix: np.ndarray) -> list[float]:
    return [float(x) for x in np.asarray(matrix, np.float64).ravel()]


def _neighbour_to_row(neighbour: Neighbour | None, side: str, frame_id: str) -> Row:
    if neighbour is None:
        return {}
    return {
        f"{side}_id": neighbour.source_id,
        f"{side}_timestamp_us": neighbour.timestamp_us,
        f"{side}_image": _file(storable_jpeg(neighbour.image.data), f"{frame_id}.{side}", "jpg"),
        f"{side}_intrinsics": _flat(neighbour.intrinsics),
        f"T_{side}_camera": _flat(neighbour.T_neighbour_camera),
    }


def _neighbour_from_row(row: Row, side: str) -> Neighbour | None:
    if row.get(f"{side}_image") is None:
        return None
    return Neighbour(
        source_id=row[f"{side}_id"],
        timestamp_us=row[f"{side}_timestamp_us"],
        image=JpegImage(row[f"{side}_image"]["bytes"]),
        intrinsics=np.array(row[f"{side}_intrinsics"], np.float64).reshape(3, 3),
        T_neighbour_camera=np.array(row[f"T_{side}_camera"], np.float64).reshape(4, 4),
    )
