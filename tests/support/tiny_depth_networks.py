"""Depth networks of a few thousand random weights, saved in the layout of the true ones."""

from pathlib import Path
from typing import Any

import torch
from transformers import (
    BeitConfig,
    DepthAnythingConfig,
    DepthAnythingForDepthEstimation,
    Dinov2Config,
    DPTConfig,
    DPTForDepthEstimation,
    DPTImageProcessor,
    ZoeDepthConfig,
    ZoeDepthForDepthEstimation,
    ZoeDepthImageProcessor,
)

VIT = {"hidden_size": 16, "num_attention_heads": 2, "num_hidden_layers": 4}


def save_dpt(folder: Path) -> Path:
    config = DPTConfig(
        **VIT,
        intermediate_size=32,
        image_size=32,
        patch_size=8,
        backbone_out_indices=[0, 1, 2, 3],
        neck_hidden_sizes=[8, 8, 8, 8],
        fusion_hidden_size=8,
    )
    _save(DPTForDepthEstimation(config), folder)
    side = {"height": 32, "width": 32}
    DPTImageProcessor(size=side).save_pretrained(folder)
    return folder


def save_road_dpt(folder: Path, *, upside_down: bool = False) -> Path:
    """A DPT that is blind to the picture and gives one map, with the road near or far."""
    model = DPTForDepthEstimation.from_pretrained(save_dpt(folder))
    embeddings: Any = model.dpt.embeddings
    last: Any = model.head.head[4]
    torch.manual_seed(5 if upside_down else 1)  # looked for: random layers on a ramp of positions
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(0.0, 0.3)
        embeddings.patch_embeddings.projection.weight.zero_()
        down = torch.linspace(-3, 3, 4).repeat_interleave(4)[:, None]  # (4 x 4 patches, 1)
        embeddings.position_embeddings[0, 1:] = down * torch.randn(16)
        last.weight.abs_()
        last.bias.fill_(1.0)  # the ReLU after it stays open
    model.save_pretrained(folder)
    return folder


def save_depth_anything(folder: Path, kind: str = "relative") -> Path:
    backbone = Dinov2Config(
        **VIT, image_size=28, patch_size=14, out_features=["stage1", "stage2", "stage3", "stage4"]
    )
    backbone.reshape_hidden_states = False
    config = DepthAnythingConfig(
        backbone_config=backbone,
        reassemble_hidden_size=16,
        patch_size=14,
        neck_hidden_sizes=[8, 8, 8, 8],
        fusion_hidden_size=8,
        head_hidden_size=8,
        depth_estimation_type=kind,
        max_depth=80 if kind == "metric" else 1,
    )
    _save(DepthAnythingForDepthEstimation(config), folder)
    processor = DPTImageProcessor(
        size={"height": 56, "width": 56}, keep_aspect_ratio=True, ensure_multiple_of=14
    )
    processor.save_pretrained(folder)
    return folder


def save_zoedepth(folder: Path) -> Path:
    backbone = BeitConfig(
        **VIT,
        intermediate_size=32,
        image_size=32,
        patch_size=8,
        out_features=["stage1", "stage2", "stage3", "stage4"],
        reshape_hidden_states=False,
        use_relative_position_bias=True,
    )
    config = ZoeDepthConfig(
        backbone_config=backbone,
        neck_hidden_sizes=[8, 8, 8, 8],
        fusion_hidden_size=8,
        bottleneck_features=8,
        num_relative_features=8,
        bin_embedding_dim=8,
        num_attractors=[4, 2, 1, 1],
        bin_configurations=[{"n_bins": 8, "min_depth": 0.001, "max_depth": 80.0}],
    )
    _save(ZoeDepthForDepthEstimation(config), folder)
    processor = ZoeDepthImageProcessor(size={"height": 32, "width": 32}, ensure_multiple_of=8)
    processor.save_pretrained(folder)
    return folder


def _save(model: torch.nn.Module, folder: Path) -> None:
    """Weights large enough that the depth varies."""
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(0.0, 0.3)
    model.save_pretrained(folder)
