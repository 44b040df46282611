"""Published protocols: the arithmetic on tables of the full size, and honest words elsewhere."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from nightrain.datasets.conditions import Condition
from nightrain.datasets.errors import BrokenSource
from nightrain.datasets.frame import Frame, FrameRef
from nightrain.datasets.protocols.published import (
    KITTI_EIGEN,
    MD4ALL_NUSCENES,
    MD4ALL_ROBOTCAR,
    Protocol,
    count_protocol,
    doubtful_scenes,
    has_published_splits,
)
from nightrain.datasets.sources import scene_conditions as splits
from nightrain.datasets.sources.base import FrameSource
from nightrain.datasets.sources.nuscenes.config import NuScenesConfig
from nightrain.datasets.sources.nuscenes.source import NuScenesSource
from support.paths import REAL_DATA
from support.sources import nuscenes as fixture

VERSION = "v1.0-trainval"
REAL = REAL_DATA
KEYFRAME_US = 500_000


@dataclass(frozen=True)
class Plan:
    """A scene of the full-size tables: its keyframes, and how many of the inner ones stand."""

    name: str
    description: str
    num_keyframes: int
    num_standing: int = 0


def share(total: int, parts: int) -> Iterator[int]:
    """A total in nearly equal whole parts."""
    return (total * (i + 1) // parts - total * i // parts for i in range(parts))


def full_size() -> list[Plan]:
    """850 scenes under their official names whose counts are the published ones.

    Of each train scene the first and the last keyframe lack a neighbour, and a few frames stand.
    """
    names = splits.official_scenes()
    train, val = iter(names["train"]), iter(names["val"])
    plans = [
        Plan(next(train), "Parked cars, turn left", moving + standing + 2, standing)
        for moving, standing in zip(share(15_129, 491), share(2_000, 491), strict=True)
    ]
    adverse = ("Rain, bus", "Night, bus", "Night, after rain")
    plans += [Plan(name, adverse[i % 3], 3) for i, name in enumerate(train)]
    for text, num_scenes, num_frames in (
        ("Many peds", 111, 4_449),
        ("Heavy rain", 24, 968),
        ("Night", 12, 482),
        ("Night, after rain", 3, 120),
    ):
        plans += [Plan(next(val), text, k, k - 2) for k in share(num_frames, num_scenes)]
    return plans


def write_tables(root: Path, plans: Sequence[Plan]) -> None:
    """The thirteen tables of some scenes of CAM_FRONT keyframes; there are no images."""
    tables = fixture._fixed_tables(())
    calibration = fixture._calibration(fixture.SCENES[0], "CAM_FRONT")
    tables["calibrated_sensor"] = [calibration]
    tables["ego_pose"] = [pose(0.0), pose(1.0)]  # all that a speed is made of: here, or 1 m on
    for plan in plans:
        tables["scene"].append(fixture._scene_record(fixture.Scene(plan.name, plan.description)))
        add_keyframes(tables, plan, calibration["token"])
    (root / "maps").mkdir(parents=True)
    (root / "maps" / "mask.png").write_bytes(b"\x89PNG")
    fixture.NuScenesFolder(root, VERSION, tables).write_tables()


def pose(x_m: float) -> dict[str, Any]:
    return {"token": f"at-{x_m:.0f}", "translation": [x_m, 0, 0], "rotation": [1, 0, 0, 0]}


def add_keyframes(tables: dict[str, list], plan: Plan, calibration: str) -> None:
    """Frames 1 to num_standing stand; from there each is 1 m from the one before it."""
    last = plan.num_keyframes - 1
    for i in range(plan.num_keyframes):
        token, stands = f"{plan.name}-{i}", i <= plan.num_standing + 1
        tables["sample"].append(
            {
                "token": token,
                "timestamp": 1,
                "scene_token": f"token-{plan.name}",
                "prev": "",
                "next": "",
            }
        )
        tables["sample_data"].append(
            {
                "token": token,
                "sample_token": token,
                "ego_pose_token": "at-0" if stands or (i - plan.num_standing) % 2 == 1 else "at-1",
                "calibrated_sensor_token": calibration,
                "timestamp": 1 + KEYFRAME_US * i,
                "is_key_frame": True,
                "filename": f"samples/CAM_FRONT/{token}.jpg",
                "width": 1600,
                "height": 900,
                "fileformat": "jpg",
                "prev": f"{plan.name}-{i - 1}" if i else "",
                "next": f"{plan.name}-{i + 1}" if i < last else "",
            }
        )


def front(root: Path) -> NuScenesSource:
    return NuScenesSource(NuScenesConfig(root=root, version=VERSION, cameras=("CAM_FRONT",)))


def here(root: Path) -> dict[str, int]:
    return {c.name: c.here for c in count_protocol(MD4ALL_NUSCENES, front(root)).counts}


def test_tables_of_the_full_size_give_the_published_counts(tmp_path: Path) -> None:
    write_tables(tmp_path / "full", full_size())
    report = count_protocol(MD4ALL_NUSCENES, front(tmp_path / "full"))
    assert {c.name: c.here for c in report.counts} == {c.name: c.published for c in report.counts}
    assert report.agrees and report.statement == "All 10 counts are as published."


def test_what_is_missing_is_counted_and_said(tmp_path: Path) -> None:
    plans = full_size()
    lost = next(p for p in plans if p.description == "Night, after rain" and p.num_standing > 1)
    write_tables(tmp_path / "less", [p for p in plans[480:] if p is not lost])
    counts = here(tmp_path / "less")
    assert counts["train day-clear scenes"] == 11 and counts["val day-clear scenes"] == 111
    assert counts["val night-rain scenes"] == 2
    assert counts["val night-rain, of the night frames"] == 80
    assert counts["val night, rainy or not frames"] == 562
    report = count_protocol(MD4ALL_NUSCENES, front(tmp_path / "less"))
    assert not report.agrees and "hold 369 of 850 scenes, so 5 of 10 counts" in report.statement


def test_a_word_that_holds_rain_moves_a_scene_and_is_named(tmp_path: Path) -> None:
    names = splits.official_scenes()
    plans = [Plan(names["train"][0], "Wait for a train", 5), Plan(names["train"][1], "Bus", 5)]
    write_tables(tmp_path / "x", plans)
    counts = here(tmp_path / "x")
    assert counts["train day-clear scenes"] == 1
    assert counts["train day-clear moving frames"] == 3
    (doubtful,) = doubtful_scenes(tmp_path / "x", VERSION, splits.official_scene_splits())
    assert doubtful.scene == names["train"][0] and doubtful.by_md4all is Condition.RAIN
    assert doubtful.by_words is Condition.CLEAR and doubtful.split == "train"
    for broken in ("[", "{}", '[7, {"name": [], "description": "rain"}]'):
        (tmp_path / "x" / VERSION / "scene.json").write_text(broken)
        if broken == "[":
            with pytest.raises(BrokenSource, match=r"scene\.json"):
                doubtful_scenes(tmp_path / "x", VERSION, {})
        else:
            assert doubtful_scenes(tmp_path / "x", VERSION, {}) == []


@dataclass(frozen=True)
class Listing(FrameSource):
    """A source that lists so many frames by (split, condition); `dropped` fail the train filter."""

    name: str
    frames: dict[tuple[str, str], int]
    dropped: int = 0
    licence: str = ""
    attribution: str = ""
    own_splits: bool = False

    def select(self, split: str) -> Sequence[FrameRef]:
        refs = [
            FrameRef(
                frame_id=f"{its_split}-{condition}-{i}",
                source_id=str(i),
                split=its_split,
                scene_id="drive",
                camera="c",
                condition=Condition(condition),
                timestamp_us=i,
            )
            for (its_split, condition), number in self.frames.items()
            for i in range(number)
        ]
        if split == "all":
            return refs
        refs = [ref for ref in refs if ref.split == split]
        return refs[self.dropped :] if split == "train" else refs

    def load(self, ref: FrameRef) -> Frame:
        raise NotImplementedError


ROBOTCAR = Listing(
    "robotcar",
    {("train", "clear"): 17_790, ("test", "clear"): 702, ("test", "night"): 709},
    dropped=1_227,
)


@pytest.mark.parametrize(
    ("protocol", "source", "statement"),
    [
        (MD4ALL_ROBOTCAR, ROBOTCAR, "All 4 counts are as published."),
        (MD4ALL_ROBOTCAR, replace(ROBOTCAR, dropped=0), "1 of 4 counts differ"),
        (KITTI_EIGEN, Listing("kitti", {("test", "clear"): 697}), "All 1 count"),
        (KITTI_EIGEN, Listing("kitti", {("test", "clear"): 696}), "1 of 1 counts"),
        (KITTI_EIGEN, Listing("world", {("test", "clear"): 697}), "data set 'world'"),
        (MD4ALL_NUSCENES, Listing("nuscenes", {}, own_splits=True), "its own splits.json"),
    ],
)
def test_other_protocols_are_counted_alike(
    protocol: Protocol, source: Listing, statement: str
) -> None:
    report = count_protocol(protocol, source)
    assert statement in report.statement
    assert report.agrees == statement.startswith("All")


def test_listed_frames_that_are_not_on_disk_are_said() -> None:
    class Lists(Listing):
        absent = frozenset({ref.source_id for ref in ROBOTCAR.select("all")[:5]})

    report = count_protocol(MD4ALL_ROBOTCAR, Lists(ROBOTCAR.name, ROBOTCAR.frames, dropped=1_227))
    assert report.num_absent == 5 and not report.agrees
    assert report.statement.endswith("5 of the counted frames are listed but not on disk.")


def test_whole_tables_that_count_otherwise_are_not_called_incomplete() -> None:
    class Whole(Listing):
        def select(self, split: str) -> Sequence[FrameRef]:
            return [replace(r, scene_id=r.frame_id) for r in super().select(split)]

    report = count_protocol(MD4ALL_NUSCENES, Whole("nuscenes", {("train", "clear"): 850}))
    assert "although all 850 scenes are present" in report.statement


def test_own_splits_are_not_published_ones() -> None:
    assert has_published_splits(ROBOTCAR) and has_published_splits(Listing("nuscenes", {}))
    assert not has_published_splits(Listing("nuscenes", {}, own_splits=True))
    assert not has_published_splits(Listing("world", {}))


@pytest.mark.skipif(
    not (REAL / "nuscenes").exists(), reason="no real keyframe beside this checkout"
)
def test_one_real_scene_is_one_of_850() -> None:
    source = NuScenesSource(
        NuScenesConfig(root=REAL / "nuscenes", version="v1.0-mini", cameras=("CAM_FRONT",))
    )
    report = count_protocol(MD4ALL_NUSCENES, source)
    counts = {c.name: c.here for c in report.counts if c.here}
    assert counts == {"train day-clear scenes": 1}  # its keyframe has no neighbours: not trained on
    assert "hold 1 of 850 scenes, so 10 of 10 counts" in report.statement
    assert doubtful_scenes(REAL / "nuscenes", "v1.0-mini", splits.official_scene_splits()) == []
