"""Captioners by name, as recipes and `nightrain caption` select them."""

from typing import Literal, get_args

from nightrain.pipelines.captions.captioner import Captioner
from nightrain.pipelines.captions.metadata import MetadataCaptioner

CaptionerName = Literal["metadata", "blip2", "small"]
CAPTIONERS: tuple[CaptionerName, ...] = get_args(CaptionerName)


def load_captioner(name: str) -> Captioner:
    """Return a captioner by name; its weights are loaded at the first image."""
    if name == "metadata":
        return MetadataCaptioner()
    from nightrain.pipelines.captions.vision import Blip2Captioner, SmallCaptioner

    return Blip2Captioner() if name == "blip2" else SmallCaptioner()
