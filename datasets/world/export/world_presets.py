"""Presets of the built-in world, as plain data."""

from dataclasses import dataclass

from nightrain.datasets.conditions import Condition
from nightrain.datasets.world.export.plan import SceneSpec, scene_specs
from nightrain.datasets.world.sensors.schedule import RecordedSweeps

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
    sweeps: RecordedSweeps = "neighbours"


# Most train scenes are clear, as in md4all. The adverse ones, at other places, serve as style
# references and for study arms that may train on recorded adverse frames.
_CLEAR_TRAIN = 60
_STYLE = {NIGHT: 5, RAIN: 3, NIGHT_RAIN: 1, SNOW: 1, FOG: 1, DUSK: 1}
# The conditions of the places of val and test. Every place has a clear scene, so that conditions
# are compared on the same places. Test has twice as many: gains differ between places, and a
# one-sided test over 10 places at night cannot tell a mean gain of 26 % from 20 %.
_VAL = (
    *(4 * ((CLEAR, NIGHT, RAIN, NIGHT_RAIN),)),
    *(6 * ((CLEAR, NIGHT, RAIN),)),
    *(2 * ((CLEAR, SNOW, FOG), (CLEAR, FOG, DUSK), (CLEAR, DUSK, SNOW))),
)
_TEST = (
    *_VAL,
    *(6 * ((CLEAR, NIGHT, RAIN, NIGHT_RAIN),)),
    *(8 * ((CLEAR, NIGHT, RAIN),)),
    *((CLEAR, SNOW, FOG), (CLEAR, FOG, DUSK)),
)


def _bench() -> tuple[SceneSpec, ...]:
    train = [(condition,) for condition, n in _STYLE.items() for _ in range(n)]
    parts = {"train": [(CLEAR,)] * _CLEAR_TRAIN + train, "val": _VAL, "test": _TEST}
    places = [(split, conditions) for split, part in parts.items() for conditions in part]
    return tuple(
        SceneSpec(place=place, condition=condition, split=split)
        for place, (split, conditions) in enumerate(places)
        for condition in conditions
    )


def _twins() -> tuple[SceneSpec, ...]:
    """The clear train places of the bench, at night and in rain."""
    return tuple(
        SceneSpec(place=place, condition=condition, split="train")
        for place in range(_CLEAR_TRAIN)
        for condition in (NIGHT, RAIN)
    )


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
        words="72 train places, 60 of them clear, and 16 val and 32 test places by clear day and "
        "under adverse conditions; 10 keyframes each",
        scenes=_bench(),
        frames=10,
        sweeps="neighbours-by-day",
    ),
    "bench-twins": Preset(
        words="bench, with the clear train places also recorded at night and in rain",
        scenes=(*_bench(), *_twins()),
        frames=10,
        sweeps="neighbours-by-day",
    ),
}
