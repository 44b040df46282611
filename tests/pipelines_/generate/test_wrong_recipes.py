"""Recipes that cannot work: one sentence and exit code 2, with nothing leased or committed."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file, save_file

from nightrain.benchmarks.random_family import IP_ADAPTER_FILE
from nightrain.datasets.io.images import encode_jpeg
from nightrain.datasets.shards.manifest import Manifest
from nightrain.flows.cli import app
from nightrain.pipelines.engines.diffusion.engine import DiffusionEngine
from nightrain.pipelines.engines.registry import load_engine
from nightrain.pipelines.recipes.recipe_file import load_recipe
from support.synthetic import SyntheticSource, all_rows, ingest_synthetic
from support.tiny_depth_networks import save_road_dpt
from support.tiny_diffusion import family, make, picture, write_recipe

NUM_FRAMES = 5


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("wrong") / "dataset"
    ingest_synthetic(root, SyntheticSource(NUM_FRAMES))
    return root


@pytest.fixture
def root(frames: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(frames, tmp_path / "dataset"))


def weights(path: Path, **more: str) -> dict[str, str]:
    return {"id_or_folder": str(path), **more}


def controls(path: Path, **more: Any) -> dict[str, Any]:
    return {"controls": [{"weights": weights(path), **more}]}


def depth(**more: Any) -> dict[str, Any]:
    return controls(family("sd15") / "controlnet-depth", **more)


def adapter(folder: Path, **changes: Any) -> dict[str, Any]:
    tiny = family("sd15") / "ip-adapter"
    given = {
        "weights": weights(tiny),
        "file": IP_ADAPTER_FILE,
        "image_encoder": weights(tiny, subfolder="image_encoder"),
    }
    return {"ip_adapter": given | changes, "style_pool": str(folder / "styles")}


def styles(folder: Path) -> None:
    for condition in ("night", "rain"):
        (folder / "styles" / condition).mkdir(parents=True)
        (folder / "styles" / condition / "a.jpg").write_bytes(encode_jpeg(picture(1)))


def base_copy(folder: Path) -> Path:
    return Path(shutil.copytree(family("sd15") / "base", folder / "base"))


# Each returns the changes of the recipe's engine


def missing_folder(folder: Path) -> dict[str, Any]:
    return {"base": weights(folder / "gone")}


def unpinned_hub_id(folder: Path) -> dict[str, Any]:
    return {"base": {"id_or_folder": "nobody/no-such-model"}}


def pinned_hub_id(folder: Path) -> dict[str, Any]:
    return {"base": {"id_or_folder": "nobody/no-such-model", "revision": "a" * 40}}


def other_pipeline(folder: Path) -> dict[str, Any]:
    return {"base": weights(family("sdxl") / "base")}


def controlnet_of_another_family(folder: Path) -> dict[str, Any]:
    return controls(family("sdxl") / "controlnet-depth")


def pose(folder: Path) -> dict[str, Any]:
    return depth(kind="pose")


def no_control(folder: Path) -> dict[str, Any]:
    return {"controls": []}


def control_without_scale(folder: Path) -> dict[str, Any]:
    return depth(scale=0.0)


def control_between_two_steps(folder: Path) -> dict[str, Any]:
    return depth(start=0.1, end=0.4)


def control_lost_at_low_severity(folder: Path) -> dict[str, Any]:
    mode = {"mode": "image2image", "steps": 10, "strength": [0.1, 0.9]}
    return depth(end=0.6) | mode


def adapter_without_styles(folder: Path) -> dict[str, Any]:
    return adapter(folder) | {"style_pool": None}


def empty_pool(folder: Path) -> dict[str, Any]:
    return adapter(folder)


def damaged_style(folder: Path) -> dict[str, Any]:
    styles(folder)
    path = folder / "styles/rain/a.jpg"
    path.write_bytes(path.read_bytes()[:200])
    return adapter(folder)


def wrong_image_encoder(folder: Path) -> dict[str, Any]:
    styles(folder)
    path = folder / "encoder"
    shutil.copytree(family("sd15") / "ip-adapter/image_encoder", path)
    config = json.loads((path / "config.json").read_text())
    config["projection_dim"] += 3
    (path / "config.json").write_text(json.dumps(config))
    tensors = load_file(path / "model.safetensors")
    wide = tensors["visual_projection.weight"]
    tensors["visual_projection.weight"] = torch.cat([wide, wide[:3]])
    save_file(tensors, path / "model.safetensors", metadata={"format": "pt"})
    return adapter(folder, image_encoder=weights(path))


def missing_adapter_file(folder: Path) -> dict[str, Any]:
    styles(folder)
    return adapter(folder, file="other.safetensors")


def only_another_precision(folder: Path) -> dict[str, Any]:
    base = base_copy(folder)
    for path in base.rglob("*model.safetensors"):
        path.rename(path.with_name(path.name.replace("model.", "model.fp32-ema.")))
    return {"base": weights(base)}


def truncated_weights(folder: Path) -> dict[str, Any]:
    path = base_copy(folder) / "unet/diffusion_pytorch_model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])
    return {"base": weights(folder / "base")}


def damaged_base(part: str, damage: Callable[[Path], None]) -> Callable[[Path], dict[str, Any]]:
    def engine(folder: Path) -> dict[str, Any]:
        damage(base_copy(folder) / part)
        return {"base": weights(folder / "base")}

    return engine


def change_tensors(change: Callable[[dict[str, torch.Tensor]], Any]) -> Callable[[Path], None]:
    def damage(part: Path) -> None:
        (path,) = part.glob("*.safetensors")
        tensors = load_file(path)
        change(tensors)
        save_file(tensors, path, metadata={"format": "pt"})

    return damage


lose_one = change_tensors(lambda tensors: tensors.pop(max(tensors)))
reshape_one = change_tensors(lambda tensors: tensors.update({max(tensors): torch.ones(3)}))


def no_configuration(part: Path) -> None:
    (part / "config.json").unlink()


def wrong_configuration(part: Path) -> None:
    (part / "config.json").write_text("[")


def no_index(folder: Path) -> dict[str, Any]:
    (base_copy(folder) / "model_index.json").unlink()
    return {"base": weights(folder / "base")}


def no_tokenizer(folder: Path) -> dict[str, Any]:
    shutil.rmtree(base_copy(folder) / "tokenizer")
    return {"base": weights(folder / "base")}


def incomplete_controlnet(folder: Path) -> dict[str, Any]:
    lose_one(Path(shutil.copytree(family("sd15") / "controlnet-depth", folder / "net")))
    return controls(folder / "net")


def missing_controlnet(folder: Path) -> dict[str, Any]:
    return controls(folder / "net")


def incomplete_encoder(folder: Path) -> dict[str, Any]:
    styles(folder)
    encoder = shutil.copytree(family("sd15") / "ip-adapter/image_encoder", folder / "encoder")
    lose_one(Path(encoder))
    return adapter(folder, image_encoder=weights(folder / "encoder"))


def lora_for_adapter(folder: Path) -> dict[str, Any]:
    styles(folder)
    save_file({"lora_unet_a.alpha": torch.ones(1)}, folder / "a.safetensors")
    return adapter(folder, weights=weights(folder / "a.safetensors"))


def damaged_lora(folder: Path) -> dict[str, Any]:
    (folder / "a.safetensors").write_bytes(b"00000000000000000000")
    return {"lora": {"weights": weights(folder / "a.safetensors")}}


def unet_for_tiny_decoder(folder: Path) -> dict[str, Any]:
    return {"tiny_decoder": weights(family("sd15") / "base/unet")}


def incomplete_depth_network(folder: Path) -> dict[str, Any]:
    lose_one(save_road_dpt(folder / "dpt"))
    return {"control_depth": {"source": "network", "network": weights(folder / "dpt")}}


def missing_teacher(folder: Path) -> dict[str, Any]:
    return {"control_depth": {"source": "teacher", "teacher": str(folder / "teacher")}}


def truncated_depth_network(folder: Path) -> dict[str, Any]:
    path = save_road_dpt(folder / "dpt") / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    return {"control_depth": {"source": "network", "network": weights(folder / "dpt")}}


def no_captions(folder: Path) -> dict[str, Any]:
    return {"captioner": "blip2"}


CONFIGURATIONS: list[tuple[Callable[[Path], dict[str, Any]] | dict[str, Any], str]] = [
    (missing_folder, "^`base` .*gone"),
    (unpinned_hub_id, r"^`base` \(nobody/no-such-model\): "),
    (pinned_hub_id, r"^`base` \(nobody/no-such-model\): "),
    (other_pipeline, "^`base` .*StableDiffusionXLPipeline"),
    (controlnet_of_another_family, r"^`controls\[0\]\.weights` .*takes text of width"),
    (pose, "'pose' cannot be computed"),
    (no_control, "`controls` is empty.*allow_no_control: true"),
    (control_without_scale, r"`controls\[0\]` has scale 0"),
    (control_between_two_steps, r"`controls\[0\]`.*none of 2"),
    (control_lost_at_low_severity, r"`controls\[0\]`.*none of 1 .*`strength`"),
    (adapter_without_styles, "`ip_adapter` needs a `style_pool`"),
    (empty_pool, "has no JPEG in"),
    (damaged_style, r"rain/a\.jpg cannot be used"),
    (wrong_image_encoder, "`ip_adapter`.*`image_encoder` does not fit"),
    (missing_adapter_file, r"^`ip_adapter\.weights` .*no file 'other\.safetensors'"),
    (only_another_precision, "^`base` .*no weights of full precision.*Set `variant: fp32-ema`"),
    (truncated_weights, r"^`base` .*: unet/.*is not a valid \.safetensors file"),
    (damaged_base("unet", lose_one), "^`base` .*: unet/ lacks 1 of the network's weights"),
    (damaged_base("vae", reshape_one), r"^`base` .*expected shape .*got torch\.Size\(\[3\]\)"),
    (damaged_base("text_encoder", lose_one), "^`base` .*: text_encoder/ lacks 1 of the network's"),
    (damaged_base("text_encoder", reshape_one), "^`base` .*: text_encoder/ has 1 .*another shape"),
    (damaged_base("vae", no_configuration), r"^`base` .*: vae/config\.json is missing"),
    (damaged_base("unet", wrong_configuration), r"^`base` .*: unet/config\.json is not a JSON"),
    (no_index, r"^`base` .*no readable model_index\.json"),
    (no_tokenizer, r"^`base` .*has no tokenizer\.json or vocab\.json in tokenizer/"),
    (missing_controlnet, r"^`controls\[0\]\.weights` .*/net\): There is no folder"),
    (incomplete_controlnet, r"^`controls\[0\]\.weights` .*/net\): it lacks 1 of the network's"),
    (incomplete_encoder, r"^`ip_adapter\.image_encoder` .*: it lacks 1 of the network's weights"),
    (lora_for_adapter, r"^`ip_adapter\.weights` .*: the file is not an IP-Adapter"),
    (damaged_lora, r"^`lora\.weights` .*"),
    (unet_for_tiny_decoder, "^`tiny_decoder` .*"),
    (truncated_depth_network, "^`network` .*depth network .*dpt cannot be loaded"),
    (incomplete_depth_network, "^`network` .*lacks 1 of the network's weights"),
    (missing_teacher, "^`teacher` .*no such folder"),
    (no_captions, "nightrain caption"),
    ({"generation_width": 130}, "generation_width.*multiple of 8"),
    ({"generation_width": 8000}, "8000x5000 pixels.*`generation_width`"),
    ({"family": "sd-turbo", "guidance": 7.5, "steps": 4}, "1 or less"),
    ({"strength": [0.4, 1.5]}, "strength"),
    ({"steps": 0}, "steps"),
    ({"guidance": -1}, "guidance"),
    ({"eta": 0.5, "scheduler": "unipc"}, "eta has no effect on unipc"),
    ({"prompt": "{caption} at night"}, "prompt is not an option"),
]


@pytest.mark.parametrize(
    ("engine", "said"),
    CONFIGURATIONS,
    ids=[getattr(c, "__name__", None) or str(next(iter(c))) for c, _ in CONFIGURATIONS],
)
def test_a_configuration_that_cannot_work_is_one_sentence(
    engine: Callable[[Path], dict[str, Any]] | dict[str, Any],
    said: str,
    root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    before = sorted(root.rglob("*"))
    recipe = write_recipe(tmp_path, engine=engine(tmp_path) if callable(engine) else engine)
    capfd.readouterr()
    result = run_command(root, recipe)
    assert not capfd.readouterr().err  # the libraries' own words
    assert result.exit_code == 2, result.output
    (line,) = result.stderr.strip().splitlines()
    assert line.startswith("nightrain: ")
    assert re.search(said, line.removeprefix("nightrain: ")), line
    assert sorted(root.rglob("*")) == before


def run_command(root: Path, recipe: Path, *more: str) -> Any:
    arguments = ["generate", str(root), "--recipe", str(recipe), "--runner", "local", *more]
    return CliRunner().invoke(app, arguments)


def test_workers_do_not_repeat_what_their_parent_was_told(root: Path, tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path, engine=truncated_weights(tmp_path))
    before = sorted(root.rglob("*"))
    result = run_command(root, recipe, "--workers", "2")
    assert result.exit_code == 2 and len(result.stderr.strip().splitlines()) == 1
    assert sorted(root.rglob("*")) == before


def test_a_run_without_control_is_accepted_in_words_and_marked(root: Path, tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path, engine={"controls": [], "allow_no_control": True})
    report = make(root, recipe)
    assert report.num_rows == 2 * NUM_FRAMES
    assert ["no control image" in words for words in report.warnings] == [True]
    for row in all_rows(root).values():
        assert (row["controlled"], row["control_steps"], row["num_steps"]) == (False, [], 2)


def test_rows_say_on_how_many_steps_each_control_acted(root: Path, tmp_path: Path) -> None:
    tiny = family("sd15")
    engine = {
        "controls": [
            {"weights": weights(tiny / "controlnet-depth"), "end": 0.5},
            {"weights": weights(tiny / "controlnet-canny"), "kind": "canny"},
        ],
        "mode": "image2image",
        "strength": [0.3, 1.0],
        "steps": 10,
    }
    make(root, write_recipe(tmp_path, engine=engine))
    for row in all_rows(root).values():
        steps = int(10 * float(json.loads(row["provenance"])["strength"]) + 1e-6)
        assert row["num_steps"] == steps and row["control_steps"] == [steps // 2, steps]
        assert row["controlled"] is True


def test_a_dead_device_ends_the_run_and_leaves_its_shard_untouched(
    root: Path, tmp_path: Path
) -> None:
    recipe = write_recipe(tmp_path)
    engine = load_engine(load_recipe(str(recipe)).engine)
    assert isinstance(engine, DiffusionEngine)
    calls: list[int] = []

    def die(*_: object) -> None:
        calls.append(1)
        if len(calls) > 2:  # in the second batch, and for ever after
            raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered")

    hook = engine.models.pipe.unet.register_forward_pre_hook(die)
    result = run_command(root, recipe)
    hook.remove()
    assert result.exit_code == 1 and "The GPU failed (CUDA error: an illegal" in result.stderr
    assert result.stderr.count("nightrain: ") == 1 and "Traceback" not in result.stderr
    assert len(calls) < 6  # the samples of the batch are not tried again one by one
    manifest = Manifest(root)
    assert not manifest.tables("variants") and not manifest.tables("quarantine")
    left = [p for p in (*root.glob("_leases/*"), *root.glob("_tmp/*"), *root.glob("_partial/*"))]
    assert not left
    assert make(root, recipe).num_rows == 2 * NUM_FRAMES


def test_an_engine_that_fails_at_everything_ends_the_run(root: Path, tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path)
    engine = load_engine(load_recipe(str(recipe)).engine)
    assert isinstance(engine, DiffusionEngine)

    def fail(*_: object) -> None:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied (1x3 and 4x5)")

    hook = engine.models.pipe.unet.register_forward_pre_hook(fail)
    result = run_command(root, recipe)
    hook.remove()
    assert result.exit_code == 1 and "failed alike" in result.stderr and "mat1" in result.stderr
    assert not Manifest(root).tables("variants")


@pytest.mark.parametrize(
    "words",
    [
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
        "cuDNN error: CUDNN_STATUS_NOT_SUPPORTED",
    ],
)
def test_memory_that_runs_out_in_a_library_halves_the_batch(
    root: Path, tmp_path: Path, words: str
) -> None:
    recipe = write_recipe(tmp_path)
    engine = load_engine(load_recipe(str(recipe)).engine)
    assert isinstance(engine, DiffusionEngine)

    def too_small(_: object, arguments: tuple) -> None:
        if len(arguments[0]) > 2 * 2:
            raise RuntimeError(words)

    hook = engine.models.pipe.unet.register_forward_pre_hook(too_small)
    report = make(root, recipe)
    hook.remove()
    assert report.num_rows == 2 * NUM_FRAMES and not report.num_quarantined
    assert {row["batch_size"] for row in all_rows(root).values()} == {2}
