"""Layer names of the original latent-diffusion code, which checkpoints and many LoRAs use.

The original UNet numbers its blocks in one list: `input_blocks.4.1` of SDXL is
`down_blocks.1.attentions.0` in diffusers.
"""

import re

_BLOCK = re.compile(
    r"(down_blocks|up_blocks)\.(\d+)\.(resnets|attentions|\w+samplers)\.(\d+)\.?(.*)"
)
_MIDDLE = re.compile(r"mid_block\.(resnets|attentions)\.(\d+)\.?(.*)")
_ZERO_CONVOLUTION = re.compile(r"controlnet_(?:down_blocks\.(\d+)|mid_block)")
_HINT = re.compile(r"controlnet_cond_embedding\.(?:blocks\.(\d+)|(conv_in|conv_out))")
_HINT_ENDS = {"conv_in": 0, "conv_out": 14}  # of the original code's embedding of control images
_RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "time_emb_proj": "emb_layers.1",
    "conv_shortcut": "skip_connection",
}
_TOP = {
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}


def ldm_unet_name(name: str, layers_per_block: int, has_attention: bool = True) -> str:
    """Original name of a UNet's module; the name itself for one without an original.

    `has_attention`: whether the module's block has attention, which shifts its upsampler.
    """
    if found := _BLOCK.fullmatch(name):
        side, block, kind, number, rest = found.groups()
        return _in_block(side, int(block), kind, int(number), rest, layers_per_block, has_attention)
    if found := _MIDDLE.fullmatch(name):
        kind, number, rest = found.groups()
        index = 1 if kind == "attentions" else 2 * int(number)
        return _joined(f"middle_block.{index}", _inner(kind, rest))
    return _TOP.get(name, name)


def ldm_controlnet_name(name: str, layers_per_block: int) -> str:
    """Original name of a ControlNet's module."""
    if found := _ZERO_CONVOLUTION.fullmatch(name):
        return f"zero_convs.{found[1]}.0" if found[1] else "middle_block_out.0"
    if found := _HINT.fullmatch(name):
        return f"input_hint_block.{2 * int(found[1]) + 2 if found[1] else _HINT_ENDS[found[2]]}"
    return ldm_unet_name(name, layers_per_block)


def _in_block(
    side: str, block: int, kind: str, number: int, rest: str, layers: int, has_attention: bool
) -> str:
    if side == "down_blocks":
        index = 1 + block * (layers + 1) + (layers if kind == "downsamplers" else number)
        place = f"input_blocks.{index}"
        if kind == "downsamplers":
            return _joined(f"{place}.0", rest.replace("conv", "op"))
    else:
        index = block * (layers + 1) + (layers if kind == "upsamplers" else number)
        place = f"output_blocks.{index}"
        if kind == "upsamplers":
            return _joined(f"{place}.{2 if has_attention else 1}", rest)
    return _joined(f"{place}.{1 if kind == 'attentions' else 0}", _inner(kind, rest))


def _inner(kind: str, rest: str) -> str:
    return _RESNET.get(rest, rest) if kind == "resnets" else rest


def _joined(place: str, rest: str) -> str:
    return f"{place}.{rest}" if rest else place
