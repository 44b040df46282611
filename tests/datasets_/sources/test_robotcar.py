"""RobotCarSource: what it lists, what it leaves out, and what bad input does to it."""

import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from nightrain.datasets.conditions import Condition
from nightrain.datasets.errors import BrokenSource, DamagedInput, InvalidRequest, Reason
from nightrain.datasets.ids import frame_id
from nightrain.datasets.sources.base import FrameSource
from nightrain.datasets.sources.robotcar import splits as robotcar_splits
from nightrain.datasets.sources.robotcar.config import RobotCarConfig
from nightrain.datasets.sources.robotcar.source import RobotCarSource
from support.sources import robotcar as fixture
from support.sources.nuscenes import failures
from support.sources.robotcar import DAY, NIGHT, time_us, write_grey

LUT = "sdk/models/stereo_wide_left_distortion_lut.bin"


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("robotcar")
    fixture.build_plain(root)
    return root


@pytest.fixture
def root(pristine: Path, tmp_path: Path) -> Path:
    """A copy to damage."""
    shutil.copytree(pristine, tmp_path / "data")
    return tmp_path / "data"


def write_splits(root: Path, triplets: list[tuple[int, int, int]], test: list[int]) -> Path:
    folder = root / "splits"
    folder.mkdir(exist_ok=True)
    lines = [" ".join(str(time_us(step)) for step in triplet) for triplet in triplets]
    (folder / f"{DAY}_train_stride_1.txt").write_text("".join(f"{line}\n" for line in lines))
    if test:
        (folder / f"{NIGHT}_test.txt").write_text("".join(f"{time_us(step)} 4\n" for step in test))
    return folder


def name_of(step: int, traverse: str = DAY) -> str:
    return f"{traverse}/stereo/left/{time_us(step)}"


def image_path(root: Path, step: int) -> Path:
    return root / DAY / "stereo/left" / f"{time_us(step)}.png"


# ---------------------------------------------------------------- what is listed


def test_without_split_files_every_image_is_listed(pristine: Path) -> None:
    source: FrameSource = fixture.source(pristine)
    refs = source.select("all")
    assert [r.source_id for r in refs] == [name_of(s, t) for t in (DAY, NIGHT) for s in range(5)]
    assert {(r.scene_id, r.condition, r.split) for r in refs} == {
        (DAY, Condition.CLEAR, "none"),
        (NIGHT, Condition.NIGHT, "none"),
    }
    assert refs[0].frame_id == frame_id("robotcar", name_of(0))
    assert not source.select("train") and not source.select("test")
    with pytest.raises(InvalidRequest, match="choose train"):
        source.select("minival")


def test_a_frame_says_what_it_is(pristine: Path) -> None:
    source = fixture.source(pristine, traverses=[DAY])
    frame = source.load(source.select("all")[2])
    assert (frame.source_dataset, frame.camera) == ("robotcar", "stereo/left")
    assert frame.description == "Oxford RobotCar, sun" and frame.timestamp_us == time_us(2)
    assert frame.lidar_depth_m is None and frame.exact_depth_m is None  # no laser was exported
    assert frame.previous is not None and frame.previous.source_id == name_of(1)
    assert frame.next is not None and frame.next.timestamp_us == time_us(3)
    assert source.load(source.select("all")[0]).previous is None
    alone = fixture.source(pristine, neighbours=False)
    assert alone.load(alone.select("all")[2]).previous is None


def test_split_files_decide_what_is_listed(root: Path) -> None:
    splits = write_splits(root, [(1, 2, 3), (0, 1, 2)], test=[4])
    source = fixture.source(root, splits=splits)
    assert [r.source_id for r in source.select("train")] == [name_of(1), name_of(2)]
    assert [r.source_id for r in source.select("test")] == [name_of(4, NIGHT)]
    assert [r.split for r in source.select("all")] == ["train", "train", "test"]
    assert source.load(source.select("test")[0]).previous is not None  # it lies on disk
    (splits / f"{DAY}_val_stride_1.txt").write_text(f"{time_us(2)} {time_us(3)} {time_us(4)}\n")
    assert [r.source_id for r in fixture.source(root, splits=splits).select("val")] == [name_of(3)]


def test_a_night_is_never_trained_on(root: Path) -> None:
    splits = write_splits(root, [(1, 2, 3)], test=[])
    (splits / f"{DAY}_train_stride_1.txt").rename(splits / f"{NIGHT}_train_stride_1.txt")
    source = fixture.source(root, splits=splits)
    assert not source.select("train") and len(source.select("all")) == 1


