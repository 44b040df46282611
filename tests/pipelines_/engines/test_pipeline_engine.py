"""The pipeline engine on tiny pipelines of each family: recipe, command, rows, resume, replay."""

import json
import shutil
from collections.abc import Callable, Iterable
from dataclasses import replace
from fnmatch import fnmatch
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from safetensors.torch import load_file, save_file

from nightrain.datasets.errors import InvalidRequest
from nightrain.datasets.shards.verify import verify
from nightrain.flows.cli import app
from nightrain.pipelines.engines.base import Request, Variant
from nightrain.pipelines.engines.pipeline.engine import PipelineEngine
from nightrain.pipelines.engines.pipeline.settings import PipelineSettings
from nightrain.pipelines.engines.registry import load_engine
from nightrain.pipelines.engines.weight_files import pipeline_patterns
from nightrain.pipelines.generate.job import GenerateJob, generate
from nightrain.pipelines.generate.replay import replay
from nightrain.pipelines.recipes.recipe_file import built_in_recipes, load_recipe
from nightrain.pipelines.runs.executors import SerialExecutor
from nightrain.pipelines.runs.stop import Stop
from support.hub_cache import cached
from support.synthetic import SyntheticSource, all_rows, ingest_synthetic
from support.tiny_diffusion import make, picture, request
from support.tiny_pipelines import pipeline_folder, write_parts, z_image

HEIGHT, WIDTH = 80, 128
NUM_FRAMES = 3
ABSENT = {"id_or_folder": "owner/absent", "revision": "0" * 40}  # never looked for: it is pinned
FAMILIES: dict[str, dict[str, Any]] = {
    "FluxControlPipeline": {"guidance": 10.0},
    "Flux2KleinPipeline": {
        "mode": "reference",
        "allow_no_control": True,
        "options": {"text_encoder_out_layers": [1], "max_sequence_length": 64},
    },
    "StableDiffusion3ControlNetPipeline": {"negative_prompt": "blurry", "guidance": 4.5},
    "QwenImageControlNetPipeline": {"negative_prompt": " ", "guidance": 4.0},
    "ZImageControlNetPipeline": {"guidance": 0.0},
    "ZImageImg2ImgPipeline": {"mode": "image2image", "allow_no_control": True, "steps": 4},
}
UNPINNED = {"pipeline-sd35-depth": "stabilityai/stable-diffusion-3.5-large-controlnet-depth"}


def engine_section(pipeline: str, **changes: Any) -> dict[str, Any]:
    """The section `engine` of a recipe on a tiny family."""
    folder = pipeline_folder(pipeline)
    net = folder / "controlnet"
    controls = [{"weights": {"id_or_folder": str(net)}}] if net.exists() else []
    if pipeline == "FluxControlPipeline":
        controls = [{}]
    section = {
        "name": "pipeline",
        "pipeline": pipeline,
        "base": {"id_or_folder": str(folder / "base")},
        "controls": controls,
        "steps": 2,
        "dtype": "float32",
        "generation_width": WIDTH,
        **FAMILIES[pipeline],
    }
    return section | changes


def write_recipe(folder: Path, engine: dict[str, Any]) -> Path:
    values = {
        "name": "tiny",
        "engine": engine,
        "depth": "exact",
        "batch_size": 2,
        "conditions": {"night": {}},
    }
    path = folder / "recipe.yaml"
    path.write_text(json.dumps(values))
    return path


def engine(pipeline: str, **changes: Any) -> PipelineEngine:
    return PipelineEngine(PipelineSettings(**engine_section(pipeline, **changes)))


def requests(settings: PipelineSettings, numbers: Iterable[int]) -> list[Request]:
    """Requests that differ in everything; prompts of very different lengths."""
    sized = partial(picture, height=HEIGHT, width=WIDTH)
    return [
        request(
            n,
            image=sized(n),
            prompt="At night, " + "a street " * (1 + 3 * n),
            control_images=tuple(sized(100 + n + i) for i, _ in enumerate(settings.controls)),
        )
        for n in numbers
    ]


def images(made: PipelineEngine, asked: list[Request], batch_size: int) -> list[np.ndarray]:
    outcomes = made.finish(made.begin(made.embed(asked), batch_size))
    assert all(isinstance(outcome, Variant) for outcome in outcomes), outcomes
    return [outcome.image for outcome in outcomes if isinstance(outcome, Variant)]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("pipeline") / "dataset"
    ingest_synthetic(root, SyntheticSource(NUM_FRAMES))
    return root


