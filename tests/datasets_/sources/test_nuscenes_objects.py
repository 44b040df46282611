"""Objects in view: annotated boxes, projected into each camera at its own time."""

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
import pytest

from nightrain.datasets.shards.rows import frame_from_row, frame_to_row
from nightrain.datasets.sources.nuscenes.config import NuScenesConfig, WorldConfig
from nightrain.datasets.sources.nuscenes.objects import (
    LEAST_IMAGE_SHARE,
    count_names,
    image_share,
    plain_name,
)
from nightrain.datasets.sources.nuscenes.source import NuScenesSource
from nightrain.datasets.world.export.truth import image_file, instances_file, truth_file
from support.sources import nuscenes as fixture
from support.sources.nuscenes import NuScenesFolder, token_of
from support.world import six_camera_world

SCENE, OTHER = fixture.SCENES[0], fixture.SCENES[2]
SAMPLE = f"{SCENE.name}-3"
FRONT, BACK = (token_of(SCENE.name, camera, 3) for camera in ("CAM_FRONT", "CAM_BACK"))
CUBE = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], float)


@pytest.fixture
def folder(tmp_path: Path) -> NuScenesFolder:
    made = fixture.build(tmp_path, scenes=(SCENE, OTHER))
    made.tables["visibility"] = [{"token": "1", "level": "v0-40"}, {"token": "4", "level": "v80"}]
    return made


def annotate(
    folder: NuScenesFolder,
    category: str,
    ego_m: tuple[float, float, float],
    size_m: tuple[float, float, float] = (2.0, 4.0, 1.6),  # width, length, height
    **fields: object,
) -> None:
    """Add a box at a place relative to the car at record 3 (x ahead, y left, z up)."""
    number = len(folder.tables["sample_annotation"])
    names = {record["token"] for record in folder.tables["category"]}
    if category not in names:
        folder.tables["category"].append({"token": category, "name": category})
    folder.tables["instance"].append({"token": f"i{number}", "category_token": category})
    translation, rotation = fixture.ego_pose(SCENE, fixture.START_US + 3 * fixture.STEP_US)
    folder.tables["sample_annotation"].append(
        {
            "token": f"a{number}",
            "sample_token": SAMPLE,
            "instance_token": f"i{number}",
            "visibility_token": "4",
            "translation": list(translation + rotation.rotate(np.array(ego_m))),
            "size": list(size_m),
            "rotation": list(rotation.elements),
            **fields,
        }
    )


def objects(folder: NuScenesFolder, token: str = FRONT) -> Mapping[str, int] | None:
    """Objects of a frame, read back from its row."""
    folder.write_tables()
    source = NuScenesSource(NuScenesConfig(root=folder.root, frames="all", neighbours=False))
    ref = next(ref for ref in source.select("all") if ref.source_id == token)
    frame = source.load(ref)
    assert frame_from_row(frame_to_row(frame, "x", "y")).objects == frame.objects
    return frame.objects


def test_each_camera_counts_what_it_sees_in_plain_words(folder: NuScenesFolder) -> None:
    annotate(folder, "vehicle.car", (15, 3, 0.8))
    annotate(folder, "vehicle.car", (22, -3, 0.8))
    annotate(folder, "vehicle.bus.bendy", (30, 0, 1.5), (3, 12, 3.5))
    annotate(folder, "human.pedestrian.police_officer", (-9, 1, 0.9), (0.7, 0.7, 1.8))
    annotate(folder, "vehicle.truck", (0, 40, 1.5), (3, 9, 3.5))  # abeam: in neither image
    assert objects(folder) == {"car": 2, "bus": 1}
    assert objects(folder, BACK) == {"police officer": 1}
    assert list(objects(folder) or ()) == ["car", "bus"]


def test_hidden_and_tiny_objects_are_not_counted(folder: NuScenesFolder) -> None:
    annotate(folder, "vehicle.car", (15, 0, 0.8), visibility_token="1")
    annotate(folder, "movable_object.trafficcone", (60, 0, 0.4), (0.4, 0.4, 0.8))
    assert objects(folder) == {}
    annotate(folder, "movable_object.trafficcone", (8, 0, 0.4), (0.4, 0.4, 0.8))
    assert objects(folder) == {"traffic cone": 1}


def test_a_bus_next_to_the_camera_counts_with_corners_behind_it(folder: NuScenesFolder) -> None:
    annotate(folder, "vehicle.bus.rigid", (5, 3, 1.5), (3, 14, 3.5))
    assert objects(folder) == {"bus": 1}


