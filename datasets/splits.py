"""Splits: the names that the column `split` holds and that `--split` accepts everywhere.

Reading, training and evaluation select by the same rule: a name selects the frames of that split,
"none" those that no split list or protocol names, and "all" every frame. Without --split, training
and evaluation of a dataset whose frames are in no list take all of them.
"""

from collections import Counter
from collections.abc import Collection, Iterable
from typing import Literal, get_args

from nightrain.datasets.errors import InvalidRequest

Split = Literal["train", "val", "test", "none", "all"]
SPLITS = ("train", "val", "test")
EVALUATION_SPLITS = ("val", "test")
NO_SPLIT = "none"
ALL_SPLITS = "all"


def check_split(split: str) -> None:
    """Raise InvalidRequest unless `split` is train, val, test, none or all."""
    if split not in get_args(Split):
        raise InvalidRequest(
            f"found split {split!r}; choose train, val, test or all, or none for frames in no list"
        )


def is_in_split(split_of_frame: str, split: str) -> bool:
    """Whether a selected split contains a frame of the given split."""
    return split in (split_of_frame, ALL_SPLITS)


def other_splits(splits_of_frames: Iterable[str], split: str) -> dict[str, int]:
    """Number of frames that a split leaves out, by reason: {"frames of split val": 12}."""
    counts = Counter(other for other in splits_of_frames if not is_in_split(other, split))
    return {f"frames of split {other}": number for other, number in sorted(counts.items())}


def default_split(splits_of_frames: Collection[str], usual: Split) -> Split:
    """Split to read by default: the usual one, or none where no list or protocol names any frame.

    A usual split of "all" stays.
    """
    return "none" if usual in SPLITS and set(splits_of_frames) == {NO_SPLIT} else usual
