"""nuScenes records of one scene."""

from collections.abc import Sequence

import numpy as np

from nightrain.datasets.world.export.nuscenes_tables import (
    Record,
    link,
    pose_record,
    token,
    visibility_token,
)
from nightrain.datasets.world.export.plan import ScenePlan
from nightrain.datasets.world.scene.scene import Actor, Scene
from nightrain.datasets.world.sensors import schedule
from nightrain.datasets.world.sensors.lidar import Sweep
from nightrain.datasets.world.sensors.rig import MOUNTS, T_ego_lidar
from nightrain.datasets.world.sensors.schedule import Shot

LIDAR = "LIDAR_TOP"
CYCLES = ("vehicle.bicycle", "vehicle.motorcycle")


def scene_record(plan: ScenePlan, description: str) -> Record:
    """Scene record, with its weather in the description as in nuScenes."""
    count = plan.recording.num_keyframes
    return {
        "token": plan.token("scene"),
        "log_token": plan.place_token("log"),
        "nbr_samples": count,
        "first_sample_token": plan.token("sample", 0),
        "last_sample_token": plan.token("sample", count - 1),
        "name": plan.name,
        "description": description,
    }


def log_record(plan: ScenePlan) -> Record:
    """Log of a place, shared by its scenes so that they are all in one split."""
    return {
        "token": plan.place_token("log"),
        "logfile": f"world-{plan.place:04d}-seed-{plan.seed}",
        "vehicle": "world",
        "date_captured": "2020-09-13",
        "location": "world-street",
    }


def map_record(plan: ScenePlan, path: str) -> Record:
    """The map of a place."""
    return {
        "token": plan.place_token("map"),
        "log_tokens": [plan.place_token("log")],
        "category": "semantic_prior",
        "filename": path,
    }


def samples(plan: ScenePlan) -> list[Record]:
    """Keyframes of a scene."""
    return link(
        [
            {
                "token": plan.token("sample", k),
                "timestamp": schedule.keyframe_us(plan.place, k),
                "scene_token": plan.token("scene"),
            }
            for k in range(plan.recording.num_keyframes)
        ]
    )


def calibration(plan: ScenePlan, channel: str) -> Record:
    """Calibrated sensor: its pose, and a camera's intrinsics."""
    is_camera = channel != LIDAR
    T_ego_sensor = MOUNTS[channel].T_ego_camera() if is_camera else T_ego_lidar()
    size = plan.recording.size
    return {
        "token": plan.token("calibrated_sensor", channel),
        "sensor_token": token("sensor", channel),
        **pose_record(T_ego_sensor),
        "camera_intrinsic": MOUNTS[channel].intrinsics(size).tolist() if is_camera else [],
    }


def data_record(plan: ScenePlan, channel: str, shot: Shot, path: str) -> Record:
    """Sample data record: one file of a sensor."""
    name = plan.token("sample_data", channel, shot.timestamp_us)
    width, height = plan.recording.size if channel != LIDAR else (0, 0)
    return {
        "token": name,
        "sample_token": plan.token("sample", shot.keyframe),
        "ego_pose_token": name,  # one pose for each file, as in nuScenes
        "calibrated_sensor_token": plan.token("calibrated_sensor", channel),
        "timestamp": shot.timestamp_us,
        "fileformat": "jpg" if channel != LIDAR else "pcd",
        "is_key_frame": shot.is_keyframe,
        "height": height,
        "width": width,
        "filename": path,
    }


def ego_pose(data: Record, T_world_ego: np.ndarray) -> Record:
    """Ego pose at the time of a file."""
    return {
        "token": data["ego_pose_token"],
        "timestamp": data["timestamp"],
        **pose_record(T_world_ego),
    }


def instance_token(plan: ScenePlan, actor: int) -> str:
    """Token of an actor of a scene."""
    return plan.token("instance", actor)


def annotate(
    tables: dict[str, list[Record]], plan: ScenePlan, scene: Scene, scans: Sequence[Sweep]
) -> None:
    """Add the actors, and their boxes at the keyframes (K sweeps) where the LiDAR hits them."""
    for index, actor in enumerate(scene.actors):
        boxes = link(
            [
                _box(plan, index, actor, k, scan)
                for k, scan in enumerate(scans)
                if scan.hits_of_actor[index]
            ]
        )
        if not boxes:
            continue
        tables["sample_annotation"] += boxes
        tables["instance"].append(
            {
                "token": instance_token(plan, index),
                "category_token": token("category", actor.category),
                "nbr_annotations": len(boxes),
                "first_annotation_token": boxes[0]["token"],
                "last_annotation_token": boxes[-1]["token"],
            }
        )


def _box(plan: ScenePlan, index: int, actor: Actor, keyframe: int, scan: Sweep) -> Record:
    t_s = schedule.seconds(plan.place, schedule.keyframe_us(plan.place, keyframe))
    T = actor.motion.pose(t_s)
    T[:3, 3] += T[:3, 2] * (actor.size_m[2] / 2)  # nuScenes gives a box by its centre
    length, width, height = actor.size_m
    return {
        "token": plan.token("annotation", index, keyframe),
        "sample_token": plan.token("sample", keyframe),
        "instance_token": instance_token(plan, index),
        "visibility_token": visibility_token(float(scan.visible_share[index])),
        "attribute_tokens": [token("attribute", name) for name in attributes(actor, t_s)],
        **pose_record(T),
        "size": [width, length, height],
        "num_lidar_pts": int(scan.hits_of_actor[index]),
        "num_radar_pts": 0,
    }


def attributes(actor: Actor, t_s: float) -> tuple[str, ...]:
    """Attributes of an actor at time t by its nuScenes category; objects have none."""
    moving = actor.is_moving(t_s)
    if actor.category in CYCLES:
        return ("cycle.with_rider" if actor.has_rider else "cycle.without_rider",)
    if actor.category.startswith("vehicle."):
        standing = "vehicle.parked" if actor.is_parked else "vehicle.stopped"
        return ("vehicle.moving" if moving else standing,)
    if actor.category.startswith("human."):
        return ("pedestrian.moving" if moving else "pedestrian.standing",)
    return ()
