"""What is written beside the pictures: depth, classes, instances and flow agree with each other."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from nightrain.datasets.errors import DamagedInput
from nightrain.datasets.geometry.projection import invert_rigid, rigid_transform
from nightrain.datasets.io.images import decode_depth_png, encode_depth_png
from nightrain.datasets.sources.nuscenes.config import NuScenesConfig
from nightrain.datasets.sources.nuscenes.source import NuScenesSource
from nightrain.datasets.world.export import truth
from nightrain.datasets.world.export.plan import SceneSpec
from nightrain.datasets.world.export.writer import VERSION, write_world
from nightrain.datasets.world.scene.layout import draw_scene
from nightrain.datasets.world.scene.scene import Scene
from nightrain.datasets.world.sensors.camera import Picture, View, render
from nightrain.datasets.world.sensors.flow import Fate, Flow, forward_flow
from nightrain.datasets.world.sensors.rig import CAMERAS
from nightrain.datasets.world.shapes.solids import Surface

SIZE = (192, 112)
VEHICLES = (13, 14, 15, 17, 18)  # Cityscapes' car, truck, bus, motorcycle, bicycle
SOMEBODY = (11, 12, *VEHICLES)  # and person, rider


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("truth") / "world"
    write_world(out, scenes=[SceneSpec(place=3)], frames=2, seed=5, size=SIZE)
    return out


def keyframes(world: Path) -> list[dict]:
    data = json.loads((world / VERSION / "sample_data.json").read_text())
    return [d for d in data if d["is_key_frame"] and d["fileformat"] == "jpg"]


def table(world: Path, name: str) -> dict[str, dict]:
    return {r["token"]: r for r in json.loads((world / VERSION / f"{name}.json").read_text())}


def rays(intrinsics: np.ndarray) -> np.ndarray:
    """Directions (3, H, W) of z = 1 through the pixels."""
    v, u = np.mgrid[0.0 : SIZE[1], 0.0 : SIZE[0]]
    return np.tensordot(np.linalg.inv(intrinsics), np.stack([u, v, np.ones_like(u)]), 1)


# --- on disk ---


def test_depth_and_poses_give_the_flow_of_what_stands_still(world: Path) -> None:
    source = NuScenesSource(NuScenesConfig(root=world, version=VERSION))
    for ref in source.select("all"):
        frame = source.load(ref)
        name = truth.image_file(frame.scene_id, frame.camera, frame.timestamp_us)
        assert name == next(d["filename"] for d in keyframes(world) if d["token"] == ref.source_id)
        flow, depth_m = truth.read_flow(world, name), truth.read_depth(world, name)
        assert frame.next is not None and frame.exact_depth_m is not None
        assert np.array_equal(depth_m, frame.exact_depth_m)
        still = (depth_m > 0) & (truth.read_instance(world, name) == 0) & (flow.fate > 0)
        T = frame.next.T_neighbour_camera
        at = np.tensordot(T[:3, :3], rays(frame.intrinsics) * depth_m, 1) + T[:3, 3, None, None]
        uvw = np.tensordot(frame.intrinsics, at, 1)[:, still]
        v, u = np.nonzero(still)
        error = uvw[:2] / uvw[2] - np.stack([u, v]) - flow.motion_px[:, still]
        assert still.sum() > 5000
        assert np.abs(error).max() < 0.05  # steps of 1/64 pixel, and of 1/256 m near by


def test_an_instance_lies_within_its_box(world: Path) -> None:
    source = NuScenesSource(NuScenesConfig(root=world, version=VERSION))
    named = truth.read_instances(world, "world-0003")
    instances, categories = table(world, "instance"), table(world, "category")
    checked = 0
    for record in keyframes(world):
        ref = next(r for r in source.select("all") if r.source_id == record["token"])
        frame = source.load(ref)
        mask = truth.read_instance(world, record["filename"])
        depth_m = truth.read_depth(world, record["filename"])
        ego = table(world, "ego_pose")[record["ego_pose_token"]]["translation"]
        for box in table(world, "sample_annotation").values():
            value = next(k for k, i in named.items() if i.instance_token == box["instance_token"])
            seen = (mask == value) & (depth_m > 0)
            if box["sample_token"] != record["sample_token"] or seen.sum() < 15:
                continue
            category = categories[instances[box["instance_token"]]["category_token"]]["name"]
            assert category == named[value].category
            T_box = invert_rigid(rigid_transform(box["translation"], box["rotation"]))
            at = (rays(frame.intrinsics) * depth_m)[:, seen]
            T = T_box @ frame.T_world_camera
            local = T[:3, :3] @ at + T[:3, 3:]
            half = np.array(box["size"])[[1, 0, 2], None] / 2
            lag_m = 0.035 * 25  # between image and box, of what drives
            margin = np.array([[0.2 + lag_m], [0.25], [0.15]])
            assert (np.abs(local) < half + margin).all(0).mean() > 0.97, (category, ego)
            checked += 1
    assert checked >= 4


def test_classes_fit_depth_and_instances(world: Path) -> None:
    for record in keyframes(world):
        classes = truth.read_semantic(world, record["filename"])
        depth_m = truth.read_depth(world, record["filename"])
        mask = truth.read_instance(world, record["filename"])
        assert classes.shape == depth_m.shape == mask.shape == (SIZE[1], SIZE[0])
        assert set(np.unique(classes)) <= {*range(19), 255}
        assert (depth_m[classes == 10] == 0).all()  # the sky has none
        assert (classes[depth_m > 0] != 10).all()
        assert (classes[-8:] == 0).mean() > 0.5  # the road before the bonnet
        assert np.isin(classes[mask > 0], (*SOMEBODY, 255)).all()
        assert (mask[np.isin(classes, SOMEBODY)] > 0).mean() > 0.9


def test_a_damaged_truth_is_refused(world: Path, tmp_path: Path) -> None:
    name = keyframes(world)[0]["filename"]
    for kind, read in (
        ("flow", truth.read_flow),
        ("semantic", truth.read_semantic),
        ("instance", truth.read_instance),
    ):
        path = tmp_path / truth.truth_file(kind, name)
        path.parent.mkdir(parents=True)
        data = (world / truth.truth_file(kind, name)).read_bytes()
        path.write_bytes(data[:-30])
        with pytest.raises(DamagedInput, match="damaged"):
            read(tmp_path, name)
        path.write_bytes((world / truth.truth_file("depth", name)).read_bytes())
        if kind != "instance":  # also 16 bits and grey
            with pytest.raises(DamagedInput, match=r"expected .* found uint16"):
                read(tmp_path, name)
    with pytest.raises(DamagedInput, match="lists no instances"):
        (tmp_path / truth.instances_file("s")).write_text("[]")
        truth.read_instances(tmp_path, "s")


# --- encodings ---


def test_flow_is_coded_as_kitti_does() -> None:
    motion = np.zeros((2, 2, 3))
    motion[:, 0, 0] = (3.25, -7.5)
    motion[:, 1, 2] = (600.0, 0.0)  # more than 16 bits hold
    fate = np.array([[Fate.SEEN, Fate.HIDDEN, Fate.LEFT], [Fate.SEEN] * 3], np.uint8)
    data = truth.encode_flow(Flow(motion, fate))
    bgr = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    assert bgr.dtype == np.uint16
    assert bgr[0, 0].tolist() == [1, 2**15 - 480, 2**15 + 208]  # valid, v, u: pixels x 64 + 2^15
    assert bgr[0, 1].tolist() == [2, 2**15, 2**15]
    assert bgr[0, 2].tolist() == [0, 0, 0] and bgr[1, 2].tolist() == [0, 0, 0]


def test_flow_comes_back_to_a_hundredth_of_a_pixel(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    flow = Flow(rng.normal(0, 40, (2, 30, 50)), rng.integers(0, 3, (30, 50)).astype(np.uint8))
    path = tmp_path / truth.truth_file("flow", "samples/CAM/a.jpg")
    path.parent.mkdir(parents=True)
    path.write_bytes(truth.encode_flow(flow))
    back = truth.read_flow(tmp_path, "samples/CAM/a.jpg")
    valid = flow.fate > 0
    assert np.array_equal(back.fate, flow.fate)
    assert np.abs(back.motion_px - flow.motion_px)[:, valid].max() <= 1 / 128
    assert (back.motion_px[:, ~valid] == 0).all()


def test_depth_beyond_the_code_is_none() -> None:
    depth_m = np.array([[255.99, 256.0, 300.0, 1000.0, np.inf, 0.0, 1e-4]], np.float32)
    back = decode_depth_png(encode_depth_png(depth_m))
    assert back[0, 0] == pytest.approx(255.99, abs=1 / 256)
    assert back[0, 1:6].tolist() == [0.0] * 5 and back[0, 6] > 0


# --- flow, exact ---


def view(scene: Scene, t_s: float) -> View:
    mount = CAMERAS["CAM_FRONT"]
    T_world_camera = scene.ego.pose(t_s) @ mount.T_ego_camera()
    return View(T_world_camera=T_world_camera, intrinsics=mount.intrinsics(SIZE), size=SIZE)


def flow_between(scene: Scene, t_s: float, t_next_s: float) -> tuple[Picture, Flow]:
    here, there = view(scene, t_s), view(scene, t_next_s)
    picture = render(scene, t_s, here)
    return picture, forward_flow(scene, picture, here, t_s, scene.at(t_next_s), there)


@pytest.fixture(scope="module", params=[1, 4])
def scene(request: pytest.FixtureRequest) -> Scene:
    return draw_scene(np.random.default_rng(request.param), 2.0)


def test_a_vehicle_flows_as_its_box_moves(scene: Scene) -> None:
    t_s, t_next_s = 0.5, 0.5 + 1 / 12
    picture, flow = flow_between(scene, t_s, t_next_s)
    solids = scene.at(t_s).solids
    here, there = view(scene, t_s), view(scene, t_next_s)
    seen = (picture.row >= 0) & (flow.fate > 0) & (solids.surface[picture.row] == Surface.BODYWORK)
    owner = np.where(seen, solids.owner[picture.row], -1)
    checked = 0
    for k in np.unique(owner[owner >= 0]):
        actor = scene.actors[k]
        if not actor.motion.speed_mps:
            continue
        mine = owner == k
        T = actor.motion.pose(t_next_s) @ invert_rigid(actor.motion.pose(t_s))  # of the box
        T = invert_rigid(there.T_world_camera) @ T @ here.T_world_camera
        at = T[:3, :3] @ (rays(here.intrinsics) * picture.depth_m)[:, mine] + T[:3, 3:]
        uvw = here.intrinsics @ at
        v, u = np.nonzero(mine)
        assert np.allclose(uvw[:2] / uvw[2] - [u, v], flow.motion_px[:, mine], atol=1e-3)
        checked += int(mine.sum())
    assert checked > 30


def test_flow_lands_on_the_same_solid_unless_hidden(scene: Scene) -> None:
    t_s, t_next_s = 0.5, 1.0  # far enough for much to be hidden
    picture, flow = flow_between(scene, t_s, t_next_s)
    there = view(scene, t_next_s)
    v, u = np.mgrid[0.0 : SIZE[1], 0.0 : SIZE[0]] + flow.motion_px[::-1]
    hits = scene.at(t_next_s).caster.cast(there.T_world_camera[:3, 3], there.directions(u, v))
    same = hits.row == picture.row
    seen, hidden = flow.fate == Fate.SEEN, flow.fate == Fate.HIDDEN
    assert seen.sum() > 5000 and hidden.sum() > 50
    assert same[seen].mean() > 0.998  # the rest: rays through outlines and joints
    nearer = ~same & (hits.row >= 0)
    assert (nearer | (hits.t < np.inf))[hidden].all()
    assert nearer[hidden].mean() > 0.5  # the rest hide behind another part of the same solid


def test_nothing_moves_where_time_stands_still(scene: Scene) -> None:
    _, flow = flow_between(scene, 0.5, 0.5)
    assert (flow.fate == Fate.SEEN).mean() > 0.999  # no surface hides itself
    assert np.abs(flow.motion_px).max() < 1e-3


def test_the_sky_turns_and_does_not_approach(scene: Scene) -> None:
    picture, flow = flow_between(scene, 0.5, 1.0)
    here, there = view(scene, 0.5), view(scene, 1.0)
    sky = (picture.row < 0) & (flow.fate > 0)
    R = there.T_world_camera[:3, :3].T @ here.T_world_camera[:3, :3]
    uvw = here.intrinsics @ R @ rays(here.intrinsics)[:, sky]
    v, u = np.nonzero(sky)
    assert sky.sum() > 200
    assert np.allclose(uvw[:2] / uvw[2] - [u, v], flow.motion_px[:, sky], atol=1e-6)
