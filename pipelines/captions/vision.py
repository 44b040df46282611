"""Network captions: a vision-language network, BLIP-2 as in SSD or a smaller one.

BLIP-2: Li, Li, Savarese and Hoi 2023, arXiv:2301.12597. Florence-2: Xiao et al. 2023,
arXiv:2311.06242. BLIP: Li, Li, Xiong and Hoi 2022, arXiv:2201.12086.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from nightrain.datasets.errors import InvalidRequest
from nightrain.depthmodel.loading_reports import quiet_transformers, require_complete
from nightrain.depthmodel.weights import Weights, about, resolve, weights_name
from nightrain.pipelines.captions.captioner import one_line

# The first commit with the image token that transformers needs; in safetensors, MIT.
BLIP2 = Weights("Salesforce/blip2-opt-2.7b", "59a1ef6c1e5117b3f65523d1c6066825bcf315e3")
# 0.23 B parameters, safetensors, MIT. BLIP's own small model exists only as a pickle.
FLORENCE2 = Weights(
    "florence-community/Florence-2-base", "00921df66db728a9ceb750f5eca43e5c203a2051"
)
TASKS = {"florence2": "<CAPTION>"}  # text input of a family, in addition to the image
FAMILIES = {"blip2": ("blip-2",), "small": ("florence2", "blip")}


@dataclass(frozen=True)
class _NetworkCaptioner:
    """Base class of the network captioners; picklable."""

    model: Weights
    num_beams: int = 3
    max_new_tokens: int = 30
    batch_size: int = 8  # batches are padded to it: captions do not depend on other images
    dtype: Literal["float32", "float16", "bfloat16"] = "float32"
    device: str = "auto"  # "auto": the first GPU, else the processor
    offline: bool | None = None  # None: as HF_HUB_OFFLINE says

    name = ""

    @property
    def version(self) -> str:
        """Version of this code, with the settings that affect the captions."""
        settings = f"beams{self.num_beams}-tokens{self.max_new_tokens}"
        return f"1-{settings}-batch{self.batch_size}-{self.dtype}"

    @property
    def weights(self) -> str:
        """Hub id and commit, or name and fingerprint of a folder; raises InvalidRequest."""
        return weights_name(self.model, offline=self.offline)

    @property
    def runs_on(self) -> str:
        """The chosen device; "auto" is the first GPU, else the CPU."""
        import torch

        if self.device != "auto":
            return self.device
        return "cuda" if torch.cuda.is_available() else "cpu"

    def caption(self, images: Sequence[np.ndarray], about: Sequence[str]) -> list[str]:
        """Return one caption per image (H, W, 3) uint8 sRGB, by beam search; `about` is unused.

        Raises InvalidRequest if the weights are missing or belong to another family.
        """
        if len(images) != len(about):
            raise ValueError(f"{len(images)} images and {len(about)} texts do not match")
        network = _load(self)
        captions: list[str] = []
        for start in range(0, len(images), self.batch_size):
            batch = list(images[start : start + self.batch_size])
            filled = batch + batch[-1:] * (self.batch_size - len(batch))
            captions += network.caption(filled)[: len(batch)]
        return captions


@dataclass(frozen=True)
class Blip2Captioner(_NetworkCaptioner):
    """BLIP-2, as in SSD: beam search over 3 beams, at most 30 tokens, no sampling."""

    model: Weights = BLIP2
    dtype: Literal["float32", "float16", "bfloat16"] = "bfloat16"  # 8 GB instead of 15

    name = "blip2"


@dataclass(frozen=True)
class SmallCaptioner(_NetworkCaptioner):
    """Florence-2 (the default) or BLIP: 0.2 to 0.5 billion parameters instead of 3.7."""

    model: Weights = FLORENCE2

    name = "small"


@dataclass(frozen=True)
class _CaptionNetwork:
    """Loaded network with its preprocessing."""

    settings: _NetworkCaptioner
    model: Any
    processor: Any
    task: str | None

    def caption(self, images: Sequence[np.ndarray]) -> list[str]:
        """Caption one batch of images (H, W, 3) uint8."""
        import torch
        from PIL import Image

        options = {"images": [Image.fromarray(image) for image in images], "return_tensors": "pt"}
        if self.task is not None:
            options["text"] = [self.task] * len(images)
        inputs = self.processor(**options).to(self.model.device, self.model.dtype)
        with torch.inference_mode():
            tokens = self.model.generate(  # (B, at most max_new_tokens and the prompt)
                **inputs,
                num_beams=self.settings.num_beams,
                max_new_tokens=self.settings.max_new_tokens,
                do_sample=False,
            )
        texts = self.processor.batch_decode(tokens, skip_special_tokens=True)
        return [one_line(text) for text in texts]


@functools.lru_cache(maxsize=1)
def _load(settings: _NetworkCaptioner) -> _CaptionNetwork:
    """Load a network once per process; raises InvalidRequest."""
    import torch
    from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor

    found = resolve(settings.model, offline=settings.offline)
    family = AutoConfig.from_pretrained(found.folder, local_files_only=True).model_type
    if family not in FAMILIES[settings.name]:
        raise InvalidRequest(
            f"{found.name} is of the family {family!r}; captioner {settings.name!r} runs "
            f"{' or '.join(FAMILIES[settings.name])}. Use other weights or another captioner."
        )
    with quiet_transformers():
        loaded: Any = AutoModelForImageTextToText.from_pretrained(
            found.folder,
            dtype=getattr(torch, settings.dtype),
            use_safetensors=True,
            local_files_only=True,
            output_loading_info=True,
        )
    model, report = loaded
    with about("captioner", settings.model):
        require_complete("", sorted(report["missing_keys"]))
    processor = AutoProcessor.from_pretrained(found.folder, local_files_only=True)
    return _CaptionNetwork(
        settings, model.to(settings.runs_on).eval(), processor, TASKS.get(family)
    )
