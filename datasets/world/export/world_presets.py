"""Presets of the built-in world, as plain data."""

from dataclasses import dataclass

from nightrain.datasets.conditions import Condition
from nightrain.datasets.world.export.plan import SceneSpec, scene_specs
from nightrain.datasets.world.sensors.schedule import Sweeps

CLEAR, NIGHT, RAIN = Condition.CLEAR, Condition.NIGHT, Condition.RAIN
NIGHT_RAIN, SNOW, FOG, DUSK = (
    Condition.NIGHT_RAIN,
    Condition.SNOW,
    Condition.FOG,
    Condition.DUSK,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """Scenes of a world, their length, and how they are recorded."""

    words: str
    scenes: tuple[SceneSpec, ...]
    frames: int  # keyframes per scene, at 2 Hz
    size: tuple[int, int] = (448, 256)
    cameras: tuple[str, ...] = ("CAM_FRONT",)
    stereo: bool = False
    sweeps: Sweeps = "neighbours"


# Most train scenes are clear, as in md4all. The few adverse ones serve as style references and for
# study arms that may train on recorded adverse frames.
_TRAIN = {CLEAR: 28, NIGHT: 5, RAIN: 3, NIGHT_RAIN: 1, SNOW: 1, FOG: 1, DUSK: 1}
# Every adverse val scene has a clear twin, so that conditions are compared on the same places.
_VAL = (
    (CLEAR, NIGHT, RAIN, NIGHT_RAIN),
    (CLEAR, NIGHT, RAIN, NIGHT_RAIN),
    (CLEAR, SNOW, FOG, DUSK),
)


def _bench() -> tuple[SceneSpec, ...]:
    conditions = [condition for condition, count in _TRAIN.items() for _ in range(count)]
    train = [SceneSpec(place=k, condition=c, split="train") for k, c in enumerate(conditions)]
    val = [
        SceneSpec(place=len(train) + k, condition=condition, split="val")
        for k, twins in enumerate(_VAL)
        for condition in twins
    ]
    return (*train, *val)


def _demo() -> tuple[SceneSpec, ...]:
    train = [SceneSpec(place=k, condition=CLEAR, split="train") for k in range(24)]
    val = [
        SceneSpec(place=len(train) + k, condition=condition, split="val")
        for k in range(4)
        for condition in (CLEAR, NIGHT, RAIN)
    ]
    return (*train, *val)


PRESETS = {
    "tiny": Preset(
        words="a place by day and by night, 2 keyframes each at 96x56, for tests",
        scenes=scene_specs(1, (CLEAR,), pairs=(NIGHT,)),
        frames=2,
        size=(96, 56),
        stereo=True,
    ),
    "small": Preset(
        words="2 clear scenes of 4 keyframes", scenes=scene_specs(2, (CLEAR,)), frames=4
    ),
    "demo": Preset(
        words="24 clear train scenes, and 4 val places by clear day, by night and in rain; 2 "
        "keyframes each at 224x128, without images between them",
        scenes=_demo(),
        frames=2,
        size=(224, 128),
        sweeps="none",
    ),
    "bench": Preset(
        words="40 train scenes, mostly clear, and 12 val scenes of 3 places under all conditions; "
        "20 keyframes each, with a stereo partner",
        scenes=_bench(),
        frames=20,
        stereo=True,
    ),
}
