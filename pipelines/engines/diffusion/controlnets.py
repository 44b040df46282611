"""Control residuals of one step: outputs of several ControlNets summed, or of one union network."""

from collections.abc import Sequence

import torch

from nightrain.pipelines.engines.diffusion.models.parts import ControlKind
from nightrain.pipelines.engines.diffusion.models.union import set_rows_per_sample
from nightrain.pipelines.engines.diffusion.network_inputs import Networks, Rows

Residuals = tuple[list[torch.Tensor] | None, torch.Tensor | None]
# Scale of each control, and the samples (B, 1, 1, 1) bool that have these scales; None: all
Controls = tuple[tuple[tuple[float, ...], torch.Tensor | None], ...]

# Index of each kind in ControlNet-Union's task embedding (xinsir/controlnet-union-sdxl-1.0).
UNION_MODES: dict[ControlKind, int] = {
    "pose": 0,
    "depth": 1,
    "softedge": 2,
    "canny": 3,
    "normal": 4,
    "segment": 5,
}


def control_residuals(
    networks: Networks,
    rows: Rows,
    seen: torch.Tensor,
    timestep: torch.Tensor,
    controls: Controls,
) -> Residuals:
    """Residuals that the controls add to the UNet at one step; (None, None) without any.

    `seen` is the latents (R, 4, h, w). Samples with other scales than their neighbours add zeros
    where the neighbours have residuals.
    """
    down: list[torch.Tensor] = []
    middle = None
    for scales, samples in controls:
        more_down, more_middle = _of_scales(networks, rows, seen, timestep, scales)
        if samples is not None:
            mask = torch.cat([samples] * rows.per_sample)
            more_down = [torch.where(mask, residual, 0.0) for residual in more_down]
            more_middle = torch.where(mask, more_middle, 0.0)
        down, middle = _sum(down, middle, more_down, more_middle)
    return down or None, middle


def _of_scales(
    networks: Networks,
    rows: Rows,
    seen: torch.Tensor,
    timestep: torch.Tensor,
    scales: Sequence[float],
) -> tuple[list[torch.Tensor], torch.Tensor]:
    """Residuals of controls with the same scales for all samples."""
    if networks.union_modes is not None:
        return _union(networks, rows, seen, timestep, scales)
    down: list[torch.Tensor] = []
    middle = None
    for net, control, scale in zip(networks.controlnets, rows.controls, scales, strict=True):
        if scale == 0:  # it would only add zeros
            continue
        more_down, more_middle = net(
            seen,
            timestep,
            encoder_hidden_states=rows.tokens,
            controlnet_cond=control,
            conditioning_scale=scale,
            added_cond_kwargs=rows.added or None,
            return_dict=False,
        )
        down, middle = _sum(down, middle, more_down, more_middle)
    assert middle is not None  # some scale is not 0
    return down, middle


def _sum(
    down: list[torch.Tensor],
    middle: torch.Tensor | None,
    more_down: list[torch.Tensor],
    more_middle: torch.Tensor,
) -> tuple[list[torch.Tensor], torch.Tensor]:
    if middle is None:
        return more_down, more_middle
    return [a + b for a, b in zip(down, more_down, strict=True)], middle + more_middle


def _union(
    networks: Networks,
    rows: Rows,
    seen: torch.Tensor,
    timestep: torch.Tensor,
    scales: Sequence[float],
) -> tuple[list[torch.Tensor], torch.Tensor]:
    modes = list(networks.union_modes or ())
    kinds = seen.new_zeros(len(seen), networks.num_union_modes)  # (R, modes), 1 where used
    for mode in modes:  # indexing from the host would make the GPU wait
        kinds[:, mode] = 1
    set_rows_per_sample(networks.controlnets[0], rows.per_sample)
    return networks.controlnets[0](
        seen,
        timestep,
        encoder_hidden_states=rows.tokens,
        controlnet_cond=list(rows.controls),
        control_type=kinds,
        control_type_idx=modes,
        conditioning_scale=list(scales),
        added_cond_kwargs=rows.added,
        return_dict=False,
    )
