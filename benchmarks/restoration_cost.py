"""Cost of restoration and decoders: weights and operations per image, counted at full size.

IID-RDepth, check T12 (docs/papers/iid_rdepth.md); results: docs/studies/restoration.md.

    python -m nightrain.benchmarks.restoration_cost

Multiplications and additions of matrix products and convolutions are counted on torch's meta
device, so nothing is computed. The command prints a Markdown table; the last column is the ratio to
the network without restoration. The target is at most 1.6 x R0 for R1 with DINOv2 ViT-S at
518 x 784 and T = 4.
"""

import torch
from torch.utils.flop_counter import FlopCounterMode

from nightrain.depthmodel.config import DepthConfig, EncoderConfig, RestorationConfig
from nightrain.depthmodel.decoder_config import DptConfig, PixelFormerConfig
from nightrain.depthmodel.network.model import DepthModel
from nightrain.depthmodel.network.presets import world_depth
from nightrain.depthmodel.training.restoration_presets import world_restoration_network

SMALL_HEAD = DptConfig(reassemble_channels=(48, 96, 192, 384), fusion_channels=64)
VIT_S = DepthConfig(
    encoder=EncoderConfig(kind="dinov2", size="small"), decoder=SMALL_HEAD, input_size=(784, 518)
)
SWIN_L = DepthConfig(
    encoder=EncoderConfig(kind="swin", size="large"),
    decoder=PixelFormerConfig(lower="attention"),
    input_size=(1120, 352),
)
WIDTHS = {"S": 64, "M": 128, "L": 160}  # IID-RDepth, section 4.2 (docs/papers/iid_rdepth.md)


def cost(config: DepthConfig) -> tuple[int, int]:
    """Count the weights, and the operations for one image at the configuration's size."""
    with torch.device("meta"):
        model = DepthModel(config).eval()
        width, height = config.input_size
        image = torch.zeros(1, 3, height, width)
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            model(image)
    return sum(p.numel() for p in model.parameters()), counter.get_total_flops()


def members() -> dict[str, tuple[DepthConfig, str]]:
    """Return configurations by name, each with the name of the one it is compared with."""
    found = {"ViT-S, DPT (R0)": (VIT_S, "ViT-S, DPT (R0)")}
    for size, channels in WIDTHS.items():
        for steps in (1, 2, 4, 8) if size == "S" else (4,):
            restoration = RestorationConfig(base_channels=channels, num_steps=steps)
            config = VIT_S.model_copy(update={"restoration": restoration})
            found[f"+ restoration {size}, T = {steps} (R1)"] = config, "ViT-S, DPT (R0)"
    lower = VIT_S.decoder.model_copy(update={"lower": "invertible"})
    both = {"restoration": RestorationConfig(), "decoder": lower}
    found["+ restoration S, invertible stages (R2)"] = (
        VIT_S.model_copy(update=both),
        "ViT-S, DPT (R0)",
    )
    found["Swin-L, PixelFormer"] = SWIN_L, "Swin-L, PixelFormer"
    kitti = {
        "restoration": RestorationConfig(base_channels=128),
        "decoder": PixelFormerConfig(lower="invertible"),
    }
    found["+ restoration M, invertible stages"] = (
        SWIN_L.model_copy(update=kitti),
        "Swin-L, PixelFormer",
    )
    found["world, DPT (R0)"] = world_depth(), "world, DPT (R0)"
    restored = world_depth().model_copy(update={"restoration": world_restoration_network()})
    found["+ the world's restoration (R1)"] = restored, "world, DPT (R0)"
    return found


def main() -> None:
    counted = {name: cost(config) for name, (config, _) in members().items()}
    print("| network | input | weights | operations | ratio |")
    print("| --- | --- | ---: | ---: | ---: |")
    for name, (config, base) in members().items():
        weights, operations = counted[name]
        size = " x ".join(map(str, config.input_size))
        ratio = operations / counted[base][1]
        print(
            f"| {name} | {size} | {weights / 1e6:.1f} M | {operations / 1e9:.1f} G | {ratio:.2f} |"
        )


if __name__ == "__main__":
    main()
