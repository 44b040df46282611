"""Model families: their capabilities, and the image sizes that they were trained for."""

from dataclasses import dataclass
from typing import Literal

from nightrain.datasets.errors import InvalidRequest
from nightrain.depthmodel.weights import Weights

Family = Literal["sd15", "sd21", "sd-turbo", "sdxl", "sdxl-turbo", "sdxl-union", "small"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """Capabilities of a family, with its pipeline class and image sizes."""

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
    config: Weights | None = None  # configuration and tokenizers of its single-file checkpoints
    largest_pixels: int  # width x height beyond which objects appear twice


_SD = "StableDiffusionPipeline"
_XL = "StableDiffusionXLPipeline"
_SD15_CONFIG = Weights(
    "stable-diffusion-v1-5/stable-diffusion-v1-5", "451f4fe16113bff5a5d2269ed5ad43b0592e9a14"
)
_XL_CONFIG = Weights(
    "stabilityai/stable-diffusion-xl-base-1.0", "462165984030d82259a11f4367a4eed129e94a7b"
)

FAMILIES: dict[Family, Capabilities] = {
    "sd15": Capabilities(
        pipeline=_SD, config=_SD15_CONFIG, default_size=(768, 432), largest_pixels=1600 * 904
    ),
    # The built-in family of pipelines/small_diffusion, trained on rendered streets
    "small": Capabilities(
        pipeline=_SD,
        default_size=(224, 128),
        largest_pixels=448 * 256,
        safety_checker=False,
    ),
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
        config=_XL_CONFIG,
        default_size=(1344, 756),
        largest_pixels=2048 * 1152,
        safety_checker=False,
    ),
    "sdxl-turbo": Capabilities(
        pipeline=_XL,
        config=_XL_CONFIG,
        default_size=(768, 432),
        largest_pixels=1344 * 768,
        safety_checker=False,
        negative_prompt=False,
        most_steps=4,
    ),
    "sdxl-union": Capabilities(
        pipeline=_XL,
        config=_XL_CONFIG,
        default_size=(1344, 756),
        largest_pixels=2048 * 1152,
        safety_checker=False,
        one_net=True,
    ),
}


def generation_size(native: tuple[int, int], family: Family, multiple: int = 8) -> tuple[int, int]:
    """Return (width, height) divisible by `multiple`, with about the family's default area.

    Among the sizes near that area, the aspect ratio closest to the frame's is chosen: nuScenes'
    1600x900 gives exactly 16:9, RobotCar's 1280x960 exactly 4:3.
    """
    width, height = FAMILIES[family].default_size
    area, aspect = width * height, native[0] / native[1]

    def misfit(size: tuple[int, int]) -> tuple[float, float]:
        w, h = size
        return round(abs(w / h / aspect - 1), 6), abs(w * h / area - 1)

    middle = round((area / aspect) ** 0.5 / multiple)
    heights = [multiple * n for n in range(max(1, middle - 4), middle + 5)]
    sizes = [(multiple * max(1, round(h * aspect / multiple)), h) for h in heights]
    return min(sizes, key=misfit)


def require_generation_size(size: tuple[int, int], family: Family, multiple: int = 8) -> None:
    """Raise InvalidRequest for a (width, height) that a family cannot generate."""
    width, height = size
    largest = FAMILIES[family].largest_pixels
    if width % multiple or height % multiple or width * height > largest:
        raise InvalidRequest(
            f"Generated images would be {width}x{height} pixels; the family {family!r} supports "
            f"sides divisible by {multiple} and at most {largest} pixels. Set `generation_width` "
            "accordingly, or leave it out."
        )
