"""Places under several conditions: exact pairs, names, logs, splits; and the presets."""

import json
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from nightrain.datasets.conditions import Condition
from nightrain.datasets.errors import InvalidRequest
from nightrain.datasets.sources import scene_conditions as splits
from nightrain.datasets.sources.nuscenes.config import NuScenesConfig
from nightrain.datasets.sources.nuscenes.source import NuScenesSource
from nightrain.datasets.world.export.plan import SceneSpec, scene_specs
from nightrain.datasets.world.export.world_presets import PRESETS
from nightrain.datasets.world.export.writer import SPLITS, VERSION, write_world
from nightrain.datasets.world.scene.layout import draw_scene

CLEAR, NIGHT, RAIN = Condition.CLEAR, Condition.NIGHT, Condition.RAIN
SIZE = (96, 56)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("pairs") / "world"
    scenes = scene_specs(1, (CLEAR,), pairs=(NIGHT,))
    report = write_world(out, scenes=scenes, frames=1, seed=6, size=SIZE)
    assert report.scenes_by_condition == {CLEAR: 1, NIGHT: 1}
    return out


def table(world: Path, name: str) -> list[dict]:
    return json.loads((world / VERSION / f"{name}.json").read_text())


def test_twins_share_place_log_map_and_drive(world: Path) -> None:
    day, night = table(world, "scene")
    assert (day["name"], night["name"]) == ("world-0000", "world-0000-night")
    assert day["token"] != night["token"] and day["log_token"] == night["log_token"]
    (log,), (drawn,) = table(world, "log"), table(world, "map")
    assert log["token"] == day["log_token"] and drawn["log_tokens"] == [log["token"]]
    assert len(list((world / "maps").iterdir())) == 1
    source = NuScenesSource(NuScenesConfig(root=world, version=VERSION))
    frames = [source.load(ref) for ref in source.select("all")]
    assert [f.scene_id for f in frames] == ["world-0000", "world-0000-night"]
    assert frames[0].timestamp_us == frames[1].timestamp_us
    assert np.array_equal(frames[0].T_world_camera, frames[1].T_world_camera)
    for a, b in ((frames[0].previous, frames[1].previous), (frames[0].next, frames[1].next)):
        assert a is not None and b is not None
        assert np.array_equal(a.T_neighbour_camera, b.T_neighbour_camera)


@pytest.mark.parametrize("kind", ["depth", "semantic", "instance", "flow"])
def test_twins_have_the_same_truth(world: Path, kind: str) -> None:
    night, day = sorted((world / "truth" / kind / "CAM_FRONT").iterdir())
    assert "night" in night.name and "night" not in day.name
    assert day.read_bytes() == night.read_bytes()


def test_no_token_names_two_records(world: Path) -> None:
    for name in ("scene", "sample", "sample_data", "ego_pose", "instance", "sample_annotation"):
        tokens = [record["token"] for record in table(world, name)]
        assert len(tokens) == len(set(tokens)) > 1, name


def test_a_scene_is_the_same_with_and_without_its_twin(world: Path, tmp_path: Path) -> None:
    alone = [SceneSpec(place=0, condition=NIGHT)]
    write_world(tmp_path / "w", scenes=alone, frames=1, seed=6, size=SIZE)
    mine = [p.relative_to(tmp_path / "w") for p in (tmp_path / "w").rglob("*") if p.is_file()]
    shared = [p for p in mine if p.parts[0] in ("samples", "sweeps", "truth", "maps")]
    assert len(shared) > 8
    for path in shared:
        assert (tmp_path / "w" / path).read_bytes() == (world / path).read_bytes(), path
    assert table(tmp_path / "w", "sample") == table(world, "sample")[1:]


def test_places_take_conditions_in_turn_and_twins_share_a_split() -> None:
    specs = scene_specs(5, (CLEAR, NIGHT), pairs=(RAIN, CLEAR))
    assert [(s.place, s.condition) for s in specs[:5]] == [
        (0, CLEAR),
        (0, RAIN),
        (1, NIGHT),
        (1, RAIN),
        (1, CLEAR),
    ]
    assert {s.place: s.split for s in specs} == {**dict.fromkeys(range(4), "train"), 4: "val"}