def test_a_source_opens_again_in_another_process(root: Path) -> None:
    splits = write_splits(root, [(1, 2, 3)], test=[4])
    source = fixture.source(root, splits=splits, lms_window_s=2.0)
    again = pickle.loads(pickle.dumps(source))
    assert len(pickle.dumps(source)) < 4000
    assert again.select("all") == source.select("all")
    assert again.load(again.select("all")[0]).image == source.load(source.select("all")[0]).image


# ---------------------------------------------------------------- the training filter


def standing(root: Path, step: int) -> None:
    """Rewrite the odometry so that the car does not move in one step."""
    lines = (root / DAY / "vo/vo.csv").read_text().splitlines()
    words = lines[step].split(",")
    lines[step] = ",".join([*words[:2], "0.0009", *"00000"])
    (root / DAY / "vo/vo.csv").write_text("\n".join(lines))


@pytest.mark.parametrize(
    ("damage", "kept"),
    [
        (lambda root: standing(root, 2), [3]),  # the step from picture 1 to picture 2
        (lambda root: write_grey(root, 3, 230), [1]),  # 0.902, and a leap for picture 2
        (lambda root: write_grey(root, 3, 113), [1]),  # 0.051 brighter than its neighbours
        (lambda root: write_grey(root, 2, 110), [1, 2, 3]),  # 0.039
        (lambda root: image_path(root, 3).write_bytes(b"cut"), [1, 2, 3]),  # to be reported
    ],
)
def test_train_leaves_out_what_md4all_leaves_out(
    root: Path, damage: Callable[[Path], object], kept: list[int]
) -> None:
    splits = write_splits(root, [(0, 1, 2), (1, 2, 3), (2, 3, 4)], test=[])
    damage(root)
    source = fixture.source(root, splits=splits)
    assert [r.source_id for r in source.select("train")] == [name_of(step) for step in kept]
    everything = fixture.source(root, splits=splits, train_filter="none")
    assert len(everything.select("train")) == 3 == len(source.select("all"))


def test_brightness_is_measured_once(root: Path) -> None:
    splits = write_splits(root, [(0, 1, 2), (1, 2, 3)], test=[])
    write_grey(root, 3, 200)
    options = {"splits": splits, "cache": root / "cache"}
    assert [r.source_id for r in fixture.source(root, **options).select("train")] == [name_of(1)]
    for step in range(4):
        write_grey(root, step)  # now nothing leaps, but the old measurements say otherwise
    assert [r.source_id for r in fixture.source(root, **options).select("train")] == [name_of(1)]
    (root / "cache" / f"{DAY}.brightness").unlink()
    assert len(fixture.source(root, **options).select("train")) == 2
    (root / "cache" / f"{DAY}.brightness").write_text("nonsense\n")
    with pytest.raises(BrokenSource, match="delete it"):
        fixture.source(root, **options).select("train")


def test_the_static_part_opens_no_image(root: Path) -> None:
    splits = write_splits(root, [(0, 1, 2), (1, 2, 3)], test=[])
    write_grey(root, 2, 255)
    standing(root, 1)
    source = fixture.source(root, splits=splits, train_filter="static")
    assert [r.source_id for r in source.select("train")] == [name_of(2)]


def test_the_limits_of_the_filter() -> None:
    assert not robotcar_splits.is_badly_exposed(0.899, 0.86, 0.94)
    assert robotcar_splits.is_badly_exposed(0.9, 0.9, 0.9)
    assert robotcar_splits.is_badly_exposed(0.5, 0.449, 0.5)
    assert robotcar_splits.is_badly_exposed(0.5, 0.5, 0.551)


# ---------------------------------------------------------------- pictures


def test_already_undistorted_pictures_are_taken_as_they_are(root: Path) -> None:
    rng = np.random.default_rng(0)
    picture = cv2.resize(rng.integers(0, 255, (12, 16, 3), np.uint8), (1280, 960))
    cv2.imwrite(str(image_path(root, 2)), picture)
    source = fixture.source(root, traverses=[DAY], neighbours=False)
    image = source.load(source.select("all")[2]).image.pixels()
    assert np.abs(image.astype(int) - picture[:768, :, ::-1]).mean() < 3  # JPEG; and R is first
    strict = fixture.source(root, traverses=[DAY], undistorted="no", neighbours=False)
    assert failures(strict) == {name_of(2): Reason.BAD_RECORD}
    strict = fixture.source(root, traverses=[DAY], undistorted="yes", neighbours=False)
    assert failures(strict) == dict.fromkeys(map(name_of, (0, 1, 3, 4)), Reason.BAD_RECORD)