@pytest.mark.parametrize("pipeline", FAMILIES)
def test_a_family_by_the_command_with_replay(pipeline: str, dataset: Path, tmp_path: Path) -> None:
    root = tmp_path / "dataset"
    shutil.copytree(dataset, root)
    recipe = write_recipe(tmp_path, engine_section(pipeline))
    said = CliRunner().invoke(
        app, ["generate", str(root), "--recipe", str(recipe), "--runner", "local"]
    )
    assert said.exit_code == 0, said.output
    assert verify(root).accepted
    rows = list(all_rows(root).values())
    assert len(rows) == NUM_FRAMES
    for row in rows:
        facts = json.loads(row["provenance"])
        assert facts["pipeline"] == pipeline and facts["model_base"].startswith("base@")
        has_net = (pipeline_folder(pipeline) / "controlnet").exists()
        assert facts.get("model_control_0", "").startswith("controlnet@") == has_net
        uncontrolled = bool(FAMILIES[pipeline].get("allow_no_control"))
        assert row["controlled"] is not uncontrolled
        assert row["engine"] == "pipeline" and row["prompt"].startswith("At night, ")
        assert row["depth_source"] == ("none" if uncontrolled else "exact")
        assert (row["width"], row["height"]) == (WIDTH, HEIGHT)
    report = replay(root, rows[-1]["sample_id"])
    assert report.identical and not report.differences


@pytest.mark.parametrize("pipeline", FAMILIES)
def test_an_image_depends_on_its_request_and_on_nothing_else_of_its_batch(pipeline: str) -> None:
    made = engine(pipeline)
    asked = requests(made.settings, range(3))
    first = images(made, asked, 3)
    alone = [images(made, [one], 1)[0] for one in reversed(asked)][::-1]
    for image, same in zip(first, alone, strict=True):
        assert np.abs(image.astype(int) - same).max() <= 2
        assert image.std() > 10
    one, other = requests(made.settings, (0, 7))
    changes: list[dict[str, Any]] = [{"seed": other.seed}, {"prompt": other.prompt}]
    if made.settings.controls:
        changes.append({"control_images": other.control_images})
    if made.settings.mode != "text2image":
        changes.append({"image": other.image})
    for changed in images(made, [replace(one, **change) for change in changes], 3):
        assert np.abs(changed.astype(int) - first[0]).max() > 2


def test_a_stopped_run_resumes_and_makes_the_same(dataset: Path, tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path, engine_section("QwenImageControlNetPipeline"))
    whole, root, stop = tmp_path / "whole", tmp_path / "dataset", Stop()
    shutil.copytree(dataset, whole)
    shutil.copytree(dataset, root)
    make(whole, recipe)
    built = load_engine(load_recipe(str(recipe)).engine)
    assert isinstance(built, PipelineEngine)
    hook = built.loaded.pipe.transformer.register_forward_pre_hook(lambda *_: stop.request())
    job = GenerateJob(dataset=root, recipe=str(recipe))
    first = generate(job, executor=SerialExecutor(stop), stop=stop)
    hook.remove()
    assert first.stopped and len(all_rows(root)) < NUM_FRAMES
    make(root, recipe)
    assert all_rows(root) == all_rows(whole) and verify(root).accepted


def test_float8_storage_and_offload_change_little(tmp_path: Path) -> None:
    plain, small = (
        engine("ZImageControlNetPipeline"),
        engine("ZImageControlNetPipeline", quantisation="float8", offload="model"),
    )
    asked = requests(plain.settings, range(1))
    difference = images(small, asked, 1)[0].astype(int) - images(plain, asked, 1)[0]
    assert 0 < np.abs(difference).mean() < 25
    outcome = small.finish(small.begin(small.embed(asked), 1))[0]
    assert isinstance(outcome, Variant) and outcome.provenance["quantisation"] == "float8"


def test_severity_is_the_strength_of_image_to_image() -> None:
    made = engine("ZImageImg2ImgPipeline", strength=[0.25, 1.0])
    (one,) = requests(made.settings, [1])
    low, high = (replace(one, severity=s) for s in (0.0, 1.0))
    near, far = (
        np.abs(image.astype(int) - one.image).mean() for image in images(made, [low, high], 2)
    )
    assert near < far
    outcome = made.finish(made.begin(made.embed([low]), 1))[0]
    assert isinstance(outcome, Variant) and outcome.provenance["strength"] == "0.2500"


