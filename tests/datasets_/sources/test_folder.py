"""The folder source: what a description says is what frames have, and damage is named."""

import pickle
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from nightrain.datasets.conditions import Condition
from nightrain.datasets.errors import BrokenSource, DamagedInput, InvalidRequest, Reason
from nightrain.datasets.frame import Frame
from nightrain.datasets.geometry.road_plane import plane_inverse_depth
from nightrain.datasets.io.images import encode_jpeg
from nightrain.datasets.sources.folder.config import FolderConfig
from support.described_folder import NAMES, depth_m, described, opened, put
from support.synthetic import INTRINSICS, SIZE, picture


def frames(folder: Path, of_split: str = "all", **changes: Any) -> list[Frame]:
    source = opened(described(folder, **changes))
    return [source.load(ref) for ref in source.select(of_split)]


def problem(root: Path, name: str = NAMES[0], **changes: Any) -> DamagedInput:
    """The error of the picture of a name; the two others load."""
    source = opened(root / "folder.yaml" if not changes else described(root, **changes))
    found = {}
    for ref in source.select("all"):
        try:
            source.load(ref)
        except DamagedInput as error:
            found[ref.source_id] = error
    (key, error), *others = found.items()
    assert not others and key == f"images/{name}", found
    return error


def test_frames_are_what_the_folder_holds(tmp_path: Path) -> None:
    found = frames(tmp_path)
    assert [f.source_id for f in found] == [f"images/{name}" for name in NAMES]
    for frame, name in zip(found, NAMES, strict=True):
        assert frame.image.data == (tmp_path / f"images/{name}.jpg").read_bytes()
        assert frame.lidar_depth_m is not None and frame.exact_depth_m is None
        np.testing.assert_array_equal(frame.lidar_depth_m, depth_m())
        np.testing.assert_array_equal(frame.intrinsics, INTRINSICS)
        assert (frame.source_dataset, frame.split) == ("my-drive", "none")
        assert frame.condition is Condition.CLEAR and frame.previous is None
    assert [f.scene_id for f in found] == ["images/day", "images/day", "images/night"]
    assert len({f.frame_id for f in found}) == 3
    source = opened(tmp_path / "folder.yaml")
    assert pickle.loads(pickle.dumps(source)).select("all") == source.select("all")
    assert source.licence == "CC0-1.0"


def test_depth_in_png_has_its_own_scale_and_may_be_dense(tmp_path: Path) -> None:
    levels = np.rint(depth_m() * 1000).astype(np.uint16)  # 75 m at most, so it overflows
    levels = np.where(depth_m() < 60, levels, 0).astype(np.uint16)
    for name in NAMES:
        put(tmp_path / f"maps/{Path(name).name}.png", cv2.imencode(".png", levels)[1].tobytes())
    depth = {"files": "maps/*.png", "format": "png", "scale": 1000, "kind": "dense"}
    for frame in frames(tmp_path, depth=depth):
        assert frame.exact_depth_m is not None and frame.lidar_depth_m is None
        expected = np.where(levels > 0, depth_m(), 0)
        np.testing.assert_allclose(frame.exact_depth_m, expected, atol=6e-4)


def test_intrinsics_come_from_a_field_of_view_or_from_files(tmp_path: Path) -> None:
    wide = frames(tmp_path, intrinsics={"horizontal_fov_deg": 90})[0].intrinsics
    np.testing.assert_allclose(wide, [[32, 0, 31.5], [0, 32, 19.5], [0, 0, 1]])
    put(tmp_path / "calib/0001.txt", b"50 51 30 20\n")
    put(tmp_path / "calib/0002.txt", b"50 0 30\n0 51 20\n0 0 1\n")
    put(tmp_path / "calib/0003.json", b'{"intrinsics": [[50, 0, 30], [0, 51, 20], [0, 0, 1]]}')
    for frame in frames(tmp_path, intrinsics={"files": "calib/*"}):
        expected = [[50, 0, 30], [0, 51, 20], [0, 0, 1]]
        np.testing.assert_array_equal(frame.intrinsics, expected)
    put(tmp_path / "calib/0001.txt", b"fifty 51 30 20\n")
    assert "expected fx fy cx cy" in str(problem(tmp_path))
    (tmp_path / "calib/0001.txt").unlink()
    assert problem(tmp_path).reason is Reason.BAD_CALIBRATION


def test_a_matrix_of_another_size_is_scaled_only_when_asked(tmp_path: Path) -> None:
    double = INTRINSICS * [[2], [2], [1]] + [[0, 0, 0.5], [0, 0, 0.5], [0, 0, 0]]
    settings = {"matrix": double.tolist(), "size": [128, 80]}
    source = opened(described(tmp_path, intrinsics=settings))
    with pytest.raises(DamagedInput, match="64x40 pixels; the intrinsics are for 128x80"):
        source.load(source.select("all")[0])
    scaled = frames(tmp_path, intrinsics=settings | {"scale_to_picture": True})[0].intrinsics
    np.testing.assert_allclose(scaled, INTRINSICS)
    source = opened(described(tmp_path, intrinsics={"matrix": (40 * INTRINSICS).tolist()}))
    with pytest.raises(DamagedInput, match="are for another size"):
        source.load(source.select("all")[0])


