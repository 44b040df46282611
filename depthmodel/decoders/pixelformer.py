"""PixelFormer decoder (Agarwal and Arora, WACV 2023), the likely baseline of IID-RDepth.

Written from its description (docs/papers/iid_rdepth.md, section 2), so published weights do not
load. In four stages, from coarse to fine, queries of the decoder attend to the encoder's maps:

    upper.*   query initialiser, bin centres, stages 4 and 3: frozen when restoration is trained
    lower.*   stages 2 and 1, by attention or as couplings (invertible.py)
    logits.*  the last layer, over the bins

No layer differs between eval and train mode.
"""

import math
from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional as F

from nightrain.depthmodel.decoder_config import PixelFormerConfig
from nightrain.depthmodel.decoders.base import Decoder, DepthRange, EncoderShape, Maps, resize
from nightrain.depthmodel.decoders.bins import BinCentres, expected_depth, logits_expecting
from nightrain.depthmodel.decoders.invertible import COUPLINGS, InvertibleStages, fit_grid
from nightrain.depthmodel.decoders.window_attention import WindowCrossAttention
from nightrain.depthmodel.precision import at_least_float32, full_precision

ONE_GRID_FACTORS = (4.0, 2.0, 1.0, 0.5)  # scale a ViT's maps to a pyramid, as in DPT
POOLED = (1, 2, 3, 6)  # cells along a side


class QueryInitialiser(nn.Module):
    """Query initialiser: pyramid pooling of the coarsest map (B, C, h, w) to (B, width, h, w).

    After Zhao et al., CVPR 2017. Group norms replace the batch norms, so that eval mode and frozen
    parts have no second state.
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(channels, width, 1, bias=False), nn.GroupNorm(1, width), nn.ReLU()
            )
            for _ in POOLED
        )
        self.merge = nn.Conv2d(channels + len(POOLED) * width, width, 3, padding=1)

    def forward(self, coarsest: torch.Tensor) -> torch.Tensor:
        """Queries (B, width, h, w) on the same grid."""
        size = (coarsest.shape[2], coarsest.shape[3])
        context = [
            resize(branch(F.adaptive_avg_pool2d(coarsest, cells)), size)
            for branch, cells in zip(self.branches, POOLED, strict=True)
        ]
        return self.merge(torch.cat((coarsest, *context), dim=1))


class AttentionStage(nn.Module):
    """Skip attention: queries (B, Q, ., .) and an encoder map (B, C, h, w) -> (B, dim, h, w)."""

    def __init__(self, queries: int, channels: int, dim: int, config: PixelFormerConfig) -> None:
        super().__init__()
        self.project_query = nn.Conv2d(queries, dim, 3, padding=1)
        self.project_source = nn.Conv2d(channels, dim, 3, padding=1)
        self.norm_query, self.norm_source = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.attention = WindowCrossAttention(dim, dim // config.head_dim, config.window)
        self.norm_mlp, self.norm_out = nn.LayerNorm(dim), nn.LayerNorm(dim)
        hidden = config.mlp_ratio * dim
        self.mlp = nn.Sequential(nn.Linear(dim, hidden), nn.GELU(), nn.Linear(hidden, dim))

    def forward(self, query: torch.Tensor, encoded: torch.Tensor) -> torch.Tensor:
        """Map on the encoder's grid; queries of another grid are cropped or zero-padded."""
        size = (encoded.shape[2], encoded.shape[3])
        query, source = self.project_query(fit_grid(query, size)), self.project_source(encoded)
        q, s = query.permute(0, 2, 3, 1), source.permute(0, 2, 3, 1)  # (B, h, w, dim)
        x = q + self.attention(self.norm_query(q), self.norm_source(s))
        x = self.norm_out(x + self.mlp(self.norm_mlp(x)))
        return x.permute(0, 3, 1, 2) + query + source