Change = Callable[[dict[str, Any]], dict[str, Any]]
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "a class of another name": ({"pipeline": "FluxDepthPipeline"}, "no pipeline class"),
    "control silently lost": ({"controls": []}, "allow_no_control: true"),
    "control that the class needs": (
        {"controls": [], "allow_no_control": True},
        "needs a control image",
    ),
    "control without a keyword": (
        {"pipeline": "Flux2KleinPipeline", "guidance": None},
        "has no keyword for a control image",
    ),
    "a reference without a keyword": ({"mode": "reference"}, "no keyword for an input image"),
    "strength without image to image": ({"mode": "image2image"}, "no keyword for"),
    "strength of a reference": (
        {
            "pipeline": "Flux2KleinPipeline",
            "mode": "image2image",
            "controls": [],
            "allow_no_control": True,
        },
        "no keyword for strength",
    ),
    "image to image without its mode": (
        {"pipeline": "ZImageImg2ImgPipeline", "controls": [], "allow_no_control": True},
        "set `mode: image2image`",
    ),
    "negative prompt, distilled": ({"negative_prompt": "blurry"}, "takes no negative prompt"),
    "negative prompt, distilled, with a keyword": (
        {
            "pipeline": "FluxPipeline",
            "controls": [],
            "allow_no_control": True,
            "negative_prompt": "blurry",
        },
        "distilled from guidance",
    ),
    "negative prompt without guidance": (
        {
            "pipeline": "ZImageControlNetPipeline",
            "negative_prompt": "blurry",
            "guidance": 0.0,
            "controls": [{"weights": ABSENT}],
        },
        "ignores the negative prompt",
    ),
    "guidance without negative prompt": (
        {"pipeline": "QwenImageControlNetPipeline", "controls": [{"weights": ABSENT}]},
        "no guidance without a negative prompt",
    ),
    "two controls": ({"controls": [{}, {"kind": "canny"}]}, "takes one control image"),
    "a ControlNet for a class without": ({"controls": [{"weights": ABSENT}]}, "no ControlNet"),
    "a class without its ControlNet": (
        {"pipeline": "StableDiffusion3ControlNetPipeline"},
        "needs the weights of a ControlNet",
    ),
    "scale without a keyword": ({"controls": [{"scale": 0.5}]}, "no keyword for the scale"),
    "window without keywords": ({"controls": [{"end": 0.5}]}, "no keywords for start and end"),
    "a mask": ({"pipeline": "FluxFillPipeline", "controls": [], "allow_no_control": True}, "mask"),
    "a keyword of another class": ({"keywords": {"control": "picture"}}, "no keyword 'picture'"),
    "an option of another class": ({"options": {"sigma": 1}}, "options.sigma is not an option"),
    "an option of ours": ({"options": {"width": 8}}, "passes `width`"),
    "a width between patches": ({"generation_width": 1000}, "multiple of 16"),
    "a quantiser that is not here": ({"quantisation": "bitsandbytes-4bit"}, "bitsandbytes"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_a_class_cannot_do_is_refused_before_loading(
    case: str, dataset: Path, tmp_path: Path
) -> None:
    """One sentence and exit code 2; the model is not on this machine and is not looked for."""
    changes, message = REFUSED[case]
    flux = {"name": "pipeline", "pipeline": "FluxControlPipeline", "base": ABSENT, "controls": [{}]}
    recipe = write_recipe(tmp_path, flux | changes)
    said = CliRunner().invoke(app, ["generate", str(dataset), "--recipe", str(recipe)])
    assert said.exit_code == 2 and message in " ".join(said.output.split()), said.output
    assert not all_rows(dataset)


def test_models_that_do_not_fit_the_class_are_named(tmp_path: Path) -> None:
    z_image_net = str(pipeline_folder("ZImageControlNetPipeline") / "controlnet")
    other_net = [{"weights": {"id_or_folder": z_image_net}}]
    with pytest.raises(
        InvalidRequest,
        match=r"^`controls\[0\]\.weights` .*it is a ZImageC",
    ):
        _ = engine("StableDiffusion3ControlNetPipeline", controls=other_net).loaded
    z_image_base = {"id_or_folder": str(pipeline_folder("ZImageControlNetPipeline") / "base")}
    with pytest.raises(InvalidRequest, match=r"^`base` .*it has a ZImageTransformer2DModel as"):
        _ = engine("FluxControlPipeline", base=z_image_base).loaded
    with pytest.raises(InvalidRequest, match="is distilled and ignores guidance"):
        _ = engine("Flux2KleinPipeline", guidance=4.0).loaded
    empty = tmp_path / "base"
    shutil.copytree(pipeline_folder("ZImageControlNetPipeline") / "base", empty)
    (empty / "vae/diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(InvalidRequest, match=r"^`base` .*no \.safetensors weights in vae/"):
        _ = engine("ZImageControlNetPipeline", base={"id_or_folder": str(empty)}).loaded


def test_a_model_with_damaged_parts_is_named_by_part(tmp_path: Path) -> None:
    base = tmp_path / "base"
    given = {"id_or_folder": str(base)}
    for part, damage, said in (
        ("text_encoder", without_a_weight, r"text_encoder/ lacks 1 of the network's weights"),
        ("transformer", without_a_weight, r"transformer/ lacks 1 of the network's weights"),
        ("vae", shortened, r"vae/diffusion_pytorch_model\.safetensors: it is not a valid"),
    ):
        shutil.copytree(pipeline_folder("ZImageControlNetPipeline") / "base", base)
        (weights,) = (base / part).glob("*.safetensors")
        damage(weights)
        with pytest.raises(InvalidRequest, match=rf"^`base` \({base}\): {said}"):
            _ = engine("ZImageControlNetPipeline", base=given).loaded
        shutil.rmtree(base)


def without_a_weight(path: Path) -> None:
    tensors = load_file(path)
    tensors.pop(max(tensors))
    save_file(tensors, path, metadata={"format": "pt"})


def shortened(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def test_the_advice_on_a_download_is_short() -> None:
    with pytest.raises(InvalidRequest, match=r"^`base` .*hf download owner/absent") as refused:
        _ = engine("FluxControlPipeline", base=ABSENT).loaded
    assert str(refused.value).count("--include") == 4
    patterns = pipeline_patterns(None)
    wanted = ("model_index.json", "tokenizer/spiece.model", "tokenizer/merges.txt")
    wanted += ("tokenizer/chat_template.jinja", "vae/diffusion_pytorch_model.safetensors")
    wanted += ("transformer/diffusion_pytorch_model-00001-of-00003.safetensors",)
    left = ("flux1-depth-dev.safetensors", "vae/model.fp16.safetensors", "unet/flax_model.msgpack")
    assert all(any(fnmatch(name, p) for p in patterns) for name in wanted)
    assert not any(fnmatch(name, p) for name in left for p in patterns)


def test_half_precision_variants_are_files_of_their_own(tmp_path: Path) -> None:
    """A folder as `from_pretrained(variant="fp16")` leaves it: nothing but *.fp16.safetensors."""
    parts = z_image()
    base = write_parts(tmp_path / "base", "ZImagePipeline", parts)
    for path in list(base.glob("*/*.safetensors")):
        path.rename(path.with_suffix(".fp16.safetensors"))
    given = {"id_or_folder": str(base)}
    made = engine("ZImageImg2ImgPipeline", base=given, variant="fp16")
    assert images(made, requests(made.settings, [0]), 1)
    with pytest.raises(InvalidRequest, match="variant: fp16"):
        _ = engine("ZImageImg2ImgPipeline", base=given).loaded


@pytest.mark.parametrize("name", [n for n in built_in_recipes() if n.startswith("pipeline-")])
def test_built_in_recipes_fit_their_classes(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pinned weights are not looked for on this machine; unpinned ones are asked for in words."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    if unpinned := UNPINNED.get(name):
        words = rf"^`controls\[0\]\.weights` .*no commit is named.*`hf download {unpinned}`"
        with pytest.raises(InvalidRequest, match=words):
            load_recipe(name)
        cached(tmp_path, unpinned)
    recipe = load_recipe(name)
    assert isinstance(recipe.engine, PipelineSettings)
    assert recipe.working_size((1600, 900)) == (1024, 576)
    loose = [w.id_or_folder for w in recipe.engine.all_weights() if not w.is_pinned]
    assert loose == ([unpinned] if unpinned else [])
    assert recipe.engine.pipeline in FAMILIES  # a tiny pipeline of the class is tested above
