"""Control images: exact size, near is white, depth in full precision to the last step."""

import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from nightrain.datasets.errors import (
    DamagedInput,
    InvalidRequest,
    NightrainError,
    Reason,
    WrongPolarity,
)
from nightrain.datasets.geometry.completion import complete_depth
from nightrain.datasets.geometry.projection import scatter_min_resize
from nightrain.datasets.io.images import resize_image
from nightrain.datasets.sources.nuscenes.config import NuScenesConfig
from nightrain.datasets.sources.nuscenes.source import NuScenesSource
from nightrain.datasets.world.scene.layout import draw_scene
from nightrain.datasets.world.sensors.camera import View as WorldView
from nightrain.datasets.world.sensors.camera import render
from nightrain.datasets.world.sensors.rig import CAMERAS
from nightrain.pipelines.controls.control_image import depth_control, depth_image
from nightrain.pipelines.controls.depth_source import (
    DepthInput,
    DepthSource,
    ImageWindow,
    RelativeDepth,
    depths_of,
    inverse_of_metric,
)
from nightrain.pipelines.controls.edges import canny_edges, soft_edges
from nightrain.pipelines.controls.given import GivenDepth
from nightrain.pipelines.controls.load_source import load_depth_source
from nightrain.pipelines.controls.polarity import (
    assert_near_is_white,
    near_is_white_lead,
    require_near_is_white,
)
from nightrain.pipelines.controls.settings import ControlDepth, require_control_kinds
from nightrain.pipelines.controls.trained_model import TeacherDepth
from support.paths import ROOT
from support.synthetic import INTRINSICS, SIZE, ground_depth_m, picture

KEYFRAME = ROOT.parent / "shared" / "data" / "nuscenes"


def world_street(
    seed: int, camera: str = "CAM_FRONT", size: tuple[int, int] = (160, 90)
) -> ImageWindow:
    """A rendered street with exact depth, sky = inf."""
    scene, mount = draw_scene(np.random.default_rng(seed), 1.0), CAMERAS[camera]
    view = WorldView(
        T_world_camera=scene.ego.pose(0.0) @ mount.T_ego_camera(),
        intrinsics=mount.intrinsics(size),
        size=size,
    )
    seen = render(scene, 0.0, view)
    depth_m = np.where(seen.depth_m > 0, seen.depth_m, np.float32(np.inf))
    return ImageWindow(seen.image, view.intrinsics, depth_m)


def plain_street() -> ImageWindow:
    return ImageWindow(picture(0), INTRINSICS, ground_depth_m())


# Polarity


@pytest.mark.parametrize("camera", CAMERAS)
def test_near_is_white_on_exact_streets_and_never_on_flipped_ones(camera: str) -> None:
    for seed in range(3):
        inverse = inverse_of_metric(world_street(seed, camera).depth_m)
        assert_near_is_white(inverse)
        assert_near_is_white(1000 * inverse + 7)  # no unit is meant
        for flipped in (-inverse, inverse.max() - inverse, 1 / (inverse + 0.05)):
            with pytest.raises(WrongPolarity, match="inverted"):
                assert_near_is_white(flipped)


def test_polarity_survives_vehicles_noise_and_a_wall() -> None:
    inverse = inverse_of_metric(ground_depth_m())
    rng = np.random.default_rng(0)
    with_truck = inverse.copy()
    with_truck[10:34, 20:44] = 1 / 8.0  # a truck close ahead fills a third of the columns
    with_noise = inverse + rng.normal(0, 0.01, inverse.shape).astype(np.float32)
    with_holes = np.where(rng.random(inverse.shape) < 0.2, np.float32(0), inverse)
    for disturbed in (with_truck, with_noise, with_holes):
        assert_near_is_white(disturbed)
        with pytest.raises(WrongPolarity, match="inverted"):
            assert_near_is_white(disturbed.max() - disturbed)


