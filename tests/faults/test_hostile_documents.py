"""Mutated recipes, model configurations and manifests: one sentence each, and nothing allocated."""

import copy
import json
import random
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml

from nightrain.datasets.errors import NightrainError
from nightrain.datasets.io.record import read_record, record_bytes
from nightrain.datasets.shards.manifest import FRAMES, Manifest
from nightrain.datasets.shards.verify import verify
from nightrain.depthmodel.config import AuxViewConfig, RestorationConfig
from nightrain.depthmodel.network import model as network
from nightrain.depthmodel.network.model import DepthModel
from nightrain.depthmodel.network.model_card import ModelCard
from nightrain.pipelines.recipes.recipe_file import load_recipe
from support.synthetic import SyntheticSource, ingest_synthetic
from support.tiny_depth_models import tiny_model

NUM_SHORT, NUM_CAMPAIGN = 60, 3000
COUNTS = [NUM_SHORT, pytest.param(NUM_CAMPAIGN, marks=pytest.mark.campaign)]
RECIPE = {
    "name": "fuzz",
    "engine": {"name": "diffusion", "steps": 20, "controls": [{"kind": "depth", "scale": 1.0}]},
    "depth": "exact",
    "size": [320, 192],
    "batch_size": 2,
    "conditions": {"night": {"lowest": 0.2, "highest": 0.8}, "rain": {}},
}
VALUES: list[Any] = [
    *(True, False, None, "", "x", "7", 0, -1, 1, 4095, 4096, 10**9, 10**30, -0.0, 0.5, 1e308),
    *(float("inf"), float("nan"), [], {}, [True, 2], [1, 2, 3], {"x": 1}, [[]] * 50, "a" * 5000),
    *("../../etc/passwd", "os:system", "no.such:Class", "\x00", "\x1b[31m", "😀", "ä" * 300),
]


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Paths of all values inside a document."""
    inner = value.items() if isinstance(value, dict) else enumerate(value)
    for key, child in inner:
        yield (*path, key)
        if isinstance(child, dict | list):
            yield from places(child, (*path, key))


def mutated(document: Any, rng: random.Random) -> Any:
    """A copy with one to three values replaced, removed, renamed or added."""
    document = copy.deepcopy(document)
    for _ in range(rng.randint(1, 3)):
        if not (found := list(places(document))):
            return document
        *way, key = rng.choice(found)
        parent = document
        for step in way:
            parent = parent[step]
        match rng.randrange(4):
            case 0 if isinstance(parent, dict):
                del parent[key]
            case 1 if isinstance(parent, dict):
                parent[rng.choice(["Ω", "__class__", "size", key])] = copy.deepcopy(
                    rng.choice(VALUES)
                )
            case _:
                parent[key] = copy.deepcopy(rng.choice(VALUES))
    return document


def damaged(text: str, rng: random.Random) -> str:
    """The text with a few characters replaced, repeated or cut."""
    characters = list(text)
    for _ in range(rng.randint(1, 6)):
        place = rng.randrange(len(characters))
        characters[place] = rng.choice([*"{}[]:,&*!|>'\"\n\t#%@`-?0", "", "\x07", "<<:", text[:60]])
    return "".join(characters)


@pytest.mark.parametrize("count", COUNTS)
def test_mutated_recipes_are_read_or_refused_in_one_sentence(tmp_path: Path, count: int) -> None:
    rng, path, refused = random.Random(1), tmp_path / "recipe.yaml", 0
    for number in range(count):
        text = yaml.safe_dump(mutated(RECIPE, rng), allow_unicode=True)
        path.write_text(damaged(text, rng) if number % 2 else text)
        try:
            load_recipe(str(path))
        except NightrainError as error:
            refused += 1
            assert str(path) in str(error) or "engine" in str(error), path.read_text()
            assert len(str(error)) < 5000 and "\n" not in str(error)
    assert refused > count / 2


@pytest.mark.parametrize(
    ("added", "message"),
    [
        ("batch_size: true\n", "batch_size is True; expected a valid integer"),
        ("batch_size: 2\nbatch_size: 4\n", "found the key 'batch_size' twice"),
        ("x: " + "[" * 5000, "nested too deeply"),
        ("x: " + "9" * 5000, "an integer with too many digits"),
        ("depth: 2024-13-45\n", "month must be in 1..12"),
    ],
)
def test_what_parsers_stumble_over_is_said(tmp_path: Path, added: str, message: str) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(f"name: a\nengine: weather\nconditions: {{night: {{}}}}\n{added}")
    with pytest.raises(NightrainError) as found:
        load_recipe(str(path))
    assert message in str(found.value) and str(path) in str(found.value)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("models")
    added = {
        "plain": {},
        "restored": {"restoration": RestorationConfig(base_channels=8, multipliers=(1,))},
        "view": {"auxview": AuxViewConfig()},
    }
    card = ModelCard(title="t", description="d", data_set="s")
    for name, parts in added.items():
        tiny_model(**parts).save_pretrained(folder / name, card)
    return sorted(folder.iterdir())


@pytest.mark.parametrize("count", COUNTS)
def test_mutated_model_configurations_build_nothing_that_does_not_fit(
    models: list[Path], tmp_path: Path, count: int
) -> None:
    """Only a configuration with the parameters of the weights is ever built with memory."""
    rng = random.Random(2)
    for number in range(count):
        folder = tmp_path / str(number)
        folder.mkdir()
        source = models[number % len(models)]
        fields = json.loads((source / "config.json").read_text())
        text = json.dumps(mutated(fields, rng))
        (folder / "config.json").write_text(damaged(text, rng) if number % 4 == 0 else text)
        (folder / "model.safetensors").hardlink_to(source / "model.safetensors")
        try:
            DepthModel.from_pretrained(folder)
        except NightrainError as error:
            assert str(folder) in str(error) or "found" in str(error)
            assert "\n" not in str(error)


@pytest.mark.parametrize(
    "decoder",
    [
        {"kind": "dpt", "fusion_channels": 4095},
        {"kind": "dpt", "reassemble_channels": [4096, 4096, 4096, 4096], "fusion_channels": 4096},
        {"kind": "pixelformer", "embed_dim": 4096, "head_dim": 4096},
        {"kind": "strict", "hidden_channels": 1024, "condition_channels": 1024},
    ],
)
def test_a_configuration_of_giant_layers_is_refused_before_they_are_allocated(
    models: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, decoder: dict[str, Any]
) -> None:
    fields = json.loads((models[0] / "config.json").read_text())
    fields |= {"decoder": decoder, "input_size": [112, 112]}  # for every decoder
    (tmp_path / "config.json").write_text(json.dumps(fields))
    (tmp_path / "model.safetensors").hardlink_to(models[0] / "model.safetensors")
    devices: list[str] = []
    real = network.make_decoder

    def noted(*arguments: Any) -> Any:
        made = real(*arguments)
        devices.extend({p.device.type for p in made.parameters()})
        return made

    monkeypatch.setattr(network, "make_decoder", noted)
    with pytest.raises(NightrainError, match="is not the network of the config"):
        DepthModel.from_pretrained(tmp_path)
    assert set(devices) == {"meta"}


@pytest.mark.parametrize("count", COUNTS)
def test_mutated_manifest_entries_are_refused_in_one_sentence(tmp_path: Path, count: int) -> None:
    """With a right digest, as an attacker would write them, and without."""
    rng, root = random.Random(3), tmp_path / "dataset"
    ingest_synthetic(root, SyntheticSource(num_frames=4), 4)
    manifest = Manifest(root)
    [path] = (root / "_manifest" / FRAMES).glob("*.json")
    whole, body = path.read_bytes(), read_record(path, "entry", "manifest entry")
    for number in range(count):
        changed = record_bytes("entry", mutated(body, rng))
        if number % 4 == 0:
            changed = damaged(changed.decode(), rng).encode()
        path.write_bytes(changed)
        try:
            for entry in manifest.entries(FRAMES):
                list(manifest.reader(entry.rows).rows())
        except NightrainError as error:
            assert str(root) in str(error) or "shard" in str(error) or "frames/" in str(error)
        with suppress(NightrainError):
            verify(root)
    path.write_bytes(whole)
    assert verify(root).accepted