def test_scenes_that_cannot_be_told_apart_or_leak_are_refused(tmp_path: Path) -> None:
    for specs, words in (
        ([SceneSpec(place=0), SceneSpec(place=0)], "once per condition"),
        ([SceneSpec(place=-1)], "from 0 on"),
        ([SceneSpec(place=0), SceneSpec(place=0, condition=NIGHT, split="val")], "belong to one"),
        ([SceneSpec(place=0, split="dev")], "belong to one"),
        ([], "0 scenes"),
    ):
        with pytest.raises(InvalidRequest, match=words):
            write_world(tmp_path / "w", scenes=specs, frames=1, seed=0)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "condition"),
    [
        ("Dusk, parked cars", Condition.DUSK),
        ("Night, difficult lighting, rain", Condition.NIGHT_RAIN),
        ("Snow, few parked cars", Condition.SNOW),
        ("Clear weather, oncoming traffic", CLEAR),
    ],
)
def test_the_description_says_the_condition(
    world: Path, tmp_path: Path, words: str, condition: Condition
) -> None:
    shutil.copytree(world, tmp_path / "w")
    (tmp_path / "w" / "SHA256SUMS").unlink()
    path = tmp_path / "w" / VERSION / "scene.json"
    path.write_text(json.dumps([{**s, "description": words} for s in table(world, "scene")]))
    refs = NuScenesSource(NuScenesConfig(root=tmp_path / "w", version=VERSION)).select("all")
    assert {ref.condition for ref in refs} == {condition}


@pytest.mark.parametrize("condition", list(Condition))
def test_a_drawn_scene_names_its_weather(condition: Condition) -> None:
    rng = np.random.default_rng(list(Condition).index(condition))
    words = draw_scene(rng, 1.0, condition).description
    assert splits.condition_by_words(words) is condition
    assert splits.condition_by_md4all(words) in (condition, CLEAR)  # which knows no dusk


# --- presets ---


@pytest.mark.parametrize("name", ["bench", "bench-twins"])
def test_bench_splits_share_no_place_and_compare_conditions_on_the_same_places(name: str) -> None:
    bench = PRESETS[name].scenes
    places = {split: {s.place for s in bench if s.split == split} for split in SPLITS}
    assert sum(map(len, places.values())) == len({s.place for s in bench})
    train = Counter(s.condition for s in bench if s.split == "train")
    assert train[CLEAR] >= 60 and set(train) == set(Condition)
    for split, num_places, num_adverse in (("val", 16, 10), ("test", 32, 24)):
        scenes = [s for s in bench if s.split == split]
        assert len(places[split]) == num_places
        assert {s.place for s in scenes if s.condition is CLEAR} == places[split]
        count = Counter(s.condition for s in scenes)
        assert count[NIGHT] == count[RAIN] == num_adverse
        assert set(count) == set(Condition) and min(count.values()) >= 4


def test_bench_twins_add_night_and_rain_to_the_clear_train_places() -> None:
    bench, twins = (set(PRESETS[name].scenes) for name in ("bench", "bench-twins"))
    assert bench < twins and PRESETS["bench"].frames == PRESETS["bench-twins"].frames
    clear = {s.place for s in bench if s.split == "train" and s.condition is CLEAR}
    added = twins - bench
    assert {(s.place, s.condition) for s in added} == {(p, c) for p in clear for c in (NIGHT, RAIN)}
    assert {s.split for s in added} == {"train"}


def test_all_three_splits_reach_the_source(tmp_path: Path) -> None:
    specs = [SceneSpec(place=k, split=split) for k, split in enumerate(SPLITS)]
    write_world(tmp_path / "w", scenes=specs, frames=1, seed=0, size=(32, 24))
    source = NuScenesSource(NuScenesConfig(root=tmp_path / "w", version=VERSION))
    assert [ref.split for ref in source.select("all")] == list(SPLITS)
    assert [ref.scene_id for ref in source.select("test")] == ["world-0002"]


def test_every_preset_can_be_written(tmp_path: Path) -> None:
    for name, preset in PRESETS.items():
        some = preset.scenes[-1:]
        report = write_world(
            tmp_path / name,
            scenes=some,
            frames=1,
            seed=0,
            size=(32, 24),
            cameras=preset.cameras,
            stereo=preset.stereo,
        )
        assert report.num_scenes == 1 and report.num_images == (4 if preset.stereo else 3)


def test_turns_of_the_lidar_nearest_to_the_neighbours(tmp_path: Path) -> None:
    report = write_world(
        tmp_path / "w", scenes=1, frames=2, seed=0, size=(32, 24), lidar_sweeps=True
    )
    assert report.num_lidar_sweeps == 6
    turns = [d for d in table(tmp_path / "w", "sample_data") if d["fileformat"] == "pcd"]
    start = turns[1]["timestamp"]
    at = [d["timestamp"] - start for d in turns]
    assert at == [-100_000, 0, 50_000, 400_000, 500_000, 550_000]
    assert [d["is_key_frame"] for d in turns] == [False, True, False] * 2
    assert [d["filename"].split("/")[0] for d in turns] == ["sweeps", "samples", "sweeps"] * 2
    images = [d for d in table(tmp_path / "w", "sample_data") if d["fileformat"] == "jpg"]
    for image in images:
        if not image["is_key_frame"]:
            assert min(abs(t["timestamp"] - image["timestamp"]) for t in turns) <= 25_000
    source = NuScenesSource(NuScenesConfig(root=tmp_path / "w", version=VERSION))
    assert source.load(source.select("all")[0]).lidar_depth_m is not None