def test_a_map_without_a_road_is_refused_in_words() -> None:
    rng = np.random.default_rng(1)
    sideways = np.repeat(np.linspace(0, 1, 64, dtype=np.float32)[None], 40, axis=0)
    for shapeless in (np.ones((40, 64), np.float32), rng.random((360, 640)), sideways):
        with pytest.raises(WrongPolarity, match="shows no road") as refused:
            assert_near_is_white(shapeless.astype(np.float32))
        assert refused.value.reason is Reason.BAD_OUTPUT
        assert isinstance(refused.value, NightrainError) and "expected" in str(refused.value)
        assert_near_is_white(shapeless.astype(np.float32), road_in_view=False)


def test_a_truck_that_fills_a_side_camera_is_no_reason_to_drop_the_frame() -> None:
    depth_m = np.repeat(np.linspace(2.0, 4.0, 160, dtype=np.float32)[None], 90, 0)  # a long wall
    beside = ImageWindow(np.full((90, 160, 3), 90, np.uint8), INTRINSICS, depth_m)
    inverse = inverse_of_metric(beside.depth_m)
    assert near_is_white_lead(inverse) == 0  # its side is as far below as above
    assert depth_control(GivenDepth(), beside, (64, 40)).shape == (40, 64, 3)


def judge(source: DepthSource, scenes: Sequence[DepthInput]) -> None:
    leads = [near_is_white_lead(one.inverse_depth) for one in depths_of(source, scenes)]
    require_near_is_white(source.name, leads)


def test_a_source_is_judged_by_most_of_its_scenes() -> None:
    streets = [world_street(seed, camera) for seed in (2, 3) for camera in CAMERAS]
    judge(GivenDepth(), streets)
    flipped = teacher(lambda image: 1 / _road_depth_m(40, 64))
    with pytest.raises(WrongPolarity, match=r"by teacher:5eed on 3 frames: .*inverted"):
        judge(flipped, streets[:3])
    rng = np.random.default_rng(0)
    untrained = teacher(lambda image: rng.uniform(1, 80, image.shape[:2]))
    for nothing in ((untrained, streets), (GivenDepth(), [])):
        with pytest.raises(WrongPolarity, match="shows no road"):
            judge(*nothing)


@pytest.mark.skipif(not KEYFRAME.exists(), reason="no real keyframe beside this checkout")
def test_polarity_of_completed_lidar_on_six_real_cameras() -> None:
    source = NuScenesSource(NuScenesConfig(root=KEYFRAME, version="v1.0-mini"))
    refs = source.select("all")
    assert len(refs) == 6
    for ref in refs:
        frame = source.load(ref)
        assert frame.lidar_depth_m is not None
        image = resize_image(frame.image.pixels(), (384, 216))
        depth_m = complete_depth(scatter_min_resize(frame.lidar_depth_m, (384, 216)), image)
        assert near_is_white_lead(inverse_of_metric(depth_m)) > 0.8
        control = depth_control(
            GivenDepth(), ImageWindow(image, frame.intrinsics, depth_m), (512, 288)
        )
        assert control.shape == (288, 512, 3)
        assert control[260:].mean() > 2 * control[120:150].mean()
        with pytest.raises(WrongPolarity):
            assert_near_is_white(np.minimum(depth_m, np.float32(200)))


# Depth to 8 bits


@given(st.integers(0, 10_000), st.sampled_from([(64, 40), (96, 56), (40, 24), (33, 71)]))
def test_a_depth_image_has_the_asked_size_and_exact_ends(seed: int, size: tuple[int, int]) -> None:
    values = np.random.default_rng(seed).random((40, 64), np.float32) * 5 - 1
    made = depth_image(RelativeDepth(values), size)
    assert made.shape == (size[1], size[0], 3) and made.dtype == np.uint8
    assert made.min() == 0 and made.max() == 255
    assert (made[..., 0] == made[..., 1]).all() and (made[..., 0] == made[..., 2]).all()


@given(st.integers(0, 10_000), st.floats(0.01, 100), st.floats(-5, 5))
def test_a_depth_image_is_monotonic_and_knows_no_unit(
    seed: int, scale: float, shift: float
) -> None:
    values = np.random.default_rng(seed).random((40, 64), np.float32)
    grey = depth_image(RelativeDepth(values), SIZE)[..., 0].astype(int)
    order = np.argsort(values.ravel())
    assert (np.diff(grey.ravel()[order]) >= 0).all()
    other = depth_image(RelativeDepth(np.float32(scale) * values + np.float32(shift)), SIZE)
    assert np.abs(other[..., 0].astype(int) - grey).max() <= 1