def test_boxes_are_seen_from_the_pose_of_the_images_own_time(folder: NuScenesFolder) -> None:
    """Two records later the car has turned by 4 degrees to the left."""
    left = np.radians(34.8)
    annotate(folder, "vehicle.car", (1.7 + 40 * np.cos(left), 40 * np.sin(left), 1), (2, 2, 2))
    assert objects(folder) == {}
    assert objects(folder, token_of(SCENE.name, "CAM_FRONT", 5)) == {"car": 1}


def test_objects_are_unknown_without_sound_annotations(folder: NuScenesFolder) -> None:
    assert objects(folder) is None
    annotate(folder, "vehicle.car", (15, 0, 0.8))
    assert objects(folder, token_of(OTHER.name, "CAM_FRONT", 3)) is None  # another scene
    assert objects(folder, token_of(SCENE.name, "CAM_FRONT", 6)) == {}  # annotated, and empty


@pytest.mark.parametrize(
    "damage",
    [
        {"instance_token": "nowhere"},
        {"instance_token": 7},
        {"translation": [1, 2]},
        {"translation": [float("nan"), 0, 0]},
        {"translation": [float("inf"), 0, 0]},
        {"size": None},
        {"size": ["a", 1, 1]},
        {"rotation": [1, 0, 0]},
        {"rotation": "upside down"},
        {"visibility_token": ["1"]},
    ],
    ids=str,
)
def test_a_damaged_box_leaves_the_objects_unknown(
    folder: NuScenesFolder, damage: dict[str, object]
) -> None:
    annotate(folder, "vehicle.car", (15, 0, 0.8))
    annotate(folder, "vehicle.car", (20, 0, 0.8), **damage)
    assert objects(folder) is None
    folder.tables["sample_annotation"].pop()
    assert objects(folder) == {"car": 1}


def test_a_table_of_boxes_that_cannot_be_read_is_noted(folder: NuScenesFolder) -> None:
    annotate(folder, "vehicle.car", (15, 0, 0.8))
    folder.write_tables()
    (folder.root / folder.version / "instance.json").write_text("{not json")
    source = NuScenesSource(NuScenesConfig(root=folder.root))
    assert all(source.load(ref).objects is None for ref in source.select("all"))
    (note,) = source.notes
    assert "instance.json cannot be read" in note and "no frame has `objects`" in note


@pytest.mark.parametrize(
    ("shift_m", "share"),
    [
        ((0, 0, 5), (100 * 2 / 4) * (101 * 2 / 4) / (128 * 72)),
        ((0, 0, -5), 0.0),
        ((500, 0, 5), 0.0),
        ((0, 0, 0), 1.0),  # around the camera
    ],
)
def test_the_share_of_the_image_is_that_of_the_projected_box(
    shift_m: tuple[float, float, float], share: float
) -> None:
    found = image_share(CUBE + shift_m, np.array(fixture.INTRINSICS), fixture.SIZE)
    assert found == pytest.approx(share, abs=1e-6)


def test_names_are_plain() -> None:
    categories = ["vehicle.emergency.police", "animal", "static_object.bicycle_rack", "bus"]
    assert [plain_name(c) for c in categories] == ["police car", "animal", "bicycle rack", "bus"]
    assert list(count_names(["b", "a", "c", "c"]).items()) == [("c", 2), ("a", 1), ("b", 1)]


def test_counts_agree_with_exact_masks(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Six cameras of the built-in world; objects that boxes and masks disagree on are few."""
    root = six_camera_world(tmp_path_factory)
    source = WorldConfig(root=root).open()
    wrong, num_true = Counter[str](), 0
    for ref in source.select("all"):
        true = objects_of_mask(root, ref.scene_id, ref.camera, ref.timestamp_us)
        found = source.load(ref).objects
        assert found is not None
        wrong += (true - Counter(found)) + (Counter(found) - true)
        num_true += true.total()
    assert num_true > 100 and wrong.total() < 0.15 * num_true


def objects_of_mask(root: Path, scene: str, camera: str, timestamp_us: int) -> Counter[str]:
    """Objects in an instance mask that are large enough, by name."""
    listed = json.loads((root / instances_file(scene)).read_text())["instances"]
    names = {instance["value"]: plain_name(instance["category"]) for instance in listed}
    path = root / truth_file("instance", image_file(scene, camera, timestamp_us))
    mask = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert mask is not None
    values, sizes = np.unique(mask, return_counts=True)
    large = values[(sizes >= LEAST_IMAGE_SHARE * mask.size) & (values > 0)]
    return Counter(names[int(value)] for value in large)
