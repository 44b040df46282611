"""Maps that are compared pixel by pixel must have one shape; broadcasting would hide a mistake."""

from torch import Tensor


def same_shape(**maps: Tensor) -> None:
    """Raise ValueError with every name and shape unless all tensors have one shape."""
    if len({tuple(tensor.shape) for tensor in maps.values()}) > 1:
        found = ", ".join(f"{name} {tuple(tensor.shape)}" for name, tensor in maps.items())
        raise ValueError(f"these must have one shape: {found}; resize or unsqueeze before")
