"""What each family of models can do; settings that ask for more are refused before loading."""

from dataclasses import dataclass

from nightrain.datasets.errors import InvalidRequest
from nightrain.pipelines.engines.diffusion.models.settings import DiffusionSettings, Family


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What a family can do, with the classes and sizes that go with it."""

    pipeline: str  # class that model_index.json must name
    controlnet: bool = True
    strength: bool = True  # image2image
    several_controls: bool = True
    one_net: bool = False  # one network serves every control
    ip_adapter: bool = True
    seed: bool = True
    safety_checker: bool = True
    negative_prompt: bool = True  # turbo models were distilled without guidance
    most_steps: int = 1000
    default_size: tuple[int, int]  # (width, height) of a 16:9 frame
    largest_pixels: int  # width x height beyond which objects are doubled


_SD = "StableDiffusionPipeline"
_XL = "StableDiffusionXLPipeline"

FAMILIES: dict[Family, Capabilities] = {
    "sd15": Capabilities(pipeline=_SD, default_size=(768, 432), largest_pixels=1600 * 904),
    "sd21": Capabilities(pipeline=_SD, default_size=(1024, 576), largest_pixels=1600 * 904),
    "sd-turbo": Capabilities(
        pipeline=_SD,
        default_size=(768, 432),
        largest_pixels=1024 * 1024,
        negative_prompt=False,
        most_steps=4,
    ),
    "sdxl": Capabilities(
        pipeline=_XL,
        default_size=(1344, 756),
        largest_pixels=2048 * 1152,
        safety_checker=False,
    ),
    "sdxl-turbo": Capabilities(
        pipeline=_XL,
        default_size=(768, 432),
        largest_pixels=1344 * 768,
        safety_checker=False,
        negative_prompt=False,
        most_steps=4,
    ),
    "sdxl-union": Capabilities(
        pipeline=_XL,
        default_size=(1344, 756),
        largest_pixels=2048 * 1152,
        safety_checker=False,
        one_net=True,
    ),
}


def require(settings: DiffusionSettings) -> Capabilities:
    """What the family of these settings can do; raises InvalidRequest where they ask for more."""
    can = FAMILIES[settings.family]
    refused = _lacking(settings, can)
    if refused:
        able = [name for name, other in FAMILIES.items() if not _lacking(settings, other)]
        hint = "" if can.negative_prompt else " Its guidance must be 1 or less."
        raise InvalidRequest(
            f"The family {settings.family!r} does not offer: {', '.join(refused)}.{hint} "
            f"Families that do: {', '.join(able) or 'none'}."
        )
    if can.one_net and len({c.weights for c in settings.controls}) > 1:
        raise InvalidRequest(
            "The family 'sdxl-union' serves every control with one network: give the same "
            "weights to each of its controls, or take the family 'sdxl'."
        )
    if can.one_net and len({c.kind for c in settings.controls}) < len(settings.controls):
        raise InvalidRequest("The family 'sdxl-union' takes each kind of control once.")
    if settings.style_pool and settings.ip_adapter is None:
        raise InvalidRequest("style_pool needs an ip_adapter: nothing else looks at a style image.")
    return can


def _lacking(settings: DiffusionSettings, can: Capabilities) -> list[str]:
    """What the settings ask for and a family cannot do."""
    wishes = {
        "a ControlNet": (bool(settings.controls), can.controlnet),
        "several controls": (len(settings.controls) > 1, can.several_controls),
        "image2image with a strength": (settings.mode == "image2image", can.strength),
        "an IP-Adapter": (settings.ip_adapter is not None, can.ip_adapter),
        "a safety checker": (settings.safety_checker, can.safety_checker),
        "guidance with a negative prompt": (settings.guided, can.negative_prompt),
        f"{settings.steps} steps": (settings.steps > can.most_steps, False),
    }
    return [wish for wish, (asked, offered) in wishes.items() if asked and not offered]


def generation_size(
    native: tuple[int, int], settings: DiffusionSettings, multiple: int = 8
) -> tuple[int, int]:
    """(width, height) divisible by `multiple`, of about the family's default area.

    Among the sizes near that area, the one whose aspect is nearest to the frame's: nuScenes'
    1600x900 gives exactly 16:9, RobotCar's 1280x960 exactly 4:3.
    """
    width, height = FAMILIES[settings.family].default_size
    area, aspect = width * height, native[0] / native[1]

    def misfit(size: tuple[int, int]) -> tuple[float, float]:
        w, h = size
        return round(abs(w / h / aspect - 1), 6), abs(w * h / area - 1)

    middle = round((area / aspect) ** 0.5 / multiple)
    heights = [multiple * n for n in range(max(1, middle - 4), middle + 5)]
    sizes = [(multiple * max(1, round(h * aspect / multiple)), h) for h in heights]
    return min(sizes, key=misfit)
