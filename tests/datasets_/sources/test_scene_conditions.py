import json
from pathlib import Path

import pytest

from nightrain.datasets.conditions import Condition
from nightrain.datasets.errors import BrokenSource, InvalidRequest
from nightrain.datasets.io.untrusted import Files
from nightrain.datasets.sources import scene_conditions as splits
from nightrain.datasets.sources.nuscenes.config import NuScenesConfig
from nightrain.datasets.sources.nuscenes.source import NuScenesSource
from support.sources import nuscenes as fixture
from support.sources.nuscenes import NuScenesFolder, Scene, token_of


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> NuScenesFolder:
    return fixture.build(tmp_path_factory.mktemp("nuscenes"))


@pytest.fixture(scope="module")
def source(folder: NuScenesFolder) -> NuScenesSource:
    return NuScenesSource(NuScenesConfig(root=folder.root, version=folder.version))


def test_train_is_day_clear_moving_and_has_both_neighbours(source: NuScenesSource) -> None:
    # scene-0002 stands, scene-0999 is night, the ends of scene-0061 lack a neighbour
    expected = [token_of("scene-0061", camera, 3) for camera in ("CAM_FRONT", "CAM_BACK")]
    assert [ref.source_id for ref in source.select("train")] == expected


def test_val_is_every_frame_of_its_scenes(source: NuScenesSource) -> None:
    refs = source.select("val")
    assert len(refs) == 3 * 3 * 2
    assert {(ref.scene_id, ref.condition) for ref in refs} == {
        ("scene-0103", Condition.CLEAR),
        ("scene-0625", Condition.RAIN),
        ("scene-1062", Condition.NIGHT_RAIN),
    }


def test_all_is_unfiltered_and_in_order(source: NuScenesSource) -> None:
    refs = source.select("all")
    assert len(refs) == 6 * 3 * 2
    assert {ref.scene_id for ref in refs if ref.split == "train"} == {
        "scene-0061",
        "scene-0002",
        "scene-0999",
    }
    keys = [(ref.scene_id, ref.timestamp_us, ref.camera) for ref in refs]
    assert keys == sorted(keys)
    assert len({ref.frame_id for ref in refs}) == len(refs)
    assert not source.select("test")


def test_an_unknown_split_is_refused(source: NuScenesSource) -> None:
    with pytest.raises(InvalidRequest, match="choose train, val, test or all"):
        source.select("training")


@pytest.mark.parametrize(("speed_m_s", "kept"), [(0.49, False), (0.51, True)])
def test_the_speed_limit_is_half_a_metre_per_second(
    tmp_path: Path, speed_m_s: float, kept: bool
) -> None:
    fixture.build(tmp_path, scenes=[Scene("scene-0061", "", speed_m_s)])
    source = NuScenesSource(
        NuScenesConfig(root=tmp_path, version=fixture.VERSION, cameras=["CAM_BACK"])
    )
    assert bool(source.select("train")) is kept


def test_official_splits_have_700_150_150_scenes() -> None:
    scenes_of = splits.official_scenes()
    assert [len(scenes_of[s]) for s in splits.SPLITS] == [700, 150, 150]


def test_own_splits_take_the_place_of_the_official_ones(tmp_path: Path) -> None:
    folder = fixture.build(tmp_path, scenes=fixture.SCENES[:2])
    path = tmp_path / folder.version / "splits.json"
    path.write_text(json.dumps({"val": ["scene-0061"]}))
    source = NuScenesSource(NuScenesConfig(root=tmp_path, version=folder.version))
    assert {(r.scene_id, r.split) for r in source.select("all")} == {
        ("scene-0061", "val"),
        ("scene-0002", "none"),
    }
    assert source.own_splits
    path.write_text(json.dumps({"mini_custom": ["scene-0061"]}))  # a subset, no protocol
    assert (
        len(NuScenesSource(NuScenesConfig(root=tmp_path, version=folder.version)).select("train"))
        == 2
    )


@pytest.mark.parametrize(
    "content", ["[]", "{", '{"train": "scene-0061"}', '{"train": ["a"], "val": ["a"]}']
)
def test_broken_own_splits_break_the_source(tmp_path: Path, content: str) -> None:
    (tmp_path / "v").mkdir()
    (tmp_path / "v" / "splits.json").write_text(content)
    with pytest.raises(BrokenSource):
        splits.own_scene_splits(Files.below(tmp_path), "v")