def test_conditions_scenes_and_splits_by_folder_and_list(tmp_path: Path) -> None:
    put(tmp_path / "val.txt", b"0002\r\n")
    changes = {
        "condition": {"folders": {"night": "night"}, "otherwise": "clear"},
        "split": {"lists": {"val": "val.txt"}, "otherwise": "train"},
        "scene": "one",
    }
    found = frames(tmp_path, **changes)
    assert [f.condition for f in found] == [Condition.CLEAR, Condition.CLEAR, Condition.NIGHT]
    assert [f.split for f in found] == ["train", "val", "train"]
    assert {f.scene_id for f in found} == {"one"}
    assert [f.source_id for f in frames(tmp_path, of_split="val", **changes)] == ["images/day/0002"]
    source = opened(tmp_path / "folder.yaml")
    source.select("val")
    assert source.left_out == {"frames of split train": 2}


def test_poses_give_neighbours_and_times(tmp_path: Path) -> None:
    lines = ["picture,timestamp_us,x_m,y_m,z_m,qw,qx,qy,qz"]
    lines += [f"000{i},{1_000_000 + 200_000 * i},0,0,{2 * i},1,0,0,0" for i in (1, 2, 3)]
    put(tmp_path / "poses.csv", "\n".join(lines).encode())
    first, second, third = frames(tmp_path, poses="poses.csv")
    assert (first.timestamp_us, first.previous) == (1_200_000, None)
    assert first.next is not None and second.previous is not None
    # The camera moves 2 m along its own z, so the world's points come nearer by that.
    np.testing.assert_array_equal(first.next.T_neighbour_camera[:3, 3], [0, 0, -2])
    np.testing.assert_array_equal(second.previous.T_neighbour_camera[:3, 3], [0, 0, 2])
    assert first.next.image.data == second.image.data and second.next is None  # another scene
    assert third.previous is None and third.T_world_camera[2, 3] == 6
    config = FolderConfig(root=tmp_path / "folder.yaml", neighbours=False)
    source = config.open()
    assert source.load(source.select("all")[0]).next is None


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("0001,5,0,0,0,2,0,0,0", "quaternion has norm"),
        ("0001,x,0,0,0,1,0,0,0", "line 2: invalid literal"),
        ("0009,5,0,0,0,1,0,0,0", "which is none of the 3 pictures; expected one"),
        ("0001,-5,0,0,0,1,0,0,0", "expected microseconds"),
        ("0001,5,0,0,0,1,0,0,0\n0001,5,0,0,0,1,0,0,0", "twice"),
    ],
)
def test_a_wrong_line_of_poses_is_named(tmp_path: Path, line: str, said: str) -> None:
    header = "picture,timestamp_us,x_m,y_m,z_m,qw,qx,qy,qz\n"
    put(tmp_path / "poses.csv", (header + line).encode())
    with pytest.raises(BrokenSource, match=said):
        opened(described(tmp_path, poses="poses.csv"))


def test_a_mounted_camera_sees_the_road(tmp_path: Path) -> None:
    level = frames(tmp_path, camera_height_m=1.5)[0].T_ego_camera
    tilted = frames(tmp_path, camera_height_m=1.5, camera_pitch_deg=10)[0].T_ego_camera
    assert level is not None and tilted is not None
    road = plane_inverse_depth(SIZE[::-1], INTRINSICS, level)
    assert road[-1, 32] == pytest.approx(1 / depth_m()[-1, 32], rel=1e-6)
    # A camera that looks down sees more road, and has the horizon higher in the picture.
    assert (plane_inverse_depth(SIZE[::-1], INTRINSICS, tilted) > 0).sum() > (road > 0).sum()


def damage_depth(values: np.ndarray) -> Any:
    return lambda root: np.save(root / f"depth/{NAMES[0]}.npy", values)