def test_depth_is_rounded_once_and_after_resizing() -> None:
    ramp = np.repeat(np.linspace(0, 1, 64, dtype=np.float32)[None], 40, axis=0)
    made = depth_image(RelativeDepth(ramp), (2048, 40))[0, :, 0]
    exact = cv2.resize(ramp, (2048, 40))[0]
    assert np.abs(made - 255 * exact).max() <= 0.5 + 1e-3
    assert len(np.unique(made)) == 256  # an 8-bit map resized would show 64 steps


def test_sky_is_black_whatever_its_number() -> None:
    values = np.linspace(1, 2, 40 * 64, dtype=np.float32).reshape(40, 64)
    sky = np.zeros((40, 64), bool)
    sky[-10:] = True  # the largest numbers of all
    made = depth_image(RelativeDepth(values, sky), SIZE)[..., 0]
    assert (made[-10:] == 0).all() and made[29, 63] == 255 and made[0, 0] == 0
    everywhere = depth_image(RelativeDepth(values, np.ones_like(sky)), SIZE)
    assert not everywhere.any()
    assert not depth_image(RelativeDepth(np.full((40, 64), 3, np.float32)), SIZE).any()


def test_percentiles_keep_a_bonnet_from_darkening_the_street() -> None:
    inverse = inverse_of_metric(world_street(1).depth_m)
    inverse[-1, :120] = 2.0  # half a metre
    dark = depth_image(RelativeDepth(inverse), (160, 90))
    bright = depth_image(RelativeDepth(inverse), (160, 90), "percentile")
    assert bright[70:80].mean() > 3 * dark[70:80].mean() and bright.max() == 255


@pytest.mark.parametrize(
    ("values", "error"),
    [
        (np.array([[1.0, np.nan]], np.float32), DamagedInput),
        (np.array([[1.0, np.inf]], np.float32), DamagedInput),
        (np.zeros((4, 4, 1), np.float32), ValueError),
        (np.zeros((4, 4), np.float64), ValueError),
        (np.zeros((4, 4), np.uint8), ValueError),
    ],
)
def test_what_is_no_depth_map_is_refused(values: np.ndarray, error: type[Exception]) -> None:
    with pytest.raises(error, match=r"not finite|expected \(H, W\) float32"):
        RelativeDepth(values)


# Sources without weights


def test_given_depth_is_inverse_and_sky_is_zero() -> None:
    street = plain_street()
    found = GivenDepth().depth(street)
    ground = np.isfinite(street.depth_m)
    np.testing.assert_allclose(found.inverse_depth[ground] * street.depth_m[ground], 1, rtol=1e-6)
    assert (found.inverse_depth[~ground] == 0).all() and (found.sky == ~ground).all()
    control = depth_control(GivenDepth(), street, (128, 80))
    assert control.shape == (80, 128, 3) and not control[:30].any() and control[-1].min() == 255


def test_given_depth_with_holes_or_none_at_all_is_refused() -> None:
    street = plain_street()
    with pytest.raises(DamagedInput, match="no depth for a control image"):
        GivenDepth().depth(ImageWindow(street.image, street.intrinsics))
    for hole in (0.0, -1.0, np.nan):
        depth_m = ground_depth_m()
        depth_m[3, 4] = hole
        with pytest.raises(DamagedInput, match="1 of 2560 pixels have no depth") as refused:
            GivenDepth().depth(ImageWindow(street.image, street.intrinsics, depth_m))
        assert refused.value.reason is Reason.NO_DEPTH


@dataclass
class Trained:
    """What a trained depth model does, by a function from a picture to metres."""

    depth_m: Callable[[np.ndarray], np.ndarray]
    digest: str = "5eed"

    def predict(self, images: Sequence[np.ndarray]) -> list[np.ndarray]:
        return [self.depth_m(image).astype(np.float32) for image in images]


