"""What a recipe says about the depth that its control images show."""

import functools
from collections.abc import Iterable
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from nightrain.datasets.errors import InvalidRequest
from nightrain.depthmodel.weights import Weights
from nightrain.pipelines.controls.base import DepthSource
from nightrain.pipelines.controls.control_image import Scaling
from nightrain.pipelines.controls.given import GivenDepth

CONTROL_KINDS = ("depth", "canny", "softedge")  # of the control images that are made here


class ControlDepth(BaseModel):
    """Where the depth of a control comes from, and how it becomes grey."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    # given: the recipe's `depth`; the others look at the picture alone
    source: Literal["given", "midas", "network", "teacher"] = "given"
    network: Weights | None = None  # a depth-estimation model of transformers
    teacher: str | None = None  # folder of a depth model trained here
    gives: Literal["inverse", "metric"] | None = None  # None: by the network's family
    tile_grid: int = Field(default=1, ge=1, le=8)  # 4: 49 overlapping tiles; 1: none
    scaling: Scaling = "min-max"

    @model_validator(mode="after")
    def _checks(self) -> "ControlDepth":
        if (self.source == "network") != (self.network is not None):
            raise ValueError("`network` names the weights of source `network`, and of it alone")
        if (self.source == "teacher") != (self.teacher is not None):
            raise ValueError("`teacher` names the folder of source `teacher`, and of it alone")
        if self.source == "given" and self.tile_grid > 1:
            raise ValueError("given depth has nothing to gain from tiles: leave tile_grid out")
        return self


@functools.cache
def depth_source(settings_json: str) -> DepthSource:
    """The source that settings, as JSON, describe; networks are loaded at the first picture."""
    settings = ControlDepth.model_validate_json(settings_json)
    source: DepthSource = GivenDepth()
    if settings.source == "midas":
        from nightrain.pipelines.controls.detectors import MidasDepth

        source = MidasDepth()
    elif settings.network is not None:
        from nightrain.pipelines.controls.networks import NetworkDepth

        source = NetworkDepth(settings.network, gives=settings.gives)
    elif settings.teacher is not None:
        from nightrain.pipelines.controls.trained_model import TeacherDepth

        source = TeacherDepth(settings.teacher)
    if settings.tile_grid > 1:
        from nightrain.pipelines.controls.tiles import TiledDepth

        source = TiledDepth(source, settings.tile_grid)
    return source


def require_makeable(kinds: Iterable[str]) -> None:
    """Raise InvalidRequest for a kind of control whose image cannot be made."""
    unknown = sorted(set(kinds) - set(CONTROL_KINDS))
    if unknown:
        raise InvalidRequest(
            f"No control image of the kind {unknown[0]!r} can be made yet; the recipe's "
            f"ControlNets can be {', '.join(CONTROL_KINDS[:-1])} or {CONTROL_KINDS[-1]}."
        )
