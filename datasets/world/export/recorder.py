"""Recorder of one scene: images with exact truth, LiDAR sweeps, map and records."""

from collections.abc import Callable, Iterator

import numpy as np

from nightrain.datasets.io.images import encode_depth_png, encode_jpeg
from nightrain.datasets.world.export import scene_records as records
from nightrain.datasets.world.export import truth
from nightrain.datasets.world.export.folder import Folder
from nightrain.datasets.world.export.nuscenes_tables import TABLES, Record, link
from nightrain.datasets.world.export.plan import ScenePlan
from nightrain.datasets.world.export.scene_records import LIDAR
from nightrain.datasets.world.scene.layout import draw_scene
from nightrain.datasets.world.sensors import schedule
from nightrain.datasets.world.sensors.camera import Picture, View, render
from nightrain.datasets.world.sensors.flow import forward_flow
from nightrain.datasets.world.sensors.lidar import sweep
from nightrain.datasets.world.sensors.rig import MOUNTS, STEREO_OF
from nightrain.datasets.world.sensors.schedule import Shot
from nightrain.datasets.world.shapes.semantics import classes
from nightrain.datasets.world.street.street import Street
from nightrain.datasets.world.street.street_map import road_png

Tables = dict[str, list[Record]]


def write_scene(folder: Folder, plan: ScenePlan, on_image: Callable[[], None]) -> Tables:
    """Render a scene into `folder` and return its records by table."""
    recorder = _Recorder(folder, plan)
    for channel, shots in camera_shots(plan).items():
        recorder.record_camera(channel, shots, on_image)
    recorder.record_lidar()
    recorder.record_scene()
    return recorder.tables


def write_map(folder: Folder, plan: ScenePlan) -> Tables:
    """Write the map of a scene's place, and return the records of its map and log."""
    scene = draw_scene(plan.rng("layout"), plan.duration_s, plan.spec.condition)
    return _map(folder, plan, scene.street)


def _map(folder: Folder, plan: ScenePlan, street: Street) -> Tables:
    path = f"maps/{plan.place_token('map')}.png"
    folder.write(path, road_png(street))
    return {"map": [records.map_record(plan, path)], "log": [records.log_record(plan)]}


def camera_shots(plan: ScenePlan) -> dict[str, list[Shot]]:
    """Images of every camera, by channel, in order of time."""
    recording, place = plan.recording, plan.place
    count = recording.num_keyframes
    found = {c: list(schedule.shots(place, c, count, plan.sweeps)) for c in recording.cameras}
    for camera in recording.cameras if recording.stereo else ():
        if camera in STEREO_OF:
            found[STEREO_OF[camera]] = list(schedule.shots(place, camera, count, "none"))
    return found


def sensor_files(plan: ScenePlan) -> Iterator[str]:
    """Yield the names of the images and LiDAR sweeps of a scene."""
    for channel, shots in camera_shots(plan).items():
        yield from (_file(plan, channel, shot, "jpg") for shot in shots)
    recording = plan.recording
    turns = schedule.turns(plan.place, recording.num_keyframes, recording.lidar_sweeps)
    yield from (_file(plan, LIDAR, turn, "pcd.bin") for turn in turns)


def _file(plan: ScenePlan, channel: str, shot: Shot, ending: str) -> str:
    group = "samples" if shot.is_keyframe else "sweeps"
    return truth.image_file(plan.name, channel, shot.timestamp_us, group, ending)


