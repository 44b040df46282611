"""Scene splits and conditions: nuScenes' official splits, and md4all's protocol on them.

md4all (Gasperini et al., ICCV 2023) trains on day-clear frames of a moving car and evaluates every
frame of val. It finds a scene's condition by substrings of the description; the published counts
depend on that (see protocols/published.py). The descriptions of all other data are matched by whole
words.
"""

from collections.abc import Mapping

from nightrain.datasets.conditions import Condition, condition_named_in
from nightrain.datasets.deferred_import import deferred_imports
from nightrain.datasets.errors import BrokenSource, DamagedInput, Reason
from nightrain.datasets.io.documents import parse_json
from nightrain.datasets.io.untrusted import Files
from nightrain.datasets.splits import SPLITS

MIN_TRAIN_SPEED_M_S = 0.5
ADVERSE = "{} frames: train uses clear frames only"  # reason to leave frames out
MAX_SPLITS_BYTES = 16 << 20

# The official test scenes have no descriptions: md4all's ranges of (log, timestamp in us).
TEST_RANGES = (
    (
        Condition.RAIN,
        ("n008-2018-09-18-14-18-33", 1537294719112404),
        ("n008-2018-09-18-14-18-33", 1537295445612404),
    ),
    (
        Condition.NIGHT,
        ("n015-2018-11-14-19-21-41", 1542194502662460),
        ("n015-2018-11-14-19-52-02", 1542196694912460),
    ),
)
# The ranges are for CAM_FRONT; other cameras fire within 50 ms, keyframes are 500 ms apart.
TEST_RANGE_SLACK_US = 250_000


def own_scene_splits(files: Files, version: str) -> Mapping[str, str] | None:
    """Split by scene name, from the version's own splits.json; None if there is none.

    splits.json has the devkit's custom format, {"train": [scene names], "val": [...]}. Scenes that
    it does not name have no split. A file without any of train, val and test counts as absent.
    Raises BrokenSource.
    """
    try:
        scenes_of = parse_json(files.read_text(f"{version}/splits.json", MAX_SPLITS_BYTES))
    except DamagedInput as error:
        if error.reason is Reason.MISSING_FILE:
            return None
        raise BrokenSource(f"{version}/splits.json: {error}") from error
    except ValueError as error:
        raise BrokenSource(f"{version}/splits.json is not valid JSON: {error}") from error
    _check_scene_lists(scenes_of, version)
    if any(split in scenes_of for split in SPLITS):
        return _split_of_scene(scenes_of)
    return None  # its subsets serve other purposes


def official_scene_splits() -> Mapping[str, str]:
    """Official split of nuScenes by scene name."""
    return _split_of_scene(official_scenes())


def official_scenes() -> Mapping[str, list[str]]:
    """Scene names of nuScenes' official splits: 700 train, 150 val, 150 test."""
    with deferred_imports("sklearn", "sklearn.metrics"):
        from nuscenes.utils.splits import create_splits_scenes  # imports the whole devkit

    return create_splits_scenes()


def condition_by_md4all(description: str) -> Condition:
    """Condition of a nuScenes scene by md4all's rule: "night" and "rain" as plain substrings.

    The published counts depend on it, so even "a train passes" counts as rain;
    `published.doubtful_scenes` finds such scenes.
    """
    text = description.lower()
    if "night" in text:
        return Condition.NIGHT_RAIN if "rain" in text else Condition.NIGHT
    return Condition.RAIN if "rain" in text else Condition.CLEAR


def condition_by_words(description: str) -> Condition:
    """Condition of a scene by whole words of its description; clear if it names none."""
    return condition_named_in(description) or Condition.CLEAR


def condition_from_test_file(file_name: str, timestamp_us: int) -> Condition:
    """Condition of an image of the official test set, by md4all's file-name ranges."""
    log = file_name.rsplit("/", 1)[-1][: len(TEST_RANGES[0][1][0])]
    for condition, (first_log, first_us), (last_log, last_us) in TEST_RANGES:
        after = (log, timestamp_us) >= (first_log, first_us - TEST_RANGE_SLACK_US)
        if after and (log, timestamp_us) <= (last_log, last_us + TEST_RANGE_SLACK_US):
            return condition
    return Condition.CLEAR


def is_md4all_train(condition: Condition, speeds_m_s: tuple[float, float] | None) -> bool:
    """Whether md4all trains on a frame: day-clear, with a mean speed of at least 0.5 m/s."""
    return not reason_to_skip(condition, speeds_m_s)


def reason_to_skip(condition: Condition, speeds_m_s: tuple[float, float] | None) -> str:
    """Reason why md4all does not train on a frame; "" if it does.

    The speeds are from the previous and to the next frame, or None if either is missing, which
    drops the frame. A speed of NaN comes from a damaged record: the frame stays listed, so that the
    damage is reported when it is loaded.
    """
    if condition is not Condition.CLEAR:
        return ADVERSE.format(condition)
    if speeds_m_s is None:
        return "frames at the start or end of a scene: train uses frames with both neighbours"
    if sum(speeds_m_s) / 2 < MIN_TRAIN_SPEED_M_S:  # never true for NaN
        return f"frames of a standing car: train uses frames at {MIN_TRAIN_SPEED_M_S} m/s or more"
    return ""


def _check_scene_lists(scenes_of: object, version: str) -> None:
    lists = list(scenes_of.values()) if isinstance(scenes_of, dict) else [None]
    if not all(isinstance(x, list) and all(isinstance(s, str) for s in x) for x in lists):
        raise BrokenSource(
            f'{version}/splits.json: expected {{"train": [scene names], "val": [...]}}, '
            f"found {str(scenes_of)[:80]}"
        )


def _split_of_scene(scenes_of: Mapping[str, list[str]]) -> dict[str, str]:
    split_of: dict[str, str] = {}
    for split in SPLITS:
        for scene in scenes_of.get(split, ()):
            if split_of.setdefault(scene, split) != split:
                raise BrokenSource(f"scene {scene} is in {split_of[scene]} and in {split}")
    return split_of
