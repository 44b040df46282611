"""Engines of other packages: found by entry point, used by the job, refused in a sentence."""

import subprocess
import sys
from pathlib import Path

import pytest

from nightrain.datasets.errors import InvalidRequest
from nightrain.datasets.shards.verify import verify
from nightrain.pipelines.engines.registry import ENGINES
from nightrain.pipelines.generate.job import GenerateJob, generate
from nightrain.pipelines.generate.replay import replay
from nightrain.pipelines.recipes.recipe import Recipe
from nightrain.pipelines.recipes.recipe_file import load_recipe
from nightrain.pipelines.runs.executors import SerialExecutor
from nightrain.pipelines.runs.stop import Stop
from support.paths import ROOT
from support.plugins import install
from support.synthetic import all_rows

GROUP = "nightrain.engines"
HAZE = '''
"""An engine of another package: one module, and one entry point outside it."""
from typing import ClassVar, Literal

import numpy as np

from nightrain.datasets.conditions import Condition
from nightrain.pipelines.engines.base import HostEngine, Variant
from nightrain.pipelines.engines.engine_settings import ConditioningInputs, EngineSettings


class Settings(EngineSettings):
    name: Literal["haze"] = "haze"
    engine_class: ClassVar[str] = "haze_engine:HazeEngine"
    conditions: ClassVar[tuple[Condition, ...]] = (Condition.FOG, Condition.DUSK)
    strength: float = 0.5

    def version(self, condition):
        return "haze-3"

    @property
    def needs_depth(self):
        return False

    @property
    def conditioning(self):
        return ConditioningInputs(controls=("canny",)) if self.strength > 0.8 else None

    def working_size(self, frame_size):
        return 32, 24


class HazeEngine(HostEngine):
    def __init__(self, settings):
        self.settings = settings

    def generate(self, requests):
        return [self._variant(r) for r in requests]

    def _variant(self, request):
        assert request.image.shape == (24, 32, 3) and request.depth_m is None
        white = np.full_like(request.image, 255)
        share = self.settings.strength
        image = (1 - share) * request.image + share * white
        return Variant(image=image.astype(np.uint8), provenance={"haze": str(share)})
'''
RECIPE = """
name: haze
engine: {name: haze, strength: 0.25}
size: [64, 40]
conditions: {fog: {}}
"""


@pytest.fixture
def haze(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    where = {"group": GROUP, "name": "haze", "module": "haze_engine"}
    install(tmp_path / "site", monkeypatch, **where, code=HAZE)


def written(folder: Path, text: str) -> str:
    path = folder / "recipe.yaml"
    path.write_text(text)
    return str(path)


def test_an_engine_of_another_package_generates_a_dataset(
    haze: None, dataset: Path, tmp_path: Path
) -> None:
    assert ENGINES.names() == ["diffusion", "haze", "import", "pipeline", "weather"]
    job = GenerateJob(dataset=dataset, recipe=written(tmp_path, RECIPE), gpu_limit="one")
    assert job.held_limit() is None
    stop = Stop()
    report = generate(job, executor=SerialExecutor(stop), stop=stop)
    assert report.num_rows == 10 and not report.failed and verify(dataset).accepted
    for row in all_rows(dataset).values():
        assert (row["engine"], row["engine_version"]) == ("haze", "haze-3")
        assert row["depth_source"] == "none" and row["provenance"] == '{"haze": "0.25"}'
        assert (row["width"], row["height"]) == (64, 40)
    assert replay(dataset, next(iter(all_rows(dataset)))).identical
    assert not [p for p in (ROOT / "pipelines").rglob("*.py") if "haze_engine" in p.read_text()]


def test_its_settings_ask_for_prompts_and_controls(
    haze: None, dataset: Path, tmp_path: Path
) -> None:
    text = RECIPE.replace("0.25", "0.9")
    job, stop = GenerateJob(dataset=dataset, recipe=written(tmp_path, text)), Stop()
    assert generate(job, executor=SerialExecutor(stop), stop=stop).num_rows == 10
    prompts = {row["prompt"] for row in all_rows(dataset).values()}
    assert prompts == {"In a foggy day, a street"}


def test_settings_survive_json_and_decide_the_hash(haze: None, tmp_path: Path) -> None:
    recipe = load_recipe(written(tmp_path, RECIPE))
    again = Recipe.model_validate_json(recipe.model_dump_json())
    assert again == recipe and again.hash == recipe.hash
    assert load_recipe(written(tmp_path, RECIPE.replace("0.25", "0.3"))).hash != recipe.hash
    named = load_recipe(written(tmp_path, RECIPE.replace("{name: haze, strength: 0.25}", "haze")))
    assert named.engine.model_dump()["strength"] == 0.5


def test_a_recipe_of_an_engine_that_is_not_installed(tmp_path: Path) -> None:
    words = r"no engine 'haze'. Installed: diffusion, import, pipeline, weather. Name one .*engines"
    with pytest.raises(InvalidRequest, match=words):
        load_recipe(written(tmp_path, RECIPE))


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("import no_such_library", "'broken_engine:Settings': the module .* cannot be imported"),
        ("raise RuntimeError('no licence')", "RuntimeError: no licence"),
        ("class Settings: pass", r"is not a subclass of .*EngineSettings.*weather"),
        ("Settings = 3", "is not a subclass of"),
        ("x = 1", "has no Settings"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("raise RuntimeError('two\\nlines')", "RuntimeError: two lines"),
        (
            "from nightrain.pipelines.engines.engine_settings import EngineSettings as Settings\n"
            "class Settings(Settings): name: str = 'broken'\n",
            "does not define conditions, engine_class, version",
        ),
    ],
)
def test_a_class_that_is_no_engine_is_refused_in_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, words: str
) -> None:
    where = {"group": GROUP, "name": "broken", "module": "broken_engine"}
    install(tmp_path / "site", monkeypatch, **where, code=code)
    text = "name: mine\nengine: broken\nconditions: {fog: {}}\n"
    with pytest.raises(InvalidRequest, match=words):
        load_recipe(written(tmp_path, text))
    assert load_recipe("weather").engine.name == "weather"  # others are not affected


