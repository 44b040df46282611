"""RobotCar splits, and the condition of each traverse.

md4all's protocol (Gasperini et al., ICCV 2023), using the split files of AllDay-DeMoN (MIT), which
have the same names and counts. Lines of `<traverse>_train_stride_1.txt` and `_val_stride_1.txt` are
"previous current next" timestamps in microseconds; of `_test.txt`, only the first field is used.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nightrain.datasets.conditions import CONDITIONS, Condition, condition_named_in
from nightrain.datasets.errors import BrokenSource, DamagedInput, Reason
from nightrain.datasets.io.documents import parse_yaml
from nightrain.datasets.io.untrusted import (
    NO_LINKS,
    Files,
    LinkRule,
    decode_text,
    read_bytes,
)
from nightrain.datasets.sources.robotcar.poses import Trajectory
from nightrain.datasets.splits import NO_SPLIT

MAX_SPLIT_BYTES = 64 << 20
MAX_TAG_BYTES = 1 << 16
FILES = {"train": "_train_stride_1.txt", "val": "_val_stride_1.txt", "test": "_test.txt"}
# Other tags of the SDK (roadworks, alternate-route, ...) do not describe the weather.
CLEAR_TAGS = frozenset({"sun", "clouds", "overcast"})

# md4all's filter of the train triplets.
MIN_STEP_M = 1e-3
MAX_BRIGHTNESS = 0.9  # mean of the image's top rows, values 0 to 1
MAX_BRIGHTNESS_STEP = 0.05  # largest difference from the previous and next images


@dataclass(frozen=True, slots=True)
class SplitEntry:
    """Entry of a split file: an image's split and its neighbours' times in microseconds."""

    split: str = NO_SPLIT
    previous_us: int | None = None
    next_us: int | None = None


def traverses_of(splits: Path) -> list[str]:
    """Names of the traverses that have a split file in a folder; raises BrokenSource for none."""
    try:
        names = sorted(path.name for path in splits.iterdir())
    except OSError as error:
        raise BrokenSource(f"the split files' folder {splits} cannot be read: {error}") from error
    found = {name.removesuffix(end) for name in names for end in FILES.values() if end in name}
    if not found:
        raise BrokenSource(
            f"{splits} contains no split file; expected <traverse>{FILES['train']} and "
            f"<traverse>{FILES['test']}, as in AllDay-DeMoN's data/ours or md4all's splits"
        )
    return sorted(found)


def read_split_files(
    splits: Path, traverse: str, links: LinkRule = NO_LINKS
) -> dict[int, SplitEntry]:
    """Entries of a traverse's split files by timestamp; raises BrokenSource."""
    entries: dict[int, SplitEntry] = {}
    for split, ending in FILES.items():
        name = f"{traverse}{ending}"
        try:
            text = decode_text(read_bytes(splits, name, MAX_SPLIT_BYTES, links))
        except DamagedInput as error:
            if error.reason is Reason.MISSING_FILE:
                continue
            raise BrokenSource(f"split file {name}: {error}") from error
        for number, line in enumerate(text.splitlines(), start=1):
            if line.strip():
                time_us, entry = _entry(split, line.split(), f"{name} line {number}")
                other = entries.setdefault(time_us, entry)
                if other.split != split:
                    raise BrokenSource(
                        f"{name} line {number}: {time_us} is already in {other.split}; an image "
                        "belongs to one split. Use the published files"
                    )
    return entries


def read_condition(sdk: Files, traverse: str) -> tuple[Condition, str]:
    """Read the condition and the tags, joined by commas, of a traverse from tags/<traverse>.yaml.

    Sun, clouds and overcast count as clear. Raises BrokenSource for a traverse without a weather
    tag.
    """
    name = f"tags/{traverse}.yaml"
    try:
        tags = parse_yaml(sdk.read_text(name, MAX_TAG_BYTES))
    except (DamagedInput, ValueError) as error:
        raise BrokenSource(
            f"the weather of traverse {traverse} is unknown: {error}. Copy the folder tags of the "
            "RobotCar SDK, or name the traverses to read"
        ) from error
    words = [str(tag) for tag in tags] if isinstance(tags, list) else []
    condition = condition_of(words)
    if condition is None:
        named = [str(c) for c, row in CONDITIONS.items() if row.words]
        raise BrokenSource(
            f"{name} holds {str(tags)[:80]!r}; expected a list with one of "
            f"{', '.join([*named, *sorted(CLEAR_TAGS)])}"
        )
    return condition, ", ".join(words)


def condition_of(tags: Iterable[str]) -> Condition | None:
    """Return the condition that a traverse's tags name; None without a weather tag."""
    found = list(tags)
    clear = Condition.CLEAR if CLEAR_TAGS & {*found} else None
    return condition_named_in(", ".join(found)) or clear


def is_static(trajectory: Trajectory, triplet_us: tuple[int, int, int]) -> bool:
    """Whether md4all calls a triplet static: the car moved less than 1 mm in one of its steps.

    Raises DamagedInput(BAD_POSE) for a time outside the odometry.
    """
    places_m = trajectory.at(np.array(triplet_us))[:, :3, 3]  # (3, 3)
    return bool(np.linalg.norm(np.diff(places_m, axis=0), axis=1).min() < MIN_STEP_M)


def is_badly_exposed(brightness: float, previous: float, following: float) -> bool:
    """Whether md4all rejects a mean brightness (0 to 1): too high, or unlike its neighbours'."""
    leaps = (abs(previous - brightness), abs(following - brightness))
    return brightness >= MAX_BRIGHTNESS or max(leaps) > MAX_BRIGHTNESS_STEP


def missing_message(missing: Mapping[str, str], folder: str) -> str:
    """Message for frames without an image: their number, the first few, and what to do."""
    shown = "; ".join(f"{name} ({why})" for name, why in list(missing.items())[:3])
    return (
        f"{len(missing)} frames are listed but have no image below {folder}: {shown}"
        f"{'; ...' if len(missing) > 3 else ''}. Expected <timestamp>.png for each. Download the "
        "missing chunks, or pass --skip-bad to continue without these frames"
    )


def _entry(split: str, words: list[str], where: str) -> tuple[int, SplitEntry]:
    wanted = words[:1] if split == "test" else words
    if len(wanted) != (1 if split == "test" else 3) or not all(
        word.isascii() and word.isdigit() and len(word) < 19 for word in wanted
    ):
        raise BrokenSource(
            f"{where} is {' '.join(words)[:80]!r}; expected "
            f"{'a timestamp' if split == 'test' else 'three timestamps'} in microseconds"
        )
    times_us = [int(word) for word in wanted]
    if split == "test":
        return times_us[0], SplitEntry(split)
    if not times_us[0] < times_us[1] < times_us[2]:
        raise BrokenSource(f"{where}: {words} are not in the order previous, current, next")
    return times_us[1], SplitEntry(split, times_us[0], times_us[2])