@pytest.mark.parametrize(
    ("description", "by_md4all", "by_words"),
    [
        ("Parked cars, bus", "clear", "clear"),
        ("Night, big street", "night", "night"),
        ("RAIN, many umbrellas", "rain", "rain"),
        ("Difficult lighting, night, after rain", "night-rain", "night-rain"),
        ("Night-rain: street", "night-rain", "night-rain"),
        ("Rainy day, raining", "rain", "rain"),
        ("Wait for a train, storm drain", "rain", "clear"),  # md4all's rule, to the letter
        ("Train at night", "night-rain", "night"),
        ("Tonight, knights", "night", "clear"),
        ("Snow on the road", "clear", "snow"),
        ("dense fog", "clear", "fog"),
        ("Foglamp shop, snowplough", "clear", "clear"),
        ("Dusk, street", "clear", "dusk"),
        ("Dusk, rain", "rain", "rain"),
        ("Night, fog", "night", "night"),
        ("", "clear", "clear"),
    ],
)
def test_conditions_are_read_from_descriptions(
    description: str, by_md4all: str, by_words: str
) -> None:
    assert splits.condition_by_md4all(description) == by_md4all
    assert splits.condition_by_words(description) == by_words


def test_nuscenes_is_read_as_md4all_and_the_world_by_words(tmp_path: Path) -> None:
    scenes = [Scene("scene-0061", "Dusk, snow, a train")]
    for version, condition in ((fixture.VERSION, Condition.RAIN), ("v1.0-world", Condition.SNOW)):
        fixture.build(tmp_path / version, version, scenes)
        refs = NuScenesSource(NuScenesConfig(root=tmp_path / version, version=version)).select(
            "all"
        )
        assert {ref.condition for ref in refs} == {condition}


def test_the_log_of_a_scene_is_named(tmp_path: Path) -> None:
    folder = fixture.build(tmp_path, scenes=fixture.SCENES[:3])
    folder.record("scene", "token-scene-0002")["log_token"] = "gone"
    folder.record("scene", "token-scene-0103")["log_token"] = 7
    folder.write_tables()
    refs = NuScenesSource(NuScenesConfig(root=tmp_path, version=folder.version)).select("all")
    assert {(r.scene_id, r.log_id) for r in refs} == {
        ("scene-0061", "n015"),
        ("scene-0002", "gone"),
        ("scene-0103", ""),
    }


@pytest.mark.parametrize(
    ("log", "time_us", "condition"),
    [
        ("n008-2018-09-18-14-18-33-0400", 1537294719112404, "rain"),
        ("n008-2018-09-18-14-18-33-0400", 1537295445612404, "rain"),
        ("n008-2018-09-18-14-18-33-0400", 1537295446112404, "clear"),
        ("n008-2018-09-18-13-41-50-0400", 1537295000000000, "clear"),
        ("n015-2018-11-14-19-21-41+0800", 1542194502662460, "night"),
        ("n015-2018-11-14-19-45-36+0800", 1542196000000000, "night"),
        ("n015-2018-11-14-19-52-02+0800", 1542196694912460, "night"),
        ("n015-2018-11-14-19-21-41+0800", 1542194502000000, "clear"),
        ("n015-2018-11-21-19-21-35+0800", 1542799300000000, "clear"),
    ],
)
def test_test_images_have_conditions_by_name(log: str, time_us: int, condition: str) -> None:
    name = f"samples/CAM_FRONT/{log}__CAM_FRONT__{time_us}.jpg"
    assert splits.condition_from_test_file(name, time_us) == condition


def test_the_test_set_is_told_apart_by_its_blank_descriptions(tmp_path: Path) -> None:
    folder = fixture.build(tmp_path, "v1.0-test", [Scene("scene-0077", "")])
    record = folder.record("sample_data", token_of("scene-0077", "CAM_FRONT", 3))
    record["timestamp"] = 1542196000000000
    record["filename"] = "samples/CAM_FRONT/n015-2018-11-14-19-45-36+0800__CAM_FRONT__1.jpg"
    folder.write_tables()
    refs = NuScenesSource(NuScenesConfig(root=tmp_path, version="v1.0-test")).select("test")
    assert [r.condition for r in refs if r.source_id == record["token"]] == [Condition.NIGHT]
    assert {r.condition for r in refs if r.source_id != record["token"]} == {Condition.CLEAR}
