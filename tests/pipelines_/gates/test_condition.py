"""The gate of the condition: it tells rendered weather apart, and says what it does not know."""

from pathlib import Path

import numpy as np
import pytest
import torch

from nightrain.datasets.conditions import Condition
from nightrain.datasets.errors import InvalidRequest
from nightrain.datasets.io.images import decode_jpeg
from nightrain.datasets.world.export.plan import SceneSpec
from nightrain.datasets.world.export.writer import write_world
from nightrain.depthmodel.network.image_features import ImageFeatures, feature_maps, pooled
from nightrain.pipelines.engines.base import Variant
from nightrain.pipelines.gates.built_in.condition import CLASSES, ConditionGate
from nightrain.pipelines.gates.built_in.network_settings import ConditionSettings
from nightrain.pipelines.recipes.recipe_file import load_recipe
from support.gating import verdict_of
from support.weather_street import request

SHOWN = (Condition.CLEAR, Condition.NIGHT, Condition.RAIN, Condition.SNOW, Condition.FOG)


@pytest.fixture(scope="module")
def streets(tmp_path_factory: pytest.TempPathFactory) -> dict[Condition, list[np.ndarray]]:
    """Two rendered places in each condition; no place that the classifier was fitted to."""
    out = tmp_path_factory.mktemp("streets") / "world"
    scenes = [SceneSpec(place=p, condition=c, split="val") for p in (3, 8) for c in SHOWN]
    write_world(out, scenes=scenes, frames=1, seed=4321, size=(224, 128), sweeps="none")
    pictures = sorted((out / "samples" / "CAM_FRONT").iterdir())
    found: dict[Condition, list[np.ndarray]] = {condition: [] for condition in SHOWN}
    for path in pictures:
        scene = path.name.split("__")[0]
        named = [c for c in SHOWN if scene.endswith(f"-{c}")]
        found[named[0] if named else Condition.CLEAR].append(decode_jpeg(path.read_bytes()))
    assert {len(of) for of in found.values()} == {2}
    return found


def test_rendered_weather_is_told_apart(streets: dict[Condition, list[np.ndarray]]) -> None:
    gate = ConditionGate()
    right = [
        CLASSES[int(gate.log_probabilities(image).argmax())] == condition
        for condition, images in streets.items()
        for image in images
    ]
    assert sum(right) >= len(right) - 1


def test_a_picture_of_another_condition_is_rejected(
    streets: dict[Condition, list[np.ndarray]],
) -> None:
    clear, height, width = streets[Condition.CLEAR][0], 128, 224
    scene = (clear, np.ones((height, width), np.float32), np.eye(3))
    asked = request(Condition.NIGHT, scene=scene)
    settings = ConditionSettings()
    night = verdict_of(settings, asked, Variant(image=streets[Condition.NIGHT][0]))
    snow = verdict_of(settings, asked, Variant(image=streets[Condition.SNOW][0]))
    assert not night.rejections and snow.codes == ["condition.another"]
    assert "it looks like another condition than night: margin" in snow.words
    assert night.scores["condition"]["margin"] > 0 > snow.scores["condition"]["margin"]


def test_a_condition_without_a_class_is_refused(
    streets: dict[Condition, list[np.ndarray]],
) -> None:
    image = streets[Condition.NIGHT][0]
    with pytest.raises(InvalidRequest, match=r"knows clear, night.* generates dusk. Leave"):
        verdict_of(ConditionSettings(), request(Condition.DUSK), _variant(image))


def _variant(image: np.ndarray) -> Variant:
    import cv2

    asked = request(Condition.DUSK)
    return Variant(image=cv2.resize(image, asked.image.shape[1::-1]))


def test_the_version_names_the_weights(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text("name: seen\nconditions: {fog: {}}\ngates: [condition]\n")
    (version,) = load_recipe(str(path)).gate_versions
    kind, digest = version.split("-")
    assert kind == "1" and len(digest) == 8


def test_pooled_features_are_the_means_of_the_maps() -> None:
    network = ImageFeatures()
    images = np.random.default_rng(0).integers(0, 255, (2, 64, 96, 3), dtype=np.uint8)
    found = pooled(feature_maps(network, images))
    maps = network(torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1)
    assert found.shape == (2, 496)
    start = 0
    for level in maps[1:]:
        expected = level.mean((2, 3))
        torch.testing.assert_close(found[:, start : start + level.shape[1]], expected)
        start += level.shape[1]