def test_settings_whose_engine_does_not_exist_are_refused_before_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    where = {"group": GROUP, "name": "haze", "module": "haze_engine"}
    for missing, words in (
        ("no_such_package.engine:HazeEngine", "module no_such_package.engine cannot be imported"),
        ("haze_engine:NoEngine", "module haze_engine has no NoEngine, only HazeEngine, Settings"),
        ("haze_engine:Settings", "'haze': haze_engine:Settings is not an engine.* begin, "),
    ):
        code = HAZE.replace("haze_engine:HazeEngine", missing)
        install(tmp_path / missing.replace(":", "-"), monkeypatch, **where, code=code)
        with pytest.raises(InvalidRequest, match=words):
            load_recipe(written(tmp_path, RECIPE))


def test_a_version_that_cannot_be_determined_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = HAZE.replace('return "haze-3"', 'raise OSError("weights are gone")')
    where = {"group": GROUP, "name": "haze", "module": "haze_engine"}
    install(tmp_path / "site", monkeypatch, **where, code=code)
    with pytest.raises(InvalidRequest, match=r"'haze': its version .*OSError: weights are gone"):
        load_recipe(written(tmp_path, RECIPE))


def test_an_entry_point_names_a_class_not_a_module(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    where = {"group": GROUP, "name": "haze", "module": "haze_engine"}
    install(tmp_path, monkeypatch, **where, code=HAZE)
    points = tmp_path / "haze_engine-1.0.dist-info" / "entry_points.txt"
    points.write_text(points.read_text().replace(":Settings", ""))
    with pytest.raises(InvalidRequest, match=r"found the entry point 'haze_engine', expected pack"):
        load_recipe(written(tmp_path, RECIPE))


def test_a_name_belongs_to_one_class(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, module in (("weather", "my_weather"), ("haze", "haze_one"), ("haze", "haze_two")):
        where = {"group": GROUP, "name": name, "module": module}
        install(tmp_path / module, monkeypatch, **where, code=HAZE)
    with pytest.raises(InvalidRequest, match="'weather', of the packages nightrain, my_weather"):
        load_recipe("weather")
    with pytest.raises(InvalidRequest, match=r"'haze', of the packages haze_(one|two), haze_"):
        load_recipe(written(tmp_path, RECIPE))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("fog", "rain"), "'haze' does not generate 'rain'; it generates fog, dusk"),
        (("fog", "hail"), "hail"),
        (("0.25", "much"), "engine: strength is 'much'; expected a valid number"),
        (
            ("strength", "strenth"),
            "engine: strenth is not an option; expected one of name, strength",
        ),
        (("{name: haze, strength: 0.25}", "[1]"), "expected a name or a mapping with `name`"),
    ],
)
def test_bad_settings_are_refused_when_the_recipe_is_loaded(
    haze: None, tmp_path: Path, change: tuple[str, str], words: str
) -> None:
    with pytest.raises(InvalidRequest, match=words):
        load_recipe(written(tmp_path, RECIPE.replace(*change)))


def test_a_weather_recipe_loads_neither_networks_nor_other_engines() -> None:
    code = (
        "import sys; from nightrain.pipelines.recipes.recipe_file import load_recipe; "
        "load_recipe('weather'); print(*sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {"torch", "diffusers", "transformers", "nightrain.pipelines.engines.diffusion"}
    assert not heavy & set(run.stdout.split())
