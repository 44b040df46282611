"""The true SD1.5 architecture with random weights through the ordinary loading path, on the CPU.

Sizes and key names are those of the published files: 859,520,964 weights in the UNet, 44.6 MB of
half-precision weights in ip-adapter_sd15.safetensors.
"""

import gzip
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open

from nightrain.benchmarks.architectures import SD15
from nightrain.benchmarks.random_family import (
    END,
    IP_ADAPTER_FILE,
    START,
    write_random_family,
)
from nightrain.depthmodel.weights import Weights
from nightrain.pipelines.engines.base import Variant
from nightrain.pipelines.engines.diffusion.engine import DiffusionEngine
from nightrain.pipelines.engines.diffusion.models.parts import Control, IpAdapter
from nightrain.pipelines.engines.diffusion.models.settings import DiffusionSettings
from support.paths import REAL_DATA
from support.tiny_diffusion import picture, request

VOCABULARY = REAL_DATA / "clip_vocab/bpe_simple_vocab_16e6.txt.gz"


def clip_vocabulary() -> tuple[dict[str, int], list[tuple[str, str]]]:
    """CLIP's 49,408 tokens and 48,894 merges, as openai/CLIP builds them from its file."""
    with gzip.open(VOCABULARY, "rt", encoding="utf-8") as file:
        lines = file.read().split("\n")[1 : 49152 - 256 - 2 + 1]
    merges = [(a, b) for a, b in (line.split() for line in lines)]
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]  # bytes with a sign of their own
    hidden = [b for b in range(256) if b not in shown]
    letters = [*map(chr, shown), *(chr(256 + n) for n in range(len(hidden)))]
    tokens = [*letters, *(f"{c}</w>" for c in letters), *(a + b for a, b in merges), START, END]
    return {token: index for index, token in enumerate(tokens)}, merges


def num_weights(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@pytest.fixture
def quick_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """Random weights are copies of a block: to draw 1.5 billion of them takes long."""
    block = torch.randn(1_000_003, generator=torch.Generator().manual_seed(0))

    def normal_(tensor: torch.Tensor, mean: float, std: float, _: object = None) -> torch.Tensor:
        with torch.no_grad():
            for part in tensor.view(-1).split(len(block)):
                part.copy_(block[: len(part)]).mul_(std).add_(mean)  # nothing on the device "meta"
        return tensor

    monkeypatch.setattr(torch.nn.init, "_no_grad_normal_", normal_)  # behind every normal_
    for name in ("kaiming_uniform_", "uniform_", "xavier_uniform_"):  # normal_ follows
        monkeypatch.setattr(torch.nn.init, name, lambda tensor, *_, **__: tensor)


@pytest.mark.slow
@pytest.mark.usefixtures("quick_weights")
@pytest.mark.skipif(not VOCABULARY.is_file(), reason="no CLIP vocabulary beside this checkout")
def test_one_image_by_the_true_architecture(tmp_path: Path) -> None:
    root = write_random_family(
        tmp_path, SD15, dtype=torch.bfloat16, vocabulary=clip_vocabulary(), controls=("depth",)
    )
    adapter = root / "ip-adapter"
    engine = DiffusionEngine(
        DiffusionSettings(
            base=Weights(str(root / "base")),
            controls=(Control(weights=Weights(str(root / "controlnet-depth"))),),
            ip_adapter=IpAdapter(
                weights=Weights(str(adapter)),
                file=IP_ADAPTER_FILE,
                image_encoder=Weights(str(adapter), subfolder="image_encoder"),
            ),
            steps=1,
            guidance=1.0,
            dtype="bfloat16",
        ),
        device="cpu",
        offline=True,
        batch_size=1,
    )
    pipe, nets = engine.models.pipe, engine.models.controlnets
    embedder = engine.models.condition_embedders[0]
    assert num_weights(nets[0]) + num_weights(embedder) == 361_279_120
    assert num_weights(pipe.text_encoder) == 123_060_480
    assert num_weights(pipe.vae) == 83_653_863
    with safe_open(adapter / IP_ADAPTER_FILE, "pt") as file:
        added = {key: int(np.prod(file.get_slice(key).get_shape())) for key in file.keys()}  # noqa: SIM118
    assert sum(added.values()) == 22_319_616
    assert num_weights(pipe.unet) == 859_520_964 + sum(added.values())
    assert pipe.tokenizer("a photo of a cat").input_ids == [49406, 320, 1125, 539, 320, 2368, 49407]

    made = engine.outcomes(
        [
            request(
                0,
                image=picture(0, 64, 64),
                control_images=(picture(1, 64, 64),),
                style_image=picture(2, 90, 120),
            )
        ]
    )[0]
    assert isinstance(made, Variant), made
    assert made.image.shape == (64, 64, 3) and made.image.std() > 1
