"""Training views: places of the built-in world rendered under every condition, with exact depth.

One file `place-00000.npz` per place holds, for V views:

    image      (V, H, W, 3) uint8    sRGB
    control    (V, H, W)    uint8    depth control image, near = white, as the engine draws it
    condition  (V,)         int64    index into CONDITIONS
    group      (V,)         int64    index of the place and condition; views of one group share
                                     their weather, so one can be the style image of another
    prompts    (V, 3)       str      drawn captions

A file is written whole or not at all, and an existing one is kept, so the command can be repeated
after an interruption.
"""

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nightrain.datasets.conditions import Condition
from nightrain.datasets.io.atomic import replace_file
from nightrain.datasets.io.regular import matching
from nightrain.datasets.world.export.plan import Recording, ScenePlan, SceneSpec
from nightrain.datasets.world.scene.layout import draw_scene
from nightrain.datasets.world.scene.scene import Scene
from nightrain.datasets.world.scene.weather import draw_weather
from nightrain.datasets.world.sensors.camera import View, render
from nightrain.datasets.world.sensors.rig import CAMERAS
from nightrain.pipelines.controls.control_image import depth_image
from nightrain.pipelines.controls.depth_source import RelativeDepth, inverse_of_metric
from nightrain.pipelines.small_diffusion.data.captions import draw_prompt, visible_objects

SIZE = (224, 128)  # width, height
SEED = 1000  # of the places; the presets of `nightrain world` start at 0
CONDITIONS = (
    Condition.CLEAR,
    Condition.NIGHT,
    Condition.RAIN,
    Condition.SNOW,
    Condition.FOG,
    Condition.NIGHT_RAIN,
)
NUM_HELD_OUT = 20  # places 0 to 19 are never trained on
KEYFRAMES = 14  # a drive of 7 s
FRONT_S = (0.2, 3.2, 6.2)  # times of the front camera's views
OTHER_S = 1.7
PROMPTS_PER_VIEW = 3


@dataclass(frozen=True, slots=True)
class Views:
    """Views of one place, as in its file."""

    image: np.ndarray
    control: np.ndarray
    condition: np.ndarray
    group: np.ndarray
    prompts: np.ndarray


def place_file(folder: Path, place: int) -> Path:
    """File of a place."""
    return folder / f"place-{place:05d}.npz"


def write_place(folder: Path, place: int, seed: int = SEED) -> None:
    """Render a place and write its file, unless it exists."""
    path = place_file(folder, place)
    if path.exists():
        return
    views = render_place(place, seed)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **{name: getattr(views, name) for name in Views.__slots__})
    folder.mkdir(parents=True, exist_ok=True)
    replace_file(folder, path, buffer.getvalue())


def read_places(folder: Path, *, held_out: bool, seen: set[str]) -> Iterator[Views]:
    """Read the places of a folder whose files are not in `seen`, and add them to it."""
    for path in matching(folder, "place-*.npz"):
        is_held_out = int(path.stem.removeprefix("place-")) < NUM_HELD_OUT
        if is_held_out != held_out or path.name in seen:
            continue
        seen.add(path.name)
        with np.load(path, allow_pickle=False) as arrays:
            yield Views(**{name: arrays[name] for name in Views.__slots__})


def render_place(place: int, seed: int = SEED) -> Views:
    """Render the views of a place under every condition."""
    plan = _plan(place, seed)
    drawn = draw_scene(plan.rng("layout"), plan.duration_s)
    owner_of_row = np.append(drawn.at(0.0).solids.owner, -1)  # last: the sky, which has row -1
    found = []
    for number, condition in enumerate(CONDITIONS):
        scene = drawn.under(draw_weather(plan.rng("layout").spawn(1)[0], condition))
        group = place * len(CONDITIONS) + number
        rng = plan.rng("captions", condition)
        for t_s, camera in shots_of(place):
            picture = render(scene, t_s, _view(scene, t_s, camera))
            objects = visible_objects(scene, owner_of_row[picture.row])
            prompts = np.array([draw_prompt(scene, objects, rng) for _ in range(PROMPTS_PER_VIEW)])
            found.append((picture.image, control_of(picture.depth_m), number, group, prompts))
    return Views(*(np.stack(part) for part in zip(*found, strict=True)))


def exact_depth_m(place: int, seed: int = SEED) -> np.ndarray:
    """Depth (S, H, W) float32 of a place's S shots, in metres; sky = inf."""
    plan = _plan(place, seed)
    scene = draw_scene(plan.rng("layout"), plan.duration_s)
    rows, columns = np.mgrid[0.0 : SIZE[1], 0.0 : SIZE[0]]
    found = []
    for t_s, camera in shots_of(place):
        view = _view(scene, t_s, camera)
        hits = scene.at(t_s).caster.cast(view.eye_m, view.directions(columns, rows))
        found.append(hits.t.reshape(rows.shape))
    return np.stack(found).astype(np.float32)


def _plan(place: int, seed: int) -> ScenePlan:
    recording = Recording(num_keyframes=KEYFRAMES, size=SIZE)
    return ScenePlan(seed=seed, spec=SceneSpec(place=place), recording=recording)


def shots_of(place: int) -> list[tuple[float, str]]:
    """Times and cameras of a place's views: three of the front camera, one of another."""
    others = [camera for camera in CAMERAS if camera != "CAM_FRONT"]
    return [*((t_s, "CAM_FRONT") for t_s in FRONT_S), (OTHER_S, others[place % len(others)])]


def _view(scene: Scene, t_s: float, camera: str) -> View:
    mount = CAMERAS[camera]
    return View(
        T_world_camera=scene.ego.pose(t_s) @ mount.T_ego_camera(),
        intrinsics=mount.intrinsics(SIZE),
        size=SIZE,
    )


def control_of(depth_m: np.ndarray) -> np.ndarray:
    """Control image (H, W) uint8 of exact depth (H, W) in metres, 0 = sky."""
    depth_m = np.where(depth_m > 0, depth_m, np.inf).astype(np.float32)
    relative = RelativeDepth(inverse_of_metric(depth_m), sky=np.isinf(depth_m))
    return depth_image(relative, SIZE)[:, :, 0]