def test_a_folder_of_undistorted_pictures(root: Path) -> None:
    (root / DAY / "stereo/left").rename(root / DAY / "stereo/left_rgb")
    for step in range(5):
        path = root / DAY / "stereo/left_rgb" / f"{time_us(step)}.png"
        cv2.imwrite(str(path), np.full((960, 1280, 3), (10, 60, 200), np.uint8))
    (root / LUT).unlink()  # nobody needs it
    source = fixture.source(root, traverses=[DAY])
    assert failures(source) == {}
    pixels = source.load(source.select("all")[0]).image.pixels()
    assert np.abs(pixels[300, 500].astype(int) - (200, 60, 10)).max() < 4


def test_without_odometry_every_image_is_a_world_of_its_own(root: Path) -> None:
    shutil.rmtree(root / DAY / "vo")
    shutil.rmtree(root / DAY / "gps")
    source = fixture.source(root, traverses=[DAY])
    frame = source.load(source.select("all")[2])
    assert frame.T_ego_camera is not None and frame.previous is None
    np.testing.assert_array_equal(frame.T_world_camera, frame.T_ego_camera)
    splits = write_splits(root, [(1, 2, 3)], test=[])
    with pytest.raises(BrokenSource, match=r"vo/vo\.csv"):
        fixture.source(root, splits=splits).select("train")
    skipping = fixture.source(root, splits=splits, skip_bad=True)
    assert failures(skipping) == {name_of(2): Reason.BAD_POSE}
    assert failures(fixture.source(root, splits=splits, neighbours=False)) == {}


# ---------------------------------------------------------------- bad input

Damage = Callable[[Path], object]


def cut(path: str) -> Damage:
    def damage(root: Path) -> None:
        data = (root / path).read_bytes()
        (root / path).write_bytes(data[: len(data) // 2])

    return damage


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda root: image_path(root, 2).write_bytes(b""), Reason.EMPTY_FILE),
        (cut(f"{name_of(2)}.png"), Reason.UNDECODABLE_IMAGE),
        (
            lambda root: cv2.imwrite(str(image_path(root, 2)), np.zeros((480, 640), np.uint8)),
            Reason.SIZE_MISMATCH,
        ),
        (
            lambda root: cv2.imwrite(str(image_path(root, 2)), np.zeros((960, 1280), np.uint16)),
            Reason.UNDECODABLE_IMAGE,
        ),
    ],
)
def test_a_damaged_image_stops_its_own_frame(root: Path, damage: Damage, reason: Reason) -> None:
    damage(root)
    source = fixture.source(root, traverses=[DAY], neighbours=False)
    assert failures(source) == {name_of(2): reason}
    near = fixture.source(root, traverses=[DAY])
    assert failures(near) == dict.fromkeys(map(name_of, (1, 2, 3)), reason)


def test_a_timestamp_without_an_image(root: Path) -> None:
    image_path(root, 2).unlink()
    with pytest.raises(BrokenSource, match=rf"1 frames .*{time_us(2)}.*--skip-bad"):
        fixture.source(root).select("all")
    skipping = fixture.source(root, skip_bad=True)
    assert failures(skipping) == {name_of(2): Reason.MISSING_FILE}


def test_a_split_file_that_names_absent_frames(root: Path) -> None:
    splits = write_splits(root, [(1, 2, 3), (3, 4, 5)], test=[4, 7, 8])
    source = fixture.source(root, splits=splits)
    with pytest.raises(BrokenSource, match="2 frames are listed"):
        source.select("test")
    with pytest.raises(BrokenSource, match="its next"):
        source.select("train")
    skipping = fixture.source(root, splits=splits, skip_bad=True)
    assert len(skipping.select("train")) == 2 and len(skipping.select("all")) == 5
    missing = {name_of(4), name_of(7, NIGHT), name_of(8, NIGHT)}
    assert failures(skipping) == dict.fromkeys(missing, Reason.MISSING_FILE)
    alone = fixture.source(root, splits=splits, neighbours=False)
    assert len(alone.select("train")) == 2  # frame 4 itself is there


