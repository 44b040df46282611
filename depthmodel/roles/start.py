"""Initialisation of a network from the weights of another one of the same architecture."""

from collections.abc import Sequence

from nightrain.datasets.errors import InvalidRequest
from nightrain.depthmodel.config import DepthConfig


def require_same_parts(
    other: DepthConfig, model: DepthConfig, parts: Sequence[str], purpose: str
) -> None:
    """Raise InvalidRequest unless another network has the same `parts` as the one to train.

    `parts` are fields of DepthConfig; `purpose` begins the sentence ("To start from the teacher").
    """
    theirs, ours = (_architecture(config) for config in (other, model))
    differing = [
        f"{part} is {theirs[part]}, expected {ours[part]}"
        for part in parts
        if theirs[part] != ours[part]
    ]
    if differing:
        raise InvalidRequest(
            f"{purpose}, its network must have the same {', '.join(parts)}, but its "
            f"{'; its '.join(differing)}. Name another network, or train one of its architecture."
        )


def _architecture(config: DepthConfig) -> dict[str, object]:
    fields = config.without_pretrained().model_dump(mode="json")
    del fields["encoder"]["drop_path"]  # a setting of training, without weights
    return fields
