"""Loading: what is missing, unsafe or does not fit is said in words; LoRA and tiny decoder."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderTiny
from pydantic import ValidationError
from safetensors.torch import load_file, save_file

from nightrain.datasets.errors import InvalidRequest
from nightrain.depthmodel.weights import Weights
from nightrain.pipelines.engines.diffusion.engine import DiffusionEngine
from nightrain.pipelines.engines.diffusion.models.families import FAMILIES, generation_size
from nightrain.pipelines.engines.diffusion.models.loading import load_models
from nightrain.pipelines.engines.diffusion.models.parts import Control, IpAdapter, Lora
from nightrain.pipelines.engines.diffusion.models.settings import DiffusionSettings
from support.tiny_diffusion import control, family, ip_adapter, request, settings

CPU = torch.device("cpu")


def load(wanted: DiffusionSettings) -> Any:
    return load_models(wanted, CPU, offline=True)


def copy_of(part: str, folder: Path, name: str = "sd15") -> Path:
    return Path(shutil.copytree(family(name) / part, folder / part))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"family": "sd-turbo", "guidance": 7.5}, "guidance with a negative prompt.*1 or less"),
        ({"family": "sdxl-turbo", "guidance": 1.0, "steps": 30}, "30 steps"),
        ({"family": "sdxl", "safety_checker": True}, "a safety checker.*Families that do: sd15"),
        ({"style_pool": "/pool"}, "needs an ip_adapter"),
    ],
)
def test_what_a_family_cannot_do_is_refused_before_loading(
    changes: dict[str, Any], said: str
) -> None:
    nowhere = Weights("/nowhere/at/all")
    wanted = DiffusionSettings(
        **({"base": nowhere, "controls": (Control(weights=nowhere),)} | changes)
    )
    with pytest.raises(InvalidRequest, match=said):
        DiffusionEngine(wanted, device="cpu", offline=True)


def test_a_union_serves_each_kind_once_and_all_with_one_network() -> None:
    one, other = Weights("a/a"), Weights("b/b")
    pairs = {
        "same weights": (Control(weights=one), Control(weights=other, kind="canny")),
        "each kind of control once": (Control(weights=one), Control(weights=one)),
    }
    for said, controls in pairs.items():
        with pytest.raises(InvalidRequest, match=said):
            DiffusionSettings(family="sdxl-union", controls=controls).require_family()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"family": "flux"}, "family"),
        ({"scheduler": "magic"}, "scheduler"),
        ({"mode": "image2image", "steps": 2, "strength": (0.1, 0.5)}, "must be at least 1"),
        ({"strength": (0.9, 0.1)}, "is above"),
        ({"controls": ({"weights": {"id_or_folder": "a/b"}, "start": 0.7, "end": 0.7},)}, "below"),
        ({"guidence": 3.0}, "guidence"),
    ],
)
def test_settings_that_make_no_sense(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        DiffusionSettings(**changes)


def test_settings_survive_json() -> None:
    wanted = settings(ip_adapter=ip_adapter("sd15"))
    assert DiffusionSettings.model_validate_json(wanted.model_dump_json()) == wanted


def test_a_missing_model_is_one_sentence_with_the_command() -> None:
    with pytest.raises(
        InvalidRequest, match="hf download stable-diffusion-v1-5/stable-diffusion-v1-5"
    ):
        load(DiffusionSettings())


def test_a_missing_part_is_named_before_anything_is_loaded() -> None:
    wanted = settings(controls=(Control(weights=Weights("lllyasviel/nothing", "a" * 40)),))
    with pytest.raises(InvalidRequest, match=r"hf download lllyasviel/nothing --revision a{40}"):
        load(wanted)


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder"])
def test_weights_that_can_run_code_are_refused(tmp_path: Path, part: str) -> None:
    base = copy_of("base", tmp_path)
    for file in (base / part).glob("*.safetensors"):
        file.rename(file.with_suffix(".bin"))
    with pytest.raises(InvalidRequest, match=rf"no .safetensors weights in {part}/"):
        load(settings(base=Weights(str(base))))


def test_a_controlnet_without_safetensors_is_refused(tmp_path: Path) -> None:
    net = copy_of("controlnet-depth", tmp_path)
    file = net / "diffusion_pytorch_model.safetensors"
    file.rename(net / "diffusion_pytorch_model.bin")
    with pytest.raises(InvalidRequest, match=r"only \.safetensors files are loaded"):
        load(settings(controls=(Control(weights=Weights(str(net))),)))


@pytest.mark.parametrize(
    "file", ["ip-adapter.bin", "../ip-adapter.safetensors", "other.safetensors"]
)
def test_an_ip_adapter_file_that_is_not_there_or_not_safe(file: str) -> None:
    adapter = IpAdapter(**(dict(ip_adapter("sd15")) | {"file": file}))
    with pytest.raises(
        InvalidRequest, match=r"is not a \.safetensors|has no file 'other\.safetensors'; found: ip-"
    ):
        load(settings(ip_adapter=adapter))


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        (lambda: settings("sdxl", base=settings().base), "family 'sdxl' is a StableDiffusionXL"),
        (lambda: settings(controls=(control("sdxl"),)), "text of width 40.*has 16"),
        (lambda: settings(controls=(control("sdxl-union"),)), "needs a ControlNetModel"),
        (lambda: settings(base=Weights(str(family("sd15") / "controlnet-depth"))), "model_index"),
    ],
)
def test_parts_that_do_not_fit_together(wanted: Any, said: str) -> None:
    with pytest.raises(InvalidRequest, match=said):
        load(wanted())


def test_an_inpainting_unet_is_refused(tmp_path: Path) -> None:
    base = copy_of("base", tmp_path)
    file = base / "unet" / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"in_channels": 9}))
    weights = base / "unet" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(weights)
    tensors["conv_in.weight"] = torch.zeros(8, 9, 3, 3)
    save_file(tensors, weights, metadata={"format": "pt"})
    with pytest.raises(InvalidRequest, match="takes 9 channels"):
        load(settings(base=Weights(str(base))))


def lora_file(folder: Path, style: str) -> tuple[Path, str, torch.Tensor]:
    """A LoRA of one layer, in one of the key layouts: (file, layer, what it adds)."""
    unet = load(settings()).pipe.unet
    name = next(n for n, _ in unet.named_modules() if n.endswith("attn1.to_q"))
    down, up = torch.randn(2, 8), torch.randn(8, 2)
    kohya = f"lora_unet_{name.replace('.', '_')}"
    keys = {
        "kohya": (f"{kohya}.lora_down.weight", f"{kohya}.lora_up.weight"),
        "peft": (f"unet.{name}.lora_A.weight", f"unet.{name}.lora_B.weight"),
        "diffusers": (f"unet.{name}.lora.down.weight", f"unet.{name}.lora.up.weight"),
    }[style]
    tensors = {keys[0]: down, keys[1]: up}
    if style == "kohya":
        tensors[f"{kohya}.alpha"] = torch.tensor(1.0)
    save_file(tensors, folder / "lora.safetensors")
    return folder / "lora.safetensors", name, (0.5 if style == "kohya" else 1.0) * up @ down


@pytest.mark.parametrize("style", ["kohya", "peft", "diffusers"])
def test_a_lora_is_added_to_the_weights(tmp_path: Path, style: str) -> None:
    file, name, change = lora_file(tmp_path, style)
    lora = Lora(weights=Weights(str(tmp_path)), file=file.name, scale=0.25)
    before = load(settings()).pipe.unet.get_submodule(name).weight
    after = load(settings(lora=lora)).pipe.unet.get_submodule(name).weight
    torch.testing.assert_close(after, before + 0.25 * change)


def test_a_lora_of_another_model_is_refused(tmp_path: Path) -> None:
    save_file({"lora_unet_other.lora_down.weight": torch.ones(1, 1)}, tmp_path / "l.safetensors")
    lora = Lora(weights=Weights(str(tmp_path)), file="l.safetensors")
    with pytest.raises(
        InvalidRequest, match="is not a LoRA of this base model: 0 layers fit, 1 keys fit none"
    ):
        load(settings(lora=lora))


def test_a_tiny_decoder_takes_the_place_of_the_vae(tmp_path: Path) -> None:
    AutoencoderTiny(
        encoder_block_out_channels=(4, 4, 4, 4), decoder_block_out_channels=(4, 4, 4, 4)
    ).save_pretrained(tmp_path)
    engine = DiffusionEngine(
        settings(tiny_decoder=Weights(str(tmp_path))), device="cpu", offline=True
    )
    decoded: list[int] = []
    engine.models.vae_decoder.decoder.register_forward_hook(lambda *_: decoded.append(1))
    engine.models.pipe.vae.decoder.register_forward_hook(lambda *_: decoded.append(100))
    made = engine.outcomes([request(0)])  # random weights: the picture may be refused as flat
    assert len(made) == 1 and decoded and sum(decoded) < 100


@pytest.mark.parametrize(
    ("native", "name", "expected"),
    [
        ((1600, 900), "sd15", (768, 432)),
        ((1280, 960), "sd15", (672, 504)),
        ((1280, 960), "sdxl", (1152, 864)),
        ((1242, 375), "sd15", None),
    ],
)
def test_generation_sizes_keep_the_aspect(
    native: tuple[int, int], name: str, expected: tuple[int, int] | None
) -> None:
    width, height = generation_size(native, name)  # type: ignore
    assert width % 8 == 0 and height % 8 == 0
    assert width / height == pytest.approx(native[0] / native[1], rel=0.01)
    assert width * height <= FAMILIES[name].largest_pixels  # type: ignore[index]
    assert expected is None or (width, height) == expected


def test_settings_and_capabilities_are_light_to_import() -> None:
    code = "import sys, nightrain.pipelines.engines.diffusion.models.settings; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "diffusers", "transformers", "cv2", "numpy"} & set(run.stdout.split())