def test_a_traverse_that_is_not_there(root: Path) -> None:
    splits = write_splits(root, [(1, 2, 3)], test=[4])
    shutil.rmtree(root / NIGHT)
    with pytest.raises(BrokenSource, match="1 frames are listed"):
        fixture.source(root, splits=splits).select("test")
    assert len(fixture.source(root, splits=splits, traverses=[DAY]).select("all")) == 1
    with pytest.raises(BrokenSource, match="neither images"):
        fixture.source(root, traverses=[NIGHT])
    with pytest.raises(BrokenSource, match="no traverse"):
        RobotCarSource(RobotCarConfig(root=root / "sdk", sdk=root / "sdk"))
    with pytest.raises(BrokenSource, match="not a folder"):
        fixture.source(root / "nowhere")


def test_an_unknown_camera_or_traverse(root: Path) -> None:
    with pytest.raises(ValueError, match="'stereo/left', 'stereo/centre'"):
        fixture.source(root, camera="stereo/middle")
    with pytest.raises(BrokenSource, match=r"stereo_narrow_left\.txt"):
        fixture.source(root, camera="stereo/centre")  # the SDK's folder lacks its model
    (root / f"sdk/tags/{NIGHT}.yaml").unlink()
    with pytest.raises(BrokenSource, match=f"weather of traverse {NIGHT} is unknown"):
        fixture.source(root)
    with pytest.raises(ValueError, match="'auto', 'yes' or 'no'"):
        fixture.source(root, undistorted="maybe")


@pytest.mark.parametrize(
    ("damage", "words", "reason"),
    [
        (lambda root: (root / LUT).unlink(), "git-lfs", Reason.MISSING_FILE),
        (cut(LUT), "expected 19660800", Reason.BAD_CALIBRATION),
        (
            lambda root: (root / LUT).write_bytes(np.full(2457600, np.nan).tobytes()),
            "finite",
            Reason.BAD_CALIBRATION,
        ),
    ],
)
def test_a_missing_table_stops_raw_pictures(
    root: Path, damage: Damage, words: str, reason: Reason
) -> None:
    damage(root)
    with pytest.raises(BrokenSource, match=words):
        fixture.source(root, traverses=[DAY]).select("all")
    skipping = fixture.source(root, traverses=[DAY], skip_bad=True)
    assert failures(skipping) == dict.fromkeys(map(name_of, range(5)), reason)


@pytest.mark.parametrize("file", ["models/stereo_wide_left.txt", "extrinsics/stereo.txt"])
@pytest.mark.parametrize("text", ["1 2 3", "a b c d e f", "nan " * 20, ""])
def test_a_bad_calibration_breaks_the_source(root: Path, file: str, text: str) -> None:
    (root / "sdk" / file).write_text(text)
    with pytest.raises(BrokenSource, match="calibration of stereo/left"):
        fixture.source(root)


@pytest.mark.parametrize(
    ("file", "text"),
    [
        (f"{DAY}_train_stride_1.txt", "1 2"),
        (f"{DAY}_train_stride_1.txt", "1 x 3"),
        (f"{DAY}_train_stride_1.txt", "3 2 1"),
        (f"{NIGHT}_test.txt", "../../x"),
        (f"{NIGHT}_test.txt", "9" * 30),
        (f"{DAY}_test.txt", f"{time_us(2)} 4"),  # in train already
    ],
)
def test_a_bad_split_file_breaks_the_source(root: Path, file: str, text: str) -> None:
    splits = write_splits(root, [(1, 2, 3)], test=[4])
    (splits / file).write_text(f"{text}\n")
    with pytest.raises(BrokenSource, match=f"{file} line 1"):
        fixture.source(root, splits=splits)


def test_a_bad_list_of_timestamps_breaks_the_source(root: Path) -> None:
    (root / DAY / "stereo.timestamps").write_text(f"{time_us(0)} 1\n12.5 1\n")
    with pytest.raises(BrokenSource, match=r"stereo.timestamps line 2 is '12.5 1'"):
        fixture.source(root)


def test_an_unknown_frame_is_an_error(root: Path) -> None:
    source = fixture.source(root)
    (first, *_), other = source.select("all"), fixture.source(root, traverses=[NIGHT])
    with pytest.raises(DamagedInput, match="no image"):
        other.load(first)


@pytest.mark.parametrize(
    ("tags", "condition"),
    [
        (["overcast"], "clear"),
        (["sun", "clouds", "roadworks"], "clear"),
        (["night", "rain"], "night-rain"),
        (["rain", "overcast"], "rain"),
        (["snow"], "snow"),
        (["dusk", "sun"], "dusk"),
        (["roadworks"], None),
        ([], None),
    ],
)
def test_conditions_are_read_from_tags(tags: list[str], condition: str | None) -> None:
    assert robotcar_splits.condition_of(tags) == condition