class _Recorder:
    """State of a scene while it is recorded."""

    def __init__(self, folder: Folder, plan: ScenePlan) -> None:
        self.folder, self.plan = folder, plan
        self.scene = draw_scene(plan.rng("layout"), plan.duration_s, plan.spec.condition)
        solids = self.scene.at(0.0).solids  # surfaces and owners never change
        rows = np.append(np.arange(len(solids)), -1)  # last: the sky, which has row -1
        self.class_of_row = classes(solids, rows)
        self.value_of_row = np.append(solids.owner + 1, 0).astype(np.uint16)
        self.tables: Tables = {name: [] for name in TABLES}

    def record_camera(self, channel: str, shots: list[Shot], on_image: Callable[[], None]) -> None:
        """Render every image of one camera, with the truth of keyframes."""
        self.tables["calibrated_sensor"].append(records.calibration(self.plan, channel))
        found = []
        for shot, following in zip(shots, [*shots[1:], None], strict=True):
            t_s, view = self._view(channel, shot)
            picture = render(self.scene, t_s, view)
            path = _file(self.plan, channel, shot, "jpg")
            self.folder.write(path, encode_jpeg(picture.image))
            if shot.is_keyframe:
                for kind, data in self._truths(channel, shot, following, picture):
                    self.folder.write(truth.truth_file(kind, path), data)
            found.append(self._data(channel, shot, path))
            on_image()
        self.tables["sample_data"] += link(found)

    def record_lidar(self) -> None:
        """Record LiDAR sweeps; the hits at keyframes determine the annotations."""
        plan, found, scans = self.plan, [], []
        self.tables["calibrated_sensor"].append(records.calibration(plan, LIDAR))
        recording = plan.recording
        for turn in schedule.turns(plan.place, recording.num_keyframes, recording.lidar_sweeps):
            t_s = schedule.seconds(plan.place, turn.timestamp_us)
            seed = ("lidar", turn.keyframe) if turn.is_keyframe else ("lidar", turn.timestamp_us)
            scan = sweep(self.scene, t_s, plan.rng(*seed))
            path = _file(plan, LIDAR, turn, "pcd.bin")
            self.folder.write(path, scan.points.tobytes())
            found.append(self._data(LIDAR, turn, path))
            if turn.is_keyframe:
                scans.append(scan)
        self.tables["sample_data"] += link(found)
        records.annotate(self.tables, plan, self.scene, scans)

    def record_scene(self) -> None:
        """Write the scene's own records, its map, and the instances of the masks."""
        plan, tables = self.plan, self.tables
        tables["sample"] += records.samples(plan)
        tables["scene"].append(records.scene_record(plan, self.scene.description))
        if "instance" in plan.recording.truth:
            named = [
                truth.Instance(k + 1, records.instance_token(plan, k), actor.category)
                for k, actor in enumerate(self.scene.actors)
            ]
            data = truth.encode_instances(plan.token("scene"), named)
            self.folder.write(truth.instances_file(plan.name), data)
        if plan.with_map:
            for name, found in _map(self.folder, plan, self.scene.street).items():
                tables[name] += found

    def _view(self, channel: str, shot: Shot) -> tuple[float, View]:
        """Time of a camera's shot, in seconds from the first keyframe, and its view."""
        t_s = schedule.seconds(self.plan.place, shot.timestamp_us)
        mount, size = MOUNTS[channel], self.plan.recording.size
        T_world_camera = self.scene.ego.pose(t_s) @ mount.T_ego_camera()
        intrinsics = mount.intrinsics(size)
        return t_s, View(T_world_camera=T_world_camera, intrinsics=intrinsics, size=size)

    def _data(self, channel: str, shot: Shot, path: str) -> Record:
        record = records.data_record(self.plan, channel, shot, path)
        pose = self.scene.ego.pose(schedule.seconds(self.plan.place, shot.timestamp_us))
        self.tables["ego_pose"].append(records.ego_pose(record, pose))
        return record

    def _truths(
        self, channel: str, shot: Shot, following: Shot | None, picture: Picture
    ) -> Iterator[tuple[str, bytes]]:
        """Truth files of an image, by kind; a stereo partner has depth only."""
        kinds = self.plan.recording.truth
        if "depth" in kinds:
            yield "depth", encode_depth_png(picture.depth_m)
        if channel in STEREO_OF.values():
            return
        if "semantic" in kinds:
            yield "semantic", truth.encode_map(self.class_of_row[picture.row])
        if "instance" in kinds:
            yield "instance", truth.encode_map(self.value_of_row[picture.row])
        if "flow" in kinds and following is not None:
            t_s, view = self._view(channel, shot)
            t_next_s, next_view = self._view(channel, following)
            there = self.scene.at(t_next_s)
            flow = forward_flow(self.scene, picture, view, t_s, there, next_view)
            yield "flow", truth.encode_flow(flow)
