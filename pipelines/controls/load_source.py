"""Loader of depth sources."""

import functools

from nightrain.pipelines.controls.depth_source import DepthSource
from nightrain.pipelines.controls.given import GivenDepth
from nightrain.pipelines.controls.settings import ControlDepth


@functools.cache
def load_depth_source(settings: ControlDepth) -> DepthSource:
    """Return the depth source for the settings; a network is loaded at its first image."""
    source: DepthSource = GivenDepth()
    if settings.source == "midas":
        from nightrain.pipelines.controls.detectors import MidasDepth

        source = MidasDepth(dtype=settings.dtype)
    elif settings.source == "completed":
        from nightrain.pipelines.controls.completed import CompletedNetworkDepth

        source = CompletedNetworkDepth()
    elif settings.network is not None:
        from nightrain.pipelines.controls.networks import NetworkDepth

        source = NetworkDepth(settings.network, settings.gives, settings.dtype)
    elif settings.teacher is not None:
        from nightrain.pipelines.controls.trained_model import TeacherDepth

        source = TeacherDepth(settings.teacher)
    if settings.tile_grid > 1:
        from nightrain.pipelines.controls.tiles import TiledDepth

        source = TiledDepth(source, settings.tile_grid)
    return source


def gives_metres(settings: ControlDepth) -> bool:
    """Whether a depth source's maps are metric, without loading it; raises InvalidRequest."""
    if settings.network is None:
        return settings.source in ("given", "teacher", "completed")
    from nightrain.pipelines.controls.networks import NetworkDepth

    return NetworkDepth(settings.network, settings.gives, settings.dtype).is_metric