@pytest.mark.parametrize(
    ("harm", "reason", "said"),
    [
        (damage_depth(depth_m()[:, 1:]), Reason.SIZE_MISMATCH, "63x40 pixels; its picture has 64x"),
        (damage_depth(depth_m() * 1000), Reason.BAD_RECORD, "1000 for millimetres"),
        (damage_depth(-depth_m()), Reason.BAD_RECORD, "expected 0 to 256 m"),
        (damage_depth(np.zeros((40, 64, 1))), Reason.UNDECODABLE_IMAGE, "an array (H, W)"),
        (damage_depth(np.full((40, 64), "x")), Reason.UNDECODABLE_IMAGE, "of numbers"),
        (
            lambda root: put(root / f"depth/{NAMES[0]}.npy", b"\x93NUMPY\x01\x00"),
            Reason.UNDECODABLE_IMAGE,
            "not one complete .npy",
        ),
        (
            lambda root: (
                put(root / f"depth/again/{Path(NAMES[0]).name}.npy", b"x")
                and (root / "depth/day/0001.npy").rename(root / "depth/0001.npy")
            ),
            Reason.BAD_RECORD,
            "found 2 depth maps of this name",
        ),
        (
            lambda root: put(root / f"images/{NAMES[0]}.png", b"x"),
            Reason.BAD_RECORD,
            "found 2 pictures of this name",
        ),
        (
            lambda root: put(root / f"images/{NAMES[0]}.jpg", encode_jpeg(picture(0))[:-300]),
            Reason.UNDECODABLE_IMAGE,
            "picture images/day/0001.jpg",
        ),
        (
            lambda root: put(root / f"images/{NAMES[0]}.jpg", b""),
            Reason.EMPTY_FILE,
            "is empty",
        ),
    ],
)
def test_damage_is_named_and_the_others_load(
    tmp_path: Path, harm: Any, reason: Reason, said: str
) -> None:
    described(tmp_path)
    harm(tmp_path)
    error = problem(tmp_path)
    assert error.reason is reason and said in str(error), (error.reason, error)


def test_a_pickled_depth_map_is_not_loaded(tmp_path: Path) -> None:
    described(tmp_path)
    np.save(tmp_path / f"depth/{NAMES[0]}.npy", np.array([object()]), allow_pickle=True)
    assert problem(tmp_path).reason is Reason.UNDECODABLE_IMAGE


def test_links_lead_nowhere_unless_allowed(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    description = described(root)
    (root / f"images/{NAMES[0]}.jpg").unlink()
    put(outside / "secret.jpg", encode_jpeg(picture(9)))
    (root / f"images/{NAMES[0]}.jpg").symlink_to(outside / "secret.jpg")
    assert problem(root).reason is Reason.UNSAFE_PATH
    source = opened(description, allow_root=(outside,))
    assert source.load(source.select("all")[0]).image.data == encode_jpeg(picture(9))


def test_pictures_without_depth_are_frames_and_are_counted(tmp_path: Path) -> None:
    description = described(tmp_path)
    (tmp_path / f"depth/{NAMES[0]}.npy").rename(tmp_path / "depth/left-over.npy")
    source = opened(description)
    assert source.load(source.select("all")[0]).lidar_depth_m is None
    notes = " ".join(source.notes)
    assert "1 depth files fit no picture, such as depth/left-over.npy" in notes
    assert "1 of 3 pictures have no depth file, such as images/day/0001" in notes


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"name": "kitti"}, "is that of a built-in source"),
        ({"licence": None}, "licence is missing"),
        ({"intrinsics": {}}, "found none of them; expected exactly one of matrix, files"),
        ({"intrinsics": {"horizontal_fov_deg": 90, "size": [1, 1]}}, "belong to `matrix`"),
        ({"condition": "foggy"}, "condition is 'foggy'"),
        ({"condition": {"folders": {"night": "dark"}}}, "found 'dark'; expected"),
        ({"split": {"lists": {"training": "x"}}}, "found 'training'; expected"),
        ({"colour": 1}, "colour is not an option; expected one of name, licence"),
        ({"depth": {"files": "x", "format": "exr"}}, "depth.format is 'exr'; expected"),
    ],
)
def test_a_wrong_description_is_one_sentence(tmp_path: Path, changes: Any, said: str) -> None:
    with pytest.raises(InvalidRequest, match=r"folder\.yaml is not a valid description") as error:
        opened(described(tmp_path, **changes))
    assert said in str(error.value)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"pictures": "photos/*.jpg"},
            "no file below .* found 7 files, such as depth/day/0001",
        ),
        ({"depth": {"files": "../*.npy", "format": "npy"}}, "the depth files; found"),
        ({"root": "nowhere"}, "is not a folder"),
        ({"poses": "../poses.csv"}, "cannot be read: .* contains '..'"),
        ({"split": {"lists": {"val": "/etc/hostname"}}}, "cannot be read: .* is absolute"),
        ({"condition": {"folders": {"day": "clear", "images": "night"}}}, "clear and night by its"),
    ],
)
def test_a_folder_that_does_not_fit_is_one_sentence(
    tmp_path: Path, changes: Any, said: str
) -> None:
    with pytest.raises(BrokenSource, match=said):
        opened(described(tmp_path, **changes))


def test_a_folder_instead_of_a_description_is_told_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="expected a YAML file that describes it"):
        opened(tmp_path)


def test_the_plan_knows_the_description(tmp_path: Path) -> None:
    before = FolderConfig(root=described(tmp_path)).record()
    assert before == FolderConfig(root=described(tmp_path)).record()
    changed = FolderConfig(root=described(tmp_path, camera="rear")).record()
    assert {k for k in before if before[k] != changed[k]} == {"description"}
