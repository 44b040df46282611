"""Control image settings: kinds, and the source of the depth that they show."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal

from pydantic import Field, model_validator

from nightrain.datasets.errors import InvalidRequest
from nightrain.datasets.validation import Settings
from nightrain.depthmodel.weights import Weights

Scaling = Literal["min-max", "percentile"]
CONTROL_KINDS = ("depth", "canny", "softedge")  # kinds that can be computed


class ControlDepth(Settings):
    """Depth of a control image: its source and its scaling to grey levels."""

    source: Literal["given", "midas", "network", "teacher", "completed"] = Field(
        default="given",
        description="The recipe's `depth`, a network that sees the image, or `completed`: the "
        "completion network, which sees the image and LiDAR",
    )
    network: Weights | None = Field(
        default=None, description="network: a depth-estimation model of transformers"
    )
    teacher: str | None = Field(
        default=None, description="teacher: folder of a depth model trained with nightrain"
    )
    gives: Literal["inverse", "metric"] | None = Field(
        default=None, description="What the network predicts; null: by its family"
    )
    tile_grid: int = Field(
        default=1, ge=1, le=8, description="Grid of overlapping tiles: 4 is 49 tiles; 1 is none"
    )
    dtype: Literal["float32", "float16", "bfloat16"] = Field(
        default="float16",
        exclude_if=lambda value: value == "float16",
        description="Precision of the network on a GPU; a CPU computes in float32",
    )
    scaling: Scaling = Field(
        default="min-max", description="Scaling of the depth to grey levels, by these limits"
    )

    if TYPE_CHECKING:  # pydantic adds it, as settings are frozen

        def __hash__(self) -> int:
            """Hash of the fields."""
            ...

    @model_validator(mode="after")
    def _checks(self) -> "ControlDepth":
        if (self.source == "network") != (self.network is not None):
            raise ValueError(
                "`network` names the weights of source `network`: give both or neither"
            )
        if (self.source == "teacher") != (self.teacher is not None):
            raise ValueError("`teacher` names the folder of source `teacher`: give both or neither")
        if self.source in ("given", "completed") and self.tile_grid > 1:
            raise ValueError(f"tile_grid has no effect on {self.source} depth: leave it out")
        return self


def require_control_kinds(kinds: Iterable[str]) -> None:
    """Raise InvalidRequest for a kind of control image that nightrain cannot compute."""
    unknown = sorted(set(kinds) - set(CONTROL_KINDS))
    if unknown:
        raise InvalidRequest(
            f"Control images of the kind {unknown[0]!r} cannot be computed; a recipe's ControlNets "
            f"can be of the kinds {', '.join(CONTROL_KINDS)}."
        )
