"""Precision of training: bfloat16 on a GPU, float32 elsewhere."""

import torch


def autocast(device: torch.device) -> torch.autocast:
    """Autocast to bfloat16 on a GPU; without effect on a CPU."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=device.type == "cuda")
