"""One scene on disk: its images, exact depth, LiDAR sweeps, map and records."""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from datasets.images import encode_depth_png, encode_jpeg
from datasets.world import schedule
from datasets.world.camera import View, render
from datasets.world.folder import Folder
from datasets.world.layout import draw_scene
from datasets.world.lidar import Sweep, sweep
from datasets.world.rig import CAMERAS, T_ego_lidar
from datasets.world.scene import Scene
from datasets.world.schedule import Shot, Sweeps
from datasets.world.street import Street
from datasets.world.tables import Record, link, pose_record, token, visibility_token

MAP_PIXEL_M = 0.1  # the resolution nuScenes' map masks have
MAP_HEIGHT_M = 200.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ScenePlan:
    """What decides the bytes of one scene."""

    seed: int
    index: int
    num_keyframes: int
    size: tuple[int, int]  # width, height
    cameras: tuple[str, ...]
    sweeps: Sweeps

    @property
    def name(self) -> str:
        """nuScenes-like name of the scene."""
        return f"world-{self.index:04d}"

    def token(self, *parts: object) -> str:
        """Token of a record of this scene."""
        return token("world", self.seed, self.index, *parts)

    def rng(self, *parts: object) -> np.random.Generator:
        """A generator of this scene's own; other scenes do not disturb it."""
        return np.random.Generator(np.random.PCG64(int(self.token("rng", *parts), 16)))


def write_scene(
    folder: Folder, tables: dict[str, list[Record]], plan: ScenePlan, on_image: Callable[[], None]
) -> None:
    """Render a scene into `folder` and add its records to `tables`."""
    scene = draw_scene(plan.rng("layout"), plan.num_keyframes * schedule.KEYFRAME_US / 1e6)
    tables["sample"] += _samples(plan)
    for camera in plan.cameras:
        tables["calibrated_sensor"].append(_camera_calibration(plan, camera))
        _write_camera(folder, tables, plan, scene, camera, on_image)
    _write_lidar(folder, tables, plan, scene)
    tables["scene"].append(
        {
            "token": plan.token("scene"),
            "log_token": plan.token("log"),
            "nbr_samples": plan.num_keyframes,
            "first_sample_token": plan.token("sample", 0),
            "last_sample_token": plan.token("sample", plan.num_keyframes - 1),
            "name": plan.name,
            "description": scene.description,
        }
    )
    _write_map(folder, tables, plan, scene.street)


def _samples(plan: ScenePlan) -> list[Record]:
    return link(
        [
            {
                "token": plan.token("sample", k),
                "timestamp": schedule.keyframe_us(plan.index, k),
                "scene_token": plan.token("scene"),
            }
            for k in range(plan.num_keyframes)
        ]
    )


def _camera_calibration(plan: ScenePlan, camera: str) -> Record:
    mount = CAMERAS[camera]
    return {
        "token": plan.token("calibrated_sensor", camera),
        "sensor_token": token("sensor", camera),
        **pose_record(mount.T_ego_camera()),
        "camera_intrinsic": mount.intrinsics(plan.size).tolist(),
    }


def _write_camera(
    folder: Folder,
    tables: dict[str, list[Record]],
    plan: ScenePlan,
    scene: Scene,
    camera: str,
    on_image: Callable[[], None],
) -> None:
    """Render every image of one camera, with exact depth beside the keyframes."""
    mount, records = CAMERAS[camera], []
    for shot in schedule.shots(plan.index, camera, plan.num_keyframes, plan.sweeps):
        t_s = schedule.seconds(plan.index, shot.timestamp_us)
        T_world_camera = scene.ego.pose(t_s) @ mount.T_ego_camera()
        view = View(
            T_world_camera=T_world_camera, intrinsics=mount.intrinsics(plan.size), size=plan.size
        )
        picture = render(scene, t_s, view)
        stem = f"{plan.name}__{camera}__{shot.timestamp_us}"
        group = "samples" if shot.is_keyframe else "sweeps"
        folder.write(f"{group}/{camera}/{stem}.jpg", encode_jpeg(picture.image))
        if shot.is_keyframe:
            depth = encode_depth_png(picture.depth_m)
            folder.write(f"truth/depth/{camera}/{stem}.png", depth)
        records.append(_data_record(plan, camera, shot, f"{group}/{camera}/{stem}.jpg"))
        tables["ego_pose"].append(_pose(records[-1], scene.ego.pose(t_s)))
        on_image()
    tables["sample_data"] += link(records)