def teacher(depth_m: Callable[[np.ndarray], np.ndarray]) -> TeacherDepth:
    return TeacherDepth("/nowhere", Trained(depth_m))


def test_a_teachers_metres_become_inverse_depth_of_the_pictures_size() -> None:
    street = plain_street()
    small = teacher(lambda image: _road_depth_m(image.shape[0] // 2, 20))
    assert small.name == "teacher:5eed"
    assert small.depth(street).inverse_depth.shape == (40, 64)
    exact = teacher(lambda image: _road_depth_m(40, 64)).depth(street).inverse_depth
    np.testing.assert_allclose(exact, 1 / _road_depth_m(40, 64), rtol=1e-6)
    assert depth_control(small, street, (72, 48))[-1].min() == 255
    with pytest.raises(WrongPolarity):
        depth_control(teacher(lambda image: 1 / _road_depth_m(40, 64)), street, (72, 48))
    with pytest.raises(DamagedInput, match="not finite"):
        teacher(lambda image: np.full((40, 64), np.nan)).depth(street)


def test_a_teacher_without_a_folder_is_a_sentence() -> None:
    with pytest.raises(InvalidRequest, match=r"/nowhere/at/all.*no such folder"):
        _ = load_depth_source(ControlDepth(source="teacher", teacher="/nowhere/at/all")).name
    for wrong in ({"source": "teacher"}, {"source": "midas", "teacher": "/folder"}):
        with pytest.raises(ValidationError, match="names the folder of source `teacher`"):
            ControlDepth.model_validate(wrong)


def test_kinds_that_nothing_draws_are_refused() -> None:
    require_control_kinds(["depth", "canny", "softedge"])
    for kind in ("pose", "normal", "segment"):
        with pytest.raises(InvalidRequest, match=f"kind '{kind}'.*depth, canny, softedge"):
            require_control_kinds(["depth", kind])


def _road_depth_m(height: int, width: int) -> np.ndarray:
    return np.repeat(np.linspace(60, 2, height)[:, None], width, axis=1)


# Edges


@pytest.mark.parametrize("size", [(128, 80), (64, 40), (40, 72)])
def test_edges_lie_where_the_picture_changes(size: tuple[int, int]) -> None:
    image = np.full((90, 160, 3), 60, np.uint8)
    image[:, 80:] = (60, 200, 60)  # one upright edge in the middle
    across = size[0] // 2
    for edges in (canny_edges(image, size), soft_edges(image, size)):
        assert edges.shape == (size[1], size[0], 3) and edges.dtype == np.uint8
        column = edges[..., 0].astype(int).sum(axis=0)
        assert abs(int(column.argmax()) - across) <= 1
        assert not column[: across - 16].any() and not column[across + 16 :].any()
    assert set(np.unique(canny_edges(image, size))) == {0, 255}
    assert len(np.unique(soft_edges(image, size))) > 3


def test_a_flat_picture_has_no_edges() -> None:
    flat = np.full((40, 64, 3), 90, np.uint8)
    assert not canny_edges(flat, SIZE).any() and not soft_edges(flat, SIZE).any()


def test_soft_edges_see_a_change_of_colour_that_grey_does_not() -> None:
    image = np.zeros((40, 64, 3), np.uint8)
    image[:, :32], image[:, 32:] = (150, 100, 100), (100, 125, 100)
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    assert abs(int(grey[0, 0]) - int(grey[0, 40])) <= 2
    assert soft_edges(image, SIZE)[:, 31:33].max() == 255


# Imports


def test_importing_controls_loads_no_network_library() -> None:
    modules = [p.stem for p in (ROOT / "pipelines" / "controls").glob("[a-z]*.py")]
    assert len(modules) >= 8
    names = ", ".join(f"nightrain.pipelines.controls.{name}" for name in modules)
    code = f"import sys, {names}\nprint(*(m.split('.')[0] for m in sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert not {"torch", "transformers", "controlnet_aux", "PIL"} & set(done.stdout.split())