class UpperStages(nn.Module):
    """Stages 4 and 3: e2, e3 to the queries of stage 2 at twice e2's grid, and bin centres."""

    def __init__(
        self,
        channels: tuple[int, int],
        config: PixelFormerConfig,
        min_depth_m: float,
        max_depth_m: float,
    ) -> None:
        super().__init__()
        _, _, dim3, dim4 = config.embed_dims
        queries = dim4 // 2
        self.initial = QueryInitialiser(channels[1], queries)
        self.bins = BinCentres(queries, config.num_bins, min_depth_m, max_depth_m)
        self.stage4 = AttentionStage(queries, channels[1], dim4, config)
        self.stage3 = AttentionStage(dim4 // 4, channels[0], dim3, config)
        self.finer = nn.PixelShuffle(2)

    def forward(self, e2: torch.Tensor, e3: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Queries (B, embed_dim, 2h, 2w) and centres (B, num_bins) in metres."""
        initial = self.initial(e3)
        y = self.finer(self.stage4(initial, e3))  # (B, 2 embed_dim, ., .)
        return self.finer(self.stage3(y, e2)), self.bins(initial)


class AttentionStages(nn.Module):
    """Stages 2 and 1 by attention: y and (e0, e1) -> (B, embed_dim, h0, w0)."""

    def __init__(self, low_channels: tuple[int, int], config: PixelFormerConfig) -> None:
        super().__init__()
        dim1, dim2, dim3, _ = config.embed_dims
        self.stage2 = AttentionStage(dim3 // 4, low_channels[1], dim2, config)
        self.stage1 = AttentionStage(dim2 // 4, low_channels[0], dim1, config)
        self.finer = nn.PixelShuffle(2)

    def on_any_grid(self, y: torch.Tensor, low: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        """Map (B, embed_dim, h0, w0) on e0's grid."""
        return self.stage1(self.finer(self.stage2(y, low[1])), low[0])


class PixelFormerDecoder(Decoder):
    """PixelFormer decoder: four encoder maps to depth as an expectation over adaptive bins.

    Grids need not be each other's half: queries are cropped or padded. Maps of one grid (a ViT)
    are first resized to a pyramid. Raises InvalidRequest unless 0 < min_m < max_m.
    """

    def __init__(
        self, encoder: EncoderShape, depths: DepthRange, config: PixelFormerConfig
    ) -> None:
        super().__init__(encoder, depths)
        c0, c1, c2, c3 = encoder.channels
        width = config.embed_dim
        self.upper = UpperStages((c2, c3), config, depths.min_m, depths.max_m)
        self.lower: AttentionStages | InvertibleStages
        if config.lower == "attention":
            self.lower = AttentionStages((c0, c1), config)
        else:
            pairs, bound = config.num_pairs, config.scale_bound
            self.lower = InvertibleStages((c0, c1), width, num_pairs=pairs, scale_bound=bound)
        self.logits = nn.Conv2d(width, config.num_bins, 3, padding=1)
        self._start_at(depths.initial_m)

    def forward(self, maps: Maps, size: tuple[int, int]) -> torch.Tensor:
        """Inverse depth (B, 1, H, W) in 1/m, float32 at least, at `size` (H, W)."""
        return self.depth_m(maps, size).reciprocal()

    def depth_m(self, features: Maps, size: tuple[int, int]) -> torch.Tensor:
        """Depth (B, 1, H, W) in metres, float32 at least, at `size` (H, W) and inside the range."""
        e0, e1, e2, e3 = as_pyramid(features)
        y, centres_m = self.upper(e2, e3)
        finest = self.lower.on_any_grid(y, (e0, e1))  # (B, embed_dim, h0, w0)
        with full_precision(finest.device.type):
            logits = self.logits(at_least_float32(finest))
            return resize(expected_depth(logits, centres_m), size)

    @torch.no_grad()
    def _start_at(self, depth_m: float) -> None:
        """Start by predicting nearly this depth everywhere; raises InvalidRequest."""
        if self.logits.weight.is_meta:  # shapes alone, on which operations are counted
            return
        centres_m = self.upper.bins.start_even_in_log_depth()
        fan_in = self.logits.weight[0].numel()
        nn.init.normal_(self.logits.weight, std=0.03 / math.sqrt(fan_in))
        assert self.logits.bias is not None
        self.logits.bias.copy_(logits_expecting(depth_m, centres_m))

    @classmethod
    def provenance(cls, config: PixelFormerConfig) -> dict[str, str]:
        """Rows of the model card."""
        rows = {"decoder": "published: PixelFormer's wiring, written from its description"}
        return rows | (COUPLINGS if config.lower == "invertible" else {})


def as_pyramid(features: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """Pyramid of four maps: a ViT's maps, which share one grid, are resized by 4, 2, 1 and 1/2."""
    grids = {tuple(feature.shape[2:]) for feature in features}
    if len(grids) > 1:
        return list(features)
    ((height, width),) = grids
    return [
        resize(feature, (math.ceil(height * factor), math.ceil(width * factor)))
        for feature, factor in zip(features, ONE_GRID_FACTORS, strict=True)
    ]