def _write_lidar(
    folder: Folder, tables: dict[str, list[Record]], plan: ScenePlan, scene: Scene
) -> None:
    """Scan every keyframe; what the beams meet decides the annotations."""
    tables["calibrated_sensor"].append(
        {
            "token": plan.token("calibrated_sensor", "LIDAR_TOP"),
            "sensor_token": token("sensor", "LIDAR_TOP"),
            **pose_record(T_ego_lidar()),
            "camera_intrinsic": [],
        }
    )
    records, scans = [], []
    for k in range(plan.num_keyframes):
        shot = Shot(schedule.keyframe_us(plan.index, k), k, True)
        t_s = schedule.seconds(plan.index, shot.timestamp_us)
        scans.append(sweep(scene, t_s, plan.rng("lidar", k)))
        path = f"samples/LIDAR_TOP/{plan.name}__LIDAR_TOP__{shot.timestamp_us}.pcd.bin"
        folder.write(path, scans[-1].points.tobytes())
        records.append(_data_record(plan, "LIDAR_TOP", shot, path))
        tables["ego_pose"].append(_pose(records[-1], scene.ego.pose(t_s)))
    tables["sample_data"] += link(records)
    for actor in range(len(scene.actors)):
        _annotate(tables, plan, scene, actor, scans)


def _data_record(plan: ScenePlan, channel: str, shot: Shot, path: str) -> Record:
    name = plan.token("sample_data", channel, shot.timestamp_us)
    is_image = path.endswith(".jpg")
    return {
        "token": name,
        "sample_token": plan.token("sample", shot.keyframe),
        "ego_pose_token": name,  # one pose for each file, as in nuScenes
        "calibrated_sensor_token": plan.token("calibrated_sensor", channel),
        "timestamp": shot.timestamp_us,
        "fileformat": "jpg" if is_image else "pcd",
        "is_key_frame": shot.is_keyframe,
        "height": plan.size[1] if is_image else 0,
        "width": plan.size[0] if is_image else 0,
        "filename": path,
    }


def _pose(data: Record, T_world_ego: np.ndarray) -> Record:
    return {
        "token": data["ego_pose_token"],
        "timestamp": data["timestamp"],
        **pose_record(T_world_ego),
    }


def _annotate(
    tables: dict[str, list[Record]],
    plan: ScenePlan,
    scene: Scene,
    actor: int,
    scans: list[Sweep],
) -> None:
    """Boxes of one actor at the keyframes whose LiDAR meets it."""
    body = scene.actors[actor]
    instance = plan.token("instance", actor)
    boxes = []
    for k, scan in enumerate(scans):
        if not scan.hits_of_actor[actor]:
            continue
        T = body.motion.pose(schedule.seconds(plan.index, schedule.keyframe_us(plan.index, k)))
        T[2, 3] += body.size_m[2] / 2
        state = "vehicle.moving" if body.motion.speed_mps else "vehicle.parked"
        boxes.append(
            {
                "token": plan.token("annotation", actor, k),
                "sample_token": plan.token("sample", k),
                "instance_token": instance,
                "visibility_token": visibility_token(float(scan.visible_share[actor])),
                "attribute_tokens": [token("attribute", state)],
                **pose_record(T),
                "size": [body.size_m[1], body.size_m[0], body.size_m[2]],
                "num_lidar_pts": int(scan.hits_of_actor[actor]),
                "num_radar_pts": 0,
            }
        )
    if not boxes:
        return
    tables["sample_annotation"] += link(boxes)
    tables["instance"].append(
        {
            "token": instance,
            "category_token": token("category", body.category),
            "nbr_annotations": len(boxes),
            "first_annotation_token": boxes[0]["token"],
            "last_annotation_token": boxes[-1]["token"],
        }
    )


def _road_mask(street: Street) -> np.ndarray:
    """The drivable area (rows, columns) seen from above; the lowest row is y = 0."""
    x = np.arange(0, street.length_m, MAP_PIXEL_M)
    half_m = street.half_road_m * np.sqrt(1 + street.slope(x) ** 2)  # measured along y
    rows = np.arange(round(MAP_HEIGHT_M / MAP_PIXEL_M), dtype=np.int16)[::-1, None]
    first = ((street.centre_y_m(x) - half_m) / MAP_PIXEL_M).astype(np.int16)
    end = ((street.centre_y_m(x) + half_m) / MAP_PIXEL_M).astype(np.int16)
    return (rows >= first) & (rows < end)


def _write_map(
    folder: Folder, tables: dict[str, list[Record]], plan: ScenePlan, street: Street
) -> None:
    """The map mask of a scene, with its map and log records."""
    road = _road_mask(street).view(np.uint8) * np.uint8(255)
    ok, data = cv2.imencode(".png", road)  # 8 bits: the devkit looks for the value 255
    if not ok:
        raise ValueError(f"OpenCV could not encode a map of shape {road.shape}")
    path = f"maps/{plan.token('map')}.png"
    folder.write(path, data.tobytes())
    log = plan.token("log")
    tables["map"].append(
        {
            "token": plan.token("map"),
            "log_tokens": [log],
            "category": "semantic_prior",
            "filename": path,
        }
    )
    tables["log"].append(
        {
            "token": log,
            "logfile": f"{plan.name}-seed-{plan.seed}",
            "vehicle": "world",
            "date_captured": "2020-09-13",
            "location": "world-street",
        }
    )
